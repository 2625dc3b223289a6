//! Tables of cases: what must hold of a plugin, in a file that is the same for every language.
//!
//! A case is one call or several, against a fresh attachment with state of its own; or a configuration that must be accepted
//! or refused. What a case does not say is not compared. A case that expects nothing is compared with its golden file, whole.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use fairlead_core::plugin::{InstanceModel, PluginLimits};
use fairlead_wasm::Plugin;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::message::Message;
use super::outcome::{Outcome, Word, ask};
use super::workbench::{Setting, Workbench};
use crate::limits::CASE_HOOK_MS_MAX;
use crate::{text, yaml};

/// A table.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Table {
    /// Configuration of the cases that have none.
    #[serde(default)]
    config: Value,
    #[serde(default)]
    limits: Option<PluginLimits>,
    pub(crate) cases: Vec<Case>,
}

/// A row.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) name: String,
    #[serde(default)]
    config: Option<Value>,
    #[serde(default)]
    given: Given,
    #[serde(default)]
    call: Option<Message>,
    #[serde(default)]
    expect: Option<Expect>,
    /// Several calls, one after the other.
    #[serde(default)]
    steps: Vec<Step>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    /// State before the first call; numbers are counters.
    #[serde(default)]
    kv: BTreeMap<String, Value>,
    /// The time, which then stands still but for `afterMs`.
    #[serde(default)]
    now: Option<Timestamp>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Step {
    /// How much time passes before.
    #[serde(default)]
    after_ms: i64,
    call: Message,
    #[serde(default)]
    expect: Option<Expect>,
}

/// What must hold.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Expect {
    #[serde(default)]
    verdict: Option<Word>,
    #[serde(default)]
    code: Option<i64>,
    /// Contained in the text of a rejection, a fault, a refused configuration or a warning.
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    data: Option<Value>,
    #[serde(default)]
    retry_after_ms: Option<u64>,
    /// What goes on, changed or not, or the result of `respond`.
    #[serde(default)]
    payload: Option<Value>,
    #[serde(default)]
    identity: Option<String>,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    /// State after the call; `null`: nothing there.
    #[serde(default)]
    kv: BTreeMap<String, Value>,
    /// Of a case without a call.
    #[serde(default)]
    config: Option<ConfigWord>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ConfigWord {
    Accepted,
    Refused,
}

/// Outcomes of the cases that expect nothing, by name.
pub(crate) type Golden = BTreeMap<String, Vec<Outcome>>;

/// How one case went.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// The case.
    pub(crate) name: String,
    /// What did not hold; empty: it passed.
    pub(crate) wrong: Vec<String>,
    /// Time in the plugin.
    pub(crate) micros: u128,
    /// What there was to compare with a golden file.
    #[serde(skip)]
    pub(crate) golden: Option<Vec<Outcome>>,
}

/// Reads a table.
///
/// # Errors
/// It is neither JSON nor YAML, or says something that no table says.
pub(crate) fn read(path: &Path) -> Result<Table, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("read `{}`: {error}", path.display()))?;
    yaml::one(&text).map_err(|reason| format!("`{}`: {reason}", path.display()))
}

/// Runs one case.
pub(crate) async fn run(
    bench: &Workbench,
    plugin: &Arc<Plugin>,
    table: &Table,
    case: &Case,
    golden: &Golden,
) -> Report {
    let mut report = Report { name: case.name.clone(), wrong: Vec::new(), micros: 0, golden: None };
    if let Err(reason) = play(bench, plugin, table, case, &mut report).await {
        report.wrong.push(reason);
    }
    bench.set_time(None);
    if let Some(outcomes) = &report.golden {
        match golden.get(&case.name) {
            None => report.wrong.push("expects nothing and has no golden outcome; `--update` writes it".to_owned()),
            Some(known) if known != outcomes => {
                let text = |outcomes: &Vec<Outcome>| serde_json::to_string(outcomes).unwrap_or_default();
                report.wrong.push(format!("golden outcome was {}, now it is {}", text(known), text(outcomes)));
            }
            Some(_) => {}
        }
    }
    report
}

async fn play(
    bench: &Workbench,
    plugin: &Arc<Plugin>,
    table: &Table,
    case: &Case,
    report: &mut Report,
) -> Result<(), String> {
    let config = case.config.as_ref().unwrap_or(&table.config);
    let steps: Vec<(i64, &Message, Option<&Expect>)> = match (&case.call, case.steps.is_empty()) {
        (None, true) => return check(bench, plugin, config, case.expect.as_ref(), report).await,
        (Some(call), true) => vec![(0, call, case.expect.as_ref())],
        (None, false) if case.expect.is_none() => {
            case.steps.iter().map(|step| (step.after_ms, &step.call, step.expect.as_ref())).collect()
        }
        _ => return Err("a case has one `call` with its `expect`, or `steps` with theirs".to_owned()),
    };
    let tenant = steps.first().map(|(_, call, _)| call.tenant.clone()).unwrap_or_default();
    if steps.iter().any(|(_, call, _)| call.tenant != tenant) {
        return Err("an attachment belongs to one tenant; make it two cases".to_owned());
    }
    bench.set_time(case.given.now);
    let setting = Setting {
        tenant: tenant.clone(),
        place: format!("case/{}", case.name),
        config: config.clone(),
        instances: InstanceModel::Warm,
        limits: table.limits.unwrap_or(PluginLimits {
            cpu_ms_max: Some(CASE_HOOK_MS_MAX),
            wall_ms_max: Some(CASE_HOOK_MS_MAX),
            ..PluginLimits::default()
        }),
    };
    let state = bench.state(&tenant, &setting.place);
    for (key, value) in &case.given.kv {
        state.set(key, &plain(value))?;
    }
    let middleware = bench.attach(plugin, setting).await.map_err(|error| text::chain(&error))?;
    let (mut now, mut unexpected) = (case.given.now, Vec::new());
    for (position, (after_ms, call, expect)) in steps.iter().enumerate() {
        if *after_ms > 0 {
            // Time that passes has to begin somewhere.
            let later = now.unwrap_or_else(Timestamp::now) + SignedDuration::from_millis(*after_ms);
            now = Some(later);
            bench.set_time(now);
        }
        let (outcome, elapsed) = ask(&*middleware, call).await?;
        report.micros += elapsed.as_micros();
        match expect {
            None => unexpected.push(outcome),
            Some(expect) => {
                let mut wrong = compare(expect, &outcome, call);
                wrong.extend(expect.kv.iter().filter_map(|(key, value)| differs(key, value, state.get(key))));
                let place = |wrong| if steps.len() > 1 { format!("step {}: {wrong}", position + 1) } else { wrong };
                report.wrong.extend(wrong.into_iter().map(place));
            }
        }
    }
    report.golden = (!unexpected.is_empty()).then_some(unexpected);
    Ok(())
}

async fn check(
    bench: &Workbench,
    plugin: &Arc<Plugin>,
    config: &Value,
    expect: Option<&Expect>,
    report: &mut Report,
) -> Result<(), String> {
    let Some(Expect { config: Some(expected), message, .. }) = expect else {
        return Err("a case without a call says whether its configuration is `accepted` or `refused`".to_owned());
    };
    let (came, said) = match bench.check(plugin, config).await {
        Ok(warnings) => (ConfigWord::Accepted, warnings.join("; ")),
        Err(error) => (ConfigWord::Refused, text::chain(&error)),
    };
    let word = |word| if word == ConfigWord::Accepted { "accepted" } else { "refused" };
    if came != *expected {
        report.wrong.push(format!("the configuration was {}, not {}: {said}", word(came), word(*expected)));
    } else if let Some(wanted) = message.as_ref().filter(|wanted| !said.contains(*wanted)) {
        report.wrong.push(format!("`{wanted}` is not in: {said}"));
    }
    Ok(())
}

fn compare(expect: &Expect, outcome: &Outcome, call: &Message) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut note = |what: &str, expected: &dyn std::fmt::Display, came: String| {
        wrong.push(format!("{what}: expected {expected}, got {came}"));
    };
    let shown = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
    let text = outcome.message.clone().unwrap_or_default();
    if let Some(verdict) = expect.verdict.filter(|verdict| *verdict != outcome.verdict) {
        let why = if text.is_empty() { String::new() } else { format!(" ({text})") };
        note("verdict", &verdict.text(), format!("{}{why}", outcome.verdict.text()));
    }
    if expect.code.is_some_and(|code| outcome.code != Some(code)) {
        note("code", &expect.code.unwrap_or_default(), shown(outcome.code.map(|code| code.to_string())));
    }
    if let Some(message) = expect.message.as_ref().filter(|message| !text.contains(*message)) {
        note("message", &format!("one with `{message}`"), format!("`{text}`"));
    }
    if let Some(data) = expect.data.as_ref().filter(|data| outcome.data.as_ref() != Some(*data)) {
        note("data", data, shown(outcome.data.as_ref().map(ToString::to_string)));
    }
    if let Some(retry) = expect.retry_after_ms.filter(|retry| outcome.retry_after_ms != Some(*retry)) {
        note("retryAfterMs", &retry, shown(outcome.retry_after_ms.map(|retry| retry.to_string())));
    }
    // Unchanged is a payload too: that of the message.
    let payload = match outcome.verdict {
        Word::Next | Word::NotCalled => call.payload(),
        _ => outcome.payload.as_ref(),
    };
    if let Some(expected) = expect.payload.as_ref().filter(|expected| payload != Some(*expected)) {
        note("payload", expected, shown(payload.map(ToString::to_string)));
    }
    if expect.identity.is_some() && expect.identity != outcome.identity {
        note("identity", &expect.identity.clone().unwrap_or_default(), shown(outcome.identity.clone()));
    }
    for (name, value) in &expect.attributes {
        if outcome.attributes.get(name) != Some(value) {
            note(&format!("attribute `{name}`"), value, shown(outcome.attributes.get(name).cloned()));
        }
    }
    wrong
}

fn differs(key: &str, expected: &Value, came: Option<String>) -> Option<String> {
    let expected = (!expected.is_null()).then(|| plain(expected));
    let shown = |value: &Option<String>| value.clone().map_or("nothing".to_owned(), |value| format!("`{value}`"));
    (expected != came).then(|| format!("kv `{key}`: expected {}, got {}", shown(&expected), shown(&came)))
}

/// A text as it is; anything else as JSON text, which is also how the host keeps counters.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn expect(value: Value) -> Expect {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn only_what_is_said_is_compared() {
        let call: Message = serde_json::from_value(json!({"method": "tools/call", "params": {"name": "a"}})).unwrap();
        let next = Outcome { verdict: Word::Next, ..Outcome::default() };
        assert_eq!(compare(&expect(json!({})), &next, &call).len(), 0);
        assert_eq!(compare(&expect(json!({"verdict": "next", "payload": {"name": "a"}})), &next, &call).len(), 0);
        let wrong = compare(&expect(json!({"verdict": "reject", "code": 1, "message": "no"})), &next, &call);
        assert_eq!(
            wrong,
            [
                "verdict: expected reject, got next",
                "code: expected 1, got none",
                "message: expected one with `no`, got ``",
            ]
        );
    }

    #[test]
    fn state_is_text_and_a_counter_is_a_number() {
        assert_eq!(differs("k", &json!(3), Some("3".to_owned())), None);
        assert_eq!(differs("k", &json!("x"), Some("x".to_owned())), None);
        assert_eq!(differs("k", &json!(null), None), None);
        assert_eq!(differs("k", &json!(null), Some("1".to_owned())).unwrap(), "kv `k`: expected nothing, got `1`");
    }

    #[test]
    fn a_mistake_in_a_table_is_named_with_its_place() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), r#"{"cases": [{"name": "a", "expect": {"verdikt": "next"}}]}"#).unwrap();
        let error = read(file.path()).unwrap_err();
        assert!(error.contains("cases[0].expect") && error.contains("verdikt"), "{error}");
    }
}
