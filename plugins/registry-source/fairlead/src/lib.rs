//! The catalogue of another Fairlead, with what only a Fairlead knows of an entry: labels, the layer of trust that it stands in
//! there, and the catalogues that it came through.
//!
//! What changed cannot be asked for by time: an entry that a rule lets in today was changed last year. So the tag of the whole
//! catalogue says whether anything did, and then all of it is read.

use fairlead_plugin::http::{Request as HttpRequest, escaped};
use fairlead_plugin::prelude::{Deserialize, Failure, JsonSchema, Manifest, Value};
use fairlead_plugin::registry::{Answer, Entry, Features, Page, Request, Status};
use fairlead_plugin::{RegistrySource, log, schemars};
use fairlead_server_json::{Document, Format, Item, VIA, read, time};

/// The most entries of a page.
const LIMIT_MAX: u32 = 100;

/// The label that says in which layer of the other catalogue an entry stands.
const LAYER: &str = "dev.fairlead/layer";

/// Reads a catalogue.
#[derive(Debug)]
pub struct Fairlead {
    config: Config,
    /// What the catalogue was called by the first page: if it changes meanwhile, it is read again next time.
    tag: Option<String>,
}

/// Which catalogue.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it is, without `/v0.1`.
    pub url: String,
    /// One registry of it; without this, all of them, merged.
    #[serde(default)]
    pub registry: Option<String>,
    /// Only entries that stand in these layers there; empty: in any.
    #[serde(default)]
    pub layers: Vec<String>,
    /// Only the newest version of each server.
    #[serde(default)]
    pub latest: bool,
    /// Name of a granted secret that is sent as `Authorization: Bearer`.
    #[serde(default)]
    pub token: Option<String>,
}

impl RegistrySource for Fairlead {
    type Config = Config;

    fn manifest() -> Manifest {
        Manifest::new("source-fairlead", env!("CARGO_PKG_VERSION"), "reads the catalogue of another Fairlead")
            .capability("http", "asks the other Fairlead")
            .attribute("license", env!("CARGO_PKG_LICENSE"))
    }

    fn new(mut config: Config) -> Result<Self, Failure> {
        if !config.url.starts_with("http://") && !config.url.starts_with("https://") {
            return Err(Failure::config(format!("url: `{}` is no URL", config.url)));
        }
        let plain = |name: &String| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if let Some(name) = config.registry.as_ref().filter(|name| !plain(name)) {
            return Err(Failure::config(format!("registry: `{name}` is no name of a registry")));
        }
        let url = config.url.trim_end_matches('/');
        config.url = url.strip_suffix("/v0.1").unwrap_or(url).to_owned();
        Ok(Self { config, tag: None })
    }

    fn features(&self) -> Features {
        if self.config.latest { Features::empty() } else { Features::VERSIONS }
    }

    fn enumerate(&mut self, request: &Request) -> Result<Answer, Failure> {
        let response = self.ask(request)?.send()?;
        match response.status {
            200 => {}
            304 if request.etag.is_some() && request.cursor.is_none() => return Ok(Answer::Unmodified),
            _ => return Err(response.refusal()),
        }
        if request.cursor.is_none() {
            self.tag = response.header("etag").map(str::to_owned);
        }
        let (format, listing) = read(response.text()?).map_err(|error| Failure::upstream(error.to_string()))?;
        if format != Format::Official {
            return Err(Failure::upstream(format!("it answered with {}, not with a list of servers", format.name())));
        }
        let refused = listing.refused.iter().map(|refused| {
            log::warn(&format!("{} {}", refused.pointer, refused.reason));
            // Told by the host, with its place for a name.
            Entry { name: refused.pointer.clone(), ..entry(&Item::new("")) }
        });
        let wanted = |entry: &Entry| {
            let layer = entry.attributes.iter().find(|(name, _)| name == LAYER).map(|(_, layer)| layer);
            self.config.layers.is_empty() || layer.is_some_and(|layer| self.config.layers.contains(layer))
        };
        let entries = listing.items.iter().map(entry).filter(wanted).chain(refused).collect();
        let etag = self.tag.clone().filter(|_| listing.next_cursor.is_none());
        Ok(Answer::Page(Page { entries, removed: Vec::new(), next: listing.next_cursor, checkpoint: None, etag }))
    }
}

impl Fairlead {
    fn ask(&self, request: &Request) -> Result<HttpRequest, Failure> {
        let Config { url, registry, latest, token, .. } = &self.config;
        let base = registry.as_ref().map_or_else(|| url.clone(), |registry| format!("{url}/registry/{registry}"));
        let mut url = format!("{base}/v0.1/servers?include_deleted=true&limit={}", request.limit.clamp(1, LIMIT_MAX));
        if *latest {
            url += "&version=latest";
        }
        if let Some(cursor) = &request.cursor {
            url += &format!("&cursor={}", escaped(cursor));
        }
        let mut asked = HttpRequest::get(url).header("accept", "application/json");
        if let (Some(etag), None) = (&request.etag, &request.cursor) {
            asked = asked.header("if-none-match", etag);
        }
        asked.bearer(token.as_deref())
    }
}

fn entry(item: &Item) -> Entry {
    let document = Document::of(&item.document).unwrap_or_default();
    let standing = item.standing().unwrap_or_default();
    let known = item.catalogue().unwrap_or_default();
    let labels = known.get("labels").and_then(Value::as_object);
    let labels =
        labels.into_iter().flatten().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    let layer = known.get("layer").and_then(Value::as_str).map(|layer| (LAYER.to_owned(), layer.to_owned()));
    let via = item.via().map(|via| (VIA.to_owned(), via.join(",")));
    // The layer is what it is there: one that it was in further away says nothing.
    let labels = labels.filter(|(name, _)| name != LAYER && name != VIA);
    Entry {
        name: document.name,
        version: document.version,
        status: match standing.status.as_str() {
            "deleted" => Status::Deleted,
            "deprecated" => Status::Deprecated,
            _ => Status::Active,
        },
        server_json: item.document.clone(),
        published_ms: standing.published_at.as_deref().and_then(time::millis).filter(|at| *at > 0),
        updated_ms: standing.updated_at.as_deref().and_then(time::millis),
        is_latest: standing.is_latest,
        attributes: labels.chain(layer).chain(via).collect(),
    }
}

fairlead_plugin::export_registry_source!(Fairlead);
