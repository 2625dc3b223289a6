//! From Python to a component: componentize-py puts the source, the SDK and CPython into one, snapshotted after the imports.

use std::path::Path;
use std::process::Command;

use crate::installed;
use crate::limits::TOOL_MAX;
use crate::tool::{Tool, ToolError};

const COMPONENTIZE: Tool = Tool { name: "componentize-py", remedy: "remove the toolchain directory and build again" };

/// The console script of the package, without the script, which knows only the path where it was installed.
const PROGRAM: &str = "import sys; from componentize_py import script; sys.exit(script())";

/// A plugin in Python.
#[derive(Debug)]
pub struct Source<'a> {
    /// Directory in which the module lies.
    pub directory: &'a Path,
    /// The module that exports the class.
    pub module: &'a str,
    /// Directory of the SDK, with the package `fairlead_plugin` and the contract in `../../wit`.
    pub sdk: &'a Path,
    /// `middleware`, `registry-source` or `update-policy`.
    pub world: &'a str,
}

/// Builds the component.
///
/// # Errors
/// The toolchain cannot be installed, or the source is wrong.
pub fn build(source: &Source<'_>, cache: &Path, say: &dyn Fn(&str)) -> Result<Vec<u8>, ToolError> {
    let python = installed::python(cache, say)?.join("venv/bin/python");
    let scratch = tempfile::Builder::new().prefix("fairlead-").tempdir().map_err(ToolError::io("make a directory"))?;
    let output = scratch.path().join("plugin.wasm");
    // The name of the module must not be one that anybody else uses.
    let entry = scratch.path().join("fairlead_entry.py");
    let text =
        format!("import {}\nfrom fairlead_plugin._guest.{} import *\n", source.module, source.world.replace('-', "_"));
    std::fs::write(entry, text).map_err(ToolError::io("write the entry"))?;
    say("snapshotting Python with the plugin in it");
    let mut componentize = Command::new(python);
    componentize
        .args(["-c", PROGRAM, "--quiet", "--wit-path"])
        .arg(source.sdk.join("../../wit"))
        .arg("--world")
        .arg(format!("fairlead:worlds/{}", source.world))
        .arg("componentize")
        .args([Path::new("--python-path"), source.directory, Path::new("--python-path"), source.sdk])
        .args([Path::new("--python-path"), scratch.path(), Path::new("--output"), &output])
        .arg("fairlead_entry")
        // A virtual environment of the caller is none of the plugin's.
        .env_remove("VIRTUAL_ENV")
        .env_remove("PYTHONPATH")
        .current_dir(scratch.path());
    if source.world == crate::PURE_WORLD {
        componentize.arg("--stub-wasi");
    }
    COMPONENTIZE.run(&mut componentize, TOOL_MAX)?;
    std::fs::read(&output).map_err(ToolError::io("read what componentize-py made"))
}
