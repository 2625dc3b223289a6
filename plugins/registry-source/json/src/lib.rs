//! A file of entries at a URL, in whichever format it is: ToolHive's two, the upstream project's, the official list.
//!
//! The file is fetched once for a synchronisation and handed on page by page. An entity tag saves the fetch when nothing changed.

use fairlead_plugin::http::Request as HttpRequest;
use fairlead_plugin::prelude::{Deserialize, Failure, JsonSchema, Manifest};
use fairlead_plugin::registry::{Answer, Entry, Features, Page, Request, Status};
use fairlead_plugin::{RegistrySource, log, schemars};
use fairlead_server_json::{Document, Item, VIA, read, time};

/// Reads a file.
#[derive(Debug)]
pub struct Json {
    config: Config,
    /// What was fetched for this synchronisation.
    fetched: Option<Fetched>,
}

#[derive(Debug)]
struct Fetched {
    entries: Vec<Entry>,
    etag: Option<String>,
}

/// Where the file is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// URL of the file.
    pub url: String,
    /// Name of a granted secret that is sent as `Authorization: Bearer`.
    #[serde(default)]
    pub token: Option<String>,
}

impl RegistrySource for Json {
    type Config = Config;

    fn manifest() -> Manifest {
        Manifest::new("source-json", env!("CARGO_PKG_VERSION"), "reads a file of entries from a URL")
            .capability("http", "fetches the file")
            .attribute("license", env!("CARGO_PKG_LICENSE"))
    }

    fn new(config: Config) -> Result<Self, Failure> {
        if !config.url.starts_with("http://") && !config.url.starts_with("https://") {
            return Err(Failure::config(format!("url: `{}` is no URL", config.url)));
        }
        Ok(Self { config, fetched: None })
    }

    fn features(&self) -> Features {
        Features::VERSIONS
    }

    fn enumerate(&mut self, request: &Request) -> Result<Answer, Failure> {
        let from = match &request.cursor {
            None => 0,
            Some(cursor) => cursor.parse().map_err(|_| Failure::upstream("the cursor is none of mine"))?,
        };
        let fetched = match self.fetched.take() {
            Some(fetched) => fetched,
            None => match fetch(&self.config, request.etag.as_deref())? {
                Some(fetched) => fetched,
                None => return Ok(Answer::Unmodified),
            },
        };
        let limit = usize::try_from(request.limit).unwrap_or(usize::MAX).max(1);
        let entries: Vec<Entry> = fetched.entries.iter().skip(from).take(limit).cloned().collect();
        let to = from + entries.len();
        let last = to >= fetched.entries.len();
        let etag = fetched.etag.clone().filter(|_| last);
        self.fetched = Some(fetched);
        let next = (!last).then(|| to.to_string());
        Ok(Answer::Page(Page { entries, removed: Vec::new(), next, checkpoint: None, etag }))
    }
}

/// The file; `None` when it is the one that the tag is of.
fn fetch(config: &Config, etag: Option<&str>) -> Result<Option<Fetched>, Failure> {
    let mut request = HttpRequest::get(&config.url).header("accept", "application/json");
    if let Some(etag) = etag {
        request = request.header("if-none-match", etag);
    }
    let response = request.bearer(config.token.as_deref())?.send()?;
    match response.status {
        200 => {}
        304 if etag.is_some() => return Ok(None),
        _ => return Err(response.refusal()),
    }
    let (_, listing) = read(response.text()?).map_err(|error| Failure::upstream(error.to_string()))?;
    let refused = listing.refused.iter().map(|refused| {
        log::warn(&format!("{} {}", refused.pointer, refused.reason));
        // Told by the host, with its place for a name.
        Entry { name: refused.pointer.clone(), ..entry(&Item::new("")) }
    });
    let entries = listing.items.iter().map(entry).chain(refused).collect();
    Ok(Some(Fetched { etag: response.header("etag").map(str::to_owned), entries }))
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

fairlead_plugin::export_registry_source!(Json);
