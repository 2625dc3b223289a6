//! Entries that stand in the configuration: for a handful of servers of one's own.

use fairlead_plugin::prelude::{Deserialize, Failure, JsonSchema, Manifest, Value};
use fairlead_plugin::registry::{Answer, Entry, Features, Page, Request, Status};
use fairlead_plugin::{RegistrySource, schemars};
use fairlead_server_json::{Document, Severity, check};

/// Yields what it was configured with.
#[derive(Debug)]
pub struct Static(Vec<String>);

/// The entries.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Entries, each a `server.json`.
    pub servers: Vec<Value>,
}

impl RegistrySource for Static {
    type Config = Config;

    fn manifest() -> Manifest {
        Manifest::new("source-static", env!("CARGO_PKG_VERSION"), "yields the entries of its configuration")
            .attribute("license", env!("CARGO_PKG_LICENSE"))
    }

    fn new(config: Config) -> Result<Self, Failure> {
        Ok(Self(config.servers.iter().map(Value::to_string).collect()))
    }

    fn validate(config: Config) -> Result<Vec<String>, String> {
        let mut warnings = Vec::new();
        for (at, server) in config.servers.iter().enumerate() {
            for finding in check(&server.to_string()) {
                let text = format!("servers/{at}{}: {}", finding.pointer, finding.reason);
                match finding.severity {
                    Severity::Error => return Err(text),
                    Severity::Warning => warnings.push(text),
                }
            }
        }
        Ok(warnings)
    }

    fn features(&self) -> Features {
        Features::VERSIONS
    }

    fn enumerate(&mut self, _: &Request) -> Result<Answer, Failure> {
        let entry = |text: &String| {
            let document = Document::of(text).unwrap_or_default();
            Entry {
                name: document.name,
                version: document.version,
                status: Status::Active,
                server_json: text.clone(),
                published_ms: None,
                updated_ms: None,
                is_latest: false,
                attributes: Vec::new(),
            }
        };
        let entries = self.0.iter().map(entry).collect();
        Ok(Answer::Page(Page { entries, removed: Vec::new(), next: None, checkpoint: None, etag: None }))
    }
}

fairlead_plugin::export_registry_source!(Static);
