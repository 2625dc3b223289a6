//! The configuration: what is checked, against what, and what happens where a schema asks for more than is understood.

use std::collections::BTreeMap;

use fairlead_plugin::prelude::*;

use crate::schema::Schema;

/// What is held to a schema.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Config {
    /// What is checked.
    pub places: Vec<Place>,
    /// Take the schemas of tools from the lists that pass.
    pub learn: bool,
    /// Name of a tool → schemas that hold whatever a list says.
    pub tools: BTreeMap<String, Given>,
    /// What happens when a schema has a keyword that is not understood.
    pub unknown_keywords: UnknownKeywords,
    /// What a client gets for wrong arguments.
    pub answer: Answer,
}

/// What is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// Arguments of a call, against `inputSchema`.
    Arguments,
    /// `structuredContent` of a result, against `outputSchema`.
    Results,
}

/// Schemas of a tool.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Given {
    /// JSON Schema of the arguments; absent: as learnt.
    pub input_schema: Option<Value>,
    /// JSON Schema of `structuredContent`; absent: as learnt.
    pub output_schema: Option<Value>,
}

/// What happens when a schema has a keyword that is not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UnknownKeywords {
    /// The tool cannot be called: nobody can say whether its arguments are right.
    Refuse,
    /// The keyword does not count, the others do.
    Ignore,
}

/// What a client gets for wrong arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// A JSON-RPC error.
    Error,
    /// A result with `isError`, which a model reads and corrects itself by.
    Result,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            places: vec![Place::Arguments, Place::Results],
            learn: true,
            tools: BTreeMap::new(),
            unknown_keywords: UnknownKeywords::Refuse,
            answer: Answer::Error,
        }
    }
}

impl Config {
    pub(crate) fn looks_at(&self, place: Place) -> bool {
        self.places.contains(&place)
    }

    pub(crate) fn lenient(&self) -> bool {
        self.unknown_keywords == UnknownKeywords::Ignore
    }

    /// What a schema of this configuration cannot say.
    pub(crate) fn check(&self) -> Result<Vec<String>, String> {
        for (tool, given) in &self.tools {
            for (field, schema) in [("inputSchema", &given.input_schema), ("outputSchema", &given.output_schema)] {
                let Some(schema) = schema else { continue };
                Schema::new(schema.clone(), self.lenient())
                    .map_err(|unclear| format!("/tools/{tool}/{field}{}: {}", unclear.pointer, unclear.reason))?;
            }
        }
        let mut warnings = Vec::new();
        if self.places.is_empty() {
            warnings.push("/places is empty: nothing is checked".to_owned());
        }
        if !self.learn && self.tools.is_empty() {
            warnings.push("/learn is off and /tools is empty: nothing is checked".to_owned());
        }
        Ok(warnings)
    }
}
