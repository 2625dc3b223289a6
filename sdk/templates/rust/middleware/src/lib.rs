//! {{name}}: refuses calls whose arguments contain a forbidden word.

use fairlead_plugin::prelude::*;
use fairlead_plugin::visit_strings;

/// JSON-RPC code of a refusal. Codes of your own lie outside of -32768 to -32000.
const FORBIDDEN: i32 = 4030;

/// The middleware. It is built once for each instance, and an instance may be thrown away between any two calls: what must
/// be remembered belongs into `kv`.
pub struct {{type}} {
    words: Vec<String>,
}

/// What an operator configures. The host checks it against the JSON Schema that is derived from here; comments become
/// descriptions.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Words that no argument may contain, in whatever case.
    words: Vec<String>,
}

impl Middleware for {{type}} {
    type Config = Config;

    fn manifest() -> Manifest {
        // Ask for little: it is never called for anything else, and what nobody asks for is not even parsed.
        Manifest::new(
            "{{name}}",
            env!("CARGO_PKG_VERSION"),
            env!("CARGO_PKG_DESCRIPTION"),
        )
        .interest(Interest::on("tools/call").request())
    }

    fn new(config: Config) -> Result<Self, Failure> {
        if config.words.iter().any(String::is_empty) {
            return Err(Failure::config(
                "`words` has an empty word, which every text contains",
            ));
        }
        Ok(Self {
            words: config
                .words
                .iter()
                .map(|word| word.to_lowercase())
                .collect(),
        })
    }

    fn on_request(&mut self, message: &Message<'_>) -> Result<Verdict, Failure> {
        let mut found = None;
        visit_strings(&message.read(), |pointer, text| {
            let text = text.to_lowercase();
            if found.is_none()
                && pointer.starts_with("/arguments")
                && self.words.iter().any(|word| text.contains(word))
            {
                found = Some(pointer.to_owned());
            }
        })?;
        Ok(match found {
            Some(pointer) => {
                Verdict::deny(FORBIDDEN, format!("`{pointer}` contains a forbidden word"))
            }
            None => Verdict::next(),
        })
    }
}

fairlead_plugin::export_middleware!({{type}});
