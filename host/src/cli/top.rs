//! `fairlead top`: what servers use of the machine, again and again on a terminal, once for a program.
//!
//! The daemon counts and this divides: computing time is a rate only between two looks, so there are always two.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use fairlead_core::name::{GroupName, ServerName, TenantName};
use serde::Serialize;

use super::list::Wanted;
use super::output::{Cell, Format, table};
use super::{Context, Failure};
use crate::api::types::{ServerUsage, UsageList};
use crate::client::Client;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these servers; all that should run by default
    #[arg(value_name = "NAME")]
    names: Vec<ServerName>,
    /// Only servers of this tenant
    #[arg(long, value_name = "TENANT")]
    tenant: Option<TenantName>,
    /// Only servers of this group
    #[arg(long, short, value_name = "GROUP")]
    group: Option<GroupName>,
    /// Only servers with this label (repeatable)
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = super::run::pair)]
    label: Vec<(String, String)>,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
    /// Print once and end, as where nobody watches
    #[arg(long)]
    once: bool,
}

/// Where there is nothing to show.
const NONE: &str = "no servers; `fairlead run` starts one";

/// One server between two looks.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    #[serde(flatten)]
    usage: ServerUsage,
    /// Of one processor: 200 is two of them.
    cpu_percent: f64,
}

/// Shows what servers use.
///
/// # Errors
/// The daemon does not answer.
pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let Some(client) = context.daemon_with_state().await? else {
        return if context.output.format == Format::Json {
            context.output.json(&Vec::<Row>::new())
        } else {
            context.output.note(NONE);
            Ok(())
        };
    };
    let again = context.output.format == Format::Text && !args.once && std::io::stdout().is_terminal();
    let mut before = args.look(&client).await?;
    loop {
        tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => return Ok(()),
            () = tokio::time::sleep(Duration::from_secs(args.interval)) => {}
        }
        let now = args.look(&client).await?;
        let rows = rates(&before, &now);
        if context.output.format == Format::Json {
            return context.output.json(&rows);
        }
        if rows.is_empty() && !again {
            context.output.note(NONE);
            return Ok(());
        }
        // From the top, and nothing below: what was there is written over rather than wiped, so that nothing flickers.
        let shown = if rows.is_empty() { format!("{NONE}\n") } else { shown(&rows) };
        context
            .output
            .bytes(if again { format!("\x1b[H{}\x1b[J", shown.replace('\n', "\x1b[K\n")) } else { shown }.as_bytes())?;
        if !again {
            return Ok(());
        }
        before = now;
    }
}

impl Args {
    async fn look(&self, client: &Client) -> Result<UsageList, Failure> {
        let Self { tenant, group, label, .. } = self;
        let wanted =
            Wanted { all: !self.names.is_empty(), tenant: tenant.as_ref(), group: group.as_ref(), labels: label };
        let mut list: UsageList = client.get(&wanted.path_of("usage")).await?;
        if !self.names.is_empty() {
            if let Some(name) = self.names.iter().find(|name| !list.servers.iter().any(|server| server.name == **name))
            {
                return Err(Failure::new(format!("there is no server `{name}`"))
                    .hint("`fairlead list --all` shows what there is"));
            }
            list.servers.retain(|server| self.names.contains(&server.name));
        }
        Ok(list)
    }
}

/// What was used of a processor between two looks, greatest first.
fn rates(before: &UsageList, now: &UsageList) -> Vec<Row> {
    let known: BTreeMap<_, _> =
        before.servers.iter().map(|server| ((&server.tenant, &server.name), server.cpu_nanos)).collect();
    let passed = now.at.duration_since(before.at).as_secs_f64().max(f64::EPSILON);
    let mut rows: Vec<Row> = now
        .servers
        .iter()
        .map(|server| {
            let earlier = known.get(&(&server.tenant, &server.name)).copied().unwrap_or(server.cpu_nanos);
            // Less than before: a workload has ended and took its time with it.
            let used = Duration::from_nanos(server.cpu_nanos.saturating_sub(earlier)).as_secs_f64();
            let percent = (used / passed * 1_000.0).round() / 10.0;
            Row { usage: server.clone(), cpu_percent: percent }
        })
        .collect();
    rows.sort_by(|one, other| {
        let by_cpu = other.cpu_percent.total_cmp(&one.cpu_percent);
        by_cpu.then(other.usage.memory_bytes.cmp(&one.usage.memory_bytes))
    });
    rows
}

fn shown(rows: &[Row]) -> String {
    let several = rows.iter().any(|row| row.usage.tenant != TenantName::default());
    let mut head = vec!["NAME", "STATUS", "CPU", "MEMORY", "PIDS", "SESSIONS", "WORKLOADS"];
    if several {
        head.insert(1, "TENANT");
    }
    let cells = rows.iter().map(|row| {
        let Row { usage, cpu_percent } = row;
        let mut cells: Vec<Cell> = vec![usage.name.as_str().into()];
        cells.extend(several.then(|| Cell::from(usage.tenant.as_str())));
        let measured = |text: String| if usage.workloads == 0 { "-".to_owned() } else { text };
        cells.extend([
            usage.status.into(),
            measured(format!("{cpu_percent:.1}%")).into(),
            measured(format!("{:.1} MiB", bytes_as_mib(usage.memory_bytes))).into(),
            measured(usage.processes.to_string()).into(),
            Cell::from(usage.sessions.to_string()),
            usage.workloads.to_string().into(),
        ]);
        cells
    });
    table(&head, &cells.collect::<Vec<_>>(), false)
}

/// Exact where it is shown: to a tenth.
fn bytes_as_mib(bytes: u64) -> f64 {
    let tenths = bytes.saturating_mul(10) >> 20;
    f64::from(u32::try_from(tenths).unwrap_or(u32::MAX)) / 10.0
}

#[cfg(test)]
mod tests {
    use fairlead_core::status::ServerPhase;
    use jiff::{SignedDuration, Timestamp};

    use super::*;

    fn server(name: &str, cpu_nanos: u64, memory_bytes: u64) -> ServerUsage {
        ServerUsage {
            name: ServerName::new(name).unwrap(),
            tenant: TenantName::default(),
            status: ServerPhase::Running,
            workloads: 1,
            cpu_nanos,
            memory_bytes,
            processes: 3,
            sessions: 2,
        }
    }

    fn list(second: i64, servers: Vec<ServerUsage>) -> UsageList {
        UsageList { at: Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second), servers }
    }

    #[test]
    fn computing_time_is_a_rate_between_two_looks() {
        let before = list(10, vec![server("a", 1_000_000_000, 1), server("b", 5_000_000_000, 1)]);
        let now = list(
            12,
            vec![
                server("a", 4_000_000_000, 64 << 20),
                server("b", 1_000_000_000, 1 << 20),
                server("new", 9_000_000_000, 2 << 20),
            ],
        );
        let rows = rates(&before, &now);
        let rates: Vec<_> = rows.iter().map(|row| (row.usage.name.as_str(), row.cpu_percent)).collect();
        assert_eq!(rates, [("a", 150.0), ("new", 0.0), ("b", 0.0)], "one that lost a workload has no negative rate");
        insta::assert_snapshot!(shown(&rows), @r"
        NAME  STATUS   CPU     MEMORY    PIDS  SESSIONS  WORKLOADS
        a     running  150.0%  64.0 MiB  3     2         1
        new   running  0.0%    2.0 MiB   3     2         1
        b     running  0.0%    1.0 MiB   3     2         1
        ");
    }

    #[test]
    fn what_cannot_be_measured_is_not_shown_as_nothing() {
        let idle = ServerUsage { workloads: 0, memory_bytes: 0, ..server("a", 0, 0) };
        let rows = rates(&list(0, vec![idle.clone()]), &list(1, vec![idle]));
        assert!(shown(&rows).contains("running  -    -"), "{}", shown(&rows));
    }
}
