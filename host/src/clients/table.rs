//! Client applications as data: where their configuration lies, and how a server looks in it.
//!
//! The table is embedded, and a user's file goes before it: a client that came out yesterday, or moved its file today, needs
//! nobody's release.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

/// The clients that everybody has.
const BUILT_IN: &str = include_str!("table.toml");

/// Why a table cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("client table `{}`: {reason}", path.display())]
pub(crate) struct TableError {
    path: PathBuf,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    client: Vec<Client>,
}

/// A client application.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Client {
    /// What it is called on the command line.
    pub(crate) id: String,
    /// What it calls itself.
    pub(crate) name: String,
    path: String,
    /// How its file is written.
    pub(crate) format: Format,
    /// Keys that lead to the servers.
    pub(crate) at: Vec<String>,
    /// How servers stand there.
    #[serde(default)]
    pub(crate) shape: Shape,
    entry: Vec<(String, Value)>,
}

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Format {
    /// With comments and trailing commas.
    Json,
    Toml,
    Yaml,
}

/// How servers stand in a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Shape {
    /// Under their names.
    #[default]
    Map,
    /// As elements that have their name in `name`.
    List,
}

/// What a client's file has of a server: keys and values, in their order.
pub(crate) type Entry = Vec<(String, Value)>;

/// Where things of the user are.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) home: PathBuf,
    pub(crate) config: PathBuf,
}

impl Places {
    /// Of the user of this process; `None` without a home.
    pub(crate) fn of_this_user() -> Option<Self> {
        let home = etcetera::home_dir().ok()?;
        let config = if cfg!(target_os = "macos") {
            home.join("Library/Application Support")
        } else {
            let given = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
            given.unwrap_or_else(|| home.join(".config"))
        };
        Some(Self { home, config })
    }
}

impl Client {
    /// Its configuration file.
    pub(crate) fn file(&self, places: &Places) -> PathBuf {
        let (home, config) = (places.home.display().to_string(), places.config.display().to_string());
        PathBuf::from(self.path.replace("{home}", &home).replace("{config}", &config))
    }

    /// Whether it seems to be installed: its file is there, or the directory that it made for it.
    pub(crate) fn is_installed(&self, places: &Places) -> bool {
        let file = self.file(places);
        let directory = file.parent().filter(|directory| *directory != places.home && *directory != places.config);
        file.exists() || directory.is_some_and(Path::is_dir)
    }

    /// A server, as it stands in its file.
    pub(crate) fn entry(&self, name: &str, url: &str) -> Entry {
        let fill = |value: &Value| match value {
            Value::String(text) => Value::String(text.replace("{url}", url).replace("{name}", name)),
            other => other.clone(),
        };
        self.entry.iter().map(|(key, value)| (key.clone(), fill(value))).collect()
    }

    fn check(&self) -> Result<(), String> {
        let has_url = self.entry.iter().any(|(_, value)| value.as_str().is_some_and(|text| text.contains("{url}")));
        let is_flat = self.entry.iter().all(|(_, value)| !value.is_object() && !value.is_array());
        let has_name = self.entry.iter().any(|(key, value)| key == "name" && value == "{name}");
        let wrong = if self.id.is_empty() || self.at.is_empty() || self.at.iter().any(String::is_empty) {
            "has no `id`, or no `at`"
        } else if !self.path.starts_with("{home}/")
            && !self.path.starts_with("{config}/")
            && !self.path.starts_with('/')
        {
            "has a `path` that is neither absolute nor below `{home}` or `{config}`"
        } else if !has_url {
            "has no `{url}` in its `entry`"
        } else if !is_flat {
            "has lists or tables in its `entry`"
        } else if self.shape == Shape::List && !has_name {
            "is a list and has no `name = \"{name}\"` in its `entry`"
        } else if self.shape == Shape::List && self.at.len() != 1 {
            "is a list that does not stand at the top"
        } else {
            return Ok(());
        };
        Err(format!("client `{}` {wrong}", self.id))
    }
}

/// An entry without its order, to compare.
pub(crate) fn object(entry: &Entry) -> Map<String, Value> {
    entry.iter().cloned().collect()
}

/// All clients, by id: those that are built in, with those of the user's directory on top.
///
/// # Errors
/// A file of the user cannot be read or says something impossible.
pub(crate) fn read(directory: &Path) -> Result<BTreeMap<String, Client>, TableError> {
    let mut clients = BTreeMap::new();
    add(&mut clients, Path::new("table.toml"), BUILT_IN)?;
    let Ok(entries) = std::fs::read_dir(directory) else { return Ok(clients) };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    for file in files {
        let text = std::fs::read_to_string(&file)
            .map_err(|error| TableError { path: file.clone(), reason: error.to_string() })?;
        add(&mut clients, &file, &text)?;
    }
    Ok(clients)
}

fn add(clients: &mut BTreeMap<String, Client>, path: &Path, text: &str) -> Result<(), TableError> {
    let wrong = |reason: String| TableError { path: path.to_owned(), reason };
    let File { client } = toml::from_str(text).map_err(|error| wrong(error.message().trim_end().to_owned()))?;
    for client in client {
        client.check().map_err(wrong)?;
        clients.insert(client.id.clone(), client);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_five_clients_are_built_in() {
        assert_eq!(read(Path::new("/nowhere")).unwrap().len(), 25);
    }

    #[test]
    fn a_file_of_the_user_adds_one_and_replaces_another() {
        let directory = tempfile::tempdir().unwrap();
        let text = r#"
            [[client]]
            id = "mine"
            name = "Mine"
            path = "{home}/.mine.json"
            format = "json"
            at = ["a", "b"]
            entry = [["address", "{url}"]]
            [[client]]
            id = "cursor"
            name = "Cursor"
            path = "{config}/Cursor/mcp.json"
            format = "json"
            at = ["mcpServers"]
            entry = [["url", "{url}"]]
        "#;
        std::fs::write(directory.path().join("mine.toml"), text).unwrap();
        let clients = read(directory.path()).unwrap();
        assert_eq!(clients.len(), 26);
        let places = Places { home: "/h".into(), config: "/c".into() };
        assert_eq!(clients["mine"].file(&places), Path::new("/h/.mine.json"));
        assert_eq!(clients["cursor"].file(&places), Path::new("/c/Cursor/mcp.json"));
    }

    #[test]
    fn a_client_that_cannot_work_is_refused_with_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let text =
            "[[client]]\nid = 'x'\nname = 'X'\npath = '{home}/x'\nformat = 'json'\nat = ['a']\nentry = [['a', 'b']]";
        std::fs::write(directory.path().join("x.toml"), text).unwrap();
        let error = read(directory.path()).unwrap_err().to_string();
        assert!(error.contains("x.toml") && error.contains("no `{url}`"), "{error}");
    }
}
