//! Remarks about a plugin that loads and still cannot mean what it says.

use fairlead_core::chain::glob;
use fairlead_core::middleware::{Interest, Phase};
use fairlead_core::plugin::{Manifest, PluginKind};

/// Requests and notifications that a client sends.
const FROM_CLIENT: &[&str] = &[
    "initialize",
    "ping",
    "server/discover",
    "tools/list",
    "tools/call",
    "prompts/list",
    "prompts/get",
    "resources/list",
    "resources/read",
    "resources/templates/list",
    "resources/subscribe",
    "resources/unsubscribe",
    "completion/complete",
    "logging/setLevel",
    "subscriptions/listen",
    "tasks/get",
    "tasks/result",
    "tasks/list",
    "tasks/cancel",
    "tasks/update",
    "notifications/initialized",
    "notifications/cancelled",
    "notifications/progress",
    "notifications/roots/list_changed",
];

/// What a server sends on a stream by itself.
const FROM_SERVER: &[&str] = &[
    "ping",
    "sampling/createMessage",
    "elicitation/create",
    "roots/list",
    "notifications/cancelled",
    "notifications/progress",
    "notifications/message",
    "notifications/resources/updated",
    "notifications/resources/list_changed",
    "notifications/tools/list_changed",
    "notifications/prompts/list_changed",
    "notifications/elicitation/complete",
    "notifications/tasks/status",
    "notifications/subscriptions/acknowledged",
];

/// Methods that are about one tool, prompt or resource.
const WITH_TARGET: &[&str] = &[
    "tools/call",
    "prompts/get",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "notifications/resources/updated",
];

/// Capabilities that a host can grant.
const CAPABILITIES: &[&str] = &["kv", "secrets", "secrets-reveal", "http"];

/// What is odd about a manifest, in sentences.
#[must_use]
pub(crate) fn remarks(manifest: &Manifest) -> Vec<String> {
    let mut remarks: Vec<String> = manifest.interests.iter().filter_map(interest).collect();
    if manifest.kind == PluginKind::Middleware && manifest.interests.is_empty() {
        remarks.push("it has no interests and is never called".to_owned());
    }
    let unknown = manifest.capabilities.iter().filter(|wanted| !CAPABILITIES.contains(&wanted.name.as_str()));
    remarks.extend(unknown.map(|wanted| format!("it asks for `{}`, which no host knows", wanted.name)));
    let silent = manifest.capabilities.iter().filter(|wanted| wanted.reason.is_empty());
    remarks.extend(silent.map(|wanted| format!("it asks for `{}` and does not say why", wanted.name)));
    remarks
}

fn interest(interest: &Interest) -> Option<String> {
    let Interest { method, target, phases } = interest;
    let answers = [Phase::Request, Phase::Response, Phase::Error].into_iter().any(|phase| phases.contains(phase));
    let events = phases.contains(Phase::Event);
    let known =
        |methods: &[&'static str]| methods.iter().copied().filter(|known| glob(method, known)).collect::<Vec<_>>();
    let (client, server) = (known(FROM_CLIENT), known(FROM_SERVER));
    let matched = (answers && !client.is_empty()) || (events && !server.is_empty());
    if !answers && !events {
        return Some(format!("the interest in `{method}` names no phase and never matches"));
    }
    if !matched && client.is_empty() && server.is_empty() {
        return Some(format!("no method of MCP matches the interest in `{method}`"));
    }
    if !matched {
        let sender = if answers { "a client" } else { "a server on a stream" };
        return Some(format!("the interest in `{method}` never matches at its phases: {sender} does not send it"));
    }
    let has_target = client.iter().chain(&server).any(|method| WITH_TARGET.contains(method));
    match target {
        Some(target) if !has_target => {
            Some(format!("the interest in `{method}` of `{target}` never matches: the method has no target"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use fairlead_core::middleware::Phases;

    use super::*;

    fn odd(method: &str, target: Option<&str>, phases: &[Phase]) -> bool {
        let phases = phases.iter().fold(Phases::NONE, |phases, phase| phases.with(*phase));
        interest(&Interest { method: method.to_owned(), target: target.map(str::to_owned), phases }).is_some()
    }

    #[test]
    fn an_interest_that_can_never_match_is_remarked() {
        assert!(odd("tool/call", None, &[Phase::Request]));
        assert!(odd("tools/call", None, &[Phase::Event]));
        assert!(odd("sampling/createMessage", None, &[Phase::Response]));
        assert!(odd("tools/list", Some("x"), &[Phase::Response]));
        assert!(odd("tools/call", None, &[]));
    }

    #[test]
    fn an_interest_that_can_match_is_not() {
        for phase in [Phase::Request, Phase::Response, Phase::Error, Phase::Event] {
            assert!(!odd("*", None, &[phase]));
        }
        assert!(!odd("tools/call", Some("gh_*"), &[Phase::Request]));
        assert!(!odd("*/list", None, &[Phase::Response]));
        assert!(!odd("notifications/progress", None, &[Phase::Event]));
    }
}
