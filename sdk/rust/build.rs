//! Encodes the type of each world, for the export macros to embed.
//!
//! `wit-bindgen` would do this itself if there was one crate for each world. Here one set of bindings serves all kinds (so
//! that a `Failure` or a `Manifest` is one type), and each plugin says by its export macro which world it is.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use wit_component::StringEncoding;
use wit_parser::Resolve;

/// Worlds that the SDK can export, and the name of the file with their encoded type.
const WORLDS: [&str; 3] = ["middleware", "update-policy", "registry-source"];

fn main() -> anyhow::Result<()> {
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").context("cargo sets CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(std::env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?);
    let contract = root.join("../../wit");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", contract.display());
    for world in WORLDS {
        encode(&contract, world, &out.join(format!("{world}.component-type")))?;
    }
    Ok(())
}

fn encode(contract: &Path, world: &str, file: &Path) -> anyhow::Result<()> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(contract).context("read the contract")?;
    let id = resolve.select_world(&[package], Some(world)).with_context(|| format!("find world `{world}`"))?;
    // A guest imports what it calls. The wrapper of `wasi:http` brings a type of its own, with the code that calls it.
    let world = resolve.worlds.get_mut(id).context("a selected world exists")?;
    let packages = &resolve.packages;
    let interfaces = &resolve.interfaces;
    world.imports.retain(|key, _| match key {
        wit_parser::WorldKey::Interface(id) => interfaces
            .get(*id)
            .and_then(|interface| interface.package)
            .and_then(|id| packages.get(id))
            .is_none_or(|package| package.name.namespace == "fairlead"),
        wit_parser::WorldKey::Name(_) => true,
    });
    let bytes = wit_component::metadata::encode(&resolve, id, StringEncoding::UTF8, None)?;
    std::fs::write(file, bytes).with_context(|| format!("write {}", file.display()))
}
