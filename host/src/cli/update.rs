//! `fairlead update`: what is newest, what is done about it, and a word of one's own.

mod cluster;

use std::path::{Path, PathBuf};

use fairlead_core::digest::Digest;
use fairlead_core::freshness::{Decision, Effect, Forecast, Replay, Replayed, UpdateHistory, UpdateStatus};
use fairlead_core::name::{ServerName, TenantName};
use http::Method;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use serde::Serialize;

use super::list::form;
use super::output::{Cell, Format};
use super::{Context, Failure, OneTarget, workload_path};
use crate::api::types::{
    ApproveUpdate, HoldUpdate, PatchWorkload, UpdateInfo, UpdateList, UpdatePatch, UpdatePlan, UpdateTarget, Workload,
};

/// What is shown of a digest in a table: enough to recognise it.
const DIGEST_CHARS_SHOWN: usize = 19;

/// Where there is nothing to show.
const NONE: &str = "no servers to keep fresh; `fairlead run` starts one";

/// The commands.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Show how fresh servers are
    Status(Servers),
    /// Look now what is newest
    Check(Servers),
    /// Show what the policies would do, without doing it
    Plan(Plan),
    /// Do now what the plan says; with a digest, whatever the policies say
    Apply(Digests),
    /// Say yes to a digest, for policies that wait for it
    Approve(Approve),
    /// Say no to every update of a server
    Hold(Hold),
    /// Take that back; with a digest, let one be tried again that had failed
    Resume(Digests),
    /// Go back to what was well before
    Rollback(One),
    /// Show what was tried, newest first
    History(One),
    /// Change whether a server is checked and reinstalled
    Set(Toggles),
}

/// One server, or all of them.
#[derive(Debug, clap::Args)]
pub(crate) struct Servers {
    /// Name of the server; all of the tenant without it
    name: Option<ServerName>,
    /// Tenant of the servers
    #[arg(long, value_name = "TENANT", default_value_t)]
    tenant: TenantName,
    #[command(flatten)]
    place: Place,
}

/// Where servers are that are not on this machine.
#[derive(Debug, clap::Args)]
struct Place {
    /// The servers are in a cluster, that of the kubeconfig, in this namespace
    #[arg(long, value_name = "NAMESPACE", conflicts_with = "tenant")]
    on_cluster: Option<TenantName>,
}

/// One server, wherever it is.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    #[command(flatten)]
    target: OneTarget,
    #[command(flatten)]
    place: Place,
}

/// What would be done.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    some: Servers,
    /// As if it were then (`2026-11-21T22:00:00Z`)
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// What its policies would have made of a history (`update status NAME --format json`); `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["at", "on_cluster"], requires = "name")]
    replay: Option<PathBuf>,
}

/// A server and a digest.
#[derive(Debug, clap::Args)]
pub(crate) struct Digests {
    #[command(flatten)]
    one: One,
    /// One that is offered
    #[arg(long, value_name = "DIGEST")]
    digest: Option<Digest>,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Switch {
    /// It is on
    On,
    /// It is off
    Off,
}

/// How a server is kept fresh.
#[derive(Debug, clap::Args)]
pub(crate) struct Toggles {
    #[command(flatten)]
    target: OneTarget,
    /// Look whether there is something newer
    #[arg(long, value_name = "SWITCH", required_unless_present_any = ["auto_reinstall", "single_instance"])]
    check: Option<Switch>,
    /// Take it, if the policies say so
    #[arg(long, value_name = "SWITCH")]
    auto_reinstall: Option<Switch>,
    /// There may be only one of it: the old one is stopped before the new one is started
    #[arg(long, value_name = "SWITCH")]
    single_instance: Option<Switch>,
}

/// A person's yes.
#[derive(Debug, clap::Args)]
pub(crate) struct Approve {
    #[command(flatten)]
    digests: Digests,
    /// Who says so; by default the name of this user, as the cluster knows it where the server is in one
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

/// A person's no.
#[derive(Debug, clap::Args)]
pub(crate) struct Hold {
    #[command(flatten)]
    one: One,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// For how long (`3d`, `12h`); by default until `update resume`
    #[arg(long = "for", value_name = "DURATION", value_parser = length)]
    duration: Option<SignedDuration>,
    /// Who says so; by default the name of this user, as the cluster knows it where the server is in one
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

/// `3d`, `12h`: a day is 24 hours, whatever the clocks do that night.
fn length(text: &str) -> Result<SignedDuration, jiff::Error> {
    text.parse::<Span>()?.to_duration(SpanRelativeTo::days_are_24_hours())
}

/// Runs one of them.
///
/// # Errors
/// There is no such server, or it cannot be done now.
pub(crate) async fn run(command: Command, context: &Context) -> Result<(), Failure> {
    if let Some(namespace) = command.on_cluster() {
        return cluster::run(&command, namespace, context).await;
    }
    match command {
        Command::Status(some) => status(&some, context).await,
        Command::Check(some) => check(&some, context).await,
        Command::Plan(plan) => show_plan(&plan, context).await,
        Command::Apply(Digests { one, digest }) => tell(&one, "apply", &UpdateTarget { digest }, context).await,
        Command::Resume(Digests { one, digest }) => tell(&one, "resume", &UpdateTarget { digest }, context).await,
        Command::Approve(Approve { digests: Digests { one, digest }, by }) => {
            let request = ApproveUpdate { digest, by: by.unwrap_or_else(user) };
            tell(&one, "approve", &request, context).await
        }
        Command::Hold(Hold { one, reason, duration, by }) => {
            let request = HoldUpdate { by: by.unwrap_or_else(user), reason, until: until(duration)? };
            tell(&one, "hold", &request, context).await
        }
        Command::Rollback(one) => tell(&one, "rollback", &(), context).await,
        Command::History(one) => history(&one.target, context).await,
        Command::Set(toggles) => set(&toggles, context).await,
    }
}

impl Command {
    /// The namespace of servers of a cluster.
    fn on_cluster(&self) -> Option<&TenantName> {
        let place = match self {
            Self::Status(some) | Self::Check(some) => &some.place,
            Self::Plan(plan) => &plan.some.place,
            Self::Apply(Digests { one, .. }) | Self::Resume(Digests { one, .. }) => &one.place,
            Self::Approve(approve) => &approve.digests.one.place,
            Self::Hold(hold) => &hold.one.place,
            Self::Rollback(one) | Self::History(one) => &one.place,
            Self::Set(_) => return None,
        };
        place.on_cluster.as_ref()
    }
}

/// When a time from now is over.
fn until(duration: Option<SignedDuration>) -> Result<Option<Timestamp>, Failure> {
    let end = duration.map(|duration| Timestamp::now().checked_add(duration)).transpose();
    end.map_err(|_| Failure::usage("`--for` is too long"))
}

async fn status(some: &Servers, context: &Context) -> Result<(), Failure> {
    let servers = match &some.name {
        Some(name) => {
            let target = OneTarget { name: name.clone(), tenant: some.tenant.clone() };
            vec![context.daemon_of(name).await?.get(&workload_path(&target.key(), "/updates")).await?]
        }
        None => of_tenant(some, context).await?,
    };
    show(&servers, some.name.is_some(), context)
}

async fn of_tenant(some: &Servers, context: &Context) -> Result<Vec<UpdateInfo>, Failure> {
    let Some(client) = context.daemon_with_state().await? else { return Ok(Vec::new()) };
    let path = format!("/api/v1beta/updates?{}", form(&[("tenant", some.tenant.as_str())]).trim_start_matches('&'));
    Ok(client.get::<UpdateList>(&path).await?.servers)
}

async fn check(some: &Servers, context: &Context) -> Result<(), Failure> {
    let names: Vec<ServerName> = match &some.name {
        Some(name) => vec![name.clone()],
        None => of_tenant(some, context).await?.into_iter().map(|info| info.server).collect(),
    };
    let mut servers: Vec<UpdateInfo> = Vec::new();
    for name in names {
        let target = OneTarget { name: name.clone(), tenant: some.tenant.clone() };
        context.output.progress(&format!("looking what is newest for {name} …"));
        let client = context.daemon_of(&name).await?;
        let looked = client.post(&workload_path(&target.key(), "/updates/check"), Some(&())).await;
        context.output.progress_done();
        servers.push(looked?);
    }
    show(&servers, some.name.is_some(), context)
}

async fn tell(one: &One, action: &str, request: &impl Serialize, context: &Context) -> Result<(), Failure> {
    let target = &one.target;
    let client = context.daemon_of(&target.name).await?;
    let path = workload_path(&target.key(), &format!("/updates/{action}"));
    let info: UpdateInfo = client.post(&path, Some(request)).await?;
    show(&[info], true, context)
}

async fn show_plan(plan: &Plan, context: &Context) -> Result<(), Failure> {
    if let (Some(file), Some(name)) = (&plan.replay, &plan.some.name) {
        let target = OneTarget { name: name.clone(), tenant: plan.some.tenant.clone() };
        return show_replay(&target, file, context).await;
    }
    let Some(client) = context.daemon_with_state().await? else {
        return print_plan(&UpdatePlan { servers: Vec::new() }, context);
    };
    let at = plan.at.map(|at| at.to_string()).unwrap_or_default();
    let mut query = form(&[("tenant", plan.some.tenant.as_str())]);
    if !at.is_empty() {
        query += &form(&[("at", &at)]);
    }
    let query = query.trim_start_matches('&').to_owned();
    let path = match &plan.some.name {
        Some(name) => format!("/api/v1beta/workloads/{name}/updates/plan?{query}"),
        None => format!("/api/v1beta/updates/plan?{query}"),
    };
    // Policies may have to be compiled.
    print_plan(&client.get_plugins(&path).await?, context)
}

fn print_plan(plan: &UpdatePlan, context: &Context) -> Result<(), Failure> {
    if context.output.format == Format::Json {
        return context.output.json(&plan.servers);
    }
    if plan.servers.is_empty() {
        context.output.note(NONE);
        return Ok(());
    }
    let row = |forecast: &Forecast| -> Vec<Cell> {
        let (what, why) = told(forecast);
        vec![
            forecast.server.as_str().into(),
            short(forecast.running.first()).into(),
            short(forecast.newest.as_ref()).into(),
            what.into(),
            why.into(),
        ]
    };
    let rows: Vec<_> = plan.servers.iter().map(row).collect();
    context.output.table(&["NAME", "RUNNING", "NEWEST", "DECISION", "WHY"], &rows)
}

async fn show_replay(target: &OneTarget, file: &Path, context: &Context) -> Result<(), Failure> {
    let text = if file == Path::new("-") {
        std::io::read_to_string(std::io::stdin()).map_err(|error| Failure::usage(format!("standard input: {error}")))?
    } else {
        std::fs::read_to_string(file).map_err(|error| Failure::usage(format!("`{}`: {error}", file.display())))?
    };
    let UpdateInfo { candidates, history: attempts, approvals, .. } = serde_json::from_str(&text)
        .map_err(|error| Failure::usage(format!("`{}` is no status of updates: {error}", file.display())))?;
    let history = UpdateHistory { first: None, candidates, attempts, approvals };
    let client = context.daemon_of(&target.name).await?;
    let replay: Replay = client.post(&workload_path(&target.key(), "/updates/replay"), Some(&history)).await?;
    if context.output.format == Format::Json {
        return context.output.json(&replay);
    }
    let row = |replayed: &Replayed| -> Vec<Cell> {
        let (what, why) = decided(replayed);
        let outcome = replayed.outcome.map(|outcome| outcome.as_str().to_owned()).unwrap_or_default();
        vec![replayed.at.to_string().into(), what.into(), outcome.into(), why.into()]
    };
    let rows: Vec<_> = replay.decisions.iter().map(row).collect();
    context.output.table(&["AT", "DECISION", "OUTCOME", "WHY"], &rows)
}

/// What a policy would have decided then, and why.
fn decided(replayed: &Replayed) -> (String, String) {
    let trace = replayed.trace.last().cloned().unwrap_or_default();
    match &replayed.decision {
        Decision::UpToDate => ("nothing".to_owned(), trace),
        Decision::Hold { reason, detail, .. } => ("hold".to_owned(), format!("{}: {detail}", word(reason))),
        Decision::Notify { pin, .. } => (format!("tell of {}", short(Some(pin))), trace),
        Decision::Update(plan) => (format!("update to {}", short(Some(&plan.pin))), trace),
        Decision::Rollback { pin, .. } => (format!("go back to {}", short(Some(pin))), trace),
    }
}

async fn set(toggles: &Toggles, context: &Context) -> Result<(), Failure> {
    let is_on = |switch: Option<Switch>| switch.map(|switch| switch == Switch::On);
    let patch = PatchWorkload {
        updates: Some(UpdatePatch {
            check: is_on(toggles.check),
            auto_reinstall: is_on(toggles.auto_reinstall),
            single_instance: is_on(toggles.single_instance),
            manual_reinstall: None,
            compose: None,
        }),
        update_policies: None,
    };
    let client = context.daemon_of(&toggles.target.name).await?;
    let key = toggles.target.key();
    let _: Workload = client.change(Method::PATCH, &workload_path(&key, ""), &patch).await?;
    let info: UpdateInfo = client.get(&workload_path(&key, "/updates")).await?;
    show(&[info], true, context)
}

async fn history(target: &OneTarget, context: &Context) -> Result<(), Failure> {
    let client = context.daemon_of(&target.name).await?;
    show_history(&client.get(&workload_path(&target.key(), "/updates")).await?, context)
}

fn show_history(info: &UpdateInfo, context: &Context) -> Result<(), Failure> {
    if context.output.format == Format::Json {
        return context.output.json(&info.history);
    }
    if info.history.is_empty() {
        let plan = format!("`fairlead update plan {}`", info.server);
        context.output.note(&format!("no updates yet; {plan} tells what would be done"));
        return Ok(());
    }
    let rows: Vec<Vec<Cell>> = info
        .history
        .iter()
        .map(|attempt| {
            let detail = attempt.detail.clone().unwrap_or_default();
            vec![
                attempt.started.to_string().into(),
                short(Some(&attempt.pin)).into(),
                word(&attempt.trigger).into(),
                attempt.outcome.as_str().into(),
                detail.into(),
            ]
        })
        .collect();
    context.output.table(&["STARTED", "DIGEST", "TRIGGER", "OUTCOME", "DETAIL"], &rows)
}

fn show(servers: &[UpdateInfo], one: bool, context: &Context) -> Result<(), Failure> {
    if context.output.format == Format::Json {
        return match (one, servers) {
            (true, [info]) => context.output.json(info),
            _ => context.output.json(&servers),
        };
    }
    if let (true, [info]) = (one, servers) {
        return details(info, context);
    }
    if servers.is_empty() {
        context.output.note(NONE);
        return Ok(());
    }
    let row = |info: &UpdateInfo| -> Vec<Cell> {
        vec![
            info.server.as_str().into(),
            word(&info.view.status).into(),
            short(info.view.running.first()).into(),
            short(info.view.newest.as_ref()).into(),
            time(info.view.last_success).into(),
            why(info).into(),
        ]
    };
    let rows: Vec<_> = servers.iter().map(row).collect();
    context.output.table(&["NAME", "STATUS", "RUNNING", "NEWEST", "LAST CHECK", "WHY"], &rows)
}

/// One server, a line for each of the things that are worth knowing.
fn details(info: &UpdateInfo, context: &Context) -> Result<(), Failure> {
    let view = &info.view;
    let on = |on: bool| if on { "on" } else { "off" };
    let running: Vec<&str> = view.running.iter().map(Digest::as_str).collect();
    let newest = view.newest.as_ref().map(ToString::to_string).unwrap_or_default();
    let error = view.last_error.as_ref().map(|error| format!("{}: {}", word(&error.class), error.message));
    let lines = [
        ("status", word(&view.status)),
        ("why", why(info)),
        ("check", on(view.check).to_owned()),
        ("auto reinstall", on(view.auto_reinstall).to_owned()),
        ("running", versioned(view.running_version.as_deref(), running.join(" "))),
        ("newest", versioned(view.newest_version.as_deref(), newest)),
        ("target", view.target.as_ref().map(ToString::to_string).unwrap_or_default()),
        ("last success", time(view.last_success)),
        ("last failure", time(view.last_failure)),
        ("last error", error.unwrap_or_default()),
        ("last reinstall", time(view.last_reinstall)),
        ("next check", time(view.next_check)),
    ];
    for (name, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        context.output.line(&format!("{name:<16}{value}"))?;
    }
    Ok(())
}

/// A digest with the version that it is known by, where there is one.
fn versioned(version: Option<&str>, digest: String) -> String {
    match version {
        Some(version) if !digest.is_empty() => format!("{version} ({digest})"),
        _ => digest,
    }
}

/// Why a server stands where it stands, in a sentence.
fn why(info: &UpdateInfo) -> String {
    let view = &info.view;
    if view.stuck {
        return "going back has failed; see `fairlead update history`".to_owned();
    }
    if let Some(hold) = &view.hold {
        return format!("held by {}: {}", hold.by, hold.reason);
    }
    if !view.ineligible.is_empty() {
        return view.ineligible.iter().map(word).collect::<Vec<_>>().join(", ");
    }
    let attempt = view.last_attempt.as_ref().and_then(|attempt| attempt.detail.clone());
    let held = view.held.as_ref().map(|held| match &view.detail {
        Some(detail) => format!("{}: {detail}", word(held)),
        None => word(held),
    });
    match view.status {
        UpdateStatus::RolloutFailed => attempt.unwrap_or_default(),
        UpdateStatus::CheckFailed => view.last_error.as_ref().map(|error| error.message.clone()).unwrap_or_default(),
        UpdateStatus::Reinstalling | UpdateStatus::RollingBack => view.phase.as_ref().map(word).unwrap_or_default(),
        _ => held.or_else(|| view.detail.clone()).unwrap_or_default(),
    }
}

/// What would happen, and why.
fn told(forecast: &Forecast) -> (String, String) {
    let trace = forecast.trace.last().cloned().unwrap_or_default();
    match &forecast.effect {
        Effect::NotEligible { reasons } => {
            ("nothing".to_owned(), reasons.iter().map(word).collect::<Vec<_>>().join(", "))
        }
        Effect::UnderWay { pin, phase, .. } => (format!("goes on to {}", short(Some(pin))), word(phase)),
        Effect::Nothing => ("nothing".to_owned(), trace),
        Effect::Hold { reason, detail, until, .. } => {
            let until = until.map(|until| format!(" (until {until})")).unwrap_or_default();
            ("hold".to_owned(), format!("{}: {detail}{until}", word(reason)))
        }
        Effect::Notify { pin } => (format!("tell of {}", short(Some(pin))), trace),
        Effect::Update(plan) => (format!("update to {}", short(Some(&plan.pin))), trace),
        Effect::Rollback { pin } => (format!("go back to {}", short(Some(pin))), trace),
    }
}

fn short(digest: Option<&Digest>) -> String {
    digest.map(|digest| digest.as_str().chars().take(DIGEST_CHARS_SHOWN).collect()).unwrap_or_else(|| "-".to_owned())
}

fn time(time: Option<Timestamp>) -> String {
    time.map(|time| time.to_string()).unwrap_or_default()
}

/// The word that JSON has for it.
fn word(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).ok();
    value.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}

/// Who sits here, as far as the environment says it.
fn user() -> String {
    ["USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "somebody".to_owned())
}
