//! What cargo knows of the workspace, as far as the checks need it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, bail};

use crate::workspace;

/// `cargo metadata`, the fields of interest.
#[derive(serde::Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) workspace_members: Vec<String>,
}

/// One package.
#[derive(serde::Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    /// `None` for a package of this workspace.
    pub(crate) source: Option<String>,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
    /// `[package.metadata]`.
    #[serde(default)]
    pub(crate) metadata: Option<BTreeMap<String, serde_json::Value>>,
}

/// One line of a `[dependencies]` table.
#[derive(serde::Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `None` for a normal dependency, else `dev` or `build`.
    pub(crate) kind: Option<String>,
}

impl Metadata {
    /// Asks cargo. With `all`, packages of the registry too.
    pub(crate) fn read(all: bool) -> anyhow::Result<Self> {
        let mut command = workspace::cargo();
        command.args(["metadata", "--format-version=1", "--quiet"]);
        if !all {
            command.arg("--no-deps");
        }
        let output = command.output().context("start `cargo metadata`")?;
        if !output.status.success() {
            bail!("`cargo metadata`: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout).context("parse the output of `cargo metadata`")
    }

    /// The packages of this workspace.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.workspace_members.contains(&package.id))
    }
}

impl Package {
    /// Directory of the package, from the root of the checkout.
    pub(crate) fn directory(&self) -> PathBuf {
        let directory = self.manifest_path.parent().unwrap_or(&self.manifest_path);
        directory.strip_prefix(workspace::root()).unwrap_or(directory).to_path_buf()
    }
}
