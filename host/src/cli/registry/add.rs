//! `fairlead registry add`: from what was typed to a source with what it needs, and nothing more.
//!
//! Whoever types an address allows the source to go there: the grant is made of it, for that host and for reading. Any other
//! plugin is granted what `--grant` says.

use std::path::PathBuf;

use fairlead_core::grant::{HTTP, HTTP_PRIVATE, SECRETS};
use fairlead_core::name::{LayerName, RegistryName};
use fairlead_core::plugin::Capability;
use fairlead_registry::rules::Rules;
use fairlead_registry::spec::{EntrySource, GitSource, Hook, RegistrySpec};
use serde_json::{Value, json};

use super::{Of, told};
use crate::api::types::registry::{CreateRegistry, RegistryInfo};
use crate::cli::output::Format;
use crate::cli::plugin::{absolute, inspect};
use crate::cli::run::grants::{grant, parse_grant, parse_plugin};
use crate::cli::{Context, Failure};

/// The official registry.
const OFFICIAL: &str = "official";
const OFFICIAL_URL: &str = "https://registry.modelcontextprotocol.io";

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the registry; `official` alone is the official one
    name: RegistryName,
    /// A file (`./servers.json`), the URL of one (it ends in `.json`), that of a registry of the official API, a repository
    /// (`git+https://…`, or a URL that ends in `.git`), an artifact (`oci://…`), or another Fairlead (`fairlead+https://…`)
    #[arg(value_name = "SOURCE", conflicts_with = "plugin")]
    source: Option<String>,
    /// Another registry source, with its configuration as a file or as JSON
    #[arg(long, value_name = "PLUGIN[=CONFIG]")]
    plugin: Option<String>,
    /// Capability that the source gets when it asks for it (repeatable)
    #[arg(long, value_name = "CAPABILITY[=SCOPE,...]")]
    grant: Vec<String>,
    /// How far it is trusted
    #[arg(long, value_name = "LAYER", default_value = "community")]
    layer: LayerName,
    /// File with rules: which entries are taken, and how they are changed
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// Registry source that keeps, changes or drops each entry when it is read (repeatable)
    #[arg(long, value_name = "PLUGIN[=CONFIG]")]
    transform: Vec<String>,
    /// Seconds between two readings
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600)]
    interval: u64,
    /// All versions of each server, where the source has them
    #[arg(long)]
    versions: bool,
    /// Secret that is sent as `Authorization: Bearer`, or shown to a git server as a password; to this host alone
    #[arg(long, value_name = "NAME")]
    token: Option<String>,
    /// Branch of a repository
    #[arg(long, value_name = "BRANCH", conflicts_with = "tag")]
    branch: Option<String>,
    /// Tag of a repository
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// File or directory of a repository; of a directory, its files that end in `.json`
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// The name of the git server may lead into a private network
    #[arg(long)]
    private: bool,
    #[command(flatten)]
    of: Of,
}

/// Adds it.
///
/// # Errors
/// It makes no sense, or there is one of this name.
pub(super) async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let rules = match &args.rules {
        None => Rules::default(),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::new(format!("read rules `{}`: {error}", path.display())))?;
            serde_json::from_str(&text).map_err(|error| Failure::new(format!("rules `{}`: {error}", path.display())))?
        }
    };
    let client = context.daemon().await?;
    let source = match &args.plugin {
        None => source(&args)?,
        Some(typed) => {
            let (reference, config) = parse_plugin(typed)?;
            let plugin = inspect(&client, &reference).await?;
            let given: Vec<Capability> = args.grant.iter().map(|text| parse_grant(text)).collect();
            let mut grants = grant(&plugin.name, &plugin.capabilities, &given, &context.output)?;
            // A private network is never asked for in a manifest: it is the operator's to know.
            grants.extend(given.into_iter().filter(|grant| grant.name == HTTP_PRIVATE || grant.name == SECRETS));
            EntrySource::Plugin { plugin: absolute(&reference)?, config, grants }
        }
    };
    let mut transform = Vec::new();
    for typed in &args.transform {
        let (reference, config) = parse_plugin(typed)?;
        transform.push(Hook { plugin: absolute(&reference)?, config, grants: Vec::new() });
    }
    let spec = RegistrySpec { source, layer: args.layer, rules, transform, interval_secs: args.interval };
    context.output.progress(&format!("reading {} …", args.name));
    let request = CreateRegistry { tenant: args.of.tenant, name: args.name, spec };
    let added = client.post("/api/v1beta/registries", Some(&request)).await;
    context.output.progress_done();
    let added: RegistryInfo = added?;
    match context.output.format {
        Format::Json => context.output.json(&added),
        Format::Text => told(&added, context),
    }
}

fn source(args: &Args) -> Result<EntrySource, Failure> {
    let typed = match &args.source {
        Some(typed) => typed.as_str(),
        None if args.name.as_str() == OFFICIAL => OFFICIAL_URL,
        None => {
            return Err(Failure::usage("there is nothing to read")
                .hint("give a file, a URL, or a source with `--plugin`; `fairlead registry add official` needs none"));
        }
    };
    let repository = repository(typed);
    let of_git = args.branch.is_some() || args.tag.is_some() || args.path.is_some() || args.private;
    if of_git && repository.is_none() {
        return Err(Failure::usage("`--branch`, `--tag`, `--path` and `--private` are for repositories")
            .hint("a repository is `git+https://…`, or a URL that ends in `.git`"));
    }
    if let Some(url) = repository {
        return Ok(EntrySource::Git(Box::new(GitSource {
            url: url.to_owned(),
            branch: args.branch.clone(),
            tag: args.tag.clone(),
            path: args.path.clone(),
            private: args.private,
            token: args.token.clone(),
            user: None,
        })));
    }
    if let Some(reference) = typed.strip_prefix("oci://") {
        return Ok(EntrySource::Oci { reference: reference.to_owned() });
    }
    let (fairlead, typed) = typed.strip_prefix("fairlead+").map_or((false, typed), |url| (true, url));
    if !is_url(typed) {
        if args.versions || args.token.is_some() {
            return Err(Failure::usage("`--versions` and `--token` are for registries at a URL"));
        }
        return Ok(EntrySource::File { path: std::path::absolute(typed)? });
    }
    let file = !fairlead && typed.split(['?', '#']).next().is_some_and(|path| path.ends_with(".json"));
    let mut config = json!({ "url": typed });
    if let (Some(fields), Some(token)) = (config.as_object_mut(), &args.token) {
        fields.insert("token".to_owned(), token.as_str().into());
    }
    // Another Fairlead gives all versions unless it is asked not to.
    if let (Some(fields), false, false, true) = (config.as_object_mut(), file, fairlead, args.versions) {
        fields.insert("versions".to_owned(), Value::Bool(true));
    }
    let plugin = match (fairlead, file) {
        (true, _) => "source-fairlead",
        (_, true) => "source-json",
        _ => "source-mcp-registry",
    };
    Ok(EntrySource::Plugin { plugin: plugin.to_owned(), config, grants: grants(typed, args.token.as_deref()) })
}

/// The URL of a repository, if it is one.
fn repository(typed: &str) -> Option<&str> {
    typed.strip_prefix("git+").or_else(|| (is_url(typed) && typed.ends_with(".git")).then_some(typed))
}

fn is_url(typed: &str) -> bool {
    typed.starts_with("http://") || typed.starts_with("https://")
}

/// What reading an address takes: to get from its host, to be there where the address itself says so, and to send the token to
/// it.
pub(super) fn grants(url: &str, token: Option<&str>) -> Vec<Capability> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.split_once(']') {
        Some((literal, _)) => literal.trim_start_matches('['),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let capability =
        |name: &str, scope: Vec<String>| Capability { name: name.to_owned(), scope, reason: String::new() };
    let mut grants = vec![capability(HTTP, vec![format!("GET {scheme}://{authority}")])];
    if host == "localhost" {
        grants.push(capability(HTTP_PRIVATE, vec!["127.0.0.0/8".to_owned(), "::1/128".to_owned()]));
    }
    grants.extend(token.map(|token| capability(SECRETS, vec![format!("{token}@{host}")])));
    grants
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_grants_itself_and_nothing_else() {
        let texts = |url, token| {
            let each = grants(url, token).into_iter().map(|grant| format!("{} {}", grant.name, grant.scope.join(",")));
            each.collect::<Vec<_>>()
        };
        assert_eq!(texts("https://r.example.test/x.json?a=b", None), ["http GET https://r.example.test"]);
        assert_eq!(
            texts("http://localhost:8080/", Some("t")),
            ["http GET http://localhost:8080", "http-private 127.0.0.0/8,::1/128", "secrets t@localhost"]
        );
        assert_eq!(texts("http://[::1]:80", Some("t")), ["http GET http://[::1]:80", "secrets t@::1"]);
    }
}
