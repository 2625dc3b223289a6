//! Where a registry is: the host behind a name, and whether it speaks TLS.

use fairlead_core::dial::Endpoint;
use fairlead_core::image::ImageReference;

/// Registries that are spoken to without TLS: those of this machine, and those that the operator names. A name that only a
/// tenant chose is never one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InsecureRegistries(pub Vec<String>);

impl InsecureRegistries {
    fn has(&self, name: &str) -> bool {
        let host = host_of(name);
        let local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        local || self.0.iter().any(|insecure| insecure == name)
    }
}

/// A registry and a repository in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry {
    /// As it is named in references, and in files of credentials.
    pub name: String,
    /// Where it is.
    pub endpoint: Endpoint,
    /// The repository.
    pub repository: String,
}

impl Registry {
    /// Where the reference leads.
    #[must_use]
    pub fn of(reference: &ImageReference, insecure: &InsecureRegistries) -> Self {
        let name = reference.registry().to_owned();
        let whole = reference.repository();
        let repository = whole.strip_prefix(&format!("{name}/")).unwrap_or(&whole).to_owned();
        let tls = !insecure.has(&name);
        // The name of Docker Hub is not the name of its registry.
        let at = if name == "docker.io" { "registry-1.docker.io" } else { name.as_str() };
        let port = at.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let endpoint = Endpoint { host: host_of(at).to_owned(), port: port.unwrap_or(if tls { 443 } else { 80 }), tls };
        Self { name, endpoint, repository }
    }
}

fn host_of(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_leads_to_a_registry_and_a_repository() {
        for (reference, registry, at, repository) in [
            ("redis", "docker.io", "https://registry-1.docker.io:443", "library/redis"),
            ("ghcr.io/a/b:1", "ghcr.io", "https://ghcr.io:443", "a/b"),
            ("localhost:5000/a", "localhost:5000", "http://localhost:5000", "a"),
            ("127.0.0.1:5000/a/b/c", "127.0.0.1:5000", "http://127.0.0.1:5000", "a/b/c"),
            ("plain.example:80/a", "plain.example:80", "http://plain.example:80", "a"),
            ("other.example:80/a", "other.example:80", "https://other.example:80", "a"),
        ] {
            let insecure = InsecureRegistries(vec!["plain.example:80".to_owned()]);
            let found = Registry::of(&ImageReference::new(reference).unwrap(), &insecure);
            assert_eq!((found.name.as_str(), found.repository.as_str()), (registry, repository));
            assert_eq!(found.endpoint.to_string(), at);
        }
    }
}
