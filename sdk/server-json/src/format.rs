//! Files and answers that hold many entries: told apart by their fields, read entry by entry, written with what is lost.
//!
//! One bad entry is one bad entry: it is named with its place, and the rest arrives. What a format says besides its entries
//! (its version, groups, skills) is kept, so that reading and writing the same format gives the same file.

mod toolhive;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::document::Document;
use crate::limits::ENTRIES_MAX;

/// Where the official registry keeps what it knows of an entry: beside the entry, not in it.
pub const OFFICIAL: &str = "io.modelcontextprotocol.registry/official";
/// Where publishers keep what the schema has no field for.
pub const PUBLISHER: &str = "io.modelcontextprotocol.registry/publisher-provided";
/// Where Fairlead keeps what it knows of an entry, beside what the official registry says.
pub const CATALOGUE: &str = "dev.fairlead/catalogue";
/// Attribute of an entry: the catalogues that it came through, the first first, with commas between them. A catalogue does not take
/// back what it gave away.
pub const VIA: &str = "dev.fairlead/via";
/// Where publishers say that an entry is a template: its `parameters`, each an input with a name.
pub const TEMPLATE: &str = "dev.fairlead/template";
/// What ToolHive calls itself there.
pub const TOOLHIVE: &str = "io.github.stacklok";

/// How entries travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// An answer of the official API: `{"servers": [{"server": …, "_meta": …}], "metadata": …}`.
    Official,
    /// The file of the upstream format: `{"version": …, "meta": …, "data": {"servers": […]}}`.
    Upstream,
    /// ToolHive's own file: `{"servers": {"name": …}, "remote_servers": {…}}`.
    ToolHive,
    /// One `server.json`.
    Single,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Official, Self::Upstream, Self::ToolHive, Self::Single];

    /// Its name, as commands write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Official => "official",
            Self::Upstream => "upstream",
            Self::ToolHive => "toolhive",
            Self::Single => "server.json",
        }
    }
}

/// What a file holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Listing {
    /// Its entries, in order.
    pub items: Vec<Item>,
    /// Entries that are none, with what is wrong.
    pub refused: Vec<Loss>,
    /// Version of the file.
    pub version: Option<String>,
    /// When the file was made.
    pub last_updated: Option<String>,
    /// Where the next page is, in an answer of the official API.
    pub next_cursor: Option<String>,
    /// What else the file says.
    rest: Map<String, Value>,
    /// Of which format that is.
    rest_of: Option<Format>,
}

/// One entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// `server.json`, as its text.
    pub document: String,
    /// What a registry says of it, as JSON text.
    pub meta: Option<String>,
}

/// What the official registry says of an entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Standing {
    /// `active`, `deprecated`, `deleted`.
    pub status: String,
    /// When it was published (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published_at: Option<String>,
    /// When that or its status changed last (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<String>,
    /// Whether it is the newest version.
    pub is_latest: bool,
}

/// Something that could not be taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Where it was.
    pub pointer: String,
    /// Why.
    pub reason: String,
}

impl Loss {
    fn new(pointer: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), reason: reason.into() }
    }
}

/// Why a text holds no entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatError(pub String);

impl std::fmt::Display for FormatError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FormatError {}

impl Listing {
    /// Entries that come from no file.
    #[must_use]
    pub fn of(items: Vec<Item>, last_updated: Option<String>) -> Self {
        Self { items, last_updated, ..Self::default() }
    }
}

impl Item {
    /// An entry that nobody says anything of.
    #[must_use]
    pub fn new(document: impl Into<String>) -> Self {
        Self { document: document.into(), meta: None }
    }

    /// What the official registry says of it.
    #[must_use]
    pub fn standing(&self) -> Option<Standing> {
        let meta: Value = serde_json::from_str(self.meta.as_deref()?).ok()?;
        // The first API of the official registry had the fields under a shorter name.
        let official = meta.get(OFFICIAL)?;
        serde_json::from_value(official.clone()).ok()
    }

    /// What a Fairlead says of it.
    #[must_use]
    pub fn catalogue(&self) -> Option<Value> {
        let meta: Value = serde_json::from_str(self.meta.as_deref()?).ok()?;
        meta.get(CATALOGUE).cloned()
    }

    /// The catalogues that it came through.
    #[must_use]
    pub fn via(&self) -> Option<Vec<String>> {
        let via: Vec<String> = serde_json::from_value(self.catalogue()?.get("via")?.clone()).ok()?;
        (!via.is_empty()).then_some(via)
    }
}

/// The fields that only ToolHive has, and the image or URL that they are kept under.
#[must_use]
pub fn toolhive_fields(document: &Document) -> Option<(&str, &Map<String, Value>)> {
    let (place, fields) = document.published()?.get(TOOLHIVE)?.as_object()?.iter().next()?;
    Some((place, fields.as_object()?))
}

/// The format of a text, by the fields at its top.
#[must_use]
pub fn detect(text: &str) -> Option<Format> {
    #[derive(Deserialize)]
    struct Top<'a> {
        #[serde(borrow, default)]
        servers: Option<&'a RawValue>,
        #[serde(borrow, default)]
        remote_servers: Option<&'a RawValue>,
        #[serde(borrow, default)]
        data: Option<&'a RawValue>,
        #[serde(borrow, default)]
        name: Option<&'a RawValue>,
    }
    let top: Top<'_> = serde_json::from_str(text).ok()?;
    let begins = |value: Option<&RawValue>, with: char| value.is_some_and(|value| value.get().starts_with(with));
    if begins(top.servers, '[') {
        Some(Format::Official)
    } else if begins(top.servers, '{') || begins(top.remote_servers, '{') {
        Some(Format::ToolHive)
    } else if begins(top.data, '{') {
        Some(Format::Upstream)
    } else {
        begins(top.name, '"').then_some(Format::Single)
    }
}

/// Reads a text of whichever format it is.
///
/// # Errors
/// It is none of them.
pub fn read(text: &str) -> Result<(Format, Listing), FormatError> {
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
        return Err(FormatError(format!("it is no JSON: {error}")));
    }
    let format = detect(text).ok_or_else(|| {
        FormatError(
            "it is no format of registries: expected `servers` (a list, or ToolHive's map), `data.servers`, or one \
             `server.json` with a `name`"
                .to_owned(),
        )
    })?;
    let listing = match format {
        Format::Official => official(text),
        Format::Upstream => upstream(text),
        Format::ToolHive => toolhive::read(text),
        Format::Single => Ok(Listing { items: vec![Item::new(text.trim())], ..Listing::default() }),
    };
    let listing = listing.map_err(|error| FormatError(format!("it looks like {}, but {error}", format.name())))?;
    if listing.items.len() > ENTRIES_MAX {
        return Err(FormatError(format!("it has more than {ENTRIES_MAX} entries")));
    }
    Ok((format, listing))
}

/// Writes entries in a format, with what it cannot say.
#[must_use]
pub fn write(format: Format, listing: &Listing) -> (String, Vec<Loss>) {
    let mut losses = Vec::new();
    let rest = match listing.rest_of {
        Some(of) if of == format => listing.rest.clone(),
        _ => {
            losses.extend(listing.rest.keys().map(|key| Loss::new(format!("/{key}"), no_place(format))));
            Map::new()
        }
    };
    let value = match format {
        Format::Official => write_official(listing, rest),
        Format::Upstream => write_upstream(listing, rest, &mut losses),
        Format::ToolHive => toolhive::write(listing, rest, &mut losses),
        Format::Single => match listing.items.as_slice() {
            [only] => Ok(only.document.clone()),
            items => {
                let told = items.iter().skip(1).enumerate();
                losses.extend(told.map(|(at, _)| Loss::new(format!("/{}", at + 1), "only one entry fits")));
                Ok(items.first().map_or_else(|| "{}".to_owned(), |item| item.document.clone()))
            }
        },
    };
    // What is written was JSON when it was read.
    (value.unwrap_or_default(), losses)
}

fn no_place(format: Format) -> String {
    format!("`{}` has no place for it", format.name())
}

// === the official API ===

/// `flatten` reads ahead into values, which raw text does not survive; so each part is read by itself.
fn official(text: &str) -> Result<Listing, serde_json::Error> {
    #[derive(Deserialize)]
    struct Servers<'a> {
        #[serde(borrow)]
        servers: Vec<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Entry<'a> {
        #[serde(borrow, default)]
        server: Option<&'a RawValue>,
        #[serde(borrow, default)]
        _meta: Option<&'a RawValue>,
    }
    let Servers { servers } = serde_json::from_str(text)?;
    let mut rest = others(text, &["servers"])?;
    let mut listing = Listing { rest_of: Some(Format::Official), ..Listing::default() };
    if let Some(Value::Object(metadata)) = rest.get_mut("metadata") {
        let cursor = metadata.remove("nextCursor").or_else(|| metadata.remove("next_cursor"));
        listing.next_cursor = cursor.and_then(|cursor| Some(cursor.as_str()?.to_owned())).filter(|it| !it.is_empty());
        metadata.remove("count");
        if metadata.is_empty() {
            rest.remove("metadata");
        }
    }
    listing.rest = rest;
    for (at, raw) in servers.into_iter().enumerate() {
        match serde_json::from_str::<Entry<'_>>(raw.get()) {
            Ok(Entry { server: Some(server), _meta }) => listing.items.push(Item {
                document: server.get().to_owned(),
                meta: _meta.filter(|meta| meta.get() != "null").map(|meta| meta.get().to_owned()),
            }),
            // The list of the first versions of the API, and of hand-written files, has the documents themselves.
            Ok(_) => listing.items.push(Item::new(raw.get())),
            Err(_) => listing.refused.push(Loss::new(format!("/servers/{at}"), "is no entry")),
        }
    }
    Ok(listing)
}

/// The fields of an object, without some.
fn others(text: &str, but: &[&str]) -> Result<Map<String, Value>, serde_json::Error> {
    let fields: std::collections::BTreeMap<String, Box<RawValue>> = serde_json::from_str(text)?;
    let kept = fields.into_iter().filter(|(name, _)| !but.contains(&name.as_str()));
    kept.map(|(name, value)| Ok((name, serde_json::from_str(value.get())?))).collect()
}

fn raw(text: &str) -> Result<Box<RawValue>, serde_json::Error> {
    RawValue::from_string(text.to_owned())
}

fn write_official(listing: &Listing, mut rest: Map<String, Value>) -> Result<String, serde_json::Error> {
    #[derive(Serialize)]
    struct Entry {
        server: Box<RawValue>,
        #[serde(rename = "_meta")]
        meta: Box<RawValue>,
    }
    #[derive(Serialize)]
    struct File {
        servers: Vec<Entry>,
        metadata: Value,
        #[serde(flatten)]
        rest: Map<String, Value>,
    }
    let entry =
        |item: &Item| Ok(Entry { server: raw(&item.document)?, meta: raw(item.meta.as_deref().unwrap_or("{}"))? });
    let servers = listing.items.iter().map(entry).collect::<Result<Vec<_>, serde_json::Error>>()?;
    let mut metadata = rest.remove("metadata").unwrap_or_else(|| json!({}));
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.insert("count".to_owned(), servers.len().into());
        if let Some(cursor) = &listing.next_cursor {
            metadata.insert("nextCursor".to_owned(), cursor.as_str().into());
        }
    }
    serde_json::to_string_pretty(&File { servers, metadata, rest })
}

// === the upstream file ===

/// The schema that ToolHive gives for the upstream file.
const UPSTREAM_SCHEMA: &str =
    "https://raw.githubusercontent.com/stacklok/toolhive-core/main/registry/types/data/upstream-registry.schema.json";

fn upstream(text: &str) -> Result<Listing, serde_json::Error> {
    #[derive(Deserialize)]
    struct File<'a> {
        #[serde(borrow)]
        data: &'a RawValue,
    }
    #[derive(Deserialize)]
    struct Data<'a> {
        #[serde(borrow, default)]
        servers: Vec<&'a RawValue>,
    }
    let File { data } = serde_json::from_str(text)?;
    let Data { servers } = serde_json::from_str(data.get())?;
    let mut rest = others(text, &["data"])?;
    let data = others(data.get(), &["servers"])?;
    let mut listing = Listing { rest_of: Some(Format::Upstream), ..Listing::default() };
    listing.version = take_text(&mut rest, "version");
    // The schema of the format says no more than that it is this one.
    if rest.get("$schema").is_some_and(|schema| schema == UPSTREAM_SCHEMA) {
        rest.remove("$schema");
    }
    if let Some(Value::Object(meta)) = rest.get_mut("meta") {
        listing.last_updated = take_text(meta, "last_updated");
        if meta.is_empty() {
            rest.remove("meta");
        }
    }
    if !data.is_empty() {
        rest.insert("data".to_owned(), data.into());
    }
    listing.rest = rest;
    for (at, raw) in servers.into_iter().enumerate() {
        if raw.get().starts_with('{') {
            listing.items.push(Item::new(raw.get()));
        } else {
            listing.refused.push(Loss::new(format!("/data/servers/{at}"), "is no entry"));
        }
    }
    Ok(listing)
}

fn write_upstream(
    listing: &Listing,
    mut rest: Map<String, Value>,
    losses: &mut Vec<Loss>,
) -> Result<String, serde_json::Error> {
    #[derive(Serialize)]
    struct Data {
        servers: Vec<Box<RawValue>>,
        #[serde(flatten)]
        rest: Map<String, Value>,
    }
    #[derive(Serialize)]
    struct File {
        #[serde(rename = "$schema")]
        schema: Value,
        version: String,
        meta: Value,
        data: Data,
        #[serde(flatten)]
        rest: Map<String, Value>,
    }
    standings(listing, Format::Upstream, losses);
    let of_data = rest.remove("data").and_then(|data| data.as_object().cloned()).unwrap_or_default();
    let mut meta = rest.remove("meta").unwrap_or_else(|| json!({}));
    if let (Some(meta), Some(updated)) = (meta.as_object_mut(), &listing.last_updated) {
        meta.insert("last_updated".to_owned(), updated.as_str().into());
    }
    let servers = listing.items.iter().map(|item| raw(&item.document)).collect::<Result<_, _>>()?;
    serde_json::to_string_pretty(&File {
        schema: rest.remove("$schema").unwrap_or_else(|| UPSTREAM_SCHEMA.into()),
        version: listing.version.clone().unwrap_or_else(|| "1.0.0".to_owned()),
        meta,
        data: Data { servers, rest: of_data },
        rest,
    })
}

/// What a registry says of its entries is lost in a file, unless it says nothing that a reader of a file would not assume.
fn standings(listing: &Listing, format: Format, losses: &mut Vec<Loss>) {
    for (at, item) in listing.items.iter().enumerate() {
        if item.meta.as_deref().is_some_and(|meta| meta != "{}") {
            losses.push(Loss::new(format!("/{at}/_meta"), no_place(format)));
        }
    }
}

fn take_text(map: &mut Map<String, Value>, key: &str) -> Option<String> {
    let text = map.get(key)?.as_str()?.to_owned();
    map.remove(key);
    Some(text)
}

#[cfg(test)]
mod tests;
