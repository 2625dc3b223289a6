//! ToolHive's own file, and `server.json`: what has a field of its own there goes into it, and everything else under the
//! publisher's own data, where ToolHive itself puts it.
//!
//! The way back takes what it understands out of a copy of the document; what is left over then is what ToolHive cannot say.

use serde_json::{Map, Value, json};

use super::{Format, Item, Listing, Loss, PUBLISHER, TOOLHIVE, no_place, standings, take_text};
use crate::{SCHEMA, is_version};

/// Before a name that has no namespace of its own.
const NAMESPACE: &str = "io.github.stacklok/";

/// What the version is when neither the image nor anything else says one.
const VERSION: &str = "1.0.0";

/// Fields of an input that both sides have, ours and theirs.
const INPUT: [(&str, &str); 2] = [("isRequired", "required"), ("isSecret", "secret")];

/// Fields of an input that ToolHive has no word for.
const INPUT_ONLY_OURS: [&str; 6] = ["value", "format", "placeholder", "variables", "isRepeated", "valueHint"];

/// Makes a document of one server and its key; `None` when it lacks what is run.
type ToEntry = fn(&str, &Map<String, Value>) -> Option<Value>;

pub(super) fn read(text: &str) -> Result<Listing, serde_json::Error> {
    let mut rest: Map<String, Value> = serde_json::from_str(text)?;
    let mut listing = Listing {
        version: take_text(&mut rest, "version"),
        last_updated: take_text(&mut rest, "last_updated"),
        rest_of: Some(Format::ToolHive),
        ..Listing::default()
    };
    let parts: [(&str, ToEntry); 2] = [("servers", image), ("remote_servers", remote)];
    for (field, entry) in parts {
        let servers = match rest.remove(field) {
            Some(Value::Object(servers)) => servers,
            Some(other) => {
                rest.insert(field.to_owned(), other);
                continue;
            }
            None => continue,
        };
        for (key, server) in servers {
            match server.as_object().and_then(|server| entry(&key, server)) {
                Some(document) => listing.items.push(Item::new(document.to_string())),
                None => {
                    let what = if field == "servers" { "`image`" } else { "`url`" };
                    listing.refused.push(Loss::new(format!("/{field}/{key}"), format!("has no {what}")));
                }
            }
        }
    }
    listing.rest = rest;
    Ok(listing)
}

pub(super) fn write(
    listing: &Listing,
    mut rest: Map<String, Value>,
    losses: &mut Vec<Loss>,
) -> Result<String, serde_json::Error> {
    standings(listing, Format::ToolHive, losses);
    let (mut servers, mut remotes) = (Map::new(), Map::new());
    for (at, item) in listing.items.iter().enumerate() {
        let Ok(Value::Object(document)) = serde_json::from_str(&item.document) else {
            losses.push(Loss::new(format!("/{at}"), "is no JSON object"));
            continue;
        };
        let mut back = Back { document, at, losses };
        let Some((key, is_remote, server)) = back.server() else { continue };
        let place = if is_remote { &mut remotes } else { &mut servers };
        if place.contains_key(&key) {
            losses.push(Loss::new(
                format!("/{at}"),
                format!("there is a `{key}` already, and one version is all that fits"),
            ));
        } else {
            place.insert(key, server.into());
        }
    }
    let version = listing.version.clone().unwrap_or_else(|| VERSION.to_owned());
    rest.insert("version".to_owned(), version.into());
    if let Some(updated) = &listing.last_updated {
        rest.insert("last_updated".to_owned(), updated.as_str().into());
    }
    rest.insert("servers".to_owned(), servers.into());
    if !remotes.is_empty() {
        rest.insert("remote_servers".to_owned(), remotes.into());
    }
    serde_json::to_string_pretty(&rest)
}

// === from ToolHive ===

fn image(key: &str, server: &Map<String, Value>) -> Option<Value> {
    let mut rest = server.clone();
    let image = take_text(&mut rest, "image").filter(|image| !image.is_empty())?;
    let mut package = package_of(&image);
    let kind = take_text(&mut rest, "transport").unwrap_or_else(|| "stdio".to_owned());
    let mut transport = json!({ "type": kind });
    let port = rest.get("target_port").and_then(Value::as_u64).filter(|port| (1..=65_535).contains(port));
    if let (Some(port), true) = (port, kind != "stdio") {
        rest.remove("target_port");
        put(&mut transport, "url", format!("http://localhost:{port}").into());
    }
    put(&mut package, "transport", transport);
    if let Some(variables) = take_inputs(&mut rest, "env_vars") {
        put(&mut package, "environmentVariables", variables);
    }
    let mut document = head(key, &mut rest, version_of(&image));
    put(&mut document, "packages", json!([package]));
    publish(&mut document, &image, rest);
    Some(document)
}

fn remote(key: &str, server: &Map<String, Value>) -> Option<Value> {
    let mut rest = server.clone();
    let url = take_text(&mut rest, "url").filter(|url| !url.is_empty())?;
    let kind = take_text(&mut rest, "transport").unwrap_or_else(|| "streamable-http".to_owned());
    let mut place = json!({ "type": kind, "url": url });
    if let Some(headers) = take_inputs(&mut rest, "headers") {
        put(&mut place, "headers", headers);
    }
    let mut document = head(key, &mut rest, VERSION.to_owned());
    put(&mut document, "remotes", json!([place]));
    publish(&mut document, &url, rest);
    Some(document)
}

fn head(key: &str, rest: &mut Map<String, Value>, version: String) -> Value {
    let name = if key.contains('/') { key.to_owned() } else { format!("{NAMESPACE}{key}") };
    let mut document = json!({ "$schema": SCHEMA, "name": name, "version": version });
    for field in ["description", "title"] {
        if let Some(text) = take_text(rest, field) {
            put(&mut document, field, text.into());
        }
    }
    if rest.get("repository_url").and_then(Value::as_str).is_some_and(|url| !url.is_empty()) {
        let url = take_text(rest, "repository_url").unwrap_or_default();
        let source = hosted_by(&url);
        put(&mut document, "repository", json!({ "url": url, "source": source }));
    }
    document
}

fn hosted_by(url: &str) -> &'static str {
    if url.contains("gitlab") { "gitlab" } else { "github" }
}

fn publish(document: &mut Value, place: &str, rest: Map<String, Value>) {
    if !rest.is_empty() {
        put(document, "_meta", json!({ PUBLISHER: { TOOLHIVE: { place: rest } } }));
    }
}

fn put(value: &mut Value, field: &str, content: Value) {
    if let Some(fields) = value.as_object_mut() {
        fields.insert(field.to_owned(), content);
    }
}

/// The version that the tag of an image, or the name of a package, says.
fn version_of(image: &str) -> String {
    let name = image.split_once("://").map_or(image, |(_, name)| name);
    let without_digest = name.split_once("@sha256:").map_or(name, |(name, _)| name);
    let last = without_digest.rsplit('/').next().unwrap_or_default();
    let version = last.rsplit_once(['@', ':']).map(|(_, version)| version);
    version.filter(|version| is_version(version)).unwrap_or(VERSION).to_owned()
}

const PACKAGES: [(&str, &str); 3] = [("npx://", "npm"), ("uvx://", "pypi"), ("go://", "go")];

fn package_of(image: &str) -> Value {
    let found = PACKAGES.iter().find_map(|(scheme, kind)| Some((*kind, image.strip_prefix(scheme)?)));
    let Some((kind, name)) = found else { return json!({ "registryType": "oci", "identifier": image }) };
    match name.rsplit_once('@') {
        Some((name, version)) if !name.is_empty() => {
            json!({ "registryType": kind, "identifier": name, "version": version })
        }
        _ => json!({ "registryType": kind, "identifier": name }),
    }
}

/// Takes a list of inputs, if every one of them is one.
fn take_inputs(rest: &mut Map<String, Value>, field: &str) -> Option<Value> {
    let items = rest.get(field)?.as_array()?;
    let ours = items.iter().map(|item| renamed(item.as_object()?, |(ours, theirs)| (theirs, ours)));
    let ours: Vec<Value> = ours.collect::<Option<_>>()?;
    rest.remove(field);
    Some(ours.into())
}

fn renamed(
    input: &Map<String, Value>,
    direction: fn((&'static str, &'static str)) -> (&'static str, &'static str),
) -> Option<Value> {
    let name = |given: &str| {
        let pair = INPUT.into_iter().map(direction).find(|(from, _)| *from == given);
        pair.map_or_else(|| given.to_owned(), |(_, to)| to.to_owned())
    };
    // Two fields that would become one cannot both be kept.
    let renamed: Map<String, Value> = input.iter().map(|(field, value)| (name(field), value.clone())).collect();
    (renamed.len() == input.len()).then(|| renamed.into())
}

// === to ToolHive ===

/// A document on its way back: what is understood is taken out of it.
struct Back<'a> {
    document: Map<String, Value>,
    at: usize,
    losses: &'a mut Vec<Loss>,
}

impl Back<'_> {
    fn lose(&mut self, pointer: &str, reason: impl Into<String>) {
        self.losses.push(Loss::new(format!("/{}{pointer}", self.at), reason));
    }

    /// Key, whether it is a remote server, and its fields.
    fn server(&mut self) -> Option<(String, bool, Map<String, Value>)> {
        let mut server = Map::new();
        let name = take_text(&mut self.document, "name").unwrap_or_default();
        let key = name.strip_prefix(NAMESPACE).unwrap_or(&name).to_owned();
        self.document.remove("$schema");
        for field in ["description", "title"] {
            if let Some(text) = take_text(&mut self.document, field) {
                server.insert(field.to_owned(), text.into());
            }
        }
        self.repository(&mut server);
        let package = self.first("packages");
        let is_remote = package.is_none();
        let (place, derived) = match package {
            Some(package) => self.package(package, &mut server)?,
            None => {
                let Some(remote) = self.first("remotes") else {
                    self.lose("", "it has neither packages nor remotes");
                    return None;
                };
                (self.remote(remote, &mut server)?, VERSION.to_owned())
            }
        };
        let version = take_text(&mut self.document, "version").unwrap_or_default();
        if version != derived {
            self.lose("/version", format!("`{version}` is not in the name of what is run, which is all that is kept"));
        }
        if let Some(fields) = self.published(&place) {
            server.extend(fields);
        }
        let left: Vec<String> = self.document.keys().cloned().collect();
        for field in left {
            self.lose(&format!("/{field}"), no_place(Format::ToolHive));
        }
        Some((key, is_remote, server))
    }

    fn repository(&mut self, server: &mut Map<String, Value>) {
        let Some(Value::Object(mut repository)) = self.document.remove("repository") else { return };
        if let Some(url) = take_text(&mut repository, "url") {
            if repository.get("source").and_then(Value::as_str) == Some(hosted_by(&url)) {
                repository.remove("source");
            }
            server.insert("repository_url".to_owned(), url.into());
        }
        for field in repository.keys() {
            self.losses.push(Loss::new(format!("/{}/repository/{field}", self.at), no_place(Format::ToolHive)));
        }
    }

    /// The first of a list; the others do not fit.
    fn first(&mut self, field: &str) -> Option<Map<String, Value>> {
        let items = self.document.remove(field)?.as_array()?.clone();
        for at in 1..items.len() {
            self.lose(&format!("/{field}/{at}"), "only the first one fits");
        }
        items.into_iter().next()?.as_object().cloned()
    }

    fn package(
        &mut self,
        mut package: Map<String, Value>,
        server: &mut Map<String, Value>,
    ) -> Option<(String, String)> {
        let kind = take_text(&mut package, "registryType").unwrap_or_default();
        let identifier = take_text(&mut package, "identifier").unwrap_or_default();
        let scheme = PACKAGES.iter().find(|(_, ours)| *ours == kind).map(|(scheme, _)| *scheme);
        let image = match (kind.as_str(), scheme) {
            ("oci", _) => identifier,
            (_, Some(scheme)) => match take_text(&mut package, "version") {
                Some(version) => format!("{scheme}{identifier}@{version}"),
                None => format!("{scheme}{identifier}"),
            },
            (other, None) => {
                self.lose("/packages/0", format!("a package of type `{other}` cannot be run by it"));
                return None;
            }
        };
        let transport = package.remove("transport").and_then(|transport| transport.as_object().cloned());
        let mut transport = transport.unwrap_or_default();
        let kind = take_text(&mut transport, "type").unwrap_or_else(|| "stdio".to_owned());
        server.insert("transport".to_owned(), kind.into());
        if let Some(url) = take_text(&mut transport, "url") {
            let port = url.strip_prefix("http://localhost:").and_then(|port| port.parse::<u16>().ok());
            match port {
                Some(port) => drop(server.insert("target_port".to_owned(), port.into())),
                None => self.lose("/packages/0/transport/url", "only `http://localhost:PORT` can be said"),
            }
        }
        for field in transport.keys() {
            self.lose(&format!("/packages/0/transport/{field}"), no_place(Format::ToolHive));
        }
        self.inputs(&mut package, ("environmentVariables", "env_vars"), "/packages/0", server);
        for field in package.keys() {
            self.lose(&format!("/packages/0/{field}"), no_place(Format::ToolHive));
        }
        let derived = version_of(&image);
        server.insert("image".to_owned(), image.as_str().into());
        Some((image, derived))
    }

    fn remote(&mut self, mut remote: Map<String, Value>, server: &mut Map<String, Value>) -> Option<String> {
        let url = take_text(&mut remote, "url")?;
        let kind = take_text(&mut remote, "type").unwrap_or_else(|| "streamable-http".to_owned());
        server.insert("transport".to_owned(), kind.into());
        server.insert("url".to_owned(), url.as_str().into());
        self.inputs(&mut remote, ("headers", "headers"), "/remotes/0", server);
        for field in remote.keys() {
            self.lose(&format!("/remotes/0/{field}"), no_place(Format::ToolHive));
        }
        Some(url)
    }

    fn inputs(
        &mut self,
        of: &mut Map<String, Value>,
        (ours, theirs): (&str, &str),
        place: &str,
        server: &mut Map<String, Value>,
    ) {
        let Some(Value::Array(items)) = of.remove(ours) else { return };
        let mut kept = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let Some(mut input) = item.as_object().cloned() else { continue };
            for field in INPUT_ONLY_OURS {
                if input.remove(field).is_some() {
                    self.lose(&format!("{place}/{ours}/{at}/{field}"), no_place(Format::ToolHive));
                }
            }
            kept.extend(renamed(&input, |pair| pair));
        }
        server.insert(theirs.to_owned(), kept.into());
    }

    /// ToolHive's own fields; what others publish beside them stays and is lost.
    fn published(&mut self, place: &str) -> Option<Map<String, Value>> {
        let meta = self.document.get_mut("_meta")?.as_object_mut()?;
        let publisher = meta.get_mut(PUBLISHER)?.as_object_mut()?;
        let fields = publisher.get_mut(TOOLHIVE)?.as_object_mut()?.remove(place);
        if publisher.get(TOOLHIVE).and_then(Value::as_object).is_some_and(Map::is_empty) {
            publisher.remove(TOOLHIVE);
        }
        if publisher.is_empty() {
            meta.remove(PUBLISHER);
        }
        if meta.is_empty() {
            self.document.remove("_meta");
        }
        fields?.as_object().cloned()
    }
}
