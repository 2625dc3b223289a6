//! `fairlead import`: takes over what another program manages.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use fairlead_core::name::{GroupName, TenantName};
use fairlead_core::problem::ProblemKind;
use fairlead_core::runconfig::{self, Note};
use fairlead_core::status::Desired;
use http::Method;
use serde_json::{Value, json};

use super::output::Format;
use super::{Context, Failure, operate};
use crate::api::types::{ClientInfo, ClientList, CreateGroup, CreateWorkload, GroupInfo, RegisterClient, Workload};
use crate::client::{Client, ClientError};

/// The commands.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Take over the servers, groups, client applications and ignore file of ToolHive
    Toolhive(Toolhive),
}

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Toolhive {
    /// Home directory of the user whose ToolHive it is
    #[arg(long = "from", value_name = "DIR")]
    from: Option<PathBuf>,
    /// Tenant of the servers
    #[arg(long, value_name = "TENANT", default_value_t)]
    tenant: TenantName,
    /// Start them; otherwise they are there and stopped
    #[arg(long)]
    start: bool,
    /// Only tell what would be taken over
    #[arg(long)]
    dry_run: bool,
}

/// Runs one of them.
///
/// # Errors
/// There is nothing to take over, or some of it could not be.
pub(crate) async fn run(command: Command, context: &Context) -> Result<(), Failure> {
    let Command::Toolhive(args) = command;
    let home = match args.from.clone().or_else(|| std::env::var_os("HOME").map(PathBuf::from)) {
        Some(home) => Home::of(&home)?,
        None => return Err(Failure::usage("there is no home directory").hint("name one with `--from`")),
    };
    let client = if args.dry_run { None } else { Some(context.daemon().await?) };
    let (mut report, mut failed) = (Vec::new(), 0);
    for group in &home.groups {
        let outcome = match &client {
            Some(client) => take_group(client, group, &args.tenant).await,
            None => Ok("would be created"),
        };
        failed += usize::from(outcome.is_err());
        report.push(told("group", group, outcome, &[]));
    }
    for (name, document) in &home.servers {
        let (outcome, notes) = match runconfig::import(document) {
            Err(error) => (Err(error.to_string()), Vec::new()),
            Ok((server, spec, notes)) => {
                let desired = if args.start { Desired::Running } else { Desired::Stopped };
                let request = CreateWorkload { name: Some(server), tenant: args.tenant.clone(), desired, spec };
                let outcome = match &client {
                    Some(client) => take_server(client, &request, context).await,
                    None => Ok("would be created"),
                };
                (outcome, notes)
            }
        };
        failed += usize::from(outcome.is_err());
        report.push(told("server", name, outcome, &notes));
    }
    for (id, groups) in &home.clients {
        let outcome = match &client {
            Some(client) => take_client(client, id, groups, &args.tenant).await,
            None => Ok("would be registered, if it is installed"),
        };
        failed += usize::from(outcome.is_err());
        report.push(told("client", id, outcome, &[]));
    }
    if let Some(text) = &home.ignore {
        let outcome = match args.dry_run {
            false => take_ignore(&context.settings.directories.ignore(), text),
            true => Ok("would be taken over, if there is none here"),
        };
        failed += usize::from(outcome.is_err());
        report.push(told("ignore", "thvignore", outcome, &[]));
    }
    print(&report, context)?;
    if failed > 0 {
        return Err(Failure::new(format!("{failed} of {} could not be taken over", report.len())));
    }
    Ok(())
}

async fn take_group(client: &Client, group: &str, tenant: &TenantName) -> Result<&'static str, String> {
    let name = group.parse().map_err(|error: fairlead_core::name::NameError| error.to_string())?;
    let request = CreateGroup { name, tenant: tenant.clone() };
    match client.post::<GroupInfo>("/api/v1beta/groups", Some(&request)).await {
        Ok(_) => Ok("is created"),
        Err(ClientError::Problem(problem)) if problem.kind == ProblemKind::Conflict => Ok("is there already"),
        Err(error) => Err(error.to_string()),
    }
}

async fn take_server(client: &Client, request: &CreateWorkload, context: &Context) -> Result<&'static str, String> {
    let shown = request.name.as_ref().map_or_else(String::new, |name| format!("taking over `{name}`"));
    let place = (Method::POST, "/api/v1beta/workloads");
    let created = operate::carry_out::<Workload>(client, place, Some(request), (&shown, context)).await;
    match created {
        Ok(_) if request.desired == Desired::Running => Ok("runs"),
        Ok(_) => Ok("is there, and stopped"),
        Err(failure) => Err(failure.message),
    }
}

/// A client of one group gets the servers of that group; one of several, or of none in particular, gets all.
async fn take_client(
    client: &Client,
    id: &str,
    groups: &BTreeSet<String>,
    tenant: &TenantName,
) -> Result<&'static str, String> {
    if *tenant != TenantName::default() {
        return Err("client applications have the servers of tenant `default` alone".to_owned());
    }
    let known: ClientList = client.get("/api/v1beta/clients").await.map_err(|error| error.to_string())?;
    match known.clients.iter().find(|known| known.id == id) {
        None => return Err("it is not known here; `fairlead client status --all` shows those that are".to_owned()),
        Some(known) if known.registered => return Ok("is registered already"),
        Some(known) if !known.installed => return Ok("is not installed"),
        Some(_) => {}
    }
    let one = groups.iter().next().filter(|_| groups.len() == 1);
    let group = one.map(|group| group.parse::<GroupName>()).transpose();
    let group = group.map_err(|error| error.to_string())?;
    let path = super::client::path(id).map_err(|failure| failure.message)?;
    match client.put::<ClientInfo>(&path, &RegisterClient { group }).await {
        Ok(_) => Ok("is registered"),
        Err(ClientError::Problem(problem)) => {
            let hint = problem.hint.as_deref().map(|hint| format!("; {hint}")).unwrap_or_default();
            Err(format!("{}{hint}", problem.detail))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// The ignore file for all mounts, unless there is one already.
fn take_ignore(file: &Path, text: &str) -> Result<&'static str, String> {
    if file.exists() {
        return Ok("is not needed: there is one already");
    }
    crate::private::make_for(file).and_then(|()| std::fs::write(file, text)).map_err(|error| error.to_string())?;
    Ok("is taken over")
}

fn told(what: &str, name: &str, outcome: Result<&str, String>, notes: &[Note]) -> Value {
    let (outcome, error) = match outcome {
        Ok(outcome) => (Some(outcome), None),
        Err(error) => (None, Some(error)),
    };
    json!({ "what": what, "name": name, "outcome": outcome, "error": error, "notes": notes })
}

fn print(report: &[Value], context: &Context) -> Result<(), Failure> {
    if context.output.format == Format::Json {
        return context.output.json(&report);
    }
    let text = |value: &Value, field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    for line in report {
        let error = text(line, "error");
        let outcome = if error.is_empty() { text(line, "outcome") } else { format!("is not taken over: {error}") };
        context.output.line(&format!("{} {} {outcome}", text(line, "what"), text(line, "name")))?;
        for note in line.get("notes").and_then(Value::as_array).into_iter().flatten() {
            let fate = text(note, "fate");
            context.output.line(&format!("  {} ({fate}): {}", text(note, "pointer"), text(note, "reason")))?;
        }
    }
    Ok(())
}

/// What ToolHive keeps in the home directory of its user.
#[derive(Debug, Default)]
struct Home {
    groups: Vec<String>,
    servers: BTreeMap<String, Value>,
    /// With the groups whose servers each of them has.
    clients: BTreeMap<String, BTreeSet<String>>,
    /// The ignore file for all mounts.
    ignore: Option<String>,
}

impl Home {
    /// Reads it: on Linux from where XDG puts things, on macOS from the library.
    fn of(home: &Path) -> Result<Self, Failure> {
        let state = [".local/state/toolhive", "Library/Application Support/toolhive"];
        let config = [".config/toolhive", "Library/Application Support/toolhive"];
        let first = |places: [&str; 2]| places.iter().map(|place| home.join(place)).find(|place| place.is_dir());
        let Some(state) = first(state) else {
            return Err(Failure::new(format!("`{}` has no ToolHive in it", home.display()))
                .hint("name the home directory of its user with `--from`"));
        };
        let mut found = Self::default();
        for (name, mut document) in documents(&state.join("runconfigs"))? {
            inline_profile(&mut document);
            found.servers.insert(name, document);
        }
        for (name, group) in documents(&state.join("groups"))? {
            for client in texts(group.get("registered_clients")) {
                found.clients.entry(client).or_default().insert(name.clone());
            }
            if name != "default" {
                found.groups.push(name);
            }
        }
        let config = first(config);
        found.ignore = config.as_ref().and_then(|config| std::fs::read_to_string(config.join("thvignore")).ok());
        if let Some(file) = config.map(|config| config.join("config.yaml")).filter(|file| file.is_file()) {
            let text = std::fs::read_to_string(&file)?;
            let config: Value = serde_saphyr::from_str(&text)
                .map_err(|error| Failure::new(format!("read `{}`: {error}", file.display())))?;
            // Before there were groups: all servers.
            for client in texts(config.pointer("/clients/registered_clients")) {
                found.clients.entry(client).or_default();
            }
        }
        Ok(found)
    }
}

/// The JSON documents of a directory, by the names of their files.
fn documents(directory: &Path) -> Result<Vec<(String, Value)>, Failure> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Ok(Vec::new()) };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    files
        .into_iter()
        .map(|file| {
            let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            let failed = |error: &dyn std::fmt::Display| Failure::new(format!("read `{}`: {error}", file.display()));
            let text = std::fs::read_to_string(&file).map_err(|error| failed(&error))?;
            Ok((name, serde_json::from_str(&text).map_err(|error| failed(&error))?))
        })
        .collect()
}

/// A profile that is named by its file becomes part of the document, for the file may not be there for ever.
fn inline_profile(document: &mut Value) {
    let Some(fields) = document.as_object_mut() else { return };
    if fields.get("permission_profile").is_some_and(|profile| !profile.is_null()) {
        return;
    }
    let named = fields.get("permission_profile_name_or_path").and_then(Value::as_str).unwrap_or_default();
    let text = if Path::new(named).is_absolute() { std::fs::read_to_string(named).ok() } else { None };
    if let Some(profile) = text.and_then(|text| serde_json::from_str(&text).ok()) {
        fields.insert("permission_profile".to_owned(), profile);
        fields.remove("permission_profile_name_or_path");
    }
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_home_is_found_with_its_profiles_and_clients() {
        let home = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = home.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let profile = home.path().join("profile.json");
        std::fs::write(&profile, r#"{"read":["/srv"]}"#).unwrap();
        let config = json!({"name": "a", "image": "a", "permission_profile_name_or_path": profile});
        write(".local/state/toolhive/runconfigs/a.json", &config.to_string());
        write(".local/state/toolhive/runconfigs/remark.txt", "no document");
        write(".local/state/toolhive/groups/default.json", r#"{"name":"default","registered_clients":["cursor"]}"#);
        write(".local/state/toolhive/groups/work.json", r#"{"name":"work","registered_clients":["zed","cursor"]}"#);
        write(".config/toolhive/config.yaml", "clients:\n  registered_clients:\n    - vscode\n");
        write(".config/toolhive/thvignore", ".env\n");
        let found = Home::of(home.path()).unwrap();
        assert_eq!(found.groups, ["work"]);
        let clients: Vec<_> = found.clients.iter().map(|(client, groups)| (client.as_str(), groups.len())).collect();
        assert_eq!(clients, [("cursor", 2), ("vscode", 0), ("zed", 1)]);
        assert_eq!(found.ignore.as_deref(), Some(".env\n"));
        assert_eq!(found.servers["a"]["permission_profile"], json!({"read": ["/srv"]}));
        assert!(runconfig::import(&found.servers["a"]).is_ok());
    }

    #[test]
    fn a_home_without_toolhive_is_said() {
        let home = tempfile::tempdir().unwrap();
        assert!(Home::of(home.path()).unwrap_err().message.contains("has no ToolHive"));
        std::fs::create_dir_all(home.path().join(".local/state/toolhive/runconfigs")).unwrap();
        std::fs::write(home.path().join(".local/state/toolhive/runconfigs/a.json"), "{").unwrap();
        assert!(Home::of(home.path()).unwrap_err().message.contains("a.json"));
    }
}
