//! From a server to a RunConfig.

use serde_json::{Map, Value, json};

use super::{ANNOTATION, Fate, Note, RunConfig, RunConfigError, SCHEMA_VERSION};
use crate::image::Resources;
use crate::name::ServerName;
use crate::permission::PermissionProfile;
use crate::remote::RemoteTransport;
use crate::secret::{SCHEME, STORE};
use crate::server::{Isolation, ServerSpec, Source};

/// Writes a server as a RunConfig: indented as ToolHive does, and the same bytes for the same server.
///
/// # Errors
/// ToolHive has nothing like it: a local command, a Wasm component.
pub fn export(name: &ServerName, spec: &ServerSpec) -> Result<(String, Vec<Note>), RunConfigError> {
    let mut notes = Vec::new();
    let kept = spec.annotations.get(ANNOTATION);
    let rest: Map<String, Value> = kept.and_then(|kept| serde_json::from_str(kept).ok()).unwrap_or_default();
    let mut config = RunConfig {
        schema_version: SCHEMA_VERSION.to_owned(),
        name: name.to_string(),
        transport: spec.transport.name().to_owned(),
        target_port: spec.transport.port().unwrap_or_default(),
        tools_filter: spec.tools.clone(),
        group: spec.group.to_string(),
        container_labels: spec.labels.iter().map(|(label, value)| (label.clone(), json!(value))).collect(),
        rest,
        ..RunConfig::default()
    };
    for name in ["container_name", "base_name"] {
        let kept = config.rest.remove(name).and_then(|kept| kept.as_str().map(str::to_owned));
        let written = kept.unwrap_or_else(|| config.name.clone());
        if name == "base_name" { config.base_name = written } else { config.container_name = written }
    }
    source(&spec.source, &mut config, &mut notes)?;
    env(spec, &mut config, &mut notes);
    plugins(spec, &mut config, &mut notes);
    if spec.isolation == Isolation::Shared {
        notes.push(lost("/spec/isolation", "ToolHive always shares one process"));
    }
    if spec.bridge {
        notes.push(lost("/spec/bridge", "ToolHive tells a client of the newest revision that the server is older"));
    }
    let mut text = serde_json::to_string_pretty(&config)
        .map_err(|error| RunConfigError { pointer: String::new(), reason: error.to_string() })?;
    text.push('\n');
    Ok((text, notes))
}

fn lost(pointer: &str, reason: &str) -> Note {
    Note { pointer: pointer.to_owned(), fate: Fate::Dropped, reason: reason.to_owned() }
}

fn source(source: &Source, config: &mut RunConfig, notes: &mut Vec<Note>) -> Result<(), RunConfigError> {
    let nothing_like_it = |what: &str| {
        let reason = format!("ToolHive has nothing like {what}; `--as yaml` exports it");
        Err(RunConfigError { pointer: "/spec/source".to_owned(), reason })
    };
    match source {
        Source::Image(image) => {
            config.image = image.reference.to_string();
            config.cmd_args.clone_from(&image.args);
            permissions(&image.permissions, config);
            if !image.command.is_empty() {
                notes.push(lost("/spec/source/command", "ToolHive runs the entry point of the image"));
            }
            container(image.user.is_some(), image.writable_root, image.resources, notes);
        }
        Source::Package(package) => {
            config.image = package.package.to_string();
            config.cmd_args.clone_from(&package.args);
            permissions(&package.permissions, config);
            container(package.user.is_some(), package.writable_root, package.resources, notes);
        }
        Source::Remote(remote) => {
            config.remote_url.clone_from(&remote.url);
            config.transport = match remote.transport {
                RemoteTransport::Sse => "sse",
                RemoteTransport::Auto | RemoteTransport::StreamableHttp => "streamable-http",
            }
            .to_owned();
            let (mut plain, mut secret) = (Map::new(), Map::new());
            for (header, value) in &remote.headers {
                let reference = value.strip_prefix("${").and_then(|value| value.strip_suffix('}'));
                match reference.and_then(stored) {
                    Some(name) => secret.insert(header.clone(), name.into()),
                    None => plain.insert(header.clone(), value.clone().into()),
                };
            }
            for (field, headers) in [("add_plaintext_headers", plain), ("add_headers_from_secret", secret)] {
                if !headers.is_empty() {
                    config.header_forward.insert(field.to_owned(), headers.into());
                }
            }
        }
        Source::Command { .. } => return nothing_like_it("a command of this machine"),
        Source::Wasm { .. } => return nothing_like_it("a Wasm component"),
    }
    Ok(())
}

fn permissions(profile: &PermissionProfile, config: &mut RunConfig) {
    config.permission_profile = Some(json!(profile));
    if PermissionProfile::builtin(&profile.name).as_ref() == Ok(profile) {
        config.permission_profile_name_or_path.clone_from(&profile.name);
    }
}

fn container(user: bool, writable_root: bool, resources: Resources, notes: &mut Vec<Note>) {
    if user {
        notes.push(lost("/spec/source/user", "ToolHive runs the user of the image"));
    }
    if writable_root {
        notes.push(lost("/spec/source/writableRoot", "ToolHive always lets a server write to its image"));
    }
    if resources != Resources::default() {
        notes.push(lost("/spec/source/resources", "ToolHive has no such limits"));
    }
}

/// The name of a secret of the store.
fn stored(reference: &str) -> Option<&str> {
    reference.strip_prefix(SCHEME)?.strip_prefix(STORE)?.strip_prefix('/')
}

fn env(spec: &ServerSpec, config: &mut RunConfig, notes: &mut Vec<Note>) {
    for (name, value) in &spec.env {
        match stored(value) {
            Some(secret) => config.secrets.push(format!("{secret},target={name}")),
            None => {
                if value.contains(SCHEME) {
                    let reason =
                        "ToolHive takes a secret as a whole value, and from its own store; it gets the text as it is";
                    notes.push(lost(&format!("/spec/env/{name}"), reason));
                }
                config.env_vars.insert(name.clone(), value.clone().into());
            }
        }
    }
}

fn plugins(spec: &ServerSpec, config: &mut RunConfig, notes: &mut Vec<Note>) {
    for (at, plugin) in spec.plugins.iter().enumerate() {
        if plugin.plugin != "tool-filter" || plugin.name.as_str() != "tools-override" {
            let reason = format!("ToolHive has no plugins, so it will not have `{}`", plugin.name);
            notes.push(lost(&format!("/spec/plugins/{at}"), &reason));
            continue;
        }
        let table = |field: &str| plugin.config.get(field).and_then(Value::as_object).cloned().unwrap_or_default();
        let (rename, descriptions) = (table("rename"), table("descriptions"));
        for (tool, shown) in &rename {
            config.tools_override.insert(tool.clone(), json!({ "name": shown }));
        }
        for (shown, description) in &descriptions {
            let tool = rename.iter().find(|(_, to)| to.as_str() == Some(shown)).map_or(shown, |(tool, _)| tool);
            let entry = config.tools_override.entry(tool.clone()).or_insert_with(|| json!({}));
            if let Some(entry) = entry.as_object_mut() {
                entry.insert("description".to_owned(), description.clone());
            }
        }
    }
}
