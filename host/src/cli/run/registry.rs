//! `fairlead run registry://name[@version]`: an entry of the catalogue, and what it asks.
//!
//! `-e` and `--secret` answer what it asks: environment, headers, arguments and variables alike, by name. On a terminal the
//! rest is asked for; elsewhere it is told, so that a script says what it means.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use fairlead_core::name::RegistryName;
use fairlead_core::secret::SecretName;
use fairlead_core::status::Desired;
use fairlead_registry::launch::Question;
use zeroize::Zeroizing;

use super::Args;
use crate::api::types::registry::{LaunchPlan, PlanLaunch};
use crate::api::types::{CreateWorkload, SecretInfo, SetSecret};
use crate::cli::list::form;
use crate::cli::{Context, Failure};
use crate::client::Client;

/// Before the name of an entry.
const SCHEME: &str = "registry://";

/// Whether a source is meant as an entry.
pub(super) fn is_meant(source: &str) -> bool {
    source.starts_with(SCHEME)
}

/// Which of the ways of an entry, and from where.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options for entries of registries")]
pub(super) struct EntryArgs {
    /// Registry that the entry has to come from
    #[arg(long, value_name = "NAME")]
    registry: Option<RegistryName>,
    /// Way to run it: `oci`, `npm`, `pypi`, `go` or `remote`; the most isolated that it offers by default
    #[arg(long, value_name = "WAY")]
    package_type: Option<String>,
}

/// The server that an entry becomes.
pub(super) async fn create(args: &Args, client: &Client, context: &Context) -> Result<CreateWorkload, Failure> {
    let entry = args.source.as_deref().and_then(|source| source.strip_prefix(SCHEME)).unwrap_or_default();
    if !args.command.is_empty() {
        return Err(Failure::usage("an entry brings its arguments").hint("answer what it asks with `-e NAME=VALUE`"));
    }
    let answers = super::request::environment_of(args, &|name| std::env::var_os(name))?;
    let mut request = PlanLaunch {
        tenant: args.tenant.clone(),
        entry: entry.to_owned(),
        registry: args.entry.registry.clone(),
        way: args.entry.package_type.clone(),
        answers,
    };
    let mut plan: LaunchPlan = client.post("/api/v1beta/registry/plan", Some(&request)).await?;
    if !plan.missing.is_empty() {
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return Err(unanswered(&plan));
        }
        context.output.note(&format!("`{}` asks:", plan.entry));
        for question in &plan.missing {
            let answer = ask(question, args, client).await?;
            request.answers.insert(question.name.clone(), answer);
        }
        plan = client.post("/api/v1beta/registry/plan", Some(&request)).await?;
    }
    let (Some(name), Some(mut spec)) = (plan.name.clone(), plan.spec.take()) else { return Err(unanswered(&plan)) };
    for note in &plan.notes {
        context.output.note(note);
    }
    spec.isolation = args.isolation.into();
    spec.bridge = args.bridge;
    spec.tools = args.tools.clone();
    spec.group = args.group.clone();
    spec.labels = args.label.iter().cloned().collect::<BTreeMap<_, _>>();
    args.image.adjust(&mut spec.source)?;
    Ok(CreateWorkload {
        name: Some(args.name.clone().unwrap_or(name)),
        tenant: args.tenant.clone(),
        desired: Desired::Running,
        spec,
    })
}

fn unanswered(plan: &LaunchPlan) -> Failure {
    let flag = |question: &Question| match question.secret {
        true => format!("--secret NAME,target={}", question.name),
        false => format!("-e {}=…", question.name),
    };
    let flags: Vec<String> = plan.missing.iter().map(flag).collect();
    let told = |question: &Question| match question.description.as_str() {
        "" => format!("`{}`", question.name),
        description => format!("`{}` ({description})", question.name),
    };
    let wanted: Vec<String> = plan.missing.iter().map(told).collect();
    Failure::new(format!("`{}` needs {}", plan.entry, wanted.join(", ")))
        .hint(format!("answer with `{}`", flags.join(" ")))
}

async fn ask(question: &Question, args: &Args, client: &Client) -> Result<String, Failure> {
    let mut stderr = io::stderr();
    let description =
        if question.description.is_empty() { String::new() } else { format!(" ({})", question.description) };
    let choices =
        if question.choices.is_empty() { String::new() } else { format!(" [{}]", question.choices.join("|")) };
    let prompt = format!("{}{description}{choices}: ", question.name);
    if !question.secret {
        write!(stderr, "{prompt}").and_then(|()| stderr.flush())?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        return Ok(answer.trim_end_matches(['\n', '\r']).to_owned());
    }
    // A secret goes into the store, and its name into the server.
    let value = Zeroizing::new(rpassword::prompt_password(prompt)?);
    let name = SecretName::new(&question.name).map_err(|error| Failure::usage(error.to_string()))?;
    let escaped = form(&[("", name.as_str())]);
    let place = format!("/api/v1beta/secrets/{}?tenant={}", escaped.trim_start_matches("&="), args.tenant);
    let stored: SecretInfo = client.put(&place, &SetSecret { value }).await?;
    Ok(stored.reference.to_string())
}
