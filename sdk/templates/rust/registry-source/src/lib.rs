//! {{name}}: yields the MCP servers that its configuration names, one page after the other.

use fairlead_plugin::RegistrySource;
use fairlead_plugin::prelude::*;
use fairlead_plugin::registry::{Answer, Entry, Page, Request, Status};

/// The source. One instance for each synchronisation; nothing is kept between two of them but cursor, checkpoint and `kv`.
pub struct {{type}} {
    servers: Vec<Server>,
}

/// What an operator configures.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The servers, in order.
    servers: Vec<Server>,
}

/// One server.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Name as in `server.json`: reverse DNS with one `/`.
    name: String,
    /// Version as in `server.json`.
    version: String,
    /// One sentence.
    description: String,
}

impl RegistrySource for {{type}} {
    type Config = Config;

    fn manifest() -> Manifest {
        Manifest::new(
            "{{name}}",
            env!("CARGO_PKG_VERSION"),
            env!("CARGO_PKG_DESCRIPTION"),
        )
    }

    fn new(config: Config) -> Result<Self, Failure> {
        match config
            .servers
            .iter()
            .find(|server| server.name.matches('/').count() != 1)
        {
            Some(server) => Err(Failure::config(format!(
                "the name `{}` needs exactly one `/`",
                server.name
            ))),
            None => Ok(Self {
                servers: config.servers,
            }),
        }
    }

    fn enumerate(&mut self, request: &Request) -> Result<Answer, Failure> {
        // The cursor is ours: here the place in the list. The same request must give the same entries.
        let start = request.cursor.as_deref().map_or(Ok(0), str::parse::<usize>);
        let start = start.map_err(|_| Failure::upstream("the cursor is none of mine"))?;
        let limit = usize::try_from(request.limit).unwrap_or(usize::MAX).max(1);
        let entries: Vec<Entry> = self
            .servers
            .iter()
            .skip(start)
            .take(limit)
            .map(entry)
            .collect();
        let next = start + entries.len();
        let next = (next < self.servers.len()).then(|| next.to_string());
        Ok(Answer::Page(Page {
            entries,
            removed: Vec::new(),
            next,
            checkpoint: None,
            etag: None,
        }))
    }
}

fn entry(server: &Server) -> Entry {
    let document =
        json!({"name": server.name, "version": server.version, "description": server.description});
    Entry {
        name: server.name.clone(),
        version: server.version.clone(),
        status: Status::Active,
        server_json: document.to_string(),
        published_ms: None,
        updated_ms: None,
        is_latest: true,
        attributes: Vec::new(),
    }
}

fairlead_plugin::export_registry_source!({{type}});
