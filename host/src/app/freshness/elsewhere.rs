//! What a server elsewhere is: who it says that it is, and its tools. The digest of that is what *runs*, so a change of it is a
//! change of what runs; nobody here made it, and nobody here can undo it.

use std::collections::BTreeMap;

use fairlead_core::digest::Digest;
use fairlead_core::freshness::{Candidate, Freshness as Record, News, Observed, Running, ToolShape, Version};
use fairlead_oci::{candidate, digest_of};
use fairlead_proxy::Examined;
use jiff::Timestamp;

use crate::limits::TOOLS_REMEMBERED_MAX;

/// Under which name its tools are remembered with a candidate.
const TOOLS: &str = "tools";

/// Under which name is remembered how it differs from what was there before.
const CHANGE: &str = "change";

/// What was seen, and what of it is news.
pub(super) fn observed(seen: &Examined, running: Running, known: &Record, now: Timestamp) -> Option<Observed> {
    let tools: BTreeMap<&str, String> = seen.tools.iter().map(|tool| (tool.name.as_str(), short(tool))).collect();
    let said = serde_json::json!({"name": seen.profile.name, "version": seen.profile.version, "tools": tools});
    let newest = Digest::new(&digest_of(said.to_string().as_bytes())).ok()?;
    let version = seen.profile.version.as_str();
    let mut now_seen = candidate(&newest, Some(version), vec![newest.clone()], now);
    now_seen.version = Version::of_tag(version);
    if tools.len() <= TOOLS_REMEMBERED_MAX {
        now_seen.attributes.insert(TOOLS.to_owned(), serde_json::to_string(&tools).ok()?);
    }
    let before = known.check.newest.as_ref().filter(|before| **before != newest);
    let before = before.and_then(|before| known.candidates.iter().find(|known| known.pin == *before));
    let news = before.map(|before| changed(before, &now_seen));
    let same = || known.candidates.iter().find(|known| known.pin == newest)?.attributes.get(CHANGE).cloned();
    if let Some(change) = news.as_ref().map(|news| news.text.clone()).or_else(same) {
        now_seen.attributes.insert(CHANGE.to_owned(), change);
    }
    let running = Running { digests: vec![newest.clone()], unknown: 0, version: now_seen.version.clone(), ..running };
    Some(Observed { running, newest, candidates: vec![now_seen], news })
}

/// A tool, as far as calls depend on it, in a few letters.
fn short(tool: &ToolShape) -> String {
    digest_of(tool.input.to_string().as_bytes()).chars().skip("sha256:".len()).take(16).collect()
}

/// What a person wants to know of it. A tool that is gone or asks for something else makes calls fail: that does not wait.
fn changed(before: &Candidate, now: &Candidate) -> News {
    let tag = |candidate: &Candidate| candidate.tag.clone().unwrap_or_default();
    let (was, is) = (tag(before), tag(now));
    let mut text = match was == is {
        true => format!("the server elsewhere has changed under the same version {is}"),
        false => format!("the server elsewhere is {is} now, it was {was}"),
    };
    let tools = |candidate: &Candidate| -> Option<BTreeMap<String, String>> {
        serde_json::from_str(candidate.attributes.get(TOOLS)?).ok()
    };
    let (Some(was), Some(is)) = (tools(before), tools(now)) else { return News { text, urgent: false } };
    let names = |names: Vec<&String>| names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let gone: Vec<&String> = was.keys().filter(|name| !is.contains_key(*name)).collect();
    let other: Vec<&String> = was
        .iter()
        .filter(|(name, shape)| is.get(*name).is_some_and(|now| now != *shape))
        .map(|(name, _)| name)
        .collect();
    let new: Vec<&String> = is.keys().filter(|name| !was.contains_key(*name)).collect();
    let urgent = !gone.is_empty() || !other.is_empty();
    for (what, which) in [("tools gone", gone), ("tools with other arguments", other), ("new tools", new)] {
        if !which.is_empty() {
            text += &format!("; {what}: {}", names(which));
        }
    }
    News { text, urgent }
}

#[cfg(test)]
mod tests {
    use fairlead_core::status::ServerProfile;
    use serde_json::json;

    use super::*;

    fn examined(version: &str, tools: &[(&str, serde_json::Value)]) -> Examined {
        let profile = ServerProfile {
            protocol_version: "2025-11-25".to_owned(),
            name: "a".to_owned(),
            version: version.to_owned(),
            capabilities: Vec::new(),
        };
        let tools = tools.iter().map(|(name, input)| ToolShape { name: (*name).to_owned(), input: input.clone() });
        Examined { profile, tools: tools.collect() }
    }

    fn look(known: &mut Record, seen: &Examined) -> Option<News> {
        let seen = observed(seen, Running::default(), known, Timestamp::UNIX_EPOCH).unwrap();
        known.check.newest = Some(seen.newest);
        known.candidates = seen.candidates;
        seen.news
    }

    #[test]
    fn what_became_another_is_told_once_with_what_is_different() {
        let mut known = Record::default();
        let a = json!({"type": "object"});
        let one = examined("1.0.0", &[("echo", a.clone()), ("sum", a.clone())]);
        assert_eq!(look(&mut known, &one), None, "the first time there is nothing to compare with");
        assert_eq!(look(&mut known, &one), None);
        let more = examined("1.1.0", &[("echo", a.clone()), ("sum", a.clone()), ("new", a.clone())]);
        let news = look(&mut known, &more).unwrap();
        assert!(
            !news.urgent && news.text.contains("1.1.0 now, it was 1.0.0") && news.text.contains("new tools: `new`"),
            "{news:?}"
        );
        let behind = examined("1.1.0", &[("echo", json!({"type": "string"})), ("new", a)]);
        let news = look(&mut known, &behind).unwrap();
        assert!(news.urgent && news.text.contains("under the same version"), "{news:?}");
        assert!(news.text.contains("tools gone: `sum`") && news.text.contains("other arguments: `echo`"), "{news:?}");
    }
}
