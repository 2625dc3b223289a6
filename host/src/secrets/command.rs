//! Providers that are programs: `pass`, `op`, `vault`, or a script. The name of the secret stands where the configuration
//! puts it; nothing else of ours reaches the program.
//!
//! An answer is remembered for a while, in memory: a stdio server starts a process for each session, and a vault that asks
//! a person for a fingerprint each time would be turned off.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use fairlead_core::name::TenantName;
use fairlead_core::secret::{SecretError, SecretReference, SecretValue};
use parking_lot::Mutex;
use serde::Deserialize;

use super::program;
use crate::limits::{PROVIDER_CACHE_DEFAULT, PROVIDER_TIMEOUT_DEFAULT, PROVIDER_TIMEOUT_MAX, SECRETS_MAX};

/// Stands for the name of the secret in an argument.
const NAME: &str = "{name}";

/// A program that knows secrets, as the configuration file describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommandProvider {
    /// The program and its arguments; `{name}` stands for the name of the secret, which otherwise comes last.
    pub(crate) command: Vec<String>,
    /// Tenants that may ask it.
    #[serde(default = "default_tenants")]
    pub(crate) tenants: Vec<TenantName>,
    /// How long it may take.
    timeout_secs: Option<u64>,
    /// How long an answer is remembered.
    cache_secs: Option<u64>,
}

fn default_tenants() -> Vec<TenantName> {
    vec![TenantName::default()]
}

/// Answers that are still good.
#[derive(Default)]
pub(super) struct Answers(Mutex<HashMap<SecretReference, (Instant, SecretValue)>>);

impl Answers {
    /// An answer that is still good.
    pub(super) fn get(&self, provider: &CommandProvider, reference: &SecretReference) -> Option<SecretValue> {
        let keep = provider.cache_secs.map_or(PROVIDER_CACHE_DEFAULT, Duration::from_secs);
        let mut answers = self.0.lock();
        answers.retain(|known, (at, _)| known != reference || at.elapsed() < keep);
        answers.get(reference).map(|(_, value)| value.clone())
    }

    fn put(&self, reference: &SecretReference, value: SecretValue) {
        let mut answers = self.0.lock();
        if answers.len() >= SECRETS_MAX {
            answers.clear();
        }
        answers.insert(reference.clone(), (Instant::now(), value));
    }
}

impl CommandProvider {
    /// Asks the program. Blocking.
    pub(super) fn ask(&self, answers: &Answers, reference: &SecretReference) -> Result<SecretValue, SecretError> {
        let limit = self.timeout_secs.map_or(PROVIDER_TIMEOUT_DEFAULT, Duration::from_secs).min(PROVIDER_TIMEOUT_MAX);
        let printed = program::run(&self.arguments(reference), None, limit).map_err(|error| {
            SecretError::Unavailable(format!("`{}` for `{reference}`: {error}", reference.provider()))
        })?;
        let value = SecretValue::new(without_line_end(&printed));
        if value.reveal().is_empty() {
            return Err(SecretError::Absent(reference.clone()));
        }
        answers.put(reference, value.clone());
        Ok(value)
    }

    fn arguments(&self, reference: &SecretReference) -> Vec<String> {
        let name = reference.name().as_str();
        let mut arguments: Vec<String> = self.command.iter().map(|argument| argument.replace(NAME, name)).collect();
        if !self.command.iter().any(|argument| argument.contains(NAME)) {
            arguments.push(name.to_owned());
        }
        arguments
    }
}

/// Programs end what they print with one; it is no part of a secret.
fn without_line_end(printed: &[u8]) -> &[u8] {
    let printed = printed.strip_suffix(b"\n").unwrap_or(printed);
    printed.strip_suffix(b"\r").unwrap_or(printed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(text: &str) -> CommandProvider {
        toml::from_str(text).unwrap()
    }

    fn reference(name: &str) -> SecretReference {
        format!("secret://vault/{name}").parse().unwrap()
    }

    #[test]
    fn the_name_stands_where_it_was_put_or_comes_last() {
        let vault = provider("command = ['vault', 'kv', 'get', '-field=value', 'secret/{name}']");
        assert_eq!(vault.arguments(&reference("a b")).last().unwrap(), "secret/a b");
        assert_eq!(provider("command = ['pass', 'show']").arguments(&reference("x")), ["pass", "show", "x"]);
    }

    #[test]
    fn a_name_is_one_argument_and_never_a_command() {
        let answers = Answers::default();
        let echo = provider("command = ['printf', '%s\\n']");
        let value = echo.ask(&answers, &reference("$(id); rm x")).unwrap();
        assert_eq!(value.reveal(), b"$(id); rm x");
    }

    #[test]
    fn an_answer_is_remembered_for_a_while() {
        let directory = tempfile::tempdir().unwrap();
        let count = directory.path().join("count");
        let script = format!("command = ['sh', '-c', 'echo x >> {}; echo value']", count.display());
        let answers = Answers::default();
        let kept = provider(&script);
        kept.ask(&answers, &reference("a")).unwrap();
        assert_eq!(answers.get(&kept, &reference("a")).unwrap().reveal(), b"value");
        assert!(answers.get(&kept, &reference("b")).is_none());
        let forgotten = provider(&format!("{script}\ncache_secs = 0"));
        assert!(answers.get(&forgotten, &reference("a")).is_none());
    }

    #[test]
    fn one_that_fails_is_unavailable_and_one_that_says_nothing_has_none() {
        let answers = Answers::default();
        let failing = provider("command = ['false']").ask(&answers, &reference("a")).unwrap_err();
        assert!(matches!(failing, SecretError::Unavailable(_)), "{failing}");
        let silent = provider("command = ['true']").ask(&answers, &reference("a")).unwrap_err();
        assert!(matches!(silent, SecretError::Absent(_)), "{silent}");
    }
}
