//! `fairlead apply`, `diff` and `get`: everything in its declarative form.

mod files;

use std::path::PathBuf;

use fairlead_core::document::{Action, Difference, DocumentKind, closest};
use fairlead_core::name::TenantName;

use super::list::form;
use super::output::Format;
use super::{Context, Failure};
use crate::api::types::policy::{Applied, AppliedStep, Apply, DocumentList};
use crate::yaml;

const DOCUMENTS: &str = "/api/v1beta/documents";
const APPLY: &str = "/api/v1beta/documents/apply";

/// What was typed after `apply`.
#[derive(Debug, clap::Args)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    wanted: Wanted,
    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
}

/// What was typed after `diff`.
#[derive(Debug, clap::Args)]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    wanted: Wanted,
    /// End with status 1 when something differs
    #[arg(long)]
    exit_code: bool,
}

/// Documents, and what else shall be gone.
#[derive(Debug, clap::Args)]
struct Wanted {
    /// A file with documents, a directory with such files, or `-` for standard input (repeatable)
    #[arg(long = "filename", short = 'f', value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Remove what has this label and is not among the documents (repeatable: with all of these labels)
    #[arg(long, value_name = "KEY=VALUE", value_parser = super::run::pair)]
    prune: Vec<(String, String)>,
}

/// What was typed after `get`.
#[derive(Debug, clap::Args)]
pub(crate) struct GetArgs {
    /// What: `servers`, `tenants`, `plugins`, `attachments`, or a kind as documents name it; without it, everything
    #[arg(value_name = "KIND", value_parser = kind)]
    kind: Option<DocumentKind>,
    /// Only the one with this name
    name: Option<String>,
    /// Only within this tenant
    #[arg(long, value_name = "TENANT")]
    tenant: Option<TenantName>,
    /// How it is written; `json` also with `--format json`
    #[arg(long, short, value_enum, default_value_t)]
    output: Writing,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Writing {
    /// Documents one after the other
    #[default]
    Yaml,
    /// A list of documents
    Json,
}

/// Makes things as documents say.
///
/// # Errors
/// A document is wrong, or the daemon says no; then nothing was changed.
pub(crate) async fn apply(args: ApplyArgs, context: &Context) -> Result<(), Failure> {
    let applied = send(args.wanted, args.dry_run, context).await?;
    if context.output.format == Format::Json {
        return context.output.json(&applied);
    }
    for step in &applied.steps {
        let remark = if args.dry_run { " (nothing was done)" } else { "" };
        context.output.line(&format!("{} {}{remark}", step.id, done(step.action)))?;
    }
    Ok(())
}

/// Tells what applying would change.
///
/// # Errors
/// A document is wrong, or the daemon says no.
pub(crate) async fn diff(args: DiffArgs, context: &Context) -> Result<(), Failure> {
    let mut applied = send(args.wanted, true, context).await?;
    applied.steps.retain(|step| step.action != Action::Keep);
    match context.output.format {
        Format::Json => context.output.json(&applied)?,
        Format::Text => {
            for step in &applied.steps {
                context.output.text(&shown(step)?)?;
            }
        }
    }
    if args.exit_code && !applied.steps.is_empty() {
        return Err(Failure::new(format!("{} documents differ", applied.steps.len())));
    }
    Ok(())
}

/// Tells what is, as documents.
///
/// # Errors
/// There is no such thing, or the daemon does not answer.
pub(crate) async fn get(args: GetArgs, context: &Context) -> Result<(), Failure> {
    let list: DocumentList = match context.daemon_with_state().await? {
        Some(client) => client.get(&args.path()).await?,
        None => DocumentList { documents: Vec::new() },
    };
    if let (true, Some(name)) = (list.documents.is_empty(), &args.name) {
        return Err(Failure::new(format!("there is no `{name}`")).hint("`fairlead get` shows what there is"));
    }
    if args.output == Writing::Json || context.output.format == Format::Json {
        return context.output.json(&list.documents);
    }
    if list.documents.is_empty() {
        context.output.note("no documents; `fairlead run` starts a server, `fairlead apply` makes what documents say");
        return Ok(());
    }
    let texts: Result<Vec<String>, String> = list.documents.iter().map(yaml::write).collect();
    context.output.bytes(texts.map_err(Failure::new)?.join("---\n").as_bytes())
}

impl GetArgs {
    fn path(&self) -> String {
        let mut query = String::new();
        if let Some(kind) = self.kind {
            query += &form(&[("kind", kind.as_str())]);
        }
        if let Some(name) = &self.name {
            query += &form(&[("name", name)]);
        }
        if let Some(tenant) = &self.tenant {
            query += &form(&[("tenant", tenant.as_str())]);
        }
        format!("{DOCUMENTS}?{}", query.trim_start_matches('&'))
    }
}

async fn send(wanted: Wanted, dry_run: bool, context: &Context) -> Result<Applied, Failure> {
    let documents = files::read(&wanted.files)?;
    let apply = Apply { tenant: None, documents, dry_run, prune: wanted.prune.into_iter().collect() };
    let client = context.daemon().await?;
    context.output.progress("applying …");
    let applied = client.post(APPLY, Some(&apply)).await;
    context.output.progress_done();
    Ok(applied?)
}

fn done(action: Action) -> &'static str {
    match action {
        Action::Create => "created",
        Action::Change => "changed",
        Action::Keep => "unchanged",
        Action::Remove => "removed",
    }
}

fn shown(step: &AppliedStep) -> Result<String, Failure> {
    let mut text = format!("{} would be {}\n", step.id, done(step.action));
    for Difference { pointer, before, after } in &step.differences {
        match (before, after) {
            (before, after) if pointer.is_empty() => {
                let (sign, whole) = if after.is_some() { ('+', after) } else { ('-', before) };
                for line in
                    whole.as_ref().map(yaml::write).transpose().map_err(Failure::new)?.unwrap_or_default().lines()
                {
                    text += &format!("{sign} {line}\n");
                }
            }
            (Some(before), Some(after)) => text += &format!("~ {pointer}: {before} -> {after}\n"),
            (None, Some(after)) => text += &format!("+ {pointer}: {after}\n"),
            (Some(before), None) => text += &format!("- {pointer}: {before}\n"),
            (None, None) => {}
        }
    }
    Ok(text)
}

/// A kind, as people write it.
fn kind(text: &str) -> Result<DocumentKind, String> {
    let words = [
        ("tenant", DocumentKind::Tenant),
        ("plugin", DocumentKind::Plugin),
        ("pluginattachment", DocumentKind::PluginAttachment),
        ("attachment", DocumentKind::PluginAttachment),
        ("mcpserver", DocumentKind::McpServer),
        ("server", DocumentKind::McpServer),
    ];
    let given = text.to_lowercase();
    let singular = given.strip_suffix('s').unwrap_or(&given);
    words.iter().find(|(word, _)| *word == singular).map(|(_, kind)| *kind).ok_or_else(|| {
        let meant = closest(singular, words.map(|(word, _)| word));
        let meant = meant.map(|word| format!("; did you mean `{word}s`?")).unwrap_or_default();
        format!("there is no kind `{text}`{meant}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_found_as_people_write_it() {
        for word in ["server", "servers", "MCPServer", "mcpservers"] {
            assert_eq!(kind(word), Ok(DocumentKind::McpServer));
        }
        assert_eq!(kind("attachments"), Ok(DocumentKind::PluginAttachment));
        assert_eq!(kind("tenats").unwrap_err(), "there is no kind `tenats`; did you mean `tenants`?");
    }

    #[test]
    fn a_difference_is_shown_with_what_was_and_what_shall_be() {
        let step: AppliedStep = serde_json::from_value(serde_json::json!({
            "id": {"kind": "MCPServer", "namespace": "red", "name": "a"},
            "action": "change",
            "differences": [
                {"pointer": "/spec/tools/0", "before": "x", "after": "y"},
                {"pointer": "/spec/env/A", "after": "b"},
            ],
        }))
        .unwrap();
        insta::assert_snapshot!(shown(&step).unwrap(), @r#"
        MCPServer `red/a` would be changed
        ~ /spec/tools/0: "x" -> "y"
        + /spec/env/A: "b"
        "#);
    }
}
