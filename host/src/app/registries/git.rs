//! Files of a git repository as a source: the commit is the entity tag, so that what did not change is not fetched.

use std::net::IpAddr;
use std::sync::Arc;

use fairlead_core::BoxFuture;
use fairlead_core::address::{AddressClass, classify};
use fairlead_core::dial::Admission;
use fairlead_core::name::TenantName;
use fairlead_core::registry::{
    PageRequest, RegistrySource, SourceAnswer, SourceEntry, SourceError, SourceFeatures, SourcePage, SourceSession,
};
use fairlead_core::secret::{SecretReference, Secrets};
use fairlead_git::{File, GitClient, GitError, Login, Read, Revision, Wanted};
use fairlead_registry::spec::GitSource;

use super::native::entries;
use crate::text;

/// What servers of git want to be called by who shows a token.
const TOKEN_USER: &str = "x-access-token";

/// A repository.
pub(super) struct Repository {
    pub(super) client: Arc<GitClient>,
    pub(super) secrets: Arc<dyn Secrets>,
    pub(super) tenant: TenantName,
    pub(super) source: GitSource,
}

impl RegistrySource for Repository {
    fn open(&self) -> BoxFuture<'_, Result<Box<dyn SourceSession>, SourceError>> {
        Box::pin(async {
            let login = match &self.source.token {
                None => None,
                Some(named) => {
                    let reference =
                        SecretReference::typed(named).map_err(|error| SourceError::Config(error.to_string()))?;
                    let secret = self.secrets.resolve(&self.tenant, &reference).await;
                    let secret = secret.map_err(|error| SourceError::Config(text::chain(&error)))?;
                    let user = self.source.user.clone().unwrap_or_else(|| TOKEN_USER.to_owned());
                    let password =
                        secret.reveal_text().map_err(|_| SourceError::Config("its token is no text".to_owned()))?;
                    let password = password.trim().to_owned();
                    Some(Login { user, password })
                }
            };
            let (client, source) = (Arc::clone(&self.client), self.source.clone());
            Ok(Box::new(Reading { client, source, login }) as Box<dyn SourceSession>)
        })
    }
}

struct Reading {
    client: Arc<GitClient>,
    source: GitSource,
    login: Option<Login>,
}

impl SourceSession for Reading {
    fn features(&self) -> SourceFeatures {
        SourceFeatures { versions: true, ..SourceFeatures::default() }
    }

    fn enumerate<'a>(&'a mut self, request: &'a PageRequest) -> BoxFuture<'a, Result<SourceAnswer, SourceError>> {
        Box::pin(async move {
            let GitSource { url, branch, tag, path, .. } = &self.source;
            let revision = match (branch, tag) {
                (Some(branch), _) => Revision::Branch(branch.clone()),
                (None, Some(tag)) => Revision::Tag(tag.clone()),
                (None, None) => Revision::Default,
            };
            let wanted = Wanted { url: url.clone(), revision, path: path.clone(), known: request.etag.clone() };
            let admission = Arc::new(Reach::of(&self.source));
            match self.client.read(wanted, admission, self.login.clone()).await.map_err(told)? {
                Read::Unmodified => Ok(SourceAnswer::Unmodified),
                Read::Files { commit, files } => {
                    let entries = files.iter().flat_map(entries_of).collect();
                    Ok(SourceAnswer::Page(SourcePage { entries, etag: Some(commit), ..SourcePage::default() }))
                }
            }
        })
    }

    fn transform(&mut self, entry: SourceEntry) -> BoxFuture<'_, Result<Option<SourceEntry>, SourceError>> {
        Box::pin(async { Ok(Some(entry)) })
    }
}

/// The entries of a file. A file that is none of a catalogue is one bad entry, named by its path.
fn entries_of(file: &File) -> Vec<SourceEntry> {
    let text = String::from_utf8_lossy(&file.content);
    entries(&text).unwrap_or_else(|_| vec![super::native::nothing(&file.path)])
}

fn told(error: GitError) -> SourceError {
    match error {
        GitError::Address { .. } => SourceError::Config(error.to_string()),
        GitError::Unreachable { .. } | GitError::Scratch(_) => SourceError::Unavailable(error.to_string()),
        _ => SourceError::Upstream(error.to_string()),
    }
}

/// Which addresses a repository may be at: those of the Internet, the one that is written as such, and a private network where
/// that is allowed. Never what belongs to the link or the cloud.
struct Reach {
    written: Option<IpAddr>,
    local: bool,
    private: bool,
}

impl Reach {
    fn of(source: &GitSource) -> Self {
        let rest = source.url.split_once("://").map_or("", |(_, rest)| rest);
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = match authority.split_once(']') {
            Some((literal, _)) => literal.trim_start_matches('['),
            None => authority.split(':').next().unwrap_or_default(),
        };
        Self { written: host.parse().ok(), local: host == "localhost", private: source.private }
    }
}

impl Admission for Reach {
    fn admits(&self, address: IpAddr) -> bool {
        match classify(address) {
            AddressClass::Public => true,
            _ if self.written == Some(address) => true,
            AddressClass::Loopback => self.local,
            AddressClass::Private => self.private,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_into_the_internet_and_nowhere_else_unless_somebody_says_so() {
        let source = |url: &str, private| GitSource {
            url: url.to_owned(),
            branch: None,
            tag: None,
            path: None,
            private,
            token: None,
            user: None,
        };
        let admits = |url, private, address: &str| Reach::of(&source(url, private)).admits(address.parse().unwrap());
        assert!(admits("https://git.example/x", false, "93.184.216.34"));
        for address in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1"] {
            assert!(!admits("https://git.example/x", false, address), "{address}");
        }
        assert!(admits("https://git.example/x", true, "10.0.0.1"));
        assert!(!admits("https://git.example/x", true, "169.254.169.254"));
        assert!(admits("http://127.0.0.1:80/x", false, "127.0.0.1"));
        assert!(!admits("http://127.0.0.1:80/x", false, "127.0.0.2"));
        assert!(admits("http://localhost:80/x", false, "127.0.0.1"));
        assert!(admits("http://[::1]:80/x", false, "::1"));
    }
}
