//! Where a container engine may listen, in the order in which they are tried.
//!
//! What the user said comes first (`FAIRLEAD_CONTAINER_ENGINE`, then `DOCKER_HOST`), then Podman, Colima and Docker at the
//! places where they, and the products that are built on them, put their sockets; rootless before rootful, because it can
//! do less harm. One socket is tried once, under the first name that it was found by, however many links lead to it.

use std::path::{Path, PathBuf};

use super::contexts;
use super::surroundings::Surroundings;

/// Which family of engines; `FAIRLEAD_CONTAINER_ENGINE` can name one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Podman,
    Colima,
    Docker,
}

impl Family {
    const ALL: [Self; 3] = [Self::Podman, Self::Colima, Self::Docker];

    fn name(self) -> &'static str {
        match self {
            Self::Podman => "podman",
            Self::Colima => "colima",
            Self::Docker => "docker",
        }
    }

    /// The variable that says where it listens, instead of all the places where it usually does.
    fn variable(self) -> &'static str {
        match self {
            Self::Podman => "FAIRLEAD_PODMAN_SOCKET",
            Self::Colima => "FAIRLEAD_COLIMA_SOCKET",
            Self::Docker => "FAIRLEAD_DOCKER_SOCKET",
        }
    }
}

/// An engine that may be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) name: String,
    /// What led to it: a variable, or what kind of place it is.
    pub(super) found_by: String,
    pub(super) address: Address,
}

/// Where an engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    Socket(PathBuf),
    /// Another machine, or another way to reach this one.
    Unsupported(String),
}

impl Address {
    /// Reads `unix:///path`, `/path`, or something that is not supported.
    pub(super) fn parse(text: &str) -> Self {
        let path = Path::new(text.strip_prefix("unix://").unwrap_or(text));
        if path.is_absolute() { Self::Socket(path.to_owned()) } else { Self::Unsupported(text.to_owned()) }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "unix://{}", path.display()),
            Self::Unsupported(text) => f.write_str(text),
        }
    }
}

/// The variable that names the one engine to use: a name, a family or an address.
pub(super) const ENGINE_VARIABLE: &str = "FAIRLEAD_CONTAINER_ENGINE";

/// Every engine that may be there, in order.
pub(super) fn candidates(surroundings: &Surroundings) -> Vec<Candidate> {
    let wanted = surroundings.variable(ENGINE_VARIABLE);
    if let Some(address) = wanted.filter(|wanted| wanted.contains('/')) {
        let address = Address::parse(address);
        return vec![Candidate { name: "configured".to_owned(), found_by: ENGINE_VARIABLE.to_owned(), address }];
    }
    let mut search = Search { surroundings, found: Vec::new() };
    if let Some(host) = surroundings.variable("DOCKER_HOST") {
        search.add("docker-host", "DOCKER_HOST", Address::parse(host), None);
    }
    for family in Family::ALL {
        match surroundings.variable(family.variable()) {
            Some(socket) => search.add(family.name(), family.variable(), Address::parse(socket), Some(family)),
            None => search.family(family),
        }
    }
    let named = |(candidate, family): (Candidate, Option<Family>)| {
        let named = wanted.is_none_or(|wanted| candidate.name == wanted || family.map(Family::name) == Some(wanted));
        named.then_some(candidate)
    };
    search.found.into_iter().filter_map(named).collect()
}

struct Search<'a> {
    surroundings: &'a Surroundings,
    found: Vec<(Candidate, Option<Family>)>,
}

impl Search<'_> {
    fn family(&mut self, family: Family) {
        match family {
            Family::Podman => self.podman(),
            Family::Colima => self.colima(),
            Family::Docker => self.docker(),
        }
    }

    fn podman(&mut self) {
        let runtime = self.runtime_directory();
        self.place("podman", Some(runtime.join("podman/podman.sock")), Family::Podman);
        self.place("podman-root", Some("/run/podman/podman.sock".into()), Family::Podman);
        self.place("podman-root", Some("/var/run/podman/podman.sock".into()), Family::Podman);
        let machines = self.surroundings.in_home(".local/share/containers/podman/machine");
        self.place("podman-machine", machines.as_ref().map(|machines| machines.join("podman.sock")), Family::Podman);
        for machine in machines.iter().flat_map(|machines| self.surroundings.entries(machines)) {
            self.seen("podman-machine", machine.join("podman.sock"), Family::Podman);
        }
        let temporary = self.surroundings.directory("TMPDIR").map(|temporary| temporary.join("podman"));
        for socket in temporary.iter().flat_map(|temporary| self.surroundings.entries(temporary)) {
            if socket.as_os_str().as_encoded_bytes().ends_with(b"-api.sock") {
                self.seen("podman-machine", socket, Family::Podman);
            }
        }
    }

    fn colima(&mut self) {
        let config = self.surroundings.directory("XDG_CONFIG_HOME").or_else(|| self.surroundings.in_home(".config"));
        let homes = [
            self.surroundings.directory("COLIMA_HOME"),
            self.surroundings.in_home(".colima"),
            config.map(|config| config.join("colima")),
        ];
        for home in homes.into_iter().flatten() {
            self.place("colima", Some(home.join("default/docker.sock")), Family::Colima);
            for profile in self.surroundings.entries(&home) {
                let Some(name) = profile.file_name().and_then(|name| name.to_str()) else { continue };
                if name != "default" {
                    self.seen(&format!("colima-{name}"), profile.join("docker.sock"), Family::Colima);
                }
            }
        }
    }

    fn docker(&mut self) {
        let contexts = contexts::read(self.surroundings);
        for context in contexts.iter().filter(|context| context.current) {
            self.context(context);
        }
        self.place("docker-rootless", Some(self.runtime_directory().join("docker.sock")), Family::Docker);
        self.place("docker", Some("/var/run/docker.sock".into()), Family::Docker);
        self.place("docker", Some("/run/docker.sock".into()), Family::Docker);
        for (name, socket) in [
            ("docker-desktop", ".docker/run/docker.sock"),
            ("docker-desktop", ".docker/desktop/docker.sock"),
            ("rancher-desktop", ".rd/docker.sock"),
            ("orbstack", ".orbstack/run/docker.sock"),
        ] {
            self.place(name, self.surroundings.in_home(socket), Family::Docker);
        }
        let lima = self.surroundings.directory("LIMA_HOME").or_else(|| self.surroundings.in_home(".lima"));
        for machine in lima.iter().flat_map(|lima| self.surroundings.entries(lima)) {
            let Some(name) = machine.file_name().and_then(|name| name.to_str()) else { continue };
            self.seen(&format!("lima-{name}"), machine.join("sock/docker.sock"), Family::Docker);
        }
        for context in contexts.iter().filter(|context| !context.current) {
            self.context(context);
        }
    }

    fn context(&mut self, context: &contexts::Context) {
        let name = format!("context-{}", context.name);
        self.add(&name, "docker context", Address::parse(&context.host), Some(Family::Docker));
    }

    /// A place where an engine usually listens.
    fn place(&mut self, name: &str, socket: Option<PathBuf>, family: Family) {
        if let Some(socket) = socket {
            self.add(name, "usual place", Address::Socket(socket), Some(family));
        }
    }

    /// A place that a directory led to: of interest only if an engine ever listened there.
    fn seen(&mut self, name: &str, socket: PathBuf, family: Family) {
        if self.surroundings.real(&socket).is_some() {
            self.place(name, Some(socket), family);
        }
    }

    fn add(&mut self, name: &str, found_by: &str, address: Address, family: Option<Family>) {
        let same = |other: &Address| match (&address, other) {
            (Address::Socket(one), Address::Socket(other)) => {
                one == other
                    || self.surroundings.real(one).is_some_and(|real| self.surroundings.real(other) == Some(real))
            }
            (one, other) => one == other,
        };
        if !self.found.iter().any(|(other, _)| same(&other.address)) {
            self.found.push((Candidate { name: name.to_owned(), found_by: found_by.to_owned(), address }, family));
        }
    }

    fn runtime_directory(&self) -> PathBuf {
        let usual = || PathBuf::from(format!("/run/user/{}", self.surroundings.user_id()));
        self.surroundings.directory("XDG_RUNTIME_DIR").unwrap_or_else(usual)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A machine with these files (a socket is a file as well as any), and what is found on it, by name.
    fn found(files: &[&str], variables: &[(&str, &str)]) -> Vec<(String, String)> {
        let machine = tempfile::tempdir().unwrap();
        for file in files {
            let path = machine.path().join(file.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let surroundings = Surroundings::below(machine.path(), variables);
        let there = |candidate: &Candidate| match &candidate.address {
            Address::Socket(path) => surroundings.real(path).is_some(),
            Address::Unsupported(_) => true,
        };
        let candidates = candidates(&surroundings).into_iter().filter(there);
        candidates.map(|candidate| (candidate.name, candidate.address.to_string())).collect()
    }

    fn names(files: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
        found(files, variables).into_iter().map(|(name, _)| name).collect()
    }

    const EVERYTHING: [&str; 12] = [
        "/run/user/1000/podman/podman.sock",
        "/run/podman/podman.sock",
        "/home/a/.local/share/containers/podman/machine/podman.sock",
        "/home/a/.colima/default/docker.sock",
        "/home/a/.colima/second/docker.sock",
        "/run/user/1000/docker.sock",
        "/var/run/docker.sock",
        "/home/a/.docker/run/docker.sock",
        "/home/a/.rd/docker.sock",
        "/home/a/.orbstack/run/docker.sock",
        "/home/a/.lima/vm/sock/docker.sock",
        "/tmp/podman/m-api.sock",
    ];
    const HOME: [(&str, &str); 2] = [("HOME", "/home/a"), ("TMPDIR", "/tmp")];

    #[test]
    fn podman_comes_before_colima_and_colima_before_docker() {
        let expected = [
            "podman",
            "podman-root",
            "podman-machine",
            "podman-machine",
            "colima",
            "colima-second",
            "docker-rootless",
            "docker",
            "docker-desktop",
            "rancher-desktop",
            "orbstack",
            "lima-vm",
        ];
        assert_eq!(names(&EVERYTHING, &HOME), expected);
    }

    #[test]
    fn what_the_user_said_comes_first() {
        let variables = [&HOME[..], &[("DOCKER_HOST", "unix:///srv/d.sock")]].concat();
        let files = [&EVERYTHING[..], &["/srv/d.sock"]].concat();
        let found = found(&files, &variables);
        assert_eq!(found[0], ("docker-host".to_owned(), "unix:///srv/d.sock".to_owned()));
        assert_eq!(found[1].0, "podman");
    }

    #[test]
    fn an_address_leaves_no_other_candidate() {
        let variables =
            [&HOME[..], &[(ENGINE_VARIABLE, "unix:///var/run/docker.sock"), ("DOCKER_HOST", "/x")]].concat();
        assert_eq!(names(&EVERYTHING, &variables), ["configured"]);
    }

    #[test]
    fn a_name_or_a_family_leaves_its_candidates() {
        let wanted = |name| names(&EVERYTHING, &[&HOME[..], &[(ENGINE_VARIABLE, name)]].concat());
        assert_eq!(wanted("colima"), ["colima", "colima-second"]);
        assert_eq!(wanted("orbstack"), ["orbstack"]);
        assert_eq!(wanted("containerd"), [""; 0]);
    }

    #[test]
    fn a_socket_variable_replaces_the_usual_places_of_its_family() {
        let files = [&EVERYTHING[..], &["/srv/p.sock"]].concat();
        let variables = [&HOME[..], &[("FAIRLEAD_PODMAN_SOCKET", "/srv/p.sock")]].concat();
        let found = found(&files, &variables);
        assert_eq!(found[0], ("podman".to_owned(), "unix:///srv/p.sock".to_owned()));
        assert_eq!(found[1].0, "colima");
    }

    #[test]
    fn one_socket_is_tried_once_however_many_links_lead_to_it() {
        let machine = tempfile::tempdir().unwrap();
        fs::create_dir_all(machine.path().join("run")).unwrap();
        fs::create_dir_all(machine.path().join("var")).unwrap();
        fs::write(machine.path().join("run/docker.sock"), "").unwrap();
        std::os::unix::fs::symlink("../run", machine.path().join("var/run")).unwrap();
        let surroundings = Surroundings::below(machine.path(), &[("DOCKER_HOST", "unix:///run/docker.sock")]);
        let candidates = candidates(&surroundings);
        let there: Vec<_> = candidates.iter().filter(|c| c.address.to_string().ends_with("run/docker.sock")).collect();
        assert_eq!(there.len(), 1, "{there:?}");
        assert_eq!(there[0].name, "docker-host");
    }

    #[test]
    fn another_machine_is_reported_as_not_supported() {
        let found = found(&[], &[("DOCKER_HOST", "tcp://10.0.0.1:2375")]);
        assert_eq!(found, [("docker-host".to_owned(), "tcp://10.0.0.1:2375".to_owned())]);
        assert_eq!(Address::parse("ssh://me@there"), Address::Unsupported("ssh://me@there".to_owned()));
    }
}
