//! `fairlead chain explain`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::api::types::policy::{ExplainChain, ExplainedLink, Explanation};
use crate::cli::output::Format;
use crate::cli::{Context, Failure, OneTarget};
use crate::client::Client;
use crate::yaml;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: OneTarget,
    /// A JSON-RPC request, in JSON or YAML; with `-`, standard input
    #[arg(value_name = "REQUEST")]
    request: PathBuf,
    /// What the server would answer: an object with `result` or `error`; then the way back is shown too
    #[arg(long, value_name = "FILE")]
    answer: Option<PathBuf>,
    /// Header of the request (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_parser = crate::cli::run::pair)]
    header: Vec<(String, String)>,
}

/// Asks and tells.
///
/// # Errors
/// A file is no message, or there is no such server.
pub(super) async fn run(args: Args, client: &Client, context: &Context) -> Result<(), Failure> {
    let key = args.target.key();
    let request = ExplainChain {
        tenant: key.tenant,
        server: key.name,
        request: read(&args.request)?,
        answer: args.answer.as_deref().map(read).transpose()?,
        headers: args.header.into_iter().collect(),
    };
    let explanation: Explanation = client.post("/api/v1beta/chains/explain", Some(&request)).await?;
    match context.output.format {
        Format::Json => context.output.json(&explanation),
        Format::Text => context.output.text(&told(&explanation)),
    }
}

fn read(path: &Path) -> Result<Value, Failure> {
    let text = match path.to_str() {
        Some("-") => std::io::read_to_string(std::io::stdin())?,
        _ => std::fs::read_to_string(path)
            .map_err(|error| Failure::new(format!("read `{}`: {error}", path.display())))?,
    };
    yaml::one(&text).map_err(|reason| Failure::new(format!("`{}` is neither JSON nor YAML: {reason}", path.display())))
}

fn told(explanation: &Explanation) -> String {
    let target = explanation.target.as_ref().map(|target| format!(" of `{target}`")).unwrap_or_default();
    let mut text = format!("{}{target}\n", explanation.method);
    if explanation.links.is_empty() {
        text += "  no plugin is in the chain\n";
    }
    for link in &explanation.links {
        text += &format!("  {:8}  {} ({})\n", link.level.as_str(), link.name, link.revision);
        text += &asked(link);
    }
    text += match explanation.reaches_server {
        true => "the server would see it\n",
        false => "the server would not see it\n",
    };
    if let (true, Some(params)) = (explanation.reaches_server, &explanation.params) {
        text += &format!("  params {params}\n");
    }
    if let Some(answer) = &explanation.answer {
        text += &format!("the client would get\n  {answer}\n");
    }
    text
}

fn asked(link: &ExplainedLink) -> String {
    if link.asked.is_empty() {
        return match link.wants.is_empty() {
            true => "            does not want to see it\n".to_owned(),
            false => format!("            is not asked (it wants to see: {})\n", link.wants.join(", ")),
        };
    }
    let mut text = String::new();
    for call in &link.asked {
        text += &format!("            {:8}  {:7}  {:.1} µs", call.phase, call.verdict, call.micros);
        text += &call.detail.as_ref().map(|detail| format!("  {detail}")).unwrap_or_default();
        text += "\n";
    }
    text
}
