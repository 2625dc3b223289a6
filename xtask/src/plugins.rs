//! `cargo xtask plugins`: builds the guests of this repository into components.
//!
//! One cargo invocation for each Wasm target, then [`fairlead_plugin_build`], which `fairlead plugin build` is made of too. What is a guest and how it is built is said by its own `Cargo.toml`
//! (`[package.metadata.fairlead]`), so a new plugin is picked up by being there.
//!
//! A first-party component that imports anything but the contract fails the build here, before a host could refuse it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use fairlead_plugin_build::{CONTRACT_TARGET, ToolError, ToolchainError, c, cargo};
use serde::Deserialize;

/// Directories of first-party guests; everything in them must keep to the contract.
const FIRST_PARTY: &str = "plugins/";

/// Directory of the guests that exist for tests.
const FIXTURES: &str = "tests/fixtures/";

/// Directory of what exists in several languages, the one in Rust among them; built with the fixtures.
const EXAMPLES: &str = "sdk/examples/";

/// Packages of WASI that outgoing HTTP is made of.
const CALLING_OUT: [&str; 3] = ["wasi:http/", "wasi:io/", "wasi:clocks/"];

/// Prefix of the package name of a fixture; its file goes without.
const FIXTURE_PREFIX: &str = "fixture-";

/// Arguments.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Build the guests of the tests too, into `target/plugins/fixtures`.
    #[arg(long)]
    fixtures: bool,
    /// Write nothing; fail when a component in `target/plugins` is missing or out of date.
    #[arg(long)]
    check: bool,
}

/// A component that was built.
#[derive(Debug, Clone)]
pub(crate) struct Built {
    /// Name without extension.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Length in bytes.
    pub(crate) size: usize,
    /// Functions that it imports, of the contract and of anything else (WASI).
    pub(crate) imports: Imports,
}

/// Imported functions of a component.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Imports {
    /// Of `fairlead:*`.
    pub(crate) contract: usize,
    /// Of everything else.
    pub(crate) foreign: usize,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    for built in make(args.fixtures, args.check)? {
        println!(
            "{:<22} {:>9}  imports {:>2} of the contract, {:>2} of WASI  {}",
            built.name,
            kibibytes(built.size),
            built.imports.contract,
            built.imports.foreign,
            built.path.display()
        );
    }
    Ok(())
}

/// Builds the first-party components into `target/plugins`, and with `fixtures` those of the tests into
/// `target/plugins/fixtures`.
pub(crate) fn build(fixtures: bool) -> anyhow::Result<Vec<Built>> {
    make(fixtures, false)
}

fn make(fixtures: bool, check: bool) -> anyhow::Result<Vec<Built>> {
    let workspace = Workspace::read()?;
    let guests = workspace.guests(fixtures)?;
    let mut triples: BTreeMap<&str, Vec<&Guest>> = BTreeMap::new();
    for guest in &guests {
        triples.entry(guest.triple()).or_default().push(guest);
    }
    let mut artifacts = BTreeMap::new();
    for (triple, guests) in triples {
        fairlead_plugin_build::ensure_target(triple, &workspace.root, |progress| eprintln!("{progress}"))
            .map_err(with_hint)?;
        artifacts.extend(compile(&workspace.root, triple, &guests)?);
    }
    let mut built = guests
        .iter()
        .map(|guest| {
            let artifact = artifacts
                .get(&guest.package)
                .with_context(|| format!("`{}` made no Wasm file: is it a `cdylib` or a program?", guest.package))?;
            finish(guest, artifact, &workspace.target, check).with_context(|| format!("guest `{}`", guest.package))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    if fixtures && !check {
        built.extend(example_in_c(&workspace).context("the example in C")?);
    }
    Ok(built)
}

// === what there is to build ===

struct Workspace {
    root: PathBuf,
    target: PathBuf,
    packages: Vec<Package>,
}

struct Guest {
    package: String,
    manifest: PathBuf,
    metadata: Metadata,
    first_party: bool,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    #[serde(default)]
    metadata: Option<BTreeMap<String, serde_json::Value>>,
}

/// `[package.metadata.fairlead]` of a guest.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    /// Defaults to `wasm32-unknown-unknown`: nothing but the contract.
    target: Option<String>,
    /// What comes out.
    #[serde(default)]
    artifact: Artifact,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Artifact {
    /// A component.
    #[default]
    Component,
    /// The core module as the compiler left it: what a host must refuse.
    CoreModule,
}

impl Workspace {
    fn read() -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Output {
            packages: Vec<Package>,
            target_directory: PathBuf,
            workspace_root: PathBuf,
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
        let output = cargo()
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .current_dir(root)
            .stderr(Stdio::inherit())
            .output()
            .context("run `cargo metadata`")?;
        ensure!(output.status.success(), "`cargo metadata` failed");
        let output: Output = serde_json::from_slice(&output.stdout).context("read what `cargo metadata` says")?;
        Ok(Self { root: output.workspace_root, target: output.target_directory, packages: output.packages })
    }

    fn guests(&self, fixtures: bool) -> anyhow::Result<Vec<Guest>> {
        let mut guests = Vec::new();
        for package in &self.packages {
            let Ok(place) = package.manifest_path.strip_prefix(&self.root) else { continue };
            let first_party = place.starts_with(FIRST_PARTY);
            if !(first_party || fixtures && (place.starts_with(FIXTURES) || place.starts_with(EXAMPLES))) {
                continue;
            }
            let metadata = package.metadata.as_ref().and_then(|metadata| metadata.get("fairlead"));
            let metadata = match metadata {
                Some(value) => Metadata::deserialize(value)
                    .with_context(|| format!("[package.metadata.fairlead] of {}", place.display()))?,
                None => Metadata::default(),
            };
            guests.push(Guest {
                package: package.name.clone(),
                manifest: package.manifest_path.clone(),
                metadata,
                first_party,
            });
        }
        guests.sort_by(|a, b| (!a.first_party, &a.package).cmp(&(!b.first_party, &b.package)));
        ensure!(!guests.is_empty(), "no guests below {FIRST_PARTY} in {}", self.root.display());
        Ok(guests)
    }
}

impl Guest {
    fn triple(&self) -> &str {
        self.metadata.target.as_deref().unwrap_or(CONTRACT_TARGET)
    }

    fn name(&self) -> &str {
        self.package.strip_prefix(FIXTURE_PREFIX).unwrap_or(&self.package)
    }

    fn output(&self, target: &Path) -> PathBuf {
        let directory = if self.first_party { "plugins" } else { "plugins/fixtures" };
        target.join(directory).join(self.name()).with_extension("wasm")
    }
}

// === compiling ===

/// Compiles guests and says where the Wasm file of each package is.
fn compile(root: &Path, triple: &str, guests: &[&Guest]) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let mut command = cargo();
    command.args(["build", "--profile", "plugin"]).current_dir(root);
    for guest in guests {
        command.args(["--package", &guest.package]);
    }
    let mut files = fairlead_plugin_build::artifacts(command, triple).map_err(with_hint)?;
    let of = |guest: &&Guest| Some((guest.package.clone(), files.remove(&guest.manifest)?));
    Ok(guests.iter().filter_map(of).collect())
}

fn with_hint(error: ToolchainError) -> anyhow::Error {
    match error.hint() {
        Some(hint) => anyhow::Error::from(error).context(hint),
        None => error.into(),
    }
}

// === from module to component ===

fn finish(guest: &Guest, artifact: &Path, target: &Path, check: bool) -> anyhow::Result<Built> {
    let module = std::fs::read(artifact).with_context(|| format!("read {}", artifact.display()))?;
    let bytes = match guest.metadata.artifact {
        Artifact::Component => {
            fairlead_plugin_build::componentize(module).context("does the crate export a plugin?")?
        }
        Artifact::CoreModule => module,
    };
    let imports = match guest.metadata.artifact {
        Artifact::Component => audit(guest, &bytes)?,
        Artifact::CoreModule => Imports::default(),
    };
    let path = guest.output(target);
    if std::fs::read(&path).is_ok_and(|old| old == bytes) {
        return Ok(Built { name: guest.name().to_owned(), path, size: bytes.len(), imports });
    }
    ensure!(!check, "{} is missing or out of date; run `cargo xtask plugins`", path.display());
    fairlead_plugin_build::write(&path, &bytes)?;
    Ok(Built { name: guest.name().to_owned(), path, size: bytes.len(), imports })
}

/// Counts the imported functions, and refuses a first-party plugin that imports more than the contract.
fn audit(guest: &Guest, component: &[u8]) -> anyhow::Result<Imports> {
    let survey = fairlead_plugin_build::survey(component)?;
    // A plugin keeps to the contract; a server is a program and may use the WASI that its place gives it.
    // The world of registry sources has outgoing HTTP, and what that is made of.
    let calls_out = guest.manifest.components().any(|part| part.as_os_str() == "registry-source");
    let belongs = |interface: &&str| calls_out && CALLING_OUT.iter().any(|package| interface.starts_with(package));
    let more: Vec<&str> = survey.foreign_interfaces().into_iter().filter(|interface| !belongs(interface)).collect();
    let kept = !(guest.first_party && survey.is_plugin()) || more.is_empty();
    ensure!(kept, "imports more than the contract: {}", more.join(", "));
    Ok(Imports { contract: survey.contract.len(), foreign: survey.foreign.len() })
}

fn kibibytes(bytes: usize) -> String {
    format!("{}.{} KiB", bytes / 1024, bytes % 1024 * 10 / 1024)
}

// === C ===

/// The example in C, where there is a compiler for it; in CI there must be one.
fn example_in_c(workspace: &Workspace) -> anyhow::Result<Option<Built>> {
    let directory = workspace.root.join(EXAMPLES).join("doorkeeper/c");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&directory).with_context(|| format!("list `{}`", directory.display()))? {
        files.extend(Some(entry?.path()).filter(|path| path.extension().is_some_and(|extension| extension == "c")));
    }
    files.sort();
    let source = c::Source { files: &files, wit: &workspace.root.join("wit"), world: "middleware" };
    let module = match c::build(&source) {
        Ok(module) => module,
        Err(ToolError::Missing { remedy, .. }) if std::env::var_os("CI").is_none() => {
            eprintln!("the example in C is left out: {remedy}");
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let component = fairlead_plugin_build::componentize(module)?;
    let survey = fairlead_plugin_build::survey(&component)?;
    ensure!(survey.foreign.is_empty(), "it imports more than the contract: {}", survey.foreign_interfaces().join(", "));
    let path = workspace.target.join("plugins/fixtures/doorkeeper-c.wasm");
    fairlead_plugin_build::write(&path, &component)?;
    let imports = Imports { contract: survey.contract.len(), foreign: 0 };
    Ok(Some(Built { name: "doorkeeper-c".to_owned(), path, size: component.len(), imports }))
}
