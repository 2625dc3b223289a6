//! Plugins on the command line: what each asks for is shown and granted before it is attached.
//!
//! Nothing is granted because a plugin asks for it. On a terminal the user is asked; elsewhere `--grant` has to say it, so
//! that a script never grants more than its author read.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use fairlead_core::name::AttachmentName;
use fairlead_core::plugin::{AttachmentSpec, Capability};
use serde_json::Value;

use super::Args;
use crate::cli::Failure;
use crate::cli::output::Output;
use crate::cli::plugin::{absolute, capability, inspect};
use crate::client::Client;
use crate::yaml;

/// The plugins that were asked for, with what they were granted.
pub(super) async fn attachments(args: &Args, client: &Client, output: &Output) -> Result<Vec<AttachmentSpec>, Failure> {
    let grants: Vec<Capability> = args.grant.iter().map(|text| parse_grant(text)).collect();
    let mut attached: Vec<AttachmentSpec> = Vec::new();
    for typed in &args.plugin {
        let (reference, config) = parse_plugin(typed)?;
        let plugin = inspect(client, &reference).await?;
        let granted = grant(&plugin.name, &plugin.capabilities, &grants, output)?;
        let name = free_name(&plugin.name, &attached)?;
        attached.push(AttachmentSpec { config, grants: granted, ..AttachmentSpec::new(name, absolute(&reference)?) });
    }
    if let Some(unused) = grants
        .iter()
        .find(|grant| !attached.iter().any(|plugin| plugin.grants.iter().any(|given| given.name == grant.name)))
    {
        return Err(Failure::usage(format!("no plugin of this server asks for `{}`", unused.name))
            .hint("leave `--grant` out, or look at what a plugin asks for with `fairlead plugin inspect`"));
    }
    Ok(attached)
}

pub(in crate::cli) fn grant(
    plugin: &str,
    asked: &[Capability],
    given: &[Capability],
    output: &Output,
) -> Result<Vec<Capability>, Failure> {
    let mut granted = Vec::new();
    for wanted in asked {
        match given.iter().find(|grant| grant.name == wanted.name) {
            Some(grant) if grant.scope.is_empty() => granted.push(wanted.clone()),
            Some(grant) => granted.push(Capability { scope: grant.scope.clone(), ..wanted.clone() }),
            None if ask(plugin, wanted, output)? => granted.push(wanted.clone()),
            None => return Err(not_granted(plugin, asked, given)),
        }
    }
    Ok(granted)
}

/// All that is missing at once, so that nobody comes back for each.
fn not_granted(plugin: &str, asked: &[Capability], given: &[Capability]) -> Failure {
    let is_missing = |wanted: &&Capability| !given.iter().any(|grant| grant.name == wanted.name);
    let missing: Vec<&Capability> = asked.iter().filter(is_missing).collect();
    let shown: Vec<String> = missing.iter().map(|wanted| capability(wanted)).collect();
    let flags: Vec<String> = missing.iter().map(|wanted| format!("--grant {}", wanted.name)).collect();
    Failure::new(format!("plugin `{plugin}` asks for {}", shown.join("; ")))
        .hint(format!("grant it with `{}`, or leave the plugin out", flags.join(" ")))
}

/// Asks the user, if there is one.
fn ask(plugin: &str, wanted: &Capability, output: &Output) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(false);
    }
    output.note(&format!("plugin `{plugin}` asks for {}", capability(wanted)));
    let mut stderr = io::stderr();
    write!(stderr, "grant it? [y/N] ").and_then(|()| stderr.flush())?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// `reference`, `reference=file.yaml` or `reference={"inline": true}`; files and what stands in place are JSON or YAML.
pub(in crate::cli) fn parse_plugin(typed: &str) -> Result<(String, Value), Failure> {
    let Some((reference, config)) = typed.split_once('=') else {
        return Ok((typed.to_owned(), Value::Object(serde_json::Map::new())));
    };
    let (text, origin) = if config.trim_start().starts_with('{') {
        (config.to_owned(), "the configuration".to_owned())
    } else {
        let text = std::fs::read_to_string(config)
            .map_err(|error| Failure::new(format!("read configuration `{config}`: {error}")))?;
        (text, format!("`{config}`"))
    };
    let value = yaml::one(&text).map_err(|reason| {
        Failure::new(format!("{origin} of plugin `{reference}` is neither JSON nor YAML: {reason}"))
    })?;
    Ok((reference.to_owned(), value))
}

/// `name` or `name=scope,scope`.
pub(in crate::cli) fn parse_grant(typed: &str) -> Capability {
    let (name, scope) = typed.split_once('=').unwrap_or((typed, ""));
    Capability {
        name: name.to_owned(),
        scope: scope.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect(),
        reason: String::new(),
    }
}

/// The name of the plugin; with a number when it is there already.
fn free_name(plugin: &str, attached: &[AttachmentSpec]) -> Result<AttachmentName, Failure> {
    let is_free = |name: &str| !attached.iter().any(|other| other.name.as_str() == name);
    let name = std::iter::once(plugin.to_owned())
        .chain((2..).map(|number| format!("{plugin}-{number}")))
        .find(|name| is_free(name))
        .unwrap_or_default();
    AttachmentName::new(&name).map_err(|error| Failure::chain(&error))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::output::Format;

    fn kv() -> Capability {
        Capability { name: "kv".into(), scope: Vec::new(), reason: "counts".into() }
    }

    #[test]
    fn a_configuration_is_a_file_or_stands_in_place_in_json_or_yaml() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("c.json");
        std::fs::write(&file, r#"{"b":2}"#).unwrap();
        assert_eq!(parse_plugin("redact").unwrap(), ("redact".into(), json!({})));
        assert_eq!(parse_plugin(r#"redact={"a":"x=y"}"#).unwrap(), ("redact".into(), json!({"a": "x=y"})));
        assert_eq!(parse_plugin(&format!("redact={}", file.display())).unwrap(), ("redact".into(), json!({"b": 2})));
        let yaml = directory.path().join("c.yaml");
        std::fs::write(&yaml, "b: 2\n").unwrap();
        assert_eq!(parse_plugin(&format!("redact={}", yaml.display())).unwrap(), ("redact".into(), json!({"b": 2})));
        assert_eq!(parse_plugin("redact={b: 2}").unwrap(), ("redact".into(), json!({"b": 2})));
        assert!(parse_plugin("redact={").unwrap_err().message.contains("neither JSON nor YAML"));
        assert!(parse_plugin("redact=/no/such").unwrap_err().message.contains("/no/such"));
    }

    #[test]
    fn nothing_is_granted_that_was_not_given() {
        let output = Output::new(Format::Text, true);
        let failure = grant("rate-limit", &[kv()], &[], &output).unwrap_err();
        assert_eq!(failure.message, "plugin `rate-limit` asks for kv: counts");
        assert!(failure.hint.unwrap().contains("--grant kv"));
        let clock = Capability { name: "clock".into(), ..kv() };
        let failure = grant("rate-limit", &[kv(), clock], &[], &output).unwrap_err();
        assert_eq!(failure.message, "plugin `rate-limit` asks for kv: counts; clock: counts");
        assert!(failure.hint.unwrap().contains("`--grant kv --grant clock`"), "all at once");
        assert_eq!(grant("rate-limit", &[kv()], &[parse_grant("kv")], &output).unwrap(), [kv()]);
    }

    #[test]
    fn a_given_scope_goes_before_the_one_asked_for() {
        let output = Output::new(Format::Text, true);
        let asked = Capability { name: "http".into(), scope: vec!["*".into()], reason: String::new() };
        let granted = grant("p", &[asked], &[parse_grant("http=a.example,b.example")], &output).unwrap();
        assert_eq!(granted.first().unwrap().scope, ["a.example", "b.example"]);
    }

    #[test]
    fn the_second_of_two_alike_gets_a_number() {
        let first = AttachmentSpec::new(free_name("redact", &[]).unwrap(), "redact");
        assert_eq!(free_name("redact", &[first]).unwrap().as_str(), "redact-2");
    }
}
