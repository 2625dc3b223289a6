//! A registry of the official API (`/v0.1/servers`), read from the beginning once and then by what changed.
//!
//! What changed is asked for from a little before the newest change that was seen: clocks of several machines and transactions
//! that end late would hide an entry otherwise. An entry that comes twice is the same entry.

use fairlead_plugin::http::{Request as HttpRequest, escaped};
use fairlead_plugin::prelude::{Deserialize, Failure, JsonSchema, Manifest};
use fairlead_plugin::registry::{Answer, Entry, Features, Page, Request, Status};
use fairlead_plugin::{RegistrySource, log, schemars};
use fairlead_server_json::{Document, Format, Item, VIA, read, time};

/// What is asked for again before the newest change.
const OVERLAP_MS: u64 = 60_000;

/// The most entries of a page of the official API.
const LIMIT_MAX: u32 = 100;

/// Reads a registry.
#[derive(Debug)]
pub struct McpRegistry {
    config: Config,
    /// The newest change of this synchronisation.
    newest_ms: u64,
}

/// Which registry.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it is, without `/v0.1`.
    #[serde(default = "official")]
    pub url: String,
    /// All versions, and not only the newest of each server.
    #[serde(default)]
    pub versions: bool,
    /// Name of a granted secret that is sent as `Authorization: Bearer`.
    #[serde(default)]
    pub token: Option<String>,
}

fn official() -> String {
    "https://registry.modelcontextprotocol.io".to_owned()
}

impl RegistrySource for McpRegistry {
    type Config = Config;

    fn manifest() -> Manifest {
        Manifest::new("source-mcp-registry", env!("CARGO_PKG_VERSION"), "reads a registry of the official API")
            .capability("http", "asks the registry")
            .attribute("license", env!("CARGO_PKG_LICENSE"))
    }

    fn new(mut config: Config) -> Result<Self, Failure> {
        if !config.url.starts_with("http://") && !config.url.starts_with("https://") {
            return Err(Failure::config(format!("url: `{}` is no URL", config.url)));
        }
        let url = config.url.trim_end_matches('/');
        config.url = url.strip_suffix("/v0.1").or_else(|| url.strip_suffix("/v0")).unwrap_or(url).to_owned();
        Ok(Self { config, newest_ms: 0 })
    }

    fn features(&self) -> Features {
        if self.config.versions { Features::INCREMENTAL | Features::VERSIONS } else { Features::INCREMENTAL }
    }

    fn enumerate(&mut self, request: &Request) -> Result<Answer, Failure> {
        let response = self.ask(request)?.send()?;
        match response.status {
            200 => {}
            400 | 404 | 410 | 422 if request.since.is_some() => {
                return Ok(Answer::Resync(format!("it answered {} to what changed", response.status)));
            }
            _ => return Err(response.refusal()),
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
        let entries: Vec<Entry> = listing.items.iter().map(entry).chain(refused).collect();
        self.newest_ms = entries.iter().filter_map(|entry| entry.updated_ms).fold(self.newest_ms, u64::max);
        let checkpoint = match &listing.next_cursor {
            None if self.newest_ms > 0 => Some(time::rfc3339(self.newest_ms.saturating_sub(OVERLAP_MS))),
            _ => None,
        };
        Ok(Answer::Page(Page { entries, removed: Vec::new(), next: listing.next_cursor, checkpoint, etag: None }))
    }
}

impl McpRegistry {
    fn ask(&self, request: &Request) -> Result<HttpRequest, Failure> {
        let mut url = format!("{}/v0.1/servers?limit={}", self.config.url, request.limit.clamp(1, LIMIT_MAX));
        let mut add = |name: &str, value: &str| url += &format!("&{name}={}", escaped(value));
        if !self.config.versions {
            add("version", "latest");
        }
        if let Some(since) = &request.since {
            add("updated_since", since);
        }
        if let Some(cursor) = &request.cursor {
            add("cursor", cursor);
        }
        HttpRequest::get(url).header("accept", "application/json").bearer(self.config.token.as_deref())
    }
}

fn entry(item: &Item) -> Entry {
    let document = Document::of(&item.document).unwrap_or_default();
    let standing = item.standing().unwrap_or_default();
    Entry {
        name: document.name,
        version: document.version,
        status: match standing.status.as_str() {
            "deleted" => Status::Deleted,
            "deprecated" => Status::Deprecated,
            _ => Status::Active,
        },
        server_json: item.document.clone(),
        published_ms: standing.published_at.as_deref().and_then(time::millis),
        updated_ms: standing.updated_at.as_deref().and_then(time::millis),
        is_latest: standing.is_latest,
        attributes: item.via().map(|via| (VIA.to_owned(), via.join(","))).into_iter().collect(),
    }
}

fairlead_plugin::export_registry_source!(McpRegistry);
