//! The configuration file, as the user writes it. Unknown settings are refused: a misspelt one would otherwise be a
//! setting that silently does nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fairlead_core::name::ProviderName;
use serde::Deserialize;

use super::images::ImagesFile;
use super::observability::ObservabilityFile;
use super::{Build, ConfigError, LogFormat, UpdateDetector};
use crate::hooks::HookConfig;
use crate::secrets::CommandProvider;
use crate::telemetry::Passing;
use crate::yaml;

/// `config.toml`, or the same in YAML or JSON.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// Where MCP clients connect.
    pub(super) address: Option<String>,
    /// Where the API is reached over TCP, with a token.
    pub(super) api_address: Option<String>,
    /// Where the catalogue is served to other programs.
    pub(super) registry_address: Option<String>,
    /// The catalogue is served to nobody without a token.
    pub(super) registry_tokens: Option<bool>,
    /// What the daemon logs.
    pub(super) log: Option<String>,
    /// How the daemon logs.
    pub(super) log_format: Option<LogFormat>,
    /// Which exchanges are in the proxy log of a server.
    pub(super) proxy_log: Option<Passing>,
    /// Directories in which plugins are looked up before the usual ones.
    #[serde(default)]
    pub(super) plugin_path: Vec<PathBuf>,
    /// With what images are built of packages.
    #[serde(default)]
    pub(super) build: Build,
    /// Who vouches for images.
    #[serde(default)]
    pub(super) images: ImagesFile,
    /// Origins of web pages that may use the servers, besides those of this machine.
    #[serde(default)]
    pub(super) allowed_origins: Vec<String>,
    /// Names under which the listener may be addressed, besides those of this machine.
    #[serde(default)]
    pub(super) allowed_hosts: Vec<String>,
    /// Where secrets come from beside the store and the environment.
    #[serde(default)]
    pub(super) secrets: SecretsTable,
    /// Time between two checks of a server for updates.
    pub(super) image_update_interval: Option<String>,
    /// Time between two questions whether a server that listens still answers; none: it is never asked.
    pub(super) health_interval: Option<String>,
    /// How is found out what is newer.
    pub(super) image_update_detector: Option<UpdateDetector>,
    /// Traces and metrics.
    #[serde(default)]
    pub(super) observability: ObservabilityFile,
    /// Who is told of updates.
    #[serde(default)]
    pub(super) hooks: Vec<HookConfig>,
}

/// `[secrets]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretsTable {
    /// Programs that know secrets, by the name of the provider.
    #[serde(default)]
    pub(super) providers: BTreeMap<ProviderName, CommandProvider>,
}

impl File {
    /// Reads a file that must be there.
    pub(super) fn read(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if ["yaml", "yml", "json"].contains(&extension) {
            return yaml::one(&text).map_err(|reason| ConfigError::Parse { path: path.to_owned(), reason });
        }
        toml::from_str(&text).map_err(|error| {
            let line = error.span().map(|span| 1 + text.bytes().take(span.start).filter(|byte| *byte == b'\n').count());
            let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
            ConfigError::Parse { path: path.to_owned(), reason: format!("{place}{}", error.message().trim_end()) }
        })
    }

    /// Reads the one of these files that is there; none says nothing, and of two nobody knows which is meant.
    pub(super) fn read_if_there(paths: &[PathBuf]) -> Result<Self, ConfigError> {
        let mut there = paths.iter().filter(|path| path.exists());
        match (there.next(), there.next()) {
            (None, _) => Ok(Self::default()),
            (Some(path), None) => Self::read(path),
            (Some(one), Some(other)) => Err(ConfigError::Two { one: one.clone(), other: other.clone() }),
        }
    }
}
