//! The probe, decided: a pod that pulls what a reference names now, the way the server's own pods would pull it.
//!
//! Which digest a reference names is for the node to say that would run it: its credentials, its mirrors, its architecture. So the
//! probe follows the template of the server's own pods in all that decides where it runs and what it may pull, and in nothing
//! else: no volumes, no environment, no token, no sidecars, and a program that ends at once. It is named after the check that it is
//! for, so whoever asks again finds it instead of making another, and it ends by itself where nobody removes it.
//!
//! What an image is, is known as soon as it was pulled: an image without the program that a probe starts has told its digest too.

use fairlead_core::document::API_VERSION;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::desired::{LABEL_COMPONENT, confined};
use crate::limits::{PROBE_CPU_MILLIS, PROBE_MEMORY_MIB, PROBE_TIME_MAX};

/// The label that says of which server something is a probe. Not that of what belongs to a server: a probe that fails is no pod of
/// it that fails.
pub const LABEL_PROBE: &str = "fairlead.dev/probe";

/// Selects all that is there to find something out.
pub(crate) const PROBES: &str = "fairlead.dev/probe,app.kubernetes.io/component=probe";

/// What such pods are, beside the halves of a server.
const COMPONENT: &str = "probe";

/// The container of a probe.
const CONTAINER: &str = "probe";

/// What is taken over from the pods of the server: where they run, what they may pull, and who they are.
const KEPT: [&str; 11] = [
    "affinity",
    "imagePullSecrets",
    "nodeName",
    "nodeSelector",
    "os",
    "priorityClassName",
    "runtimeClassName",
    "schedulerName",
    "securityContext",
    "serviceAccountName",
    "tolerations",
];

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The server.
    pub server: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Tells it from another of the same name.
    pub uid: &'a str,
    /// The template of its own pods.
    pub template: &'a Value,
    /// Its container in that.
    pub container: &'a str,
    /// The reference.
    pub reference: &'a str,
    /// The check, or the operation, that asks.
    pub check: &'a str,
}

/// What a probe tells so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sighting {
    /// Nothing yet.
    Waiting,
    /// No node takes it; that may pass.
    Unscheduled(String),
    /// The digest that the reference names.
    Found(String),
    /// It will not tell, and why.
    Failed(String),
}

impl Question<'_> {
    /// The name of the pod: the same whenever the same check asks.
    #[must_use]
    pub fn pod_name(&self) -> String {
        pod_name(self.server, self.uid, self.check)
    }

    /// The pod.
    #[must_use]
    pub fn pod(&self) -> Value {
        let followed = self.template.get("spec").and_then(Value::as_object);
        let own = followed
            .and_then(|spec| spec.get("containers")?.as_array()?.iter().find(|it| it["name"] == self.container));
        let context = own.and_then(|container| container.get("securityContext").cloned());
        let mut spec = Map::new();
        for field in KEPT {
            spec.extend(
                followed.and_then(|followed| followed.get(field)).map(|value| (field.to_owned(), value.clone())),
            );
        }
        let most = json!({"cpu": format!("{PROBE_CPU_MILLIS}m"), "memory": format!("{PROBE_MEMORY_MIB}Mi")});
        let container = json!({
            "name": CONTAINER,
            "image": self.reference,
            "imagePullPolicy": "Always",
            "command": ["/bin/true"],
            "resources": {"requests": most, "limits": most},
            "securityContext": context.unwrap_or_else(|| confined(true)),
        });
        spec.extend([
            ("containers".to_owned(), json!([container])),
            ("restartPolicy".to_owned(), "Never".into()),
            ("automountServiceAccountToken".to_owned(), false.into()),
            ("enableServiceLinks".to_owned(), false.into()),
            ("terminationGracePeriodSeconds".to_owned(), 0.into()),
            ("activeDeadlineSeconds".to_owned(), PROBE_TIME_MAX.as_secs().into()),
        ]);
        let metadata = metadata(self.server, self.namespace, self.uid, &self.pod_name(), Map::new());
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    }
}

/// The name of a pod of a server, which is the same for the same mark.
pub(crate) fn pod_name(server: &str, uid: &str, mark: &str) -> String {
    let sum = Sha256::digest(format!("{uid}\n{mark}"));
    let hash: String = sum.iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    format!("{server}-{hash}")
}

/// By what a pod is known that is there to find something out, with more `labels`. It goes with its server.
pub(crate) fn metadata(server: &str, namespace: &str, uid: &str, name: &str, mut labels: Map<String, Value>) -> Value {
    let ours = [(LABEL_PROBE, server), ("app.kubernetes.io/name", "fairlead"), (LABEL_COMPONENT, COMPONENT)];
    labels.extend(ours.map(|(label, value)| (label.to_owned(), value.into())));
    let owner = json!({"apiVersion": API_VERSION, "kind": "MCPServer", "name": server, "uid": uid});
    json!({"name": name, "namespace": namespace, "labels": labels, "ownerReferences": [owner]})
}

/// What a probe tells, by what is known of its pod.
#[must_use]
pub fn sighting(pod: &Value) -> Sighting {
    let status = pod.pointer("/status/containerStatuses").and_then(Value::as_array).and_then(|all| all.first());
    if let Some(status) = status {
        let was_started = ["running", "terminated"].iter().any(|state| status["state"].get(state).is_some());
        let image = text(status, "/imageID");
        if was_started && !image.is_empty() {
            return match digest(&image) {
                Some(digest) => Sighting::Found(digest.to_owned()),
                None => Sighting::Failed("the node has this image from nowhere, so it has no digest".to_owned()),
            };
        }
        let reason = text(status, "/state/waiting/reason");
        let will_not = matches!(
            reason.as_str(),
            "CreateContainerConfigError"
                | "ErrImageNeverPull"
                | "ErrImagePull"
                | "ImagePullBackOff"
                | "InvalidImageName"
        );
        if will_not {
            return Sighting::Failed(said(&reason, &text(status, "/state/waiting/message")));
        }
    }
    if pod.pointer("/status/phase").is_some_and(|phase| phase == "Failed") {
        return Sighting::Failed(said(&text(pod, "/status/reason"), &text(pod, "/status/message")));
    }
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    let unscheduled =
        conditions.into_iter().flatten().find(|it| it["type"] == "PodScheduled" && it["reason"] == "Unschedulable");
    match unscheduled {
        Some(condition) => Sighting::Unscheduled(text(condition, "/message")),
        None => Sighting::Waiting,
    }
}

/// A text in a value; empty where there is none.
pub(crate) fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// What a node says, in one text.
pub(crate) fn said(reason: &str, message: &str) -> String {
    match message.is_empty() {
        true => reason.to_owned(),
        false => format!("{reason}: {message}"),
    }
}

/// The digest of what was pulled, of `repository@digest` in any of its spellings. A bare digest is of the image's configuration.
pub(crate) fn digest(image: &str) -> Option<&str> {
    let (_, digest) = image.rsplit_once('@')?;
    let hexadecimal = digest.strip_prefix("sha256:")?;
    let is_one = hexadecimal.len() == 64 && hexadecimal.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_one.then_some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> Value {
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {
            "serviceAccountName": "team", "automountServiceAccountToken": true, "nodeSelector": {"pool": "mcp"},
            "tolerations": [{"key": "mcp"}], "imagePullSecrets": [{"name": "registry"}], "runtimeClassName": "gvisor",
            "securityContext": {"runAsNonRoot": true, "runAsUser": 7}, "volumes": [{"name": "v", "emptyDir": {}}],
            "initContainers": [{"name": "first", "image": "x"}],
            "containers": [
                {"name": "log", "image": "l"},
                {"name": "mcp", "image": "r.test/s:1", "env": [{"name": "KEY", "value": "secret"}],
                 "volumeMounts": [{"name": "v", "mountPath": "/v"}], "ports": [{"containerPort": 9000}],
                 "securityContext": {"readOnlyRootFilesystem": true}},
            ],
        }})
    }

    fn question<'a>(template: &'a Value, check: &'a str) -> Question<'a> {
        let (server, namespace, uid) = ("one", "team", "u");
        Question { server, namespace, uid, template, container: "mcp", reference: "r.test/s:1", check }
    }

    #[test]
    fn a_probe_goes_where_the_server_goes_and_takes_nothing_along() {
        let template = template();
        let pod = question(&template, "check-1").pod();
        for field in [
            "serviceAccountName",
            "nodeSelector",
            "tolerations",
            "imagePullSecrets",
            "runtimeClassName",
            "securityContext",
        ] {
            assert_eq!(pod["spec"][field], template["spec"][field], "{field}");
        }
        assert_eq!(pod["spec"]["automountServiceAccountToken"], false);
        for field in ["volumes", "initContainers", "hostNetwork"] {
            assert!(pod["spec"].get(field).is_none(), "{field}");
        }
        let containers = pod["spec"]["containers"].as_array().unwrap();
        assert_eq!(containers.len(), 1);
        assert_eq!(containers[0]["imagePullPolicy"], "Always");
        assert_eq!(containers[0]["securityContext"], json!({"readOnlyRootFilesystem": true}));
        assert!(!pod.to_string().contains("secret") && containers[0].get("ports").is_none());
        // No Service, workload or policy of the server takes it for one of its own, and neither does the operator.
        let labels = pod["metadata"]["labels"].as_object().unwrap();
        assert!(!labels.contains_key("fairlead.dev/server") && !labels.contains_key("app.kubernetes.io/managed-by"));
    }

    #[test]
    fn the_same_check_asks_the_same_pod_and_another_one_another() {
        let template = template();
        let name = |check| question(&template, check).pod_name();
        assert_eq!(name("a"), name("a"));
        assert_ne!(name("a"), name("b"));
        let server = "x".repeat(crate::limits::SERVER_NAME_LENGTH_MAX);
        assert!(Question { server: &server, ..question(&template, "a") }.pod_name().len() <= 63);
    }

    #[test]
    fn a_digest_is_known_once_the_image_was_pulled_whatever_became_of_the_program() {
        let sum = format!("sha256:{}", "a".repeat(64));
        let of = |image: &str, state: Value| {
            sighting(&json!({"status": {"containerStatuses": [{"imageID": image, "state": state}]}}))
        };
        for image in [format!("r.test/s@{sum}"), format!("docker-pullable://r.test/s@{sum}")] {
            assert_eq!(of(&image, json!({"terminated": {"exitCode": 0}})), Sighting::Found(sum.clone()));
            assert_eq!(
                of(&image, json!({"terminated": {"reason": "StartError", "exitCode": 128}})),
                Sighting::Found(sum.clone())
            );
        }
        assert!(matches!(of(&sum, json!({"running": {}})), Sighting::Failed(_)), "a configuration is no manifest");
        assert_eq!(of("", json!({"waiting": {"reason": "ContainerCreating"}})), Sighting::Waiting);
        let denied = of("", json!({"waiting": {"reason": "ErrImagePull", "message": "denied"}}));
        assert_eq!(denied, Sighting::Failed("ErrImagePull: denied".to_owned()));
    }

    #[test]
    fn a_pod_that_runs_nowhere_may_yet_and_one_that_is_over_will_not() {
        let conditions =
            json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]);
        assert_eq!(
            sighting(&json!({"status": {"conditions": conditions}})),
            Sighting::Unscheduled("0/3 nodes".to_owned())
        );
        let late = json!({"status": {"phase": "Failed", "reason": "DeadlineExceeded"}});
        assert_eq!(sighting(&late), Sighting::Failed("DeadlineExceeded".to_owned()));
        assert_eq!(sighting(&json!({})), Sighting::Waiting);
    }
}
