//! Packages that are MCP servers: `npx://name[@version]`, `uvx://name[@version]`, `go://module[@version]`.
//!
//! A package is not run where it is: an image is built of it once, and the image is isolated like any other. What may stand
//! in a reference is narrow on purpose. Its parts go into the recipe of an image, and a character that a shell or a builder
//! could read as something else is refused here, at the edge, so that nothing behind it has to quote.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::checked::checked_text;
use crate::image::{ImageReference, ImageSource, PullPolicy, Resources};
use crate::limits::PACKAGE_REFERENCE_BYTES_MAX;
use crate::permission::{self, PermissionProfile};
use crate::signature::ImageVerification;

/// What stands for "whatever is newest".
pub const LATEST: &str = "latest";

/// A server that is built of a package, and isolated with what its profile and its limits allow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PackageSource {
    /// The package.
    pub package: PackageReference,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// The version that was built. `run` fills it in, so that a server keeps its version until somebody wants another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<String>,
    /// The image that it is built on; absent: the one that is configured for packages of its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<ImageReference>,
    /// When the image is built: `missing`, once for each version; `always`, again, with the newest version that fits.
    #[serde(default)]
    pub pull: PullPolicy,
    /// What is done about the signatures of the images that it is built on; absent: what the daemon is set to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<ImageVerification>,
    /// Name or address of the container engine; absent: the first that answers. `run` fills it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// `user[:group]` to run as; absent: one without rights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Lets the server write to its own copy of the image.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub writable_root: bool,
    /// What it may touch beyond itself, as `none`, `network` or a whole profile.
    #[serde(default, deserialize_with = "permission::named_or_whole")]
    #[schemars(with = "permission::Permissions")]
    pub permissions: PermissionProfile,
    /// How much of the machine it may use.
    #[serde(default)]
    pub resources: Resources,
}

impl PackageSource {
    /// A package with nothing but defaults.
    #[must_use]
    pub fn new(package: PackageReference) -> Self {
        Self {
            package,
            args: Vec::new(),
            resolved: None,
            base: None,
            pull: PullPolicy::default(),
            verification: None,
            engine: None,
            user: None,
            writable_root: false,
            permissions: PermissionProfile::default(),
            resources: Resources::default(),
        }
    }

    /// The version to build: the one that was built before, the one that was asked for, or the newest.
    #[must_use]
    pub fn version(&self) -> &str {
        self.resolved.as_deref().unwrap_or_else(|| self.package.version())
    }

    /// The same server, from the image that was built of it.
    #[must_use]
    pub fn from_image(&self, reference: ImageReference) -> ImageSource {
        ImageSource {
            args: self.args.clone(),
            pull: PullPolicy::Never,
            engine: self.engine.clone(),
            user: self.user.clone(),
            writable_root: self.writable_root,
            permissions: self.permissions.clone(),
            resources: self.resources,
            ..ImageSource::new(reference)
        }
    }
}

/// Who publishes a package, and so how an image is built of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PackageKind {
    /// `npx://`: npm.
    Npx,
    /// `uvx://`: PyPI.
    Uvx,
    /// `go://`: a Go module.
    Go,
}

impl PackageKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Npx, Self::Uvx, Self::Go];

    /// As it stands before `://`.
    #[must_use]
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::Npx => "npx",
            Self::Uvx => "uvx",
            Self::Go => "go",
        }
    }
}

/// Name of a package: `kind://name[@version]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct PackageReference(Arc<str>);

/// Why a text names no package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no package: {reason}")]
pub struct PackageReferenceError {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl PackageReference {
    /// Checks a text.
    ///
    /// # Errors
    /// It is not of the form `kind://name[@version]`.
    pub fn new(text: &str) -> Result<Self, PackageReferenceError> {
        check(text).map_err(|reason| PackageReferenceError { text: text.to_owned(), reason })?;
        Ok(Self(text.into()))
    }

    /// Whether a text is meant as a package, well formed or not.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        PackageKind::ALL.iter().any(|kind| after_scheme(text, *kind).is_some())
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Who publishes it.
    #[must_use]
    pub fn kind(&self) -> PackageKind {
        // Checked when it entered.
        split(&self.0).map_or(PackageKind::Npx, |(kind, _, _)| kind)
    }

    /// Its name, without scheme and version.
    #[must_use]
    pub fn name(&self) -> &str {
        split(&self.0).map_or("", |(_, name, _)| name)
    }

    /// The version that is asked for; [`LATEST`] when none is.
    #[must_use]
    pub fn version(&self) -> &str {
        split(&self.0).and_then(|(_, _, version)| version).unwrap_or(LATEST)
    }

    /// The same package, at a version.
    ///
    /// # Errors
    /// The text is no version.
    pub fn at(&self, version: &str) -> Result<Self, PackageReferenceError> {
        Self::new(&format!("{}://{}@{version}", self.kind().scheme(), self.name()))
    }

    /// The name in the alphabet of image repositories. Two packages may share it; whoever needs to tell them apart keeps the
    /// reference as well.
    #[must_use]
    pub fn repository(&self) -> String {
        let parts = self.name().split('/').map(|part| {
            let mut clean = String::new();
            for c in part.chars().map(|c| c.to_ascii_lowercase()) {
                if c.is_ascii_alphanumeric() {
                    clean.push(c);
                } else if !clean.is_empty() && !clean.ends_with(['-', '.']) {
                    clean.push(if c == '.' { '.' } else { '-' });
                }
            }
            clean.trim_end_matches(['-', '.']).to_owned()
        });
        let parts: Vec<String> = parts.filter(|part| !part.is_empty()).collect();
        format!("{}/{}", self.kind().scheme(), parts.join("/"))
    }
}

fn after_scheme(text: &str, kind: PackageKind) -> Option<&str> {
    text.strip_prefix(kind.scheme())?.strip_prefix("://")
}

fn split(text: &str) -> Option<(PackageKind, &str, Option<&str>)> {
    let (kind, rest) = PackageKind::ALL.iter().find_map(|kind| Some((*kind, after_scheme(text, *kind)?)))?;
    // The scope of an npm package begins with `@`, which begins no version.
    match rest.rsplit_once('@') {
        Some((name, version)) if !name.is_empty() => Some((kind, name, Some(version))),
        _ => Some((kind, rest, None)),
    }
}

fn check(text: &str) -> Result<(), &'static str> {
    if text.len() > PACKAGE_REFERENCE_BYTES_MAX {
        return Err("it is too long");
    }
    let (kind, name, version) = split(text).ok_or("write `npx://name`, `uvx://name` or `go://module`")?;
    match kind {
        PackageKind::Npx => check_npm(name)?,
        PackageKind::Uvx if !is_word(name, "._-") => {
            return Err("the name of a Python package has letters, digits, `.`, `_` and `-`");
        }
        PackageKind::Uvx => {}
        PackageKind::Go => check_module(name)?,
    }
    match version {
        Some(version) if !is_word(version, "._+-") => Err("the version has letters, digits, `.`, `_`, `+` and `-`"),
        _ => Ok(()),
    }
}

fn check_npm(name: &str) -> Result<(), &'static str> {
    const REASON: &str = "the name of an npm package is `name` or `@scope/name`, of letters, digits, `.`, `_` and `-`";
    let (scope, name) = match name.strip_prefix('@') {
        Some(scoped) => scoped.split_once('/').ok_or(REASON)?,
        None => ("scope", name),
    };
    if is_word(scope, "._-") && is_word(name, "._-") { Ok(()) } else { Err(REASON) }
}

fn check_module(path: &str) -> Result<(), &'static str> {
    let (host, rest) = path.split_once('/').ok_or("a Go module begins with a host: `go://example.test/module`")?;
    if !host.contains('.') || !is_word(host, ".-") {
        return Err("a Go module begins with a host: `go://example.test/module`");
    }
    if rest.split('/').all(|part| is_word(part, "._~-")) {
        Ok(())
    } else {
        Err("the path of a Go module has letters, digits, `.`, `_`, `~` and `-` between slashes")
    }
}

/// Letters, digits and some others, of which neither the first nor the last is one of the others: no option, no path that
/// climbs.
fn is_word(text: &str, others: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    edge(text.bytes().next())
        && edge(text.bytes().last())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || others.as_bytes().contains(&b))
}

checked_text!(PackageReference, PackageReferenceError);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(text: &str) -> (PackageKind, String, String) {
        let reference = PackageReference::new(text).unwrap();
        (reference.kind(), reference.name().to_owned(), reference.version().to_owned())
    }

    #[test]
    fn a_reference_has_a_kind_a_name_and_a_version() {
        for (text, kind, name, version) in [
            ("npx://left-pad", PackageKind::Npx, "left-pad", "latest"),
            ("npx://@scope/server@2026.8.31", PackageKind::Npx, "@scope/server", "2026.8.31"),
            ("npx://@scope/server", PackageKind::Npx, "@scope/server", "latest"),
            ("uvx://mcp-server-time@1.0.0rc1+local.2", PackageKind::Uvx, "mcp-server-time", "1.0.0rc1+local.2"),
            ("go://example.test/a/B@v1.2.3", PackageKind::Go, "example.test/a/B", "v1.2.3"),
        ] {
            assert_eq!(parts(text), (kind, name.to_owned(), version.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_a_shell_or_a_builder_could_misread_is_no_package() {
        for text in [
            "",
            "left-pad",
            "npm://left-pad",
            "npx://",
            "npx:///x",
            "npx://a b",
            "npx://a;b",
            "npx://$(id)",
            "npx://a\nRUN id",
            "npx://--help",
            "npx://a@",
            "npx://a@-v",
            "npx://a@1;2",
            "npx://a@b@c",
            "npx://@scope",
            "npx://@/a",
            "npx://a/b",
            "npx://../a",
            "uvx://a/b",
            "uvx://a[extra]",
            "uvx://'a'",
            "go://module",
            "go://local/module",
            "go://./cmd",
            "go://example.test/../x",
            "go://example.test/a//b",
            "go://example.test/`a`",
            "NPX://a",
            &format!("npx://{}", "a".repeat(500)),
        ] {
            assert!(PackageReference::new(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_server_keeps_the_version_that_was_built() {
        let mut source = PackageSource::new(PackageReference::new("npx://a").unwrap());
        assert_eq!(source.version(), "latest");
        source.resolved = Some("1.2.3".to_owned());
        assert_eq!(source.version(), "1.2.3");
    }

    proptest! {
        #[test]
        fn no_text_disturbs_the_parser(text in "(npx|uvx|go)://[a-zA-Z0-9@/._~+ $;-]{0,60}") {
            if let Ok(reference) = PackageReference::new(&text) {
                let version = text.strip_suffix(&format!("@{}", reference.version())).unwrap_or(&text);
                prop_assert_eq!(version, format!("{}://{}", reference.kind().scheme(), reference.name()));
                let image = ImageReference::new(&format!("fairlead.local/{}:a", reference.repository()));
                prop_assert!(image.is_ok(), "{image:?}");
            }
        }
    }
}
