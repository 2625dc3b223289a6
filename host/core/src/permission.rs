//! Permission profiles: what an isolated server may touch beyond itself.
//!
//! The document is ToolHive's, field by field, so that profiles which people have written go on working. What it *grants*
//! is decided here, once, for every engine: [`PermissionProfile::granted`]. A field that cannot be enforced is refused with
//! the reason and never dropped: a profile that says "only this host" and lets everything through is worse than none.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// What a server may touch beyond itself. The default, and the built-in profile `none`, is nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PermissionProfile {
    /// For display.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Files and directories that it may read: `/path`, or `/path:/path/in/container`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub read: Vec<String>,
    /// Files and directories that it may write, written alike.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub write: Vec<String>,
    /// What it may reach and who may reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkPermissions>,
    /// All devices and capabilities of the machine: always refused.
    #[serde(default, skip_serializing_if = "is_false")]
    pub privileged: bool,
}

/// The network part of a profile.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkPermissions {
    /// `none`, `bridge` (also when empty), or the name of a network of the engine.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mode: String,
    /// What the server may reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outbound: Option<OutboundPermissions>,
    /// Who may reach the server. Whatever it says, nothing does but Fairlead's own proxy on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbound: Option<InboundPermissions>,
}

/// What a server may reach.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutboundPermissions {
    /// Everything.
    #[serde(default, skip_serializing_if = "is_false")]
    pub insecure_allow_all: bool,
    /// These hosts. Refused until it is enforced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_host: Vec<String>,
    /// These ports. Refused until it is enforced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_port: Vec<u16>,
}

/// Who may reach a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InboundPermissions {
    /// These hosts; only names of this machine can be granted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_host: Vec<String>,
}

/// What a profile comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// Files and directories of this machine.
    pub mounts: Vec<Mount>,
    /// The network.
    pub network: NetworkAccess,
}

/// A file or directory of this machine inside the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is on this machine: absolute.
    pub source: PathBuf,
    /// Where the server sees it: absolute.
    pub target: String,
    /// Whether the server may change it.
    pub writable: bool,
}

/// The network of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkAccess {
    /// Nothing can be reached.
    Closed,
    /// Everything can be reached, by way of the engine's own network or of the one named.
    Open {
        /// A network that the user made; `None`: the engine's own.
        network: Option<String>,
    },
}

/// Why a profile cannot be granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PermissionError {
    /// A list of hosts or ports.
    #[error(
        "`network.outbound` lists single hosts or ports, which is not enforced yet: set `insecure_allow_all` to allow \
         everything, or leave both lists empty to allow nothing"
    )]
    OutboundList,
    /// A host that is not this machine.
    #[error("`network.inbound` allows `{host}`, but a server is reached by Fairlead's proxy on this machine alone")]
    InboundHost {
        /// The host.
        host: String,
    },
    /// A network mode that undoes the isolation.
    #[error(
        "network mode `{mode}` shares a network with this machine or with another container, which undoes isolation"
    )]
    NetworkMode {
        /// The mode.
        mode: String,
    },
    /// A named network without permission to reach what is on it.
    #[error(
        "network `{mode}` can be joined only with `network.outbound.insecure_allow_all`: what is on it is not filtered"
    )]
    ClosedNetwork {
        /// The network.
        mode: String,
    },
    /// Everything.
    #[error(
        "a privileged server has all devices and capabilities of this machine: that is not isolation, and not possible"
    )]
    Privileged,
    /// A mount.
    #[error("mount `{declaration}`: {reason}")]
    Mount {
        /// As written.
        declaration: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// There is no built-in profile of this name.
    #[error("there is no built-in permission profile `{name}`: there are `none` and `network`")]
    NoSuchBuiltin {
        /// The name.
        name: String,
    },
}

impl Default for PermissionProfile {
    fn default() -> Self {
        Self::none()
    }
}

impl PermissionProfile {
    /// The built-in profile `none`: nothing.
    #[must_use]
    pub fn none() -> Self {
        Self::builtin_with("none", false)
    }

    /// The built-in profile `network`: every host can be reached, no file.
    #[must_use]
    pub fn network() -> Self {
        Self::builtin_with("network", true)
    }

    /// A built-in profile by its name.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn builtin(name: &str) -> Result<Self, PermissionError> {
        match name {
            "none" => Ok(Self::none()),
            "network" => Ok(Self::network()),
            _ => Err(PermissionError::NoSuchBuiltin { name: name.to_owned() }),
        }
    }

    fn builtin_with(name: &str, insecure_allow_all: bool) -> Self {
        let outbound = OutboundPermissions { insecure_allow_all, ..OutboundPermissions::default() };
        let network = NetworkPermissions {
            outbound: Some(outbound),
            inbound: Some(InboundPermissions::default()),
            ..Default::default()
        };
        Self { name: name.to_owned(), read: Vec::new(), write: Vec::new(), network: Some(network), privileged: false }
    }

    /// What this profile comes to, all of it enforceable.
    ///
    /// # Errors
    /// It asks for something that is never granted, or that is not enforced yet.
    pub fn granted(&self) -> Result<Granted, PermissionError> {
        if self.privileged {
            return Err(PermissionError::Privileged);
        }
        let mut mounts = Vec::with_capacity(self.read.len() + self.write.len());
        let mut targets = BTreeSet::new();
        let declared = self.read.iter().map(|text| (text, false)).chain(self.write.iter().map(|text| (text, true)));
        for (declaration, writable) in declared {
            let refused = |reason| PermissionError::Mount { declaration: declaration.clone(), reason };
            let mount = mount(declaration, writable).map_err(refused)?;
            if !targets.insert(mount.target.clone()) {
                return Err(refused("something is mounted there already"));
            }
            mounts.push(mount);
        }
        Ok(Granted { mounts, network: self.network_access()? })
    }

    fn network_access(&self) -> Result<NetworkAccess, PermissionError> {
        let Some(network) = &self.network else { return Ok(NetworkAccess::Closed) };
        let hosts = network.inbound.iter().flat_map(|inbound| &inbound.allow_host);
        if let Some(host) = hosts.into_iter().find(|host| !is_this_machine(host)) {
            return Err(PermissionError::InboundHost { host: host.clone() });
        }
        let outbound = network.outbound.clone().unwrap_or_default();
        let lists = !outbound.allow_host.is_empty() || !outbound.allow_port.is_empty();
        if lists && !outbound.insecure_allow_all {
            return Err(PermissionError::OutboundList);
        }
        match (network.mode.as_str(), outbound.insecure_allow_all) {
            ("none", _) | ("" | "bridge" | "default", false) => Ok(NetworkAccess::Closed),
            ("" | "bridge" | "default", true) => Ok(NetworkAccess::Open { network: None }),
            (mode, _) if mode == "host" || mode.contains(':') => {
                Err(PermissionError::NetworkMode { mode: mode.to_owned() })
            }
            (mode, false) => Err(PermissionError::ClosedNetwork { mode: mode.to_owned() }),
            (mode, true) => Ok(NetworkAccess::Open { network: Some(mode.to_owned()) }),
        }
    }
}

fn mount(declaration: &str, writable: bool) -> Result<Mount, &'static str> {
    if declaration.contains("://") {
        return Err("only files and directories can be mounted, no resource URI");
    }
    let (source, target) = declaration.split_once(':').unwrap_or((declaration, declaration));
    if target.contains(':') || target.contains('\0') || source.contains('\0') {
        return Err("write `/path` or `/path:/path/in/container`");
    }
    let source = cleaned(source).ok_or("the path on this machine must be absolute, without `..`")?;
    let target = cleaned(target).ok_or("the path in the container must be absolute, without `..`")?;
    let kernel = ["/proc", "/sys", "/dev"];
    if target == Path::new("/") || kernel.iter().any(|kernel| target.starts_with(kernel)) {
        return Err("nothing can be mounted over `/`, `/proc`, `/sys` or `/dev` of a container");
    }
    let target = target.to_str().ok_or("the path in the container must be text")?.to_owned();
    Ok(Mount { source, target, writable })
}

/// The path without `.` and doubled separators; `None` when it is relative or climbs.
fn cleaned(path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let climbs = path.components().any(|component| component == Component::ParentDir);
    (path.is_absolute() && !climbs).then(|| path.components().collect())
}

fn is_this_machine(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "::1" | "[::1]")
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Reads a profile where it is part of a larger document: the name of a built-in one, or a whole one.
///
/// # Errors
/// It is neither.
pub fn named_or_whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PermissionProfile, D::Error> {
    struct NamedOrWhole;

    impl<'de> Visitor<'de> for NamedOrWhole {
        type Value = PermissionProfile;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("`none`, `network` or a permission profile")
        }

        fn visit_str<E: de::Error>(self, name: &str) -> Result<PermissionProfile, E> {
            PermissionProfile::builtin(name).map_err(E::custom)
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PermissionProfile, A::Error> {
            PermissionProfile::deserialize(MapAccessDeserializer::new(map))
        }
    }

    deserializer.deserialize_any(NamedOrWhole)
}

// The schema of what `named_or_whole` reads, under the name that people see.
/// What a server may touch beyond itself: `none` (nothing), `network` (every host, no file), or a whole `PermissionProfile`.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) enum Permissions {
    /// A built-in profile.
    Named(String),
    /// A whole one.
    Whole(PermissionProfile),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `thv run --permission-profile` writes it into a RunConfig, with every field used once.
    const TOOLHIVE: &str = r#"{"name":"docs","read":["/srv/docs","/etc/hosts:/hosts"],"write":["/srv/out:/out"],"network":{"mode":"bridge","outbound":{"insecure_allow_all":true,"allow_host":[".github.com"],"allow_port":[443]},"inbound":{"allow_host":["localhost"]}}}"#;

    fn profile(json: &str) -> PermissionProfile {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_profile_of_toolhive_comes_back_byte_for_byte() {
        assert_eq!(serde_json::to_string(&profile(TOOLHIVE)).unwrap(), TOOLHIVE);
    }

    #[test]
    fn an_unknown_field_is_reported() {
        let error = serde_json::from_str::<PermissionProfile>(r#"{"reed":["/etc"]}"#).unwrap_err();
        assert!(error.to_string().contains("reed"), "{error}");
    }

    #[test]
    fn mounts_are_granted_as_written() {
        let granted = profile(TOOLHIVE).granted().unwrap();
        let mount =
            |source: &str, target: &str, writable| Mount { source: source.into(), target: target.into(), writable };
        assert_eq!(
            granted.mounts,
            [
                mount("/srv/docs", "/srv/docs", false),
                mount("/etc/hosts", "/hosts", false),
                mount("/srv/out", "/out", true)
            ]
        );
        assert_eq!(granted.network, NetworkAccess::Open { network: None });
    }

    #[test]
    fn the_built_in_profiles_are_nothing_and_the_network() {
        let none = PermissionProfile::none().granted().unwrap();
        assert_eq!(none, Granted { mounts: Vec::new(), network: NetworkAccess::Closed });
        assert_eq!(PermissionProfile::network().granted().unwrap().network, NetworkAccess::Open { network: None });
        assert_eq!(PermissionProfile::builtin("all"), Err(PermissionError::NoSuchBuiltin { name: "all".into() }));
    }

    #[test]
    fn an_empty_profile_grants_nothing() {
        assert_eq!(profile("{}").granted().unwrap().network, NetworkAccess::Closed);
        assert_eq!(profile(r#"{"network":{}}"#).granted().unwrap().network, NetworkAccess::Closed);
    }

    #[test]
    fn what_is_not_enforced_is_refused() {
        for (json, expected) in [
            (r#"{"privileged":true}"#, PermissionError::Privileged),
            (r#"{"network":{"outbound":{"allow_host":["x.test"]}}}"#, PermissionError::OutboundList),
            (r#"{"network":{"outbound":{"allow_port":[443]}}}"#, PermissionError::OutboundList),
            (r#"{"network":{"inbound":{"allow_host":["*"]}}}"#, PermissionError::InboundHost { host: "*".into() }),
            (
                r#"{"network":{"mode":"host","outbound":{"insecure_allow_all":true}}}"#,
                PermissionError::NetworkMode { mode: "host".into() },
            ),
            (
                r#"{"network":{"mode":"container:x","outbound":{"insecure_allow_all":true}}}"#,
                PermissionError::NetworkMode { mode: "container:x".into() },
            ),
            (r#"{"network":{"mode":"db"}}"#, PermissionError::ClosedNetwork { mode: "db".into() }),
        ] {
            assert_eq!(profile(json).granted(), Err(expected), "{json}");
        }
    }

    #[test]
    fn a_mount_that_is_unclear_or_reaches_too_far_is_refused() {
        for declaration in [
            "",
            "docs",
            "./docs",
            "/a/../b",
            "/a:b",
            "/a:/b:/c",
            "/a:/",
            "/",
            "/a:/proc/1",
            "/a:/sys",
            "/a:/dev/x",
            "volume://v:/v",
            "/a\0:/b",
        ] {
            let profile = PermissionProfile { read: vec![declaration.to_owned()], ..PermissionProfile::none() };
            assert!(matches!(profile.granted(), Err(PermissionError::Mount { .. })), "{declaration:?}");
        }
    }

    #[test]
    fn two_mounts_cannot_share_a_place() {
        let error = profile(r#"{"read":["/a:/x"],"write":["/b:/./x"]}"#).granted().unwrap_err();
        assert_eq!(
            error,
            PermissionError::Mount { declaration: "/b:/./x".into(), reason: "something is mounted there already" }
        );
    }
}
