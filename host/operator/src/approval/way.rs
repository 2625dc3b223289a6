//! The way to a registry server: which of its pods is asked, and with what.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::core::DynamicObject;
use serde_json::Value;

use crate::limits::{PROXY_PORT, REGISTRY_SETTLES};
use crate::registry::{RegistryServer, audience};

/// A pod that can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Way {
    /// Its name.
    pub(crate) pod: String,
    /// Where it listens.
    pub(crate) port: u16,
    /// What a token is made for that it takes; `None`: it takes none.
    pub(crate) audience: Option<String>,
    /// It has perhaps not read everything yet, so that what it does not have means nothing.
    pub(crate) is_new: bool,
}

/// Finds it.
///
/// # Errors
/// There is none, and why.
pub(crate) fn way(registry: &RegistryServer, pods: &[Arc<DynamicObject>], now: Timestamp) -> Result<Way, String> {
    let spec = registry.document.as_ref().map_err(|_| "its document cannot be read")?;
    if spec.tokens {
        return Err("it serves nobody without a token of Fairlead's own, and the operator has none".to_owned());
    }
    let ready = pods.iter().filter_map(|pod| Some((ready_since(pod)?, pod.name_any())));
    // The one that has had the most time to read.
    let (since, pod) = ready.min().ok_or("no pod of it is ready")?;
    Ok(Way {
        pod,
        port: spec.port.unwrap_or(PROXY_PORT),
        audience: spec.is_reviewed().then(|| audience(&registry.namespace, &registry.name)),
        is_new: since.checked_add(REGISTRY_SETTLES).ok().is_none_or(|read| now < read),
    })
}

/// Since when a pod is ready that stays.
pub(crate) fn ready_since(pod: &DynamicObject) -> Option<Timestamp> {
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let conditions = pod.data.pointer("/status/conditions").and_then(Value::as_array)?;
    let text = |condition: &Value, name: &str| condition.get(name).and_then(Value::as_str).map(str::to_owned);
    let is_ready = |condition: &&Value| {
        text(condition, "type").as_deref() == Some("Ready") && text(condition, "status").as_deref() == Some("True")
    };
    let ready = conditions.iter().find(is_ready)?;
    let since = text(ready, "lastTransitionTime").and_then(|since| since.parse().ok());
    // Whoever does not say since when was perhaps made ready just now, by whatever clock.
    Some(since.unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::RegistryServerSpec;
    use crate::status::RegistryStatus;

    fn registry(fields: Value) -> RegistryServer {
        let mut spec = json!({"registries": {}});
        spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        RegistryServer {
            name: "main".to_owned(),
            namespace: "team".to_owned(),
            uid: "u-1".to_owned(),
            generation: 1,
            deleting: false,
            restarted_at: None,
            created_fresh: false,
            document: serde_json::from_value::<RegistryServerSpec>(spec).map_err(|error| error.to_string()),
            status: RegistryStatus::default(),
        }
    }

    fn pod(name: &str, ready: &str, since: &str) -> Arc<DynamicObject> {
        let conditions = json!([{"type": "Ready", "status": ready, "lastTransitionTime": since}]);
        let body = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "status": {"conditions": conditions}});
        Arc::new(serde_json::from_value(body).unwrap())
    }

    fn at(minute: u32) -> String {
        format!("2026-11-22T12:{minute:02}:00Z")
    }

    fn found(registry: &RegistryServer, pods: &[Arc<DynamicObject>]) -> Result<Way, String> {
        way(registry, pods, at(30).parse().unwrap())
    }

    #[test]
    fn the_pod_that_has_been_ready_longest_is_asked() {
        let pods = [pod("a", "False", &at(0)), pod("b", "True", &at(20)), pod("c", "True", &at(10))];
        let way = found(&registry(json!({})), &pods).unwrap();
        let audience = Some("main-registry.team.svc".to_owned());
        assert_eq!(way, Way { pod: "c".to_owned(), port: 8080, audience, is_new: false });
        let mut gone = (*pods[2]).clone();
        gone.metadata.deletion_timestamp = serde_json::from_value(json!(at(29))).unwrap();
        let open = registry(json!({"access": "open", "port": 9090}));
        let way = found(&open, &[Arc::clone(&pods[1]), Arc::new(gone)]).unwrap();
        assert_eq!(way, Way { pod: "b".to_owned(), port: 9090, audience: None, is_new: false });
    }

    #[test]
    fn one_that_became_ready_a_moment_ago_has_perhaps_not_read_everything() {
        for (since, is_new) in
            [(at(29), true), (at(27), false), ("2026-11-22T13:00:00Z".to_owned(), true), (String::new(), true)]
        {
            assert_eq!(found(&registry(json!({})), &[pod("a", "True", &since)]).unwrap().is_new, is_new, "{since}");
        }
    }

    #[test]
    fn a_registry_that_cannot_be_asked_says_why() {
        let ready = [pod("a", "True", &at(0))];
        for (registry, pods, why) in [
            (registry(json!({})), &[][..], "no pod"),
            (registry(json!({})), &[pod("a", "False", &at(0))], "no pod"),
            (registry(json!({"tokens": true})), &ready, "Fairlead's own"),
            (registry(json!({"registries": 1})), &ready, "cannot be read"),
        ] {
            let refused = found(&registry, pods).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }
}
