//! From a RunConfig to a server.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    ANNOTATION, Fate, NOT_APPLIED, Note, RunConfig, RunConfigError, SCHEMA_VERSION, SECRET_FIELDS, usual_profile,
};
use crate::freshness::UpdateSpec;
use crate::image::{ImageReference, ImageSource};
use crate::name::{AttachmentName, GroupName, ServerName};
use crate::package::{PackageReference, PackageSource};
use crate::permission::PermissionProfile;
use crate::plugin::AttachmentSpec;
use crate::remote::{RemoteSource, RemoteTransport};
use crate::secret::{SCHEME, STORE};
use crate::server::{Isolation, ServerSpec, Source, Transport};

/// Takes a RunConfig over.
///
/// # Errors
/// It is none, of another version, or says something that cannot be true.
pub fn import(document: &Value) -> Result<(ServerName, ServerSpec, Vec<Note>), RunConfigError> {
    let mut config: RunConfig = serde_json::from_value(without_defaults(document))
        .map_err(|error| RunConfigError { pointer: String::new(), reason: error.to_string() })?;
    if !config.schema_version.is_empty() && config.schema_version != SCHEMA_VERSION {
        let reason = format!("RunConfig `{}` is not known; `{SCHEMA_VERSION}` is", config.schema_version);
        return Err(wrong("/schema_version", reason));
    }
    let mut notes = Vec::new();
    let name = [&config.name, &config.base_name].into_iter().find(|name| !name.is_empty());
    let name = name.ok_or_else(|| wrong("/name", "the server has no name"))?;
    let name = ServerName::new(name).map_err(|error| wrong("/name", error.to_string()))?;
    for (field, value) in [("container_name", &config.container_name), ("base_name", &config.base_name)] {
        if !value.is_empty() && value != name.as_str() {
            config.rest.insert(field.to_owned(), json!(value));
        }
    }
    let env = env(&config)?;
    let spec = ServerSpec {
        source: source(&config, &mut notes)?,
        transport: transport(&config)?,
        // What ToolHive does: one container for all.
        isolation: Isolation::Session,
        bridge: false,
        env,
        tools: config.tools_filter.clone(),
        plugins: overrides(&config.tools_override)?.into_iter().collect(),
        // It was there before: whoever ran it did not ask for updates.
        updates: Some(UpdateSpec::default()),
        group: match config.group.as_str() {
            "" => GroupName::default(),
            group => GroupName::new(group).map_err(|error| wrong("/group", error.to_string()))?,
        },
        labels: texts("/container_labels", &config.container_labels)?
            .into_iter()
            // ToolHive puts these on for itself, again with every start.
            .filter(|(label, _)| !label.starts_with("toolhive"))
            .collect(),
        annotations: BTreeMap::new(),
    };
    let annotations = keep(config.rest, &mut notes);
    notes.sort_by(|one, other| one.pointer.cmp(&other.pointer));
    Ok((name, ServerSpec { annotations, ..spec }, notes))
}

fn wrong(pointer: &str, reason: impl Into<String>) -> RunConfigError {
    RunConfigError { pointer: pointer.to_owned(), reason: reason.into() }
}

/// The document without fields that say nothing: ToolHive writes some of them, and leaving them out means the same.
fn without_defaults(document: &Value) -> Value {
    let Some(fields) = document.as_object() else { return document.clone() };
    let says_nothing = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Number(number) => number.as_u64() == Some(0),
        Value::Bool(true) => false,
    };
    fields.iter().filter(|(_, value)| !says_nothing(value)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn source(config: &RunConfig, notes: &mut Vec<Note>) -> Result<Source, RunConfigError> {
    if !config.remote_url.is_empty() {
        return Ok(Source::Remote(Box::new(RemoteSource {
            transport: match config.transport.as_str() {
                "streamable-http" => RemoteTransport::StreamableHttp,
                "sse" => RemoteTransport::Sse,
                _ => RemoteTransport::Auto,
            },
            headers: headers(config, notes)?,
            ..RemoteSource::new(&*config.remote_url)
        })));
    }
    let permissions = permissions(config)?;
    if PackageReference::is_meant(&config.image) {
        let package = PackageReference::new(&config.image).map_err(|error| wrong("/image", error.to_string()))?;
        let source = PackageSource { args: config.cmd_args.clone(), permissions, ..PackageSource::new(package) };
        return Ok(Source::Package(Box::new(source)));
    }
    let reference = ImageReference::new(&config.image).map_err(|error| wrong("/image", error.to_string()))?;
    let source = ImageSource { args: config.cmd_args.clone(), permissions, ..ImageSource::new(reference) };
    Ok(Source::Image(Box::new(source)))
}

fn transport(config: &RunConfig) -> Result<Transport, RunConfigError> {
    let port = || match config.target_port {
        0 => Err(wrong("/target_port", "a server that speaks HTTP has a port")),
        port => Ok(port),
    };
    match config.transport.as_str() {
        _ if !config.remote_url.is_empty() => Ok(Transport::Stdio),
        "" | "stdio" => Ok(Transport::Stdio),
        "streamable-http" => Ok(Transport::StreamableHttp { port: port()?, path: "/mcp".to_owned() }),
        "sse" => Ok(Transport::Sse { port: port()?, path: "/sse".to_owned() }),
        other => Err(wrong("/transport", format!("`{other}` is not supported"))),
    }
}

fn permissions(config: &RunConfig) -> Result<PermissionProfile, RunConfigError> {
    let mut profile = match (&config.permission_profile, config.permission_profile_name_or_path.as_str()) {
        (Some(profile), _) => {
            let profile: Result<PermissionProfile, _> = serde_json::from_value(profile.clone());
            profile.map_err(|error| wrong("/permission_profile", error.to_string()))?
        }
        (None, "") => usual_profile(),
        (None, name) => PermissionProfile::builtin(name).map_err(|_| {
            let reason = format!(
                "`{name}` is a file that is not part of this document; put its content into `permission_profile`"
            );
            wrong("/permission_profile_name_or_path", reason)
        })?,
    };
    for (at, volume) in config.volumes.iter().enumerate() {
        let pointer = format!("/volumes/{at}");
        let mut parts = volume.split(':');
        let (Some(source), Some(target)) = (parts.next(), parts.next()) else {
            return Err(wrong(&pointer, format!("`{volume}` is not `host:container[:ro]`")));
        };
        let mount = if source == target { source.to_owned() } else { format!("{source}:{target}") };
        match (parts.next(), parts.next()) {
            (Some("ro"), None) => profile.read.push(mount),
            (None | Some("rw"), None) => profile.write.push(mount),
            _ => return Err(wrong(&pointer, format!("`{volume}` is not `host:container[:ro]`"))),
        }
    }
    Ok(profile)
}

fn env(config: &RunConfig) -> Result<BTreeMap<String, String>, RunConfigError> {
    let mut env = texts("/env_vars", &config.env_vars)?;
    for (at, secret) in config.secrets.iter().enumerate() {
        let (name, target) =
            named(secret).ok_or_else(|| wrong(&format!("/secrets/{at}"), "it is not `NAME,target=VARIABLE`"))?;
        env.insert(target.to_owned(), format!("{SCHEME}{STORE}/{name}"));
    }
    Ok(env)
}

/// `NAME,target=TARGET`: how ToolHive names a secret of its store.
fn named(text: &str) -> Option<(&str, &str)> {
    let (name, target) = text.split_once(",target=")?;
    (!name.is_empty() && !target.is_empty()).then_some((name, target))
}

fn headers(config: &RunConfig, notes: &mut Vec<Note>) -> Result<BTreeMap<String, String>, RunConfigError> {
    let mut headers = BTreeMap::new();
    for (field, value) in &config.header_forward {
        let pointer = format!("/header_forward/{field}");
        let given = value.as_object().ok_or_else(|| wrong(&pointer, "it is no object"))?;
        match field.as_str() {
            "add_plaintext_headers" => headers.extend(texts(&pointer, given)?),
            "add_headers_from_secret" => {
                let named = texts(&pointer, given)?;
                headers
                    .extend(named.into_iter().map(|(header, name)| (header, format!("${{{SCHEME}{STORE}/{name}}}"))));
            }
            _ => notes.push(Note { pointer, fate: Fate::Dropped, reason: "it is not known".to_owned() }),
        }
    }
    Ok(headers)
}

/// `tools_override` is what the plugin `tool-filter` does.
fn overrides(overrides: &Map<String, Value>) -> Result<Option<AttachmentSpec>, RunConfigError> {
    if overrides.is_empty() {
        return Ok(None);
    }
    let (mut rename, mut descriptions) = (Map::new(), Map::new());
    for (tool, change) in overrides {
        let text = |field: &str| change.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
        let known = ["name", "description"];
        if let Some(more) = change.as_object().into_iter().flatten().find(|(field, _)| !known.contains(&field.as_str()))
        {
            return Err(wrong(
                &format!("/tools_override/{tool}/{}", more.0),
                "only `name` and `description` can be overridden",
            ));
        }
        let shown = text("name").unwrap_or(tool);
        if shown != tool {
            rename.insert(tool.clone(), shown.into());
        }
        if let Some(description) = text("description") {
            descriptions.insert(shown.to_owned(), description.into());
        }
    }
    let name = AttachmentName::new("tools-override").map_err(|error| wrong("/tools_override", error.to_string()))?;
    let config = json!({ "rename": rename, "descriptions": descriptions });
    Ok(Some(AttachmentSpec { config, ..AttachmentSpec::new(name, "tool-filter") }))
}

fn texts(pointer: &str, map: &Map<String, Value>) -> Result<BTreeMap<String, String>, RunConfigError> {
    map.iter()
        .map(|(name, value)| match value.as_str() {
            Some(text) => Ok((name.clone(), text.to_owned())),
            None => Err(wrong(&format!("{pointer}/{name}"), "it is no text")),
        })
        .collect()
}

/// What has no meaning here, as an annotation, and a word about each field.
fn keep(rest: Map<String, Value>, notes: &mut Vec<Note>) -> BTreeMap<String, String> {
    let mut kept = Map::new();
    for (field, mut value) in rest {
        let pointer = format!("/{}", field.replace('~', "~0").replace('/', "~1"));
        scrub(&pointer, &field, &mut value, notes);
        if value.is_null() {
            continue;
        }
        // Derived from the name, and written again from there.
        let derived = ["container_name", "base_name"].contains(&field.as_str());
        let known = NOT_APPLIED.iter().find(|(known, _)| *known == field);
        match known {
            _ if derived => {}
            Some((_, why)) => notes.push(Note { pointer, fate: Fate::NotApplied, reason: (*why).to_owned() }),
            None => {
                let reason = format!("RunConfig {SCHEMA_VERSION} has no such field");
                notes.push(Note { pointer, fate: Fate::Unknown, reason });
            }
        }
        kept.insert(field, value);
    }
    if kept.is_empty() { BTreeMap::new() } else { [(ANNOTATION.to_owned(), Value::Object(kept).to_string())].into() }
}

/// Takes secrets in plain text out.
fn scrub(pointer: &str, field: &str, value: &mut Value, notes: &mut Vec<Note>) {
    match value {
        Value::String(text) => {
            let is_secret = SECRET_FIELDS.contains(&field.to_ascii_lowercase().as_str()) && named(text).is_none();
            if is_secret && !text.is_empty() {
                let reason =
                    "a secret in plain text is not taken over: `fairlead secret set` keeps it, a reference names it";
                notes.push(Note { pointer: pointer.to_owned(), fate: Fate::Dropped, reason: reason.to_owned() });
                *value = Value::Null;
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                scrub(&format!("{pointer}/{name}"), name, value, notes);
            }
            fields.retain(|_, value| !value.is_null());
        }
        Value::Array(items) => {
            for (at, item) in items.iter_mut().enumerate() {
                scrub(&format!("{pointer}/{at}"), field, item, notes);
            }
        }
        _ => {}
    }
}
