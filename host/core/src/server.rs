//! The one noun that every door opens on: flags, REST bodies, documents and stored records all become a [`ServerSpec`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::freshness::UpdateSpec;
use crate::image::ImageSource;
use crate::name::{AttachmentName, GroupName, NameError};
use crate::package::PackageSource;
use crate::plugin::AttachmentSpec;
use crate::remote::RemoteSource;

/// Where the server comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum Source {
    /// A command of this machine. It is not isolated.
    Command {
        /// Program, looked up in `PATH` when it has no `/`.
        program: String,
        /// Its arguments.
        #[serde(default)]
        args: Vec<String>,
        /// Working directory: where the user was when they typed the command.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        directory: Option<PathBuf>,
    },
    /// A Wasm component that exports `wasi:cli/run`: no files, no network, only the environment it is given.
    Wasm {
        /// Absolute path.
        path: PathBuf,
        /// Its arguments.
        #[serde(default)]
        args: Vec<String>,
    },
    /// A container image, isolated by a container engine.
    Image(Box<ImageSource>),
    /// A package, of which an image is built once, isolated like any other.
    Package(Box<PackageSource>),
    /// A server that runs elsewhere, at a URL. It is not launched, only reached; `transport` of the server stays as it is.
    Remote(Box<RemoteSource>),
}

impl Source {
    /// Whether it runs in a container: isolated, with ports of its own.
    #[must_use]
    pub fn is_container(&self) -> bool {
        matches!(self, Self::Image(_) | Self::Package(_))
    }
}

/// How the server speaks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum Transport {
    /// One JSON-RPC message per line on stdin and stdout.
    #[default]
    Stdio,
    /// MCP's streamable HTTP on a port: of this machine, or of the container that the server runs in.
    StreamableHttp {
        /// The port that the server listens on.
        port: u16,
        /// Path of its endpoint.
        #[serde(default = "default_endpoint")]
        path: String,
    },
    /// MCP's HTTP+SSE of 2024-11-05 on a port, as above.
    Sse {
        /// The port that the server listens on.
        port: u16,
        /// Path of its stream.
        #[serde(default = "default_stream")]
        path: String,
    },
}

impl Transport {
    /// The port that the server listens on, when it listens on one.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        match self {
            Self::Stdio => None,
            Self::StreamableHttp { port, .. } | Self::Sse { port, .. } => Some(*port),
        }
    }

    /// The path of its endpoint there.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::Stdio => None,
            Self::StreamableHttp { path, .. } | Self::Sse { path, .. } => Some(path),
        }
    }

    /// Its name, as flags and the API write it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Stdio => "stdio",
            Self::StreamableHttp { .. } => "streamable-http",
            Self::Sse { .. } => "sse",
        }
    }
}

fn default_endpoint() -> String {
    "/mcp".to_owned()
}

fn default_stream() -> String {
    "/sse".to_owned()
}

/// Who shares a stdio process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// One process for each session: the state that MCP keeps in a server (log level, subscriptions, who is asked for
    /// sampling) stays with the client it belongs to.
    #[default]
    Session,
    /// One process for all clients that initialise alike: cheaper, and right only for servers without such state.
    Shared,
}

/// The plugin that `tools` of a server is a short form of.
pub const TOOLS_PLUGIN: &str = "tool-filter";

/// The name of its attachment.
pub const TOOLS_ATTACHMENT: &str = "tools";

/// A managed MCP server, as somebody wants it to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServerSpec {
    /// Where it comes from.
    pub source: Source,
    /// How it speaks.
    #[serde(default)]
    pub transport: Transport,
    /// Who shares a stdio process.
    #[serde(default)]
    pub isolation: Isolation,
    /// Whether clients of the newest revision, which has no sessions, are served also where the server speaks older ones only.
    /// Without it they are told so, and those that know the older ones begin a session.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bridge: bool,
    /// Its environment, and nothing but this (a command also gets `PATH`, `HOME` and locale). A value may name secrets:
    /// `secret://store/name`, or `${secret://store/name}` inside a text. What is not a reference is not shown again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Tools that clients may see and call; empty: all. A short form of an attached `tool-filter`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
    /// Plugins of this server, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<AttachmentSpec>,
    /// How it is kept fresh. A server that is created without it is checked and reinstalled; one that was there before is
    /// left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updates: Option<UpdateSpec>,
    /// The group that it belongs to.
    #[serde(default, skip_serializing_if = "GroupName::is_default")]
    pub group: GroupName,
    /// For selection and display.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What others want to find again: kept, given back, never read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl ServerSpec {
    /// The attachment that `tools` is a short form of; none where all tools may be seen. It stands outermost of the server's
    /// own: its names are those that clients see, whatever a plugin further in makes of them.
    ///
    /// # Errors
    /// Never, as long as [`TOOLS_ATTACHMENT`] is a name.
    pub fn tools_attachment(&self) -> Result<Option<AttachmentSpec>, NameError> {
        if self.tools.is_empty() {
            return Ok(None);
        }
        let config = serde_json::json!({ "allow": self.tools });
        Ok(Some(AttachmentSpec { config, ..AttachmentSpec::new(AttachmentName::new(TOOLS_ATTACHMENT)?, TOOLS_PLUGIN) }))
    }
}
