//! Settings of builds: with what images are made of packages. What is not set is left to the engine adapter.

use std::path::PathBuf;

use serde::Deserialize;

use super::variables::{self, Variable};
use super::{ConfigError, Lookup, absolute, text};

/// The table `[build]` of the configuration file, under the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Build {
    /// Base image of npm packages.
    pub(crate) node_image: Option<String>,
    /// Base image of Python packages.
    pub(crate) python_image: Option<String>,
    /// Image in which Go modules are built.
    pub(crate) go_image: Option<String>,
    /// Image that the program of a Go module is put into.
    pub(crate) go_base_image: Option<String>,
    /// npm registry.
    pub(crate) npm_registry: Option<String>,
    /// Python package index.
    pub(crate) python_index: Option<String>,
    /// Go module proxy.
    pub(crate) go_proxy: Option<String>,
    /// More lines for npm's configuration.
    pub(crate) npmrc: Option<PathBuf>,
    /// Credentials for hosts.
    pub(crate) netrc: Option<PathBuf>,
    /// Certificates to trust.
    pub(crate) ca_file: Option<PathBuf>,
    /// Network of the build.
    pub(crate) network: Option<String>,
}

impl Build {
    /// The file, with what the environment says over it.
    pub(super) fn resolve(file: Self, lookup: Lookup<'_>) -> Result<Self, ConfigError> {
        let word = |variable: Variable, file: Option<String>| Ok(text(lookup, variable)?.or(file));
        let path = |variable: Variable, file: Option<PathBuf>| {
            super::path(lookup, variable).or(file).map(|path| absolute(&path)).transpose()
        };
        Ok(Self {
            node_image: word(variables::BUILD_NODE_IMAGE, file.node_image)?,
            python_image: word(variables::BUILD_PYTHON_IMAGE, file.python_image)?,
            go_image: word(variables::BUILD_GO_IMAGE, file.go_image)?,
            go_base_image: word(variables::BUILD_GO_BASE_IMAGE, file.go_base_image)?,
            npm_registry: word(variables::BUILD_NPM_REGISTRY, file.npm_registry)?,
            python_index: word(variables::BUILD_PYTHON_INDEX, file.python_index)?,
            go_proxy: word(variables::BUILD_GO_PROXY, file.go_proxy)?,
            npmrc: path(variables::BUILD_NPMRC, file.npmrc)?,
            netrc: path(variables::BUILD_NETRC, file.netrc)?,
            ca_file: path(variables::BUILD_CA_FILE, file.ca_file)?,
            network: word(variables::BUILD_NETWORK, file.network)?,
        })
    }
}
