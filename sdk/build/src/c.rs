//! From C to a core module: bindings are generated from the contract, clang compiles them with the source.
//!
//! Nothing is needed but clang with `wasm-ld` and wasi-libc, as Debian packages them. What wasi-libc would import is imported
//! only when it is used, and a plugin that uses it (standard streams, files) is refused: there is nothing behind it.

use std::path::{Path, PathBuf};
use std::process::Command;

use wit_bindgen_core::Files;
use wit_parser::Resolve;

use crate::limits::TOOL_MAX;
use crate::tool::{Tool, ToolError};

const CLANG: Tool = Tool {
    name: "clang",
    remedy: "install clang with its linker and a libc for Wasm (Debian: `apt install clang lld wasi-libc`)",
};

/// A plugin in C.
#[derive(Debug)]
pub struct Source<'a> {
    /// The files to compile.
    pub files: &'a [PathBuf],
    /// The contract.
    pub wit: &'a Path,
    /// `middleware`, `registry-source` or `update-policy`.
    pub world: &'a str,
}

/// Builds the core module; [`crate::componentize`] makes the component.
///
/// # Errors
/// There is no compiler, or the source is wrong.
pub fn build(source: &Source<'_>) -> Result<Vec<u8>, ToolError> {
    let scratch = tempfile::Builder::new().prefix("fairlead-").tempdir().map_err(ToolError::io("make a directory"))?;
    let generated = bindings(source, scratch.path())?;
    let output = scratch.path().join("plugin.wasm");
    let mut clang = Command::new("clang");
    clang
        .args(["--target=wasm32-wasi", "-mexec-model=reactor", "-std=c17", "-O2", "-Wall", "-Wextra", "-Werror"])
        .args(["-Wno-unused-parameter", "-fvisibility=hidden", "-nodefaultlibs", "-lc", "-Wl,--strip-debug", "-I"])
        .arg(scratch.path())
        .args(source.files)
        .args(generated)
        .arg("-o")
        .arg(&output);
    CLANG.run(&mut clang, TOOL_MAX)?;
    std::fs::read(&output).map_err(ToolError::io("read what clang made"))
}

/// Writes the bindings; returns what is to be compiled and linked.
fn bindings(source: &Source<'_>, into: &Path) -> Result<Vec<PathBuf>, ToolError> {
    let contract = |error: String| ToolError::Io {
        doing: format!("generate bindings of the contract in `{}`", source.wit.display()),
        source: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
    };
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(source.wit).map_err(|error| contract(format!("{error:#}")))?;
    let world = resolve.select_world(&[package], Some(source.world)).map_err(|error| contract(format!("{error:#}")))?;
    let mut files = Files::default();
    // What a hook borrows is given back for it: to forget that would be a trap.
    let options = wit_bindgen_c::Opts { autodrop_borrows: wit_bindgen_c::Enabled::Yes, ..Default::default() };
    let mut generator = options.build();
    wit_bindgen_core::WorldGenerator::generate(&mut *generator, &mut resolve, world, &mut files)
        .map_err(|error| contract(format!("{error:#}")))?;
    let mut linked = Vec::new();
    for (name, bytes) in files.iter() {
        let path = into.join(name);
        std::fs::write(&path, bytes).map_err(ToolError::io(format!("write `{name}`")))?;
        if !name.ends_with(".h") {
            linked.push(path);
        }
    }
    Ok(linked)
}
