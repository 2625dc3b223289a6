//! `fairlead list`.

use fairlead_core::name::{GroupName, TenantName};
use jiff::Timestamp;

use super::output::{Cell, Format, age};
use super::{Context, Failure};
use crate::api::types::{Workload, WorkloadList};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also servers that are stopped
    #[arg(long, short)]
    all: bool,
    /// Only servers of this tenant
    #[arg(long, value_name = "TENANT")]
    tenant: Option<TenantName>,
    /// Only servers of this group
    #[arg(long, short, value_name = "GROUP")]
    group: Option<GroupName>,
    /// Only servers with this label (repeatable)
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = super::run::pair)]
    label: Vec<(String, String)>,
}

/// Lists servers.
///
/// # Errors
/// The daemon does not answer.
pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let list: WorkloadList = match context.daemon_with_state().await? {
        Some(client) => client.get(&args.path()).await?,
        None => WorkloadList { workloads: Vec::new() },
    };
    if context.output.format == Format::Json {
        return context.output.json(&list.workloads);
    }
    if list.workloads.is_empty() {
        context.output.note("no servers; `fairlead run` starts one");
        return Ok(());
    }
    let several = list.workloads.iter().any(|workload| workload.tenant != TenantName::default());
    let now = Timestamp::now();
    let grouped = list.workloads.iter().any(|workload| !workload.group.is_default());
    let mut head = vec!["NAME", "STATUS", "SOURCE", "TRANSPORT", "URL", "AGE"];
    if several {
        head.insert(1, "TENANT");
    }
    if grouped {
        head.push("GROUP");
    }
    let rows: Vec<Vec<Cell>> = list
        .workloads
        .iter()
        .map(|workload| {
            let mut cells = row(workload, several, now);
            cells.extend(grouped.then(|| workload.group.as_str().into()));
            cells
        })
        .collect();
    context.output.table(&head, &rows)
}

fn row(workload: &Workload, tenant: bool, now: Timestamp) -> Vec<Cell> {
    let mut cells: Vec<Cell> = vec![workload.name.as_str().into()];
    if tenant {
        cells.push(workload.tenant.as_str().into());
    }
    cells.extend([
        workload.status.into(),
        shortened(&workload.source).into(),
        workload.transport.clone().into(),
        workload.url.clone().into(),
        age(workload.created, now).into(),
    ]);
    cells
}

/// A source in a table: its end says more than its beginning.
fn shortened(source: &str) -> String {
    const LENGTH_MAX: usize = 40;
    let length = source.chars().count();
    if length <= LENGTH_MAX {
        return source.to_owned();
    }
    let end: String = source.chars().skip(length - LENGTH_MAX + 1).collect();
    format!("…{end}")
}

impl Args {
    fn path(&self) -> String {
        let Self { all, tenant, group, label } = self;
        Wanted { all: *all, tenant: tenant.as_ref(), group: group.as_ref(), labels: label }.path()
    }
}

/// Which servers.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) all: bool,
    pub(super) tenant: Option<&'a TenantName>,
    pub(super) group: Option<&'a GroupName>,
    pub(super) labels: &'a [(String, String)],
}

impl Wanted<'_> {
    /// Where the API lists them.
    pub(super) fn path(&self) -> String {
        self.path_of("workloads")
    }

    /// Where the API shows this about them.
    pub(super) fn path_of(&self, what: &str) -> String {
        let mut query = form(&[("all", &self.all.to_string())]);
        if let Some(tenant) = &self.tenant {
            query += &form(&[("tenant", tenant.as_str())]);
        }
        if let Some(group) = &self.group {
            query += &form(&[("group", group.as_str())]);
        }
        if !self.labels.is_empty() {
            let labels: Vec<String> = self.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            query += &form(&[("labels", &labels.join(","))]);
        }
        format!("/api/v1beta/{what}?{}", query.trim_start_matches('&'))
    }
}

/// `&name=value`, escaped.
pub(super) fn form(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        text += &format!("&{name}=");
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(byte)),
                _ => text += &format!("%{byte:02X}"),
            }
        }
    }
    text
}
