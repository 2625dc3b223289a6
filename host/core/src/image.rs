//! Container images: how one is named, and what a server that comes from one needs beside its name.
//!
//! A reference is checked when it enters and keeps the text that was typed, because that is what people recognise; the
//! parts that decide something (which OCI registry, which repository) are computed with Docker's defaults filled in, so
//! that `redis` and `docker.io/library/redis` are the same thing to every part of Fairlead.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::checked::checked_text;
use crate::digest::is_sha256;
use crate::limits::{
    CONTAINER_CPU_MILLIS_MAX, CONTAINER_MEMORY_BYTES_MAX, CONTAINER_PROCESSES_MAX, IMAGE_REFERENCE_BYTES_MAX,
};
use crate::permission::{self, PermissionProfile};
use crate::signature::ImageVerification;

/// A server in a container image: isolated, with what its profile and its limits allow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImageSource {
    /// The image.
    pub reference: ImageReference,
    /// What is run instead of the image's own entry point.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Arguments, instead of the image's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// When the image is fetched.
    #[serde(default)]
    pub pull: PullPolicy,
    /// What is done about its signature; absent: what the daemon is set to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<ImageVerification>,
    /// Name or address of the container engine; absent: the first that answers. `run` fills it in, so that a server stays
    /// on its engine when another one appears.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// `user[:group]` to run as; absent: the image's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Lets the server write to its own copy of the image, which is lost with the container; otherwise it can write to
    /// `/tmp` and to what its profile grants.
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

impl ImageSource {
    /// An image with nothing but defaults.
    #[must_use]
    pub fn new(reference: ImageReference) -> Self {
        Self {
            reference,
            command: Vec::new(),
            args: Vec::new(),
            pull: PullPolicy::default(),
            verification: None,
            engine: None,
            user: None,
            writable_root: false,
            permissions: PermissionProfile::default(),
            resources: Resources::default(),
        }
    }
}

/// When an image is fetched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PullPolicy {
    /// Before every launch.
    Always,
    /// When the engine does not have it.
    #[default]
    Missing,
    /// Never: it is there or the launch fails.
    Never,
}

impl PullPolicy {
    /// The same, where once is enough.
    #[must_use]
    pub const fn without_always(self) -> Self {
        match self {
            Self::Always | Self::Missing => Self::Missing,
            Self::Never => Self::Never,
        }
    }
}

/// How much of the machine one container may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Resources {
    /// Memory, `/tmp` included; swap is not added to it.
    pub memory_bytes_max: u64,
    /// Computing time: thousandths of one processor.
    pub cpu_millis_max: u32,
    /// Processes and threads.
    pub processes_max: u32,
    /// Where the sessions of a server that speaks stdio are.
    #[serde(skip_serializing_if = "Sessions::is_apart")]
    pub sessions: Sessions,
}

/// Where the sessions of a server that speaks stdio are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Sessions {
    /// Each in a container of its own: what one does to its files, memory and processes concerns no other.
    #[default]
    Apart,
    /// Each in a process of its own, all in one container: a session costs what its process costs, and they share the limits
    /// and `/tmp`. Where an engine cannot do it, they are apart.
    Together,
}

impl Sessions {
    const fn is_apart(&self) -> bool {
        matches!(self, Self::Apart)
    }
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            memory_bytes_max: CONTAINER_MEMORY_BYTES_MAX,
            cpu_millis_max: CONTAINER_CPU_MILLIS_MAX,
            processes_max: CONTAINER_PROCESSES_MAX,
            sessions: Sessions::default(),
        }
    }
}

/// Name of an image: `[registry/]repository[:tag][@digest]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct ImageReference(Arc<str>);

/// Why a text names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no image reference: {reason}")]
pub struct ImageReferenceError {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl ImageReference {
    /// Checks a text.
    ///
    /// # Errors
    /// It is not of the form `[registry/]repository[:tag][@digest]`.
    pub fn new(text: &str) -> Result<Self, ImageReferenceError> {
        check(text).map_err(|reason| ImageReferenceError { text: text.to_owned(), reason })?;
        Ok(Self(text.into()))
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Host (and port) of the OCI registry; `docker.io` when none is named.
    #[must_use]
    pub fn registry(&self) -> &str {
        split(&self.0).registry.unwrap_or(DEFAULT_REGISTRY)
    }

    /// Registry and repository with Docker's defaults filled in: the name without tag and digest.
    #[must_use]
    pub fn repository(&self) -> String {
        let parts = split(&self.0);
        let official = parts.registry.is_none_or(|registry| registry == DEFAULT_REGISTRY) && !parts.path.contains('/');
        let library = if official { "library/" } else { "" };
        format!("{}/{library}{}", parts.registry.unwrap_or(DEFAULT_REGISTRY), parts.path)
    }

    /// The tag, when one is named.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        split(&self.0).tag
    }

    /// The digest, when the reference is pinned.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        split(&self.0).digest
    }
}

const DEFAULT_REGISTRY: &str = "docker.io";

struct Parts<'a> {
    registry: Option<&'a str>,
    path: &'a str,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

/// Takes a reference apart; whether the parts are well formed is for [`check`] to say.
fn split(text: &str) -> Parts<'_> {
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (text, None),
    };
    // A colon behind the last slash begins the tag; before it, a port.
    let (name, tag) = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (name, None),
    };
    match name.split_once('/') {
        Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => {
            Parts { registry: Some(first), path, tag, digest }
        }
        _ => Parts { registry: None, path: name, tag, digest },
    }
}

fn check(text: &str) -> Result<(), &'static str> {
    if text.len() > IMAGE_REFERENCE_BYTES_MAX {
        return Err("it is too long");
    }
    let parts = split(text);
    if let Some(registry) = parts.registry {
        let (host, port) = registry.split_once(':').unwrap_or((registry, "0"));
        let host_is_one =
            !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
        if !host_is_one || port.parse::<u16>().is_err() {
            return Err("the registry must be a host, or host:port");
        }
    }
    if !parts.path.split('/').all(is_component) {
        return Err("the repository has lower-case letters, digits and single `.`, `_` or `-` between them");
    }
    let in_tag = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let is_tag =
        |tag: &str| !tag.is_empty() && tag.len() <= 128 && !tag.starts_with(['.', '-']) && tag.bytes().all(in_tag);
    if !parts.tag.is_none_or(is_tag) {
        return Err("the tag has up to 128 letters, digits, `_`, `.` and `-`");
    }
    if !parts.digest.is_none_or(is_sha256) {
        return Err("the digest is `sha256:` and 64 hexadecimal digits");
    }
    Ok(())
}

/// One part of a repository between slashes.
fn is_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let inner = |b: u8| alphanumeric(b) || matches!(b, b'.' | b'_' | b'-');
    let edges =
        component.bytes().next().is_some_and(alphanumeric) && component.bytes().last().is_some_and(alphanumeric);
    edges && component.bytes().all(inner) && !component.contains("..")
}

checked_text!(ImageReference, ImageReferenceError);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::server::Source;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn parts(text: &str) -> (String, Option<String>, Option<String>) {
        let reference = ImageReference::new(text).unwrap();
        (reference.repository(), reference.tag().map(str::to_owned), reference.digest().map(str::to_owned))
    }

    #[test]
    fn dockers_defaults_are_filled_in() {
        let latest = Some("7".to_owned());
        assert_eq!(parts("redis:7"), ("docker.io/library/redis".to_owned(), latest.clone(), None));
        assert_eq!(parts("docker.io/redis:7"), parts("redis:7"));
        assert_eq!(parts("mcp/fetch"), ("docker.io/mcp/fetch".to_owned(), None, None));
        assert_eq!(ImageReference::new("redis").unwrap().registry(), "docker.io");
    }

    #[test]
    fn a_port_is_no_tag() {
        assert_eq!(parts("localhost:5000/a/b"), ("localhost:5000/a/b".to_owned(), None, None));
        let tag = Some("1.2".to_owned());
        assert_eq!(parts("127.0.0.1:5000/a:1.2"), ("127.0.0.1:5000/a".to_owned(), tag, None));
    }

    #[test]
    fn tag_and_digest_stand_side_by_side() {
        let pinned = format!("ghcr.io/a/b:1@{DIGEST}");
        assert_eq!(parts(&pinned), ("ghcr.io/a/b".to_owned(), Some("1".to_owned()), Some(DIGEST.to_owned())));
    }

    #[test]
    fn what_names_no_image_is_refused_with_the_reason() {
        for text in [
            "",
            "A",
            "a b",
            "a//b",
            "/a",
            "a/",
            "-a",
            "a:",
            "a:.x",
            "a@sha256:12",
            "a@",
            "a..b",
            "x.test:99999/a",
            "x.test:/a",
            "a\n",
            "--privileged",
            "a:b:c",
            &"a".repeat(1000),
        ] {
            assert!(ImageReference::new(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_source_is_written_with_little() {
        let source: ImageSource = serde_json::from_str(r#"{"reference":"mcp/time","permissions":"network"}"#).unwrap();
        let expected = ImageSource {
            permissions: PermissionProfile::network(),
            ..ImageSource::new(ImageReference::new("mcp/time").unwrap())
        };
        assert_eq!(source, expected);
    }

    #[test]
    fn an_image_is_a_source_like_any_other() {
        let source: Source = serde_json::from_str(r#"{"kind":"image","reference":"mcp/time"}"#).unwrap();
        let Source::Image(image) = &source else { panic!("{source:?}") };
        assert_eq!(image.permissions, PermissionProfile::none());
        assert_eq!(serde_json::from_str::<Source>(&serde_json::to_string(&source).unwrap()).unwrap(), source);
        let error =
            serde_json::from_str::<Source>(r#"{"kind":"image","reference":"a","privileged":true}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `privileged`"), "{error}");
    }

    proptest! {
        #[test]
        fn no_text_disturbs_the_parser(text in "[a-z0-9.:/@_A-Z -]{0,80}") {
            if let Ok(reference) = ImageReference::new(&text) {
                prop_assert_eq!(reference.as_str(), &text);
                let whole = reference.repository();
                // With the defaults filled in it names the same image.
                prop_assert_eq!(ImageReference::new(&whole).unwrap().repository(), whole);
            }
        }
    }
}
