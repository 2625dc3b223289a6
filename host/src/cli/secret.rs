//! `fairlead secret`: values come from standard input or are asked for without an echo; an argument would be in the list of
//! processes and in the history of the shell.

use std::ffi::OsString;
use std::io::{IsTerminal as _, Read as _};

use fairlead_core::limits::SECRET_VALUE_BYTES_MAX;
use fairlead_core::name::TenantName;
use fairlead_core::secret::SecretName;
use http::Method;
use jiff::Timestamp;
use serde_json::json;
use zeroize::{Zeroize as _, Zeroizing};

use super::list::form;
use super::output::{Cell, Format, age};
use super::{Context, Failure};
use crate::api::types::{RevealedSecret, RotateSecrets, RotatedSecrets, SecretInfo, SecretList, SetSecret};
use crate::config::variables;
use crate::secrets::KeySource;

/// What is done with secrets.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Store a secret; its value is read from standard input, or asked for
    Set(Set),
    /// Print the value of a secret
    Get(Named),
    /// List the names of secrets in the store
    #[command(visible_alias = "ls")]
    List(Of),
    /// Forget secrets
    #[command(visible_alias = "remove")]
    Rm(Several),
    /// Seal the store under a new key
    Rotate(Rotate),
}

/// Of which tenant.
#[derive(Debug, clap::Args)]
pub(crate) struct Of {
    /// Tenant of the secrets
    #[arg(long, value_name = "TENANT", default_value_t)]
    tenant: TenantName,
}

/// Which secret.
#[derive(Debug, clap::Args)]
pub(crate) struct Named {
    /// Name of the secret; `get` also takes a reference to another provider (`secret://env/NAME`)
    name: String,
    #[command(flatten)]
    of: Of,
}

/// What was typed after `secret set`.
#[derive(Debug, clap::Args)]
pub(crate) struct Set {
    #[command(flatten)]
    named: Named,
    /// Never the value: taken only to say where it belongs
    #[arg(hide = true, value_name = "VALUE")]
    value: Vec<OsString>,
}

/// Which secrets.
#[derive(Debug, clap::Args)]
pub(crate) struct Several {
    /// Names of secrets
    #[arg(required = true, value_name = "NAME")]
    names: Vec<SecretName>,
    #[command(flatten)]
    of: Of,
}

/// Where the new key shall be.
#[derive(Debug, clap::Args)]
pub(crate) struct Rotate {
    /// Where the new key is kept; where the old one is by default
    #[arg(long, value_enum, value_name = "PLACE")]
    key: Option<KeySource>,
}

/// Does it.
///
/// # Errors
/// The daemon does not come up, or says no.
pub(crate) async fn run(command: Command, context: &Context) -> Result<(), Failure> {
    match command {
        Command::Set(args) => set(args, context).await,
        Command::Get(args) => get(args, context).await,
        Command::List(args) => list(args, context).await,
        Command::Rm(args) => remove(args, context).await,
        Command::Rotate(args) => rotate(args, context).await,
    }
}

async fn set(Set { named: args, value: typed }: Set, context: &Context) -> Result<(), Failure> {
    if !typed.is_empty() {
        return Err(Failure::usage("the value of a secret is not typed on the command line")
            .hint("give it on standard input: `… < file`; others see arguments in the list of processes"));
    }
    let name = SecretName::new(&args.name).map_err(|error| Failure::usage(error.to_string()))?;
    let value = value(&format!("value of `{name}`"))?;
    let client = context.daemon().await?;
    let info: SecretInfo = client.put(&path(&name, &args.of.tenant), &SetSecret { value }).await?;
    match context.output.format {
        Format::Json => context.output.json(&info),
        Format::Text => {
            context.output.line(&format!("{} is set", info.reference))?;
            if !info.used_by.is_empty() {
                let users = info.used_by.join(" ");
                context.output.note(&format!("servers that run have the old value; `fairlead restart {users}`"));
            }
            Ok(())
        }
    }
}

async fn get(args: Named, context: &Context) -> Result<(), Failure> {
    let client = context.daemon().await?;
    let query = form(&[("tenant", args.of.tenant.as_str()), ("name", &args.name)]);
    let path = format!("/api/v1beta/secret-value?{}", query.trim_start_matches('&'));
    let found: RevealedSecret = client.get(&path).await?;
    match context.output.format {
        Format::Json => context.output.json(&found),
        Format::Text => context.output.verbatim(&found.value),
    }
}

async fn list(args: Of, context: &Context) -> Result<(), Failure> {
    let SecretList { secrets } = match context.daemon_with_secrets().await? {
        Some(client) => client.get(&format!("/api/v1beta/secrets?tenant={}", args.tenant)).await?,
        None => SecretList { secrets: Vec::new() },
    };
    if context.output.format == Format::Json {
        return context.output.json(&secrets);
    }
    if secrets.is_empty() {
        context.output.note("no secrets; `fairlead secret set` stores one");
        return Ok(());
    }
    let now = Timestamp::now();
    let row = |secret: &SecretInfo| -> Vec<Cell> {
        let users = if secret.used_by.is_empty() { "-".to_owned() } else { secret.used_by.join(", ") };
        vec![secret.name.as_str().into(), age(secret.updated, now).into(), users.into()]
    };
    let rows: Vec<_> = secrets.iter().map(row).collect();
    context.output.table(&["NAME", "AGE", "USED BY"], &rows)
}

async fn remove(args: Several, context: &Context) -> Result<(), Failure> {
    let client = context.daemon().await?;
    for name in &args.names {
        client.finish(Method::DELETE, &path(name, &args.of.tenant)).await?;
        if context.output.format == Format::Text {
            context.output.line(&format!("{name} is removed"))?;
        }
    }
    if context.output.format == Format::Json {
        let removed: Vec<_> = args.names.iter().map(|name| json!({"name": name, "tenant": args.of.tenant})).collect();
        return context.output.json(&removed);
    }
    Ok(())
}

async fn rotate(args: Rotate, context: &Context) -> Result<(), Failure> {
    // What the daemon finds in its environment is the old one.
    let given = match args.key {
        Some(KeySource::Environment) => Some(value("new passphrase of the store")?),
        _ => None,
    };
    let client = context.daemon().await?;
    let request = RotateSecrets { to: args.key, key: given };
    let rotated: RotatedSecrets = client.post("/api/v1beta/secrets-rotation", Some(&request)).await?;
    match (context.output.format, rotated.key) {
        (Format::Json, _) => context.output.json(&rotated),
        (Format::Text, KeySource::Environment) => context.output.line(&format!(
            "the store has a new key; the daemon finds it in `{}` from its next start on",
            variables::SECRETS_KEY.name
        )),
        (Format::Text, KeySource::File) => context.output.line("the store has a new key, in its file"),
        (Format::Text, KeySource::Keyring) => context.output.line("the store has a new key, in the keyring"),
    }
}

/// From a terminal without an echo, otherwise all of standard input without the end of its last line.
fn value(what: &str) -> Result<Zeroizing<String>, Failure> {
    let mut text = if std::io::stdin().is_terminal() {
        Zeroizing::new(rpassword::prompt_password(format!("{what}: "))?)
    } else {
        let mut text = Zeroizing::new(String::with_capacity(SECRET_VALUE_BYTES_MAX));
        let most = u64::try_from(SECRET_VALUE_BYTES_MAX + 2).unwrap_or(u64::MAX);
        let read = std::io::stdin().take(most).read_to_string(&mut text);
        read.map_err(|error| Failure::new(format!("read the {what} from standard input: {error}")))?;
        text
    };
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        return Err(Failure::usage(format!("the {what} is empty")).hint("give it on standard input: `… < file`"));
    }
    if text.len() > SECRET_VALUE_BYTES_MAX {
        text.zeroize();
        return Err(Failure::usage(format!("the {what} has more than {SECRET_VALUE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

fn path(name: &SecretName, tenant: &TenantName) -> String {
    // A name may have slashes and more; `form` escapes them all.
    let escaped = form(&[("", name.as_str())]);
    format!("/api/v1beta/secrets/{}?tenant={tenant}", escaped.trim_start_matches("&="))
}
