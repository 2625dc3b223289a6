//! From a core module to a component, and what the component asks for.

use std::path::{Path, PathBuf};

use wit_component::{ComponentEncoder, DecodedWasm};
use wit_parser::{Resolve, WorldItem, WorldKey};

/// How a component begins; a core module has another version.
const COMPONENT_HEADER: &[u8] = b"\0asm\x0d\0\x01\0";

/// Namespace of the contract.
const CONTRACT: &str = "fairlead:";

/// Why there is no component.
#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    /// The module has no component in it.
    #[error("make a component of the module: {0}")]
    Encode(String),
    /// It was made, and cannot be read.
    #[error("read the component: {0}")]
    Decode(String),
    /// A file.
    #[error("write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// A function that a component imports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// `package:name/interface@version`, or the bare name of a function of the world.
    pub interface: String,
    /// The function; empty where the world imports it itself.
    pub name: String,
}

/// What a component asks for and gives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Imported functions of the contract.
    pub contract: Vec<Function>,
    /// Imported functions of everything else (WASI).
    pub foreign: Vec<Function>,
    /// Exported interfaces.
    pub exports: Vec<String>,
}

impl Survey {
    /// Whether it exports something of the contract; a server is a program and does not.
    #[must_use]
    pub fn is_plugin(&self) -> bool {
        self.exports.iter().any(|export| export.starts_with(CONTRACT))
    }

    /// The interfaces beyond the contract, each once.
    #[must_use]
    pub fn foreign_interfaces(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.foreign.iter().map(|function| function.interface.as_str()).collect();
        names.dedup();
        names
    }
}

/// The component of a core module; a component stays as it is (`wasm32-wasip2` links one itself).
///
/// # Errors
/// The module exports no plugin, or its type does not fit.
pub fn componentize(bytes: Vec<u8>) -> Result<Vec<u8>, ComponentError> {
    if bytes.starts_with(COMPONENT_HEADER) {
        return Ok(bytes);
    }
    // The whole chain in one line: wit-component says with each context where it was.
    let failed = |error| ComponentError::Encode(format!("{error:#}"));
    ComponentEncoder::default().validate(true).module(&bytes).map_err(failed)?.encode().map_err(failed)
}

/// Reads what a component imports and exports.
///
/// # Errors
/// It is no component.
pub fn survey(component: &[u8]) -> Result<Survey, ComponentError> {
    let decoded = wit_component::decode(component).map_err(|error| ComponentError::Decode(format!("{error:#}")))?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        return Err(ComponentError::Decode("it is a WIT package".to_owned()));
    };
    let Some(world) = resolve.worlds.get(world) else {
        return Err(ComponentError::Decode("it has no world".to_owned()));
    };
    let mut survey = Survey::default();
    for (key, item) in &world.imports {
        let found = functions(&resolve, key, item);
        let name = resolve.name_world_key(key);
        if name.starts_with(CONTRACT) { &mut survey.contract } else { &mut survey.foreign }.extend(found);
    }
    survey.exports = world.exports.keys().map(|key| resolve.name_world_key(key)).collect();
    Ok(survey)
}

fn functions(resolve: &Resolve, key: &WorldKey, item: &WorldItem) -> Vec<Function> {
    let interface = resolve.name_world_key(key);
    let named = |name: &str| Function { interface: interface.clone(), name: name.to_owned() };
    match item {
        WorldItem::Interface { id, .. } => {
            let found = resolve.interfaces.get(*id);
            found.map(|found| found.functions.keys().map(|name| named(name)).collect()).unwrap_or_default()
        }
        _ => vec![named("")],
    }
}

/// Writes a file whole or not at all, and touches nothing when it is there already.
///
/// # Errors
/// It cannot be written.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), ComponentError> {
    let failed = |source| ComponentError::Write { path: path.to_owned(), source };
    if std::fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(failed)?;
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    std::fs::write(&temporary, bytes).map_err(failed)?;
    std::fs::rename(&temporary, path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_stays_as_it_is() {
        let bytes = [COMPONENT_HEADER, b"rest"].concat();
        assert_eq!(componentize(bytes.clone()).unwrap(), bytes);
    }

    #[test]
    fn a_file_that_is_no_module_is_refused() {
        assert!(matches!(componentize(b"hello".to_vec()), Err(ComponentError::Encode(_))));
        assert!(matches!(survey(b"hello"), Err(ComponentError::Decode(_))));
    }

    #[test]
    fn an_interface_is_named_once() {
        let function = |name: &str| Function { interface: "wasi:io/poll@0.2.6".to_owned(), name: name.to_owned() };
        let survey = Survey { foreign: vec![function("a"), function("b")], ..Survey::default() };
        assert_eq!(survey.foreign_interfaces(), ["wasi:io/poll@0.2.6"]);
        assert!(!survey.is_plugin());
    }
}
