//! From JavaScript or TypeScript to a component: esbuild makes one file of the source, componentize-qjs puts it into QuickJS.
//!
//! QuickJS and not SpiderMonkey: a component has 1.2 MiB instead of 12, compiles in 2 seconds instead of 22, and a warm call
//! is no slower. The engine is snapshotted after the source has run once, so an instance begins where the source ended.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::borrows;
use crate::installed;
use crate::limits::TOOL_MAX;
use crate::tool::{Tool, ToolError};

/// What runs the two tools.
const NODE: Tool =
    Tool { name: "node", remedy: "install node 18 or later (https://nodejs.org, Debian: `apt install nodejs npm`)" };

/// A plugin in JavaScript or TypeScript.
#[derive(Debug)]
pub struct Source<'a> {
    /// The module that exports the class.
    pub main: &'a Path,
    /// Directory of the SDK, with `src/` and the contract in `../../wit`.
    pub sdk: &'a Path,
    /// `middleware`, `registry-source` or `update-policy`.
    pub world: &'a str,
}

/// Builds the component.
///
/// # Errors
/// The toolchain cannot be installed, or the source is wrong.
pub fn build(source: &Source<'_>, cache: &Path, say: &dyn Fn(&str)) -> Result<Vec<u8>, ToolError> {
    let component = snapshot(source, cache, say)?;
    borrows::end_with_the_call(&component).map_err(|error| ToolError::Io {
        doing: "mend what componentize-qjs made".to_owned(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
    })
}

/// The component as componentize-qjs makes it.
fn snapshot(source: &Source<'_>, cache: &Path, say: &dyn Fn(&str)) -> Result<Vec<u8>, ToolError> {
    let toolchain = installed::javascript(cache, say)?.join("node_modules");
    let scratch = tempfile::Builder::new().prefix("fairlead-").tempdir().map_err(ToolError::io("make a directory"))?;
    let (entry, bundle, output) =
        (scratch.path().join("entry.js"), scratch.path().join("plugin.js"), scratch.path().join("plugin.wasm"));
    std::fs::write(&entry, entry_of(source)).map_err(ToolError::io("write the entry"))?;
    let mut esbuild = Command::new("node");
    esbuild
        .arg(toolchain.join("esbuild/bin/esbuild"))
        .arg(&entry)
        .args(["--bundle", "--format=esm", "--platform=neutral", "--target=es2022", "--log-level=warning"])
        .args(["--main-fields=module,main", "--external:fairlead:*", "--external:wasi:*"])
        .arg(flag("--alias:fairlead-plugin=", &source.sdk.join("src/index.js")))
        .arg(flag("--outfile=", &bundle))
        .current_dir(source.main.parent().unwrap_or(Path::new(".")));
    Tool { name: "esbuild", ..NODE }.run(&mut esbuild, TOOL_MAX)?;
    say("snapshotting the engine with the plugin in it");
    let mut componentize = Command::new("node");
    componentize
        .arg(toolchain.join("componentize-qjs/bin/componentize-qjs"))
        .arg("--wit")
        .arg(contract(source, scratch.path())?)
        .args(["--world", source.world, "--sync", "--opt-size", "--js"])
        .arg(&bundle)
        .arg("--output")
        .arg(&output)
        .current_dir(scratch.path());
    if source.world == crate::PURE_WORLD {
        componentize.arg("--stub-wasi");
    }
    Tool { name: "componentize-qjs", ..NODE }.run(&mut componentize, TOOL_MAX)?;
    std::fs::read(&output).map_err(ToolError::io("read what componentize-qjs made"))
}

/// The contract. componentize-qjs 0.4 cannot snapshot what imports `wasi:http`, and JavaScript has no client for it here: a
/// source is built for its world without that import.
fn contract(source: &Source<'_>, scratch: &Path) -> Result<PathBuf, ToolError> {
    let whole = source.sdk.join("../../wit");
    if source.world != "registry-source" {
        return Ok(whole);
    }
    let copy = scratch.join("wit");
    copy_wit(&whole, &copy).map_err(ToolError::io("copy the contract"))?;
    Ok(copy)
}

fn copy_wit(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_wit(&entry.path(), &place)?;
        } else {
            let text = std::fs::read_to_string(entry.path())?;
            let kept = text.lines().filter(|line| !line.trim_start().starts_with("import wasi:http/outgoing-handler@"));
            std::fs::write(place, kept.map(|line| format!("{line}\n")).collect::<String>())?;
        }
    }
    Ok(())
}

/// The module that ties the class to the world.
fn entry_of(source: &Source<'_>) -> String {
    let quoted = |path: PathBuf| serde_json::Value::from(path.to_string_lossy()).to_string();
    let guest = quoted(source.sdk.join("src/guest").join(format!("{}.js", source.world)));
    let main = quoted(source.main.to_owned());
    let exports = match source.world {
        "middleware" => "manifest, hooks",
        "registry-source" => "manifest, source",
        _ => "manifest, policy",
    };
    format!(
        "import Plugin from {main};\nimport {{ guest }} from {guest};\nexport const {{ {exports} }} = guest(Plugin);\n"
    )
}

fn flag(name: &str, path: &Path) -> std::ffi::OsString {
    let mut flag = std::ffi::OsString::from(name);
    flag.push(path);
    flag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_a_quote_stays_a_path() {
        let source = Source { main: Path::new("/a\"b/plugin.ts"), sdk: Path::new("/sdk"), world: "middleware" };
        let entry = entry_of(&source);
        assert!(entry.contains(r#"import Plugin from "/a\"b/plugin.ts";"#), "{entry}");
        assert!(entry.contains("export const { manifest, hooks }"), "{entry}");
    }

    #[test]
    fn what_componentize_qjs_makes_still_has_to_be_mended() {
        let there = Command::new("npm").arg("--version").output().is_ok_and(|output| output.status.success());
        assert!(there || std::env::var_os("CI").is_none(), "CI needs `npm`");
        if !there {
            return;
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let (main, sdk) = (root.join("sdk/examples/doorkeeper/js/doorkeeper.ts"), root.join("sdk/js"));
        let source = Source { main: &main, sdk: &sdk, world: "middleware" };
        let made = snapshot(&source, &root.join("target/toolchains"), &|_| ()).unwrap();
        assert!(
            borrows::end_with_the_call(&made).unwrap() != made,
            "this release gives borrows back by itself: remove `borrows.rs`, and what ADR 0015 says of it"
        );
    }
}
