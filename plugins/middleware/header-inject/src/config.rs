//! The configuration: names of headers, and what their values are made of.

use std::collections::BTreeSet;

use fairlead_plugin::prelude::*;

/// Which headers are added to the requests to the server. A header of that name from the client gives way.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The headers.
    pub headers: Vec<Header>,
}

/// One header.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Its name. Those of the transport (`host`, `content-length`, `mcp-*`, …) cannot be set.
    pub name: String,
    /// What its value is made of.
    pub value: Value,
    /// What happens to a message for which there is no value: it has no identity, or not the claim.
    #[serde(default)]
    pub missing: Missing,
}

/// What a value is made of.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "from", deny_unknown_fields)]
pub enum Value {
    /// A text, as it is written here. Never a secret: this configuration is stored and shown.
    Text {
        /// The text.
        text: String,
    },
    /// A secret. The attachment needs the grant `secrets` with its name.
    Secret {
        /// Its name.
        secret: String,
        /// The value, with `{}` where the secret goes.
        #[serde(default = "whole")]
        template: String,
    },
    /// Who calls, as an earlier middleware has established it.
    Identity {},
    /// A claim of who calls.
    Claim {
        /// Its name.
        claim: String,
    },
    /// Name of the managed server.
    Server {},
}

fn whole() -> String {
    "{}".to_owned()
}

/// What happens when there is no value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Missing {
    /// The message is refused.
    #[default]
    Refuse,
    /// The message goes on without this header.
    Skip,
}

/// Headers that the host does not let a plugin set.
const RESERVED: [&str; 8] =
    ["host", "content-length", "content-type", "transfer-encoding", "connection", "accept", "upgrade", "origin"];

impl Config {
    /// What a schema cannot say.
    pub(crate) fn check(&self) -> Result<Vec<String>, String> {
        let mut seen = BTreeSet::new();
        for (at, header) in self.headers.iter().enumerate() {
            let name = header.name.to_ascii_lowercase();
            if RESERVED.contains(&name.as_str()) || name.starts_with("mcp-") {
                return Err(format!("/headers/{at}/name: `{name}` belongs to the transport and cannot be set"));
            }
            if name.is_empty() || name.bytes().any(|byte| byte.is_ascii_control() || b" :\t".contains(&byte)) {
                return Err(format!("/headers/{at}/name: `{name}` is no name of a header"));
            }
            if let Value::Secret { template, .. } = &header.value
                && !template.contains("{}")
            {
                return Err(format!("/headers/{at}/value/template: there is no `{{}}` for the secret"));
            }
            if !seen.insert(name) {
                return Err(format!("/headers/{at}/name: two headers have this name; the last would win"));
            }
        }
        let warning = "/headers is empty: nothing is added".to_owned();
        Ok(if self.headers.is_empty() { vec![warning] } else { Vec::new() })
    }
}
