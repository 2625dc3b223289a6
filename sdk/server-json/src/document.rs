//! `server.json` as far as Fairlead acts on it. Every field is optional and unknown ones are passed over: this is a view, and
//! the text beside it is what is kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A view of one `server.json`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Document {
    /// The schema that it claims to follow.
    #[serde(rename = "$schema", deserialize_with = "lenient")]
    pub schema: String,
    /// `namespace/name`.
    #[serde(deserialize_with = "lenient")]
    pub name: String,
    /// For display.
    #[serde(deserialize_with = "lenient")]
    pub title: String,
    /// What it is for.
    #[serde(deserialize_with = "lenient")]
    pub description: String,
    /// This version of it.
    #[serde(deserialize_with = "lenient")]
    pub version: String,
    /// Where its source is.
    #[serde(deserialize_with = "lenient")]
    pub repository: Repository,
    /// A page about it.
    #[serde(deserialize_with = "lenient")]
    pub website_url: String,
    /// Ways to run it.
    #[serde(deserialize_with = "each")]
    pub packages: Vec<Package>,
    /// Places where it runs already.
    #[serde(deserialize_with = "each")]
    pub remotes: Vec<Remote>,
    /// What its publisher, a registry or anybody else adds.
    #[serde(rename = "_meta", deserialize_with = "lenient")]
    pub meta: BTreeMap<String, Value>,
}

/// Where source is.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Repository {
    /// Its URL.
    #[serde(deserialize_with = "lenient")]
    pub url: String,
    /// Who hosts it: `github`, `gitlab`.
    #[serde(deserialize_with = "lenient")]
    pub source: String,
}

/// One way to run a server.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Package {
    /// `npm`, `pypi`, `oci`, `nuget`, `mcpb`, `cargo`, `go`.
    #[serde(alias = "registry_type", deserialize_with = "lenient")]
    pub registry_type: String,
    /// Another place than the usual one for packages of this type.
    #[serde(alias = "registry_base_url", deserialize_with = "lenient")]
    pub registry_base_url: String,
    /// Name of the package; with tag or digest for `oci`, a URL for `mcpb`.
    #[serde(deserialize_with = "lenient")]
    pub identifier: String,
    /// Version of the package, where the identifier does not have it.
    #[serde(deserialize_with = "lenient")]
    pub version: String,
    /// Program that is meant to run it: `npx`, `uvx`, `docker`.
    #[serde(alias = "runtime_hint", deserialize_with = "lenient")]
    pub runtime_hint: String,
    /// How the server speaks.
    #[serde(deserialize_with = "lenient")]
    pub transport: Transport,
    /// Arguments for that program.
    #[serde(alias = "runtime_arguments", deserialize_with = "each")]
    pub runtime_arguments: Vec<Argument>,
    /// Arguments for the server.
    #[serde(alias = "package_arguments", deserialize_with = "each")]
    pub package_arguments: Vec<Argument>,
    /// Its environment.
    #[serde(alias = "environment_variables", deserialize_with = "each")]
    pub environment_variables: Vec<Variable>,
}

/// How a server speaks.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Transport {
    /// `stdio`, `streamable-http`, `sse`.
    #[serde(rename = "type", deserialize_with = "lenient")]
    pub kind: String,
    /// Where it listens.
    #[serde(deserialize_with = "lenient")]
    pub url: String,
    /// Headers that it wants.
    #[serde(deserialize_with = "each")]
    pub headers: Vec<Variable>,
}

/// A place where a server runs.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Remote {
    /// `streamable-http`, `sse`.
    #[serde(rename = "type", alias = "transport_type", deserialize_with = "lenient")]
    pub kind: String,
    /// Where, with `{variables}`.
    #[serde(deserialize_with = "lenient")]
    pub url: String,
    /// Headers that it wants.
    #[serde(deserialize_with = "each")]
    pub headers: Vec<Variable>,
    /// Values for the variables of the URL.
    #[serde(deserialize_with = "lenient")]
    pub variables: BTreeMap<String, Input>,
}

/// Something that is filled in.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Input {
    /// What it is for.
    #[serde(deserialize_with = "lenient")]
    pub description: String,
    /// Nothing works without it.
    #[serde(alias = "is_required", deserialize_with = "lenient")]
    pub is_required: bool,
    /// Not to be shown or stored in the open.
    #[serde(alias = "is_secret", deserialize_with = "lenient")]
    pub is_secret: bool,
    /// A fixed value, with `{variables}`: nobody is asked.
    #[serde(deserialize_with = "text")]
    pub value: Option<String>,
    /// What it is when nobody says otherwise.
    #[serde(deserialize_with = "text")]
    pub default: Option<String>,
    /// What it can be; empty: anything.
    #[serde(deserialize_with = "each")]
    pub choices: Vec<String>,
    /// `string`, `number`, `boolean`, `filepath`.
    #[serde(deserialize_with = "lenient")]
    pub format: String,
    /// What `{name}` in the value stands for.
    #[serde(deserialize_with = "lenient")]
    pub variables: BTreeMap<String, Input>,
}

/// A named input: an environment variable or a header.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Variable {
    /// Its name.
    #[serde(deserialize_with = "lenient")]
    pub name: String,
    /// What it takes.
    #[serde(flatten)]
    pub input: Input,
}

/// An argument of a command line.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Argument {
    /// `positional` or `named`.
    #[serde(rename = "type", deserialize_with = "lenient")]
    pub kind: String,
    /// Name of a named one, with its dashes.
    #[serde(deserialize_with = "lenient")]
    pub name: String,
    /// What a positional one is called when somebody is asked.
    #[serde(alias = "value_hint", deserialize_with = "lenient")]
    pub value_hint: String,
    /// What it takes.
    #[serde(flatten)]
    pub input: Input,
}

impl Document {
    /// Reads a document; `None` when it is no JSON object.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        // A sequence could be read as the fields in order; it is not what anybody means.
        text.trim_start().starts_with('{').then(|| serde_json::from_str(text).ok())?
    }

    /// What its publisher says beyond the schema.
    #[must_use]
    pub fn published(&self) -> Option<&Value> {
        self.meta.get(crate::PUBLISHER)
    }

    /// Parameters of a template: values that are given once and stand in several places, as `{name}`.
    #[must_use]
    pub fn parameters(&self) -> Vec<Variable> {
        let given =
            self.published().and_then(|published| published.get(crate::TEMPLATE)?.get("parameters")?.as_array());
        given.into_iter().flatten().filter_map(|one| serde_json::from_value(one.clone()).ok()).collect()
    }

    /// Words that it is found by: `tags` or `keywords` of its publisher, ToolHive's among them. In order, each once.
    #[must_use]
    pub fn tags(&self) -> Vec<String> {
        let mut tags = Vec::new();
        let toolhive = crate::toolhive_fields(self).map(|(_, fields)| fields);
        let published = self.published();
        for place in [
            toolhive.and_then(|fields| fields.get("tags")),
            published.and_then(|published| published.get("tags")),
            published.and_then(|published| published.get("keywords")),
        ] {
            for tag in place.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
                if !tags.iter().any(|known| known == tag) {
                    tags.push(tag.to_owned());
                }
            }
        }
        tags
    }

    /// Names of its tools, where its publisher tells them.
    #[must_use]
    pub fn tools(&self) -> Vec<String> {
        let tools = crate::toolhive_fields(self).and_then(|(_, fields)| fields.get("tools")?.as_array());
        tools.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// How it can be spoken to, each once: `stdio`, `streamable-http`, `sse`.
    #[must_use]
    pub fn transports(&self) -> Vec<&str> {
        let packages = self.packages.iter().map(|package| match package.transport.kind.as_str() {
            "" => "stdio",
            kind => kind,
        });
        let mut kinds: Vec<&str> = packages.chain(self.remotes.iter().map(|remote| remote.kind.as_str())).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    /// What it can be run from, each once: `oci`, `npm`, …, and `remote`.
    #[must_use]
    pub fn package_types(&self) -> Vec<&str> {
        let mut types: Vec<&str> = self.packages.iter().map(|package| package.registry_type.as_str()).collect();
        types.extend(self.remotes.first().map(|_| "remote"));
        types.sort_unstable();
        types.dedup();
        types
    }
}

/// A field of another type is as good as an absent one: [`crate::check`] tells of it, and nothing else needs it.
fn lenient<'de, D: Deserializer<'de>, T: Default + serde::de::DeserializeOwned>(
    deserializer: D,
) -> Result<T, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

/// Of a list, the items that can be read.
fn each<'de, D: Deserializer<'de>, T: serde::de::DeserializeOwned>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let Value::Array(items) = Value::deserialize(deserializer)? else { return Ok(Vec::new()) };
    Ok(items.into_iter().filter_map(|item| serde_json::from_value(item).ok()).collect())
}

/// Values are texts; a number or a boolean is what its text is.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_the_wrong_type_hides_no_other() {
        let text = r#"{"name": "a/b", "title": 7, "packages": [3, {"registryType": "npm", "identifier": "x"}], "remotes": {}}"#;
        let document = Document::of(text).unwrap();
        assert_eq!((document.name.as_str(), document.title.as_str()), ("a/b", ""));
        assert_eq!(document.packages[0].identifier, "x");
        assert_eq!((document.transports(), document.package_types()), (vec!["stdio"], vec!["npm"]));
    }

    #[test]
    fn the_spelling_of_earlier_schemas_is_read() {
        let text = r#"{"packages": [{"registry_type": "oci", "environment_variables": [{"name": "A", "is_required": true, "default": 5}]}]}"#;
        let document = Document::of(text).unwrap();
        let variable = &document.packages[0].environment_variables[0];
        assert_eq!((variable.name.as_str(), variable.input.is_required), ("A", true));
        assert_eq!(variable.input.default.as_deref(), Some("5"));
    }

    #[test]
    fn what_is_no_object_is_no_document() {
        for text in ["", "[]", "7", "null", "{"] {
            assert!(Document::of(text).is_none(), "{text}");
        }
    }
}
