//! From an entry to a server: which of its ways is taken, what has to be asked, and what the answers make of it.
//!
//! What an entry says is an offer and not an order. What would undo the isolation (arguments for a container engine, say) is
//! not applied and told; what it asks for in files and network is a profile that the runtime refuses where it cannot keep it.

use std::collections::{BTreeMap, BTreeSet};

use fairlead_core::image::{ImageReference, ImageReferenceError, ImageSource};
use fairlead_core::limits::NAME_LENGTH_MAX;
use fairlead_core::name::{GroupName, ServerName};
use fairlead_core::package::{PackageReference, PackageSource};
use fairlead_core::permission::PermissionProfile;
use fairlead_core::registry::ANNOTATION_ENTRY;
use fairlead_core::remote::{RemoteSource, RemoteTransport};
use fairlead_core::server::{Isolation, ServerSpec, Source, Transport};
use fairlead_server_json::{Argument, Document, Input, Package, Remote, Variable, toolhive_fields};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::entry::CATALOGUE;
use crate::merge::Merged;

/// The annotation of a server that came from an entry: the registry that this was taken from.
pub const ANNOTATION_REGISTRY: &str = "fairlead.dev/registry";
/// How far that was trusted then.
pub const ANNOTATION_LAYER: &str = "fairlead.dev/registry-layer";
/// The content of the entry, as SHA-256.
pub const ANNOTATION_FINGERPRINT: &str = "fairlead.dev/registry-fingerprint";

/// Ways that can be run, the one that is taken first.
const WAYS: [&str; 5] = ["oci", "npm", "pypi", "go", REMOTE];
const REMOTE: &str = "remote";

/// Why an entry becomes no server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// It offers nothing that can be run.
    #[error("it offers {}, and none of that can be run here", offered(.0))]
    NoWay(Vec<String>),
    /// It does not offer what was asked for.
    #[error("it has no `{wanted}`; it has {}", offered(.has))]
    NotOffered {
        /// What was asked for.
        wanted: String,
        /// What there is.
        has: Vec<String>,
    },
    /// Something has to be said first.
    #[error("it needs {}", missing(.0))]
    Missing(Vec<Question>),
    /// Something that was said cannot be.
    #[error("`{name}` is `{value}`, {reason}")]
    Answer {
        /// What was asked.
        name: String,
        /// What was said; of a secret, nothing.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The entry itself is wrong.
    #[error("{0}")]
    Entry(String),
}

fn offered(ways: &[String]) -> String {
    if ways.is_empty() { "nothing".to_owned() } else { ways.join(", ") }
}

fn missing(questions: &[Question]) -> String {
    questions.iter().map(|question| format!("`{}`", question.name)).collect::<Vec<_>>().join(", ")
}

/// Something that an entry wants to know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Question {
    /// Its name: of an environment variable, a header, an argument or a variable.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Nothing works without it.
    pub required: bool,
    /// Not to be shown.
    pub secret: bool,
    /// What it is when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// What it can be; empty: anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
}

/// A server that was made of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// What it would be called.
    pub name: ServerName,
    /// The server.
    pub spec: ServerSpec,
    /// What of the entry is not applied.
    pub notes: Vec<String>,
}

/// One way to run an entry.
#[derive(Debug, Clone, Copy)]
pub enum Way<'a> {
    /// A package.
    Package(&'a Package),
    /// A place where it runs.
    Remote(&'a Remote),
}

/// The permission profile of an entry: that of a rule of ours, or that of ToolHive; the error says why it is none.
#[must_use]
pub fn profile_of(view: &Document) -> Option<Result<PermissionProfile, String>> {
    let ours = view.meta.get(CATALOGUE).and_then(|ours| ours.get("permissions"));
    let given = ours.or_else(|| toolhive_fields(view)?.1.get("permissions"))?;
    Some(serde_json::from_value(given.clone()).map_err(|error| error.to_string()))
}

/// Chooses a way: the one that is asked for (`oci`, `npm`, `pypi`, `go`, `remote`), or the most isolated there is.
///
/// # Errors
/// There is none.
pub fn way<'a>(view: &'a Document, wanted: Option<&str>) -> Result<Way<'a>, LaunchError> {
    let has = || view.package_types().into_iter().map(str::to_owned).collect::<Vec<_>>();
    let find = |kind: &str| match kind {
        REMOTE => view.remotes.first().map(Way::Remote),
        kind => view.packages.iter().find(|package| package.registry_type == kind).map(Way::Package),
    };
    match wanted {
        Some(wanted) if WAYS.contains(&wanted) => {
            find(wanted).ok_or_else(|| LaunchError::NotOffered { wanted: wanted.to_owned(), has: has() })
        }
        Some(wanted) => Err(LaunchError::NotOffered { wanted: wanted.to_owned(), has: has() }),
        None => WAYS.iter().find_map(|kind| find(kind)).ok_or_else(|| LaunchError::NoWay(has())),
    }
}

/// What an entry wants to know when it is run in this way: the parameters of a template first.
#[must_use]
pub fn questions(view: &Document, way: &Way<'_>) -> Vec<Question> {
    let mut asked = Vec::new();
    variables(&view.parameters(), &mut asked);
    for question in way.questions() {
        if !asked.iter().any(|known| known.name == question.name) {
            asked.push(question);
        }
    }
    asked
}

impl Way<'_> {
    /// What it wants to know, each once, in order.
    #[must_use]
    pub fn questions(&self) -> Vec<Question> {
        let mut asked = Vec::new();
        match self {
            Self::Package(package) => {
                variables(&package.environment_variables, &mut asked);
                for argument in &package.package_arguments {
                    question(called(argument), &argument.input, &mut asked);
                }
            }
            Self::Remote(remote) => {
                for (name, input) in &remote.variables {
                    question(name, input, &mut asked);
                }
                variables(&remote.headers, &mut asked);
            }
        }
        asked
    }
}

fn variables(variables: &[Variable], asked: &mut Vec<Question>) {
    for Variable { name, input } in variables {
        question(name, input, asked);
    }
}

/// Of an input with a fixed value, its variables are asked for.
fn question(name: &str, input: &Input, asked: &mut Vec<Question>) {
    if input.value.is_some() {
        for (name, variable) in &input.variables {
            question(name, variable, asked);
        }
        return;
    }
    if name.is_empty() || asked.iter().any(|known| known.name == name) {
        return;
    }
    asked.push(Question {
        name: name.to_owned(),
        description: input.description.clone(),
        required: input.is_required,
        secret: input.is_secret,
        default: input.default.clone(),
        choices: input.choices.clone(),
    });
}

fn called(argument: &Argument) -> &str {
    if argument.value_hint.is_empty() { argument.name.trim_start_matches('-') } else { &argument.value_hint }
}

/// Makes a server of an entry and answers. A secret is answered by its reference (`secret://store/name`).
///
/// # Errors
/// An answer is missing or wrong, or the entry is.
pub fn launch(
    merged: &Merged,
    wanted: Option<&str>,
    answers: &BTreeMap<String, String>,
) -> Result<Launch, LaunchError> {
    let view = merged.entry.view();
    let way = way(&view, wanted)?;
    let parameters = view.parameters().into_iter().map(|Variable { name, input }| (name, input)).collect();
    let mut filling = Filling { answers, parameters, used: BTreeSet::new(), missing: Vec::new(), notes: Vec::new() };
    let (source, transport, mut env) = match way {
        Way::Package(package) => filling.package(&view, package)?,
        Way::Remote(remote) => (filling.remote(remote)?, Transport::Stdio, BTreeMap::new()),
    };
    if !filling.missing.is_empty() {
        return Err(LaunchError::Missing(filling.missing));
    }
    for (name, value) in answers.iter().filter(|(name, _)| !filling.used.contains(*name)) {
        // A process takes any environment; what is sent to a server elsewhere is what it asked for.
        match way {
            Way::Package(_) => drop(env.insert(name.clone(), value.clone())),
            Way::Remote(_) => {
                let reason = "which it does not ask for".to_owned();
                return Err(LaunchError::Answer { name: name.clone(), value: "…".to_owned(), reason });
            }
        }
    }
    let fingerprint: String = merged.entry.fingerprint().iter().map(|byte| format!("{byte:02x}")).collect();
    let annotations = [
        (ANNOTATION_ENTRY, format!("{}@{}", merged.entry.name, merged.entry.version)),
        (ANNOTATION_REGISTRY, merged.registry.to_string()),
        (ANNOTATION_LAYER, merged.layer.to_string()),
        (ANNOTATION_FINGERPRINT, format!("sha256:{fingerprint}")),
    ];
    let spec = ServerSpec {
        source,
        transport,
        isolation: Isolation::default(),
        bridge: false,
        env,
        tools: Vec::new(),
        plugins: Vec::new(),
        group: GroupName::default(),
        labels: BTreeMap::new(),
        annotations: annotations.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        updates: None,
    };
    Ok(Launch { name: server_name(&merged.entry.name)?, spec, notes: filling.notes })
}

/// The image that a package of type `oci` names.
///
/// # Errors
/// It names none.
pub(crate) fn image_of(package: &Package) -> Result<ImageReference, ImageReferenceError> {
    let is_bare = crate::rules::bare(&package.identifier) == package.identifier;
    match package.version.as_str() {
        // Earlier schemas had the tag in a field of its own.
        version if is_bare && !version.is_empty() => ImageReference::new(&format!("{}:{version}", package.identifier)),
        _ => ImageReference::new(&package.identifier),
    }
}

/// The last part of a name, as a DNS label.
fn server_name(name: &str) -> Result<ServerName, LaunchError> {
    let last = name.rsplit('/').next().unwrap_or(name);
    let mut label = String::new();
    for c in last.chars().map(|c| c.to_ascii_lowercase()).take(NAME_LENGTH_MAX) {
        match c {
            'a'..='z' | '0'..='9' => label.push(c),
            _ if !label.is_empty() && !label.ends_with('-') => label.push('-'),
            _ => {}
        }
    }
    ServerName::new(label.trim_end_matches('-')).map_err(|error| LaunchError::Entry(error.to_string()))
}

type Packaged = (Source, Transport, BTreeMap<String, String>);

struct Filling<'a> {
    answers: &'a BTreeMap<String, String>,
    /// Of a template: what every text may name.
    parameters: BTreeMap<String, Input>,
    used: BTreeSet<String>,
    missing: Vec<Question>,
    notes: Vec<String>,
}

impl Filling<'_> {
    fn package(&mut self, view: &Document, package: &Package) -> Result<Packaged, LaunchError> {
        let env = self.named(&package.environment_variables)?;
        let mut args = Vec::new();
        for argument in &package.package_arguments {
            self.argument(argument, &mut args)?;
        }
        if !package.runtime_arguments.is_empty() {
            let runtime = if package.runtime_hint.is_empty() { "its runtime" } else { &package.runtime_hint };
            self.notes.push(format!("arguments for {runtime} are not applied: how it is isolated is decided here"));
        }
        if args.is_empty() {
            // ToolHive keeps them apart.
            let theirs = toolhive_fields(view).and_then(|(_, fields)| fields.get("args")?.as_array());
            args.extend(theirs.into_iter().flatten().filter_map(|arg| arg.as_str().map(str::to_owned)));
        }
        let permissions = match profile_of(view) {
            None => PermissionProfile::default(),
            Some(Ok(profile)) => profile,
            Some(Err(error)) => return Err(LaunchError::Entry(format!("its permissions make no sense: {error}"))),
        };
        let transport = self.transport(package)?;
        let wrong = |error: String| LaunchError::Entry(error);
        let versioned = |scheme: &str| match package.version.as_str() {
            "" => format!("{scheme}{}", package.identifier),
            version => format!("{scheme}{}@{version}", package.identifier),
        };
        let scheme = match package.registry_type.as_str() {
            "oci" => None,
            "npm" => Some("npx://"),
            "pypi" => Some("uvx://"),
            _ => Some("go://"),
        };
        let source = match scheme {
            None => {
                let reference = image_of(package).map_err(|error| wrong(error.to_string()))?;
                Source::Image(Box::new(ImageSource { args, permissions, ..ImageSource::new(reference) }))
            }
            Some(scheme) => {
                let reference = PackageReference::new(&versioned(scheme)).map_err(|error| wrong(error.to_string()))?;
                Source::Package(Box::new(PackageSource { args, permissions, ..PackageSource::new(reference) }))
            }
        };
        Ok((source, transport, env))
    }

    fn transport(&mut self, package: &Package) -> Result<Transport, LaunchError> {
        let kind = package.transport.kind.as_str();
        if matches!(kind, "" | "stdio") {
            return Ok(Transport::Stdio);
        }
        // Of an address such as `http://localhost:{port}/mcp` only port and path mean anything inside a container.
        let url = self.substituted(&package.transport.url, &BTreeMap::new())?;
        let rest = url.split_once("://").map_or("", |(_, rest)| rest);
        let (authority, path) = rest.split_once('/').map_or((rest, None), |(a, path)| (a, Some(format!("/{path}"))));
        let port = authority.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok()).filter(|port| *port > 0);
        let port = port.ok_or_else(|| {
            LaunchError::Entry(format!("it speaks {kind}, and `{url}` names no port that it listens on"))
        })?;
        match kind {
            "sse" => Ok(Transport::Sse { port, path: path.unwrap_or_else(|| "/sse".to_owned()) }),
            "streamable-http" => {
                Ok(Transport::StreamableHttp { port, path: path.unwrap_or_else(|| "/mcp".to_owned()) })
            }
            other => Err(LaunchError::Entry(format!("it speaks `{other}`, which is no transport of MCP"))),
        }
    }

    fn remote(&mut self, remote: &Remote) -> Result<Source, LaunchError> {
        let url = self.substituted(&remote.url, &remote.variables)?;
        let headers = self.named(&remote.headers)?;
        let headers = headers.into_iter().map(|(name, value)| {
            // In a header a reference stands inside a text.
            let value = if value.starts_with(fairlead_core::secret::SCHEME) { format!("${{{value}}}") } else { value };
            (name, value)
        });
        let transport = match remote.kind.as_str() {
            "sse" => RemoteTransport::Sse,
            "streamable-http" => RemoteTransport::StreamableHttp,
            _ => RemoteTransport::Auto,
        };
        Ok(Source::Remote(Box::new(RemoteSource { transport, headers: headers.collect(), ..RemoteSource::new(url) })))
    }

    fn named(&mut self, variables: &[Variable]) -> Result<BTreeMap<String, String>, LaunchError> {
        let mut named = BTreeMap::new();
        for Variable { name, input } in variables {
            if let Some(value) = self.value(name, input)? {
                named.insert(name.clone(), value);
            }
        }
        Ok(named)
    }

    fn argument(&mut self, argument: &Argument, args: &mut Vec<String>) -> Result<(), LaunchError> {
        let value = self.value(called(argument), &argument.input)?;
        let is_switch = argument.input.format == "boolean";
        match (argument.kind.as_str(), value) {
            ("named", Some(value)) if is_switch => args.extend((value == "true").then(|| argument.name.clone())),
            ("named", Some(value)) if value.is_empty() => args.push(argument.name.clone()),
            ("named", Some(value)) => args.extend([argument.name.clone(), value]),
            // A name without anything to fill in is given as it is.
            ("named", None) if argument.value_hint.is_empty() && argument.input.is_required => {}
            (_, Some(value)) => args.push(value),
            (_, None) => {}
        }
        Ok(())
    }

    fn answer(&mut self, name: &str) -> Option<String> {
        let answer = self.answers.get(name)?;
        self.used.insert(name.to_owned());
        Some(answer.clone())
    }

    fn value(&mut self, name: &str, input: &Input) -> Result<Option<String>, LaunchError> {
        if let Some(value) = &input.value {
            return self.substituted(value, &input.variables).map(Some);
        }
        let Some(value) = self.answer(name).or_else(|| input.default.clone()) else {
            if input.is_required {
                question(name, input, &mut self.missing);
            }
            return Ok(None);
        };
        let reason = match input.format.as_str() {
            _ if !input.choices.is_empty() && !input.choices.contains(&value) => {
                Some(format!("and can be {}", input.choices.join(", ")))
            }
            "number" if value.parse::<f64>().is_err() => Some("and should be a number".to_owned()),
            "boolean" if !matches!(value.as_str(), "true" | "false") => {
                Some("and should be `true` or `false`".to_owned())
            }
            _ => None,
        };
        match reason {
            None => Ok(Some(value)),
            Some(reason) => {
                let value = if input.is_secret { "…".to_owned() } else { value };
                Err(LaunchError::Answer { name: name.to_owned(), value, reason })
            }
        }
    }

    /// A text with `{name}` in it, filled in. A name that nobody knows stays, as the schema says.
    fn substituted(&mut self, text: &str, variables: &BTreeMap<String, Input>) -> Result<String, LaunchError> {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else { break };
            filled.push_str(before);
            let known = variables.get(name).or_else(|| self.parameters.get(name)).cloned();
            let value = match known {
                Some(input) => Some(self.value(name, &input)?.unwrap_or_default()),
                None => self.answer(name),
            };
            match value {
                Some(value) if value.starts_with(fairlead_core::secret::SCHEME) => {
                    filled.push_str(&format!("${{{value}}}"));
                }
                Some(value) => filled.push_str(&value),
                None => filled.push_str(&format!("{{{name}}}")),
            }
            rest = after;
        }
        filled.push_str(rest);
        Ok(filled)
    }
}

#[cfg(test)]
mod tests;
