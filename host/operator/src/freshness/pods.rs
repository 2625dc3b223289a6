//! What the pods of a server tell: which digest runs, since when all of them are ready, and that one will not come up.
//!
//! A digest is what the node says that it started, never what a template asks for. A pod that does not tell is not the same as
//! any other.

use std::sync::Arc;

use fairlead_core::digest::Digest;
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::core::DynamicObject;
use serde_json::Value;

use crate::desired::BACKEND;
use crate::limits::CRASHES_MAX;
use crate::probe;

/// What runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Running {
    /// All digests, each once.
    pub(crate) digests: Vec<Digest>,
    /// Pods that do not tell.
    pub(crate) unknown: u32,
    /// When the last of them was started.
    pub(crate) since: Option<Timestamp>,
}

/// What runs, in pods that are not about to go.
pub(crate) fn running(pods: &[Arc<DynamicObject>]) -> Running {
    let mut running = Running::default();
    for pod in staying(pods) {
        let status = status(pod);
        let digest = status.and_then(|status| status.get("imageID")).and_then(Value::as_str).and_then(probe::digest);
        match digest.and_then(|digest| Digest::new(digest).ok()) {
            Some(digest) if !running.digests.contains(&digest) => running.digests.push(digest),
            Some(_) => {}
            None => running.unknown = running.unknown.saturating_add(1),
        }
        running.since = running.since.max(time(status.and_then(|status| status.pointer("/state/running/startedAt"))));
    }
    running.digests.sort();
    running
}

/// Since when so many pods of an image are ready, and no other is there; `None`: they are not.
pub(crate) fn ready_since(pods: &[Arc<DynamicObject>], image: &str, wanted: u32) -> Option<Timestamp> {
    let mut since = None;
    let mut ready = 0_u32;
    for pod in staying(pods) {
        if launched(pod) != Some(image) {
            return None;
        }
        let conditions = pod.data.pointer("/status/conditions").and_then(Value::as_array);
        let mut conditions = conditions.into_iter().flatten();
        let condition = conditions.find(|it| it["type"] == "Ready" && it["status"] == "True")?;
        let started = || time(status(pod)?.pointer("/state/running/startedAt"));
        since = since.max(Some(time(condition.get("lastTransitionTime")).or_else(started)?));
        ready = ready.saturating_add(1);
    }
    since.filter(|_| ready >= wanted)
}

/// Why a pod of an image will not come up; `None`: all of them may yet.
pub(crate) fn terminal(pods: &[Arc<DynamicObject>], image: &str) -> Option<String> {
    staying(pods).filter(|pod| launched(pod) == Some(image)).find_map(|pod| {
        let status = status(pod)?;
        let waiting = status.pointer("/state/waiting")?;
        let reason = waiting.get("reason").and_then(Value::as_str)?;
        let crashes = status.get("restartCount").and_then(Value::as_u64).unwrap_or_default();
        let is_over = match reason {
            "CrashLoopBackOff" => crashes >= CRASHES_MAX,
            // The second look of a node: the first says `ErrImagePull`.
            "ErrImageNeverPull" | "ImagePullBackOff" | "InvalidImageName" => true,
            _ => false,
        };
        is_over.then(|| format!("pod `{}`: {reason}", pod.name_any()))
    })
}

fn staying(pods: &[Arc<DynamicObject>]) -> impl Iterator<Item = &DynamicObject> {
    pods.iter().map(|pod| &**pod).filter(|pod| pod.metadata.deletion_timestamp.is_none())
}

/// What is known of the server's own container.
fn status(pod: &DynamicObject) -> Option<&Value> {
    let mut all = pod.data.pointer("/status/containerStatuses")?.as_array()?.iter();
    all.find(|status| status.get("name").is_some_and(|name| name == BACKEND))
}

/// The image that it was to be.
fn launched(pod: &DynamicObject) -> Option<&str> {
    let mut all = pod.data.pointer("/spec/containers")?.as_array()?.iter();
    all.find(|container| container.get("name").is_some_and(|name| name == BACKEND))?.get("image")?.as_str()
}

fn time(value: Option<&Value>) -> Option<Timestamp> {
    value?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn digest(number: u8) -> Digest {
        Digest::new(&format!("sha256:{number:064}")).unwrap()
    }

    fn pod(image: &str, status: Value) -> Arc<DynamicObject> {
        let body = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one-0"},
                          "spec": {"containers": [{"name": "log", "image": "l"}, {"name": "mcp", "image": image}]},
                          "status": status});
        Arc::new(serde_json::from_value(body).unwrap())
    }

    fn ready(number: u8, second: u32) -> Value {
        let at = format!("2026-01-01T00:00:{second:02}Z");
        json!({"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": at}],
               "containerStatuses": [{"name": "log", "imageID": format!("l@{}", digest(9))},
                                     {"name": "mcp", "imageID": format!("r.test/s@{}", digest(number)),
                                      "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}]})
    }

    fn gone(pod: &Arc<DynamicObject>) -> Arc<DynamicObject> {
        let mut pod = json!(**pod);
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn what_runs_is_what_nodes_started_and_who_does_not_tell_is_not_the_same() {
        let pods = [pod("a", ready(2, 1)), pod("a", ready(1, 1)), pod("a", ready(2, 1)), pod("a", json!({}))];
        let seen = running(&pods);
        assert_eq!((seen.digests, seen.unknown), (vec![digest(1), digest(2)], 1));
        assert_eq!(seen.since, Some("2026-01-01T00:00:00Z".parse().unwrap()));
        assert_eq!(running(&[gone(&pods[0])]), Running::default(), "it is about to go");
        // A bare digest is of the configuration of the image.
        let bare = json!({"containerStatuses": [{"name": "mcp", "imageID": digest(1).to_string()}]});
        assert_eq!(running(&[pod("a", bare)]).unknown, 1);
    }

    #[test]
    fn pods_are_ready_since_the_last_of_them_is_and_only_all_of_them_in_the_image() {
        let (one, two) = (pod("a", ready(1, 5)), pod("a", ready(1, 9)));
        let at = |second: &str| Some(format!("2026-01-01T00:00:{second}Z").parse::<Timestamp>().unwrap());
        assert_eq!(ready_since(&[Arc::clone(&one), Arc::clone(&two)], "a", 2), at("09"));
        assert_eq!(ready_since(&[Arc::clone(&one)], "a", 2), None, "one is missing");
        assert_eq!(ready_since(&[Arc::clone(&one), pod("b", ready(2, 1))], "a", 1), None, "one is another");
        assert_eq!(ready_since(&[Arc::clone(&one), gone(&pod("b", ready(2, 1)))], "a", 1), at("05"));
        assert_eq!(ready_since(&[one, pod("a", json!({}))], "a", 1), None, "one is not ready");
    }

    #[test]
    fn a_pod_that_crashed_a_few_times_or_cannot_be_pulled_will_not_come_up() {
        let of = |reason: &str, restarts: u64| {
            let status = json!([{"name": "mcp", "restartCount": restarts, "state": {"waiting": {"reason": reason}}}]);
            terminal(&[pod("a", json!({"containerStatuses": status}))], "a")
        };
        assert_eq!(of("CrashLoopBackOff", CRASHES_MAX).as_deref(), Some("pod `one-0`: CrashLoopBackOff"));
        assert!(of("ImagePullBackOff", 0).is_some());
        for (reason, restarts) in [("CrashLoopBackOff", CRASHES_MAX - 1), ("ErrImagePull", 0), ("ContainerCreating", 0)]
        {
            assert_eq!(of(reason, restarts), None, "{reason}");
        }
        let waiting = json!([{"name": "mcp", "state": {"waiting": {"reason": "ImagePullBackOff"}}}]);
        let other = pod("b", json!({"containerStatuses": waiting}));
        assert_eq!(terminal(&[other], "a"), None, "it is of the revision before");
    }
}
