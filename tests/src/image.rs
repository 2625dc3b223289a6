//! This build as the image that clusters run, made with the recipe that people are given (`deploy/Containerfile`).
//!
//! Only what it is made on differs, because no test pulls: the libraries that the program is linked to and nothing else, which is less
//! than any base has, and never older than the program. `cargo xtask image` lays out the same for people; here the program is without
//! debugging information, which would be brought to a node for minutes.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::process::Command;

use crate::binary;
use crate::engine::Engine;
use crate::limits::COMMAND;

/// Makes an image of this name, with files that are there where they are here. Whoever made it forgets it.
///
/// # Errors
/// The engine does not build it.
pub async fn make(engine: &Engine, image: &str, files: &[&Path]) -> Result<()> {
    let context = tempfile::tempdir()?;
    let [bin, plugins] = ["bin", "lib/fairlead/plugins"].map(|directory| context.path().join(directory));
    fs::create_dir_all(&bin)?;
    fs::create_dir_all(&plugins)?;
    let program = binary::fairlead()?;
    strip(&program, &bin.join("fairlead")).await?;
    for entry in fs::read_dir(binary::plugins()?)? {
        let path = entry?.path();
        if let Some(name) = path.file_name().filter(|_| path.extension().is_some_and(|end| end == "wasm")) {
            fs::copy(&path, plugins.join(name))?;
            fs::set_permissions(plugins.join(name), Permissions::from_mode(0o644))?;
        }
    }
    // Whoever runs in it is not who made it.
    for path in [&plugins, &bin.join("fairlead")] {
        fs::set_permissions(path, Permissions::from_mode(0o755))?;
    }
    fs::copy(binary::root().join("deploy/Containerfile"), context.path().join("Containerfile"))?;
    let base = format!("{image}-base");
    engine.make_base(&program, files, &base).await?;
    let built = engine.build(context.path(), image, &json!({"BASE": base, "VERSION": env!("CARGO_PKG_VERSION")})).await;
    // It is there for as long as something is made on it.
    engine.forget(&base).await?;
    built
}

async fn strip(program: &Path, into: &Path) -> Result<()> {
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(into).arg(program).stdin(Stdio::null()).kill_on_drop(true);
    let status = tokio::time::timeout(COMMAND, strip.status()).await.context("strip does not end")??;
    ensure!(status.success(), "strip: {status}");
    Ok(())
}
