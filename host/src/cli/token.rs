//! `fairlead token`.

use fairlead_core::name::TenantName;
use fairlead_core::tenant::Role;
use http::Method;
use jiff::Timestamp;

use super::list::form;
use super::output::{Cell, Format, age};
use super::{Context, Failure};
use crate::api::types::policy::{CreateToken, CreatedToken, TokenInfo, TokenList};

const TOKENS: &str = "/api/v1beta/tokens";

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make a token for the API over TCP and print it; nobody sees it again
    Create {
        /// Tenant that it is for; without it, the platform
        #[arg(long, value_name = "TENANT")]
        tenant: Option<TenantName>,
        /// What its bearer may do: viewer, operator or admin
        #[arg(long, value_name = "ROLE")]
        role: Role,
        /// What it is for
        #[arg(long, default_value = "", hide_default_value = true)]
        description: String,
        /// After how many hours it ends to be good; without it, never
        #[arg(long, value_name = "HOURS")]
        expires_in: Option<u32>,
    },
    /// List tokens, without what makes them tokens
    #[command(visible_alias = "ls")]
    List {
        /// Only those of this tenant
        #[arg(long, value_name = "TENANT")]
        tenant: Option<TenantName>,
    },
    /// Withdraw a token: the next request with it is refused
    #[command(visible_alias = "remove")]
    Rm {
        /// Its id, as `token list` shows it
        id: String,
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
        Command::Create { tenant, role, description, expires_in } => {
            let expires_in_secs = expires_in.map(|hours| hours.saturating_mul(3_600));
            let create = CreateToken { tenant, role, description, expires_in_secs };
            let created: CreatedToken = client.post(TOKENS, Some(&create)).await?;
            match output.format {
                Format::Json => output.json(&created),
                Format::Text => {
                    output.note(&format!(
                        "token {} for {}; keep it, nobody sees it again",
                        created.info.id,
                        whose(&created.info)
                    ));
                    output.line(&created.token)
                }
            }
        }
        Command::List { tenant } => {
            let query = tenant.map(|tenant| form(&[("tenant", tenant.as_str())])).unwrap_or_default();
            let list: TokenList = client.get(&format!("{TOKENS}?{}", query.trim_start_matches('&'))).await?;
            if output.format == Format::Json {
                return output.json(&list.tokens);
            }
            if list.tokens.is_empty() {
                output.note("no tokens; `fairlead token create` makes one");
                return Ok(());
            }
            let rows: Vec<Vec<Cell>> = list.tokens.iter().map(row).collect();
            output.table(&["ID", "TENANT", "ROLE", "AGE", "EXPIRES", "DESCRIPTION"], &rows)
        }
        Command::Rm { id } => {
            // What is no id is none that there is; the path takes nothing else.
            let path: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
            client.finish(Method::DELETE, &format!("{TOKENS}/{path}")).await?;
            match output.format {
                Format::Json => output.json(&serde_json::json!({"id": id})),
                Format::Text => output.line(&format!("{id} is withdrawn")),
            }
        }
    }
}

fn whose(token: &TokenInfo) -> String {
    match &token.tenant {
        Some(tenant) => format!("{} of tenant `{tenant}`", token.role),
        None => format!("{} of the platform", token.role),
    }
}

fn row(token: &TokenInfo) -> Vec<Cell> {
    let now = Timestamp::now();
    let expires = match token.expires {
        None => "never".to_owned(),
        Some(expires) if expires <= now => "ended".to_owned(),
        Some(expires) => format!("in {}", age(now, expires)),
    };
    vec![
        token.id.clone().into(),
        token.tenant.as_ref().map_or("(platform)", TenantName::as_str).into(),
        token.role.as_str().into(),
        age(token.created, now).into(),
        expires.into(),
        token.description.clone().into(),
    ]
}
