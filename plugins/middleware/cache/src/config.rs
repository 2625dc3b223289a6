//! The configuration: what is kept, for how long, for whom, and how much of it.

use fairlead_plugin::pattern::matches_any;
use fairlead_plugin::prelude::*;

/// Room that `entries` × `entryBytes` may take: what the contract gives to one attachment, less a quarter for keys and
/// for markers.
const BYTES_MAX: u64 = 48 * 1024 * 1024;

/// Longest that anything is kept. What is right for longer than a day is configuration, and belongs into the client.
const TTL_SECS_MAX: u32 = 24 * 60 * 60;

/// Largest entry: a value of the contract has 1 MiB, and what stands around the result needs some of it.
const ENTRY_BYTES_MAX: u32 = 1024 * 1024 - 4096;

/// What is answered from memory.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Config {
    /// Methods that are answered from memory.
    pub methods: Vec<Method>,
    /// Patterns of tools whose calls are answered from memory as well: only such as read and change nothing.
    pub tools: Vec<String>,
    /// How long a result is kept that does not say so itself (`ttlMs`); 0: only those that do are kept.
    #[schemars(range(max = 86_400))]
    pub ttl_secs: u32,
    /// How long any result is kept at most, whatever it says.
    #[schemars(range(min = 1, max = 86_400))]
    pub ttl_secs_max: u32,
    /// Who shares a result that does not say so itself (`cacheScope`).
    pub scope: Scope,
    /// Results that are kept at the same time.
    #[schemars(range(min = 1, max = 65_536))]
    pub entries: u32,
    /// Longest result that is kept, in bytes.
    #[schemars(range(min = 1, max = 1_044_480))]
    pub entry_bytes: u32,
}

/// A method that reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Method {
    /// The list of tools.
    #[serde(rename = "tools/list")]
    ToolsList,
    /// The list of resources.
    #[serde(rename = "resources/list")]
    ResourcesList,
    /// The content of a resource.
    #[serde(rename = "resources/read")]
    ResourcesRead,
    /// The list of prompts.
    #[serde(rename = "prompts/list")]
    PromptsList,
    /// A prompt.
    #[serde(rename = "prompts/get")]
    PromptsGet,
}

/// Who shares a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Whoever asked: the same identity in the same session.
    Private,
    /// All callers of the server.
    Public,
}

impl Method {
    const ALL: [Self; 5] =
        [Self::ToolsList, Self::ResourcesList, Self::ResourcesRead, Self::PromptsList, Self::PromptsGet];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::ToolsList => "tools/list",
            Self::ResourcesList => "resources/list",
            Self::ResourcesRead => "resources/read",
            Self::PromptsList => "prompts/list",
            Self::PromptsGet => "prompts/get",
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            methods: Method::ALL.to_vec(),
            tools: Vec::new(),
            ttl_secs: 60,
            ttl_secs_max: 3_600,
            scope: Scope::Private,
            entries: 512,
            entry_bytes: 64 * 1024,
        }
    }
}

impl Config {
    /// Whether the answer to this may be kept.
    pub(crate) fn covers(&self, method: &str, target: Option<&str>) -> bool {
        match (method, target) {
            ("tools/call", Some(tool)) => matches_any(&self.tools, tool),
            _ => self.methods.iter().any(|known| known.word() == method),
        }
    }

    /// What a schema cannot say, and what it says again for whoever skips it.
    pub(crate) fn check(&self) -> Result<Vec<String>, String> {
        if self.entries == 0 || self.entry_bytes == 0 {
            return Err("/entries and /entryBytes: with 0 nothing could be kept".to_owned());
        }
        if self.entry_bytes > ENTRY_BYTES_MAX {
            return Err(format!("/entryBytes: at most {ENTRY_BYTES_MAX}"));
        }
        if u64::from(self.entries) * u64::from(self.entry_bytes) > BYTES_MAX {
            return Err(format!("/entries × /entryBytes: at most {BYTES_MAX} bytes in all"));
        }
        if self.ttl_secs_max == 0 || self.ttl_secs_max > TTL_SECS_MAX {
            return Err(format!("/ttlSecsMax: between 1 and {TTL_SECS_MAX}"));
        }
        let mut warnings = Vec::new();
        if self.ttl_secs > self.ttl_secs_max {
            warnings.push("/ttlSecs is more than /ttlSecsMax, which wins".to_owned());
        }
        if self.methods.is_empty() && self.tools.is_empty() {
            warnings.push("/methods and /tools are empty: nothing is kept".to_owned());
        }
        if self.tools.iter().any(|pattern| pattern == "*") {
            warnings.push("/tools: `*` also keeps calls that change something, which then happen only once".to_owned());
        }
        Ok(warnings)
    }
}
