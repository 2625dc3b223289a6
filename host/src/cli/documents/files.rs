//! Documents from files: found, read, checked where they stand, and with their paths made absolute, for the daemon stands in
//! another directory. A path in a document is relative to the file that it is written in.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use fairlead_core::document::read as read_document;
use serde_json::Value;

use crate::app::shelf::is_path;
use crate::cli::Failure;
use crate::limits::DOCUMENT_BYTES_MAX;
use crate::yaml;

/// Fields that may hold a path, by what they stand in. Plugins may go by a name instead.
const PATHS: [&str; 4] = ["/spec/source/path", "/spec/source/directory", "/spec/source/program", "/spec/source/caFile"];

/// Reads all documents of all files.
///
/// # Errors
/// A file cannot be read, or a document is wrong; the error names the file and the place.
pub(super) fn read(paths: &[PathBuf]) -> Result<Vec<Value>, Failure> {
    let mut documents = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let base = std::env::current_dir()?;
            documents.extend(parsed(&text(std::io::stdin().lock())?, "standard input", &base)?);
        } else if path.is_dir() {
            for file in of_directory(path)? {
                documents.extend(of_file(&file)?);
            }
        } else {
            documents.extend(of_file(path)?);
        }
    }
    if documents.is_empty() {
        return Err(Failure::new("there are no documents in these files"));
    }
    Ok(documents)
}

fn of_directory(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("read `{}`: {error}", path.display()));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let is_document =
            file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml" || extension == "json");
        if is_document && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn of_file(path: &Path) -> Result<Vec<Value>, Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("read `{}`: {error}", path.display()));
    let file = std::fs::File::open(path).map_err(failed)?;
    let base = std::path::absolute(path)?.parent().map(Path::to_owned).unwrap_or_default();
    parsed(&text(file)?, &format!("`{}`", path.display()), &base)
}

fn text(source: impl std::io::Read) -> Result<String, Failure> {
    let mut text = String::new();
    source.take(DOCUMENT_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

fn parsed(text: &str, origin: &str, base: &Path) -> Result<Vec<Value>, Failure> {
    let values = yaml::parse(text).map_err(|reason| Failure::new(format!("{origin} is no YAML: {reason}")))?;
    let mut documents = Vec::new();
    for (at, value) in values.into_iter().enumerate() {
        for mut document in items(value) {
            read_document(&document).map_err(|error| {
                let failure = Failure::new(format!("{origin}, document {}: {error}", at + 1));
                match error.hint() {
                    Some(hint) => failure.hint(hint),
                    None => failure,
                }
            })?;
            make_absolute(&mut document, base);
            documents.push(document);
        }
    }
    Ok(documents)
}

/// A list of documents is as good as one after the other.
fn items(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items,
        Value::Object(mut fields) if fields.get("kind").and_then(Value::as_str) == Some("List") => {
            match fields.remove("items") {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            }
        }
        other => vec![other],
    }
}

fn make_absolute(document: &mut Value, base: &Path) {
    let is_source = document.get("kind").and_then(Value::as_str) == Some("MCPServer");
    for pointer in PATHS.iter().filter(|_| is_source) {
        // A program without a `/` is looked up in `PATH`.
        let is_program = pointer.ends_with("/program");
        change(document.pointer_mut(pointer), base, |text| !is_program || text.contains('/'));
    }
    let is_attachment = document.get("kind").and_then(Value::as_str) == Some("PluginAttachment");
    change(document.pointer_mut("/spec/plugin").filter(|_| is_attachment), base, is_path);
    let is_plugin = document.get("kind").and_then(Value::as_str) == Some("Plugin");
    change(document.pointer_mut("/spec/source").filter(|_| is_plugin), base, |text| {
        Path::new(text).extension().is_some_and(|extension| extension == "wasm")
    });
    let plugins = document.pointer_mut("/spec/plugins").and_then(Value::as_array_mut);
    for plugin in plugins.into_iter().flatten() {
        change(plugin.get_mut("plugin"), base, is_path);
    }
}

fn change(value: Option<&mut Value>, base: &Path, is_path: impl Fn(&str) -> bool) {
    if let Some(Value::String(text)) = value
        && is_path(text)
    {
        let joined: PathBuf = base.join(&*text).components().collect();
        *text = joined.to_string_lossy().into_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "apiVersion: fairlead.dev/v1alpha1\nkind: MCPServer\nmetadata: {name: a}\n";

    #[test]
    fn paths_are_relative_to_the_file_and_names_stay_names() {
        let directory = tempfile::tempdir().unwrap();
        let source = "spec:\n  source: {kind: command, program: ./run.sh, directory: .}\n  plugins:\n  - {name: p, plugin: redact}\n  - {name: q, plugin: ./q.wasm}\n";
        std::fs::write(directory.path().join("b.yaml"), format!("{SERVER}{source}")).unwrap();
        std::fs::write(directory.path().join("ignored.txt"), "x").unwrap();
        let documents = read(&[directory.path().to_owned()]).unwrap();
        let spec = &documents[0]["spec"];
        let below = |name: &str| directory.path().join(name).display().to_string();
        assert_eq!(spec["source"]["program"], below("run.sh"));
        assert_eq!(spec["source"]["directory"], directory.path().display().to_string());
        assert_eq!(spec["plugins"][0]["plugin"], "redact");
        assert_eq!(spec["plugins"][1]["plugin"], below("q.wasm"));
    }

    #[test]
    fn a_wrong_document_is_named_with_its_file_its_place_and_what_was_meant() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("x.yaml");
        let spec = "spec: {source: {kind: command, program: cat}, tols: []}\n";
        std::fs::write(
            &file,
            format!("{SERVER}spec: {{source: {{kind: command, program: cat}}}}\n---\n{SERVER}{spec}"),
        )
        .unwrap();
        let failure = read(std::slice::from_ref(&file)).unwrap_err();
        let expected = format!("`{}`, document 2: MCPServer `a`: `/spec/tols`: unknown field `tols`", file.display());
        assert_eq!(failure.message, expected);
        assert_eq!(failure.hint.unwrap(), "did you mean `tools`?");
        std::fs::write(&file, "# nothing\n").unwrap();
        assert!(read(&[file]).unwrap_err().message.contains("no documents"));
    }

    #[test]
    fn a_list_is_read_as_its_documents() {
        let list = serde_json::json!({"kind": "List", "items": [1, 2]});
        assert_eq!(items(list).len(), 2);
        assert_eq!(items(serde_json::json!([1, 2, 3])).len(), 3);
    }
}
