//! `fairlead tenant`.

use fairlead_core::name::TenantName;
use http::Method;
use jiff::Timestamp;

use super::output::{Cell, Format, age};
use super::{Context, Failure};
use crate::api::types::policy::{CreateTenant, TenantInfo, TenantList};

const TENANTS: &str = "/api/v1beta/tenants";

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Declare a tenant: servers, chain, tokens and plugin state of its own
    Create {
        /// Name of the tenant
        name: TenantName,
        /// Who that is
        #[arg(long, default_value = "", hide_default_value = true)]
        description: String,
        /// Let its tokens run commands of this machine, name its files and mount its directories
        #[arg(long)]
        host_access: bool,
        /// Label (repeatable)
        #[arg(long, short, value_name = "KEY=VALUE", value_parser = super::run::pair)]
        label: Vec<(String, String)>,
    },
    /// List tenants
    #[command(visible_alias = "ls")]
    List,
    /// Show one tenant
    Show {
        /// Name of the tenant
        name: TenantName,
    },
    /// Forget a tenant, with its chain, its tokens and what its plugins kept; it must have no servers
    #[command(visible_alias = "remove")]
    Rm {
        /// Name of the tenant
        name: TenantName,
    },
}

/// Does it.
///
/// # Errors
/// The daemon says no.
pub(crate) async fn run(command: Command, context: &Context) -> Result<(), Failure> {
    let client = context.daemon().await?;
    let output = &context.output;
    match command {
        Command::Create { name, description, host_access, label } => {
            let create = CreateTenant { name, description, host_access, labels: label.into_iter().collect() };
            let created: TenantInfo = client.post(TENANTS, Some(&create)).await?;
            match output.format {
                Format::Json => output.json(&created),
                Format::Text => output.line(&format!("{} is created", created.name)),
            }
        }
        Command::List => {
            let list: TenantList = client.get(TENANTS).await?;
            if output.format == Format::Json {
                return output.json(&list.tenants);
            }
            if list.tenants.is_empty() {
                output.note("no tenants; `fairlead tenant create` declares one");
                return Ok(());
            }
            let rows: Vec<Vec<Cell>> = list.tenants.iter().map(row).collect();
            output.table(&["NAME", "SERVERS", "ATTACHMENTS", "AGE", "DESCRIPTION"], &rows)
        }
        Command::Show { name } => {
            let tenant: TenantInfo = client.get(&format!("{TENANTS}/{name}")).await?;
            match output.format {
                Format::Json => output.json(&tenant),
                Format::Text => output.text(&describe(&tenant)),
            }
        }
        Command::Rm { name } => {
            client.finish(Method::DELETE, &format!("{TENANTS}/{name}")).await?;
            match output.format {
                Format::Json => output.json(&serde_json::json!({"name": name})),
                Format::Text => output.line(&format!("{name} is removed")),
            }
        }
    }
}

fn row(tenant: &TenantInfo) -> Vec<Cell> {
    let created = tenant.created.map_or_else(|| "not declared".to_owned(), |created| age(created, Timestamp::now()));
    vec![
        tenant.name.as_str().into(),
        tenant.servers.to_string().into(),
        tenant.attachments.to_string().into(),
        created.into(),
        tenant.description.clone().into(),
    ]
}

fn describe(tenant: &TenantInfo) -> String {
    let mut text = format!("name         {}\n", tenant.name);
    if !tenant.description.is_empty() {
        text += &format!("description  {}\n", tenant.description);
    }
    text += &format!("servers      {}\nattachments  {}\n", tenant.servers, tenant.attachments);
    text += &format!("host access  {}\n", if tenant.host_access { "yes" } else { "no" });
    for (name, value) in &tenant.labels {
        text += &format!("label        {name}={value}\n");
    }
    match tenant.created {
        Some(created) => text + &format!("created      {created:.0} ({} ago)\n", age(created, Timestamp::now())),
        None => text + "created      not declared: it only has servers\n",
    }
}
