//! Which tools a client sees and may call, and under which name.
//!
//! A call is judged by itself: a client that never listed, or that remembers an older list, gets no further than one that
//! did. A list that cannot be read is a failure and never passes, for what is in it is not known to be harmless.

mod config;

use std::borrow::Cow;

use fairlead_plugin::prelude::*;
use fairlead_plugin::{Pointer, REJECTED};
use serde_json::value::RawValue;

pub use crate::config::Config;

/// The tool filter.
#[derive(Debug)]
pub struct ToolFilter(Config);

/// The part of a `tools/list` result that is read. Everything else, each tool included, keeps its bytes.
#[derive(Deserialize)]
struct Listing<'a> {
    #[serde(borrow)]
    tools: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Tool<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

impl Middleware for ToolFilter {
    type Config = Config;

    fn manifest() -> Manifest {
        Manifest::new("tool-filter", env!("CARGO_PKG_VERSION"), "hides, refuses and renames tools")
            .interest(Interest::on("tools/call").request())
            .interest(Interest::on("tools/list").response())
            .attribute("license", env!("CARGO_PKG_LICENSE"))
    }

    fn validate(config: Config) -> Result<Vec<String>, String> {
        config.check()
    }

    fn new(config: Config) -> Result<Self, Failure> {
        Ok(Self(config))
    }

    fn on_request(&mut self, message: &Message<'_>) -> Result<Verdict, Failure> {
        let Some(visible) = message.target() else {
            return Ok(Verdict::deny(REJECTED, "the call names no tool"));
        };
        let Some(original) = self.0.original(visible).filter(|original| self.0.permits(original)) else {
            let rejection = Rejection::new(REJECTED, format!("tool `{visible}` is not available here"));
            return Ok(rejection.data(json!({"tool": visible})).into());
        };
        Ok(if original == visible { Verdict::next() } else { Verdict::patch().set("/name", original).into() })
    }

    fn on_response(&mut self, message: &Message<'_>) -> Result<Verdict, Failure> {
        let text = message.read();
        let listing: Listing<'_> = serde_json::from_str(&text).map_err(unreadable)?;
        let total = listing.tools.len();
        let mut kept = Vec::with_capacity(total);
        let mut changes = Verdict::patch();
        for raw in listing.tools {
            let tool: Tool<'_> = serde_json::from_str(raw.get()).map_err(unreadable)?;
            let Some(visible) = self.0.visible(&tool.name).filter(|_| self.0.permits(&tool.name)) else { continue };
            let place = Pointer::root().key("tools").index(kept.len());
            if visible != tool.name {
                changes = changes.set(place.clone().key("name"), visible);
            }
            if let Some(description) = self.0.descriptions.get(visible) {
                changes = changes.set(place.key("description"), description.as_str());
            }
            kept.push(raw.get());
        }
        if kept.len() == total {
            return Ok(changes.into());
        }
        // First the array without the hidden ones, each of the others byte for byte, then the changes inside of it.
        let shortened = Verdict::patch().set_json("/tools", format!("[{}]", kept.join(",")));
        Ok(shortened.then(changes).into())
    }
}

fn unreadable(error: serde_json::Error) -> Failure {
    Failure::upstream(format!("the list of tools cannot be read: {error}"))
}

fairlead_plugin::export_middleware!(ToolFilter);
