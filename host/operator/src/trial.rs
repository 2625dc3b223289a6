//! The trial, decided: a pod that is what the server's own pods would be with another image, and what is to be thought of it.
//!
//! It is started to be spoken to, so it has everything that they have: environment, secrets, volumes, who they are, containers
//! beside and before it. What it has not is their labels: no Service sends clients to it, no workload counts it. Its own label is
//! that of probes, by which it is guarded like them ([`Names::probe_policy`](crate::desired::Names::probe_policy)) and swept like them.
//!
//! Only what the image did is held against it. That a node has no room, that a quota is used up, that a claim is elsewhere, that
//! somebody drained the node, that the API server went away: all of that says nothing of the image, and is told apart here.

use std::time::Duration;

use serde_json::{Value, json};

use crate::desired::LABEL_REGISTRY;
use crate::forward::Trouble;
use crate::limits::{TRIAL_MAKE_MAX, TRIAL_TIME_MAX};
use crate::probe::{metadata, pod_name, said, text};

/// What comes in place of the labels of a template: a trial belongs to nobody but its operator.
const NOT_ITS: [&str; 6] = [
    "app.kubernetes.io/component",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/name",
    LABEL_REGISTRY,
    "fairlead.dev/server",
];

/// What would have to be so for the pod to be ready. Nobody says it, so a Service of a person's own that selects by a label which stays
/// sends nobody to it. Whether its container is ready is another question.
const GATE: &str = "fairlead.dev/in-service";

/// What is tried.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
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
    /// The image, by digest.
    pub reference: &'a str,
    /// Tells one trial from another: a process that somebody spoke to before is not tried again.
    pub mark: &'a str,
}

/// How far a trial is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// It may run yet; what it waits for, if it says so.
    Waiting(Option<String>),
    /// No node takes it; that may pass.
    Unscheduled(String),
    /// It runs.
    Running {
        /// Whether it answers its own probe, or has none.
        is_ready: bool,
    },
    /// Its node cannot make its container, and tries again.
    Unmade {
        /// What the node says.
        why: String,
        /// It is the image that lacks something.
        is_of_image: bool,
    },
    /// It ended or cannot run, and the image is to blame.
    Failed(String),
    /// It ended or cannot run, for whatever else.
    Over(String),
}

impl Stage {
    /// What it is when it has been so for that long: what a node cannot make in a while, it will not make.
    #[must_use]
    pub fn after(self, long: Duration) -> Self {
        match self {
            Self::Unmade { why, is_of_image } if long >= TRIAL_MAKE_MAX => match is_of_image {
                true => Self::Failed(why),
                false => Self::Over(why),
            },
            other => other,
        }
    }
}

/// Why a look at a server told nothing of its tools.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unexamined {
    /// What it said is nothing that a server says.
    #[error("{0}")]
    Unfit(String),
    /// It wants to know who asks, which clients say and nobody else can.
    #[error("{0}")]
    Guarded(String),
    /// It said nothing in time.
    #[error("{0}")]
    Silent(String),
    /// The connection ended, or there was none.
    #[error("{0}")]
    Cut(String),
}

/// What is known beside, when a look told nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circumstances {
    /// How far the trial is by now.
    pub stage: Stage,
    /// Whether the API server answered all the time.
    pub was_steady: bool,
    /// It speaks HTTP: with each connection, it is spoken to anew.
    pub is_http: bool,
    /// Why a connection was not carried.
    pub trouble: Option<Trouble>,
}

/// Why a trial told nothing of a server's tools.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untried {
    /// It is not fit.
    #[error("{0}")]
    Failed(String),
    /// Nothing can be said of it now.
    #[error("{0}")]
    PutOff(String),
    /// It is ready, and cannot be asked by us.
    #[error("{0}")]
    Unasked(String),
}

impl Untried {
    /// The same of whichever trial it was: each has a pod of another name, and what is told again should read as before.
    #[must_use]
    pub fn of_any(self, pod: &str) -> Self {
        let server = pod.rsplit_once('-').map_or(pod, |(server, _)| server);
        let said = |why: String| why.replace(pod, &format!("{server}-…"));
        match self {
            Self::Failed(why) => Self::Failed(said(why)),
            Self::PutOff(why) => Self::PutOff(said(why)),
            Self::Unasked(why) => Self::Unasked(said(why)),
        }
    }
}

impl Candidate<'_> {
    /// The name of its pod.
    #[must_use]
    pub fn pod_name(&self) -> String {
        pod_name(self.server, self.uid, self.mark)
    }

    /// The pod.
    #[must_use]
    pub fn pod(&self) -> Value {
        let followed = |pointer: &str| self.template.pointer(pointer).and_then(Value::as_object).cloned();
        // Who a pod is to others (its identity in a cloud, its mesh) may hang on a label of it.
        let labels = followed("/metadata/labels").unwrap_or_default().into_iter();
        let labels = labels.filter(|(name, _)| !NOT_ITS.contains(&name.as_str())).collect();
        let mut metadata = metadata(self.server, self.namespace, self.uid, &self.pod_name(), labels);
        if let (Some(fields), Some(annotations)) = (metadata.as_object_mut(), followed("/metadata/annotations")) {
            fields.insert("annotations".to_owned(), annotations.into());
        }
        let mut spec = followed("/spec").unwrap_or_default();
        for container in spec.get_mut("containers").and_then(Value::as_array_mut).into_iter().flatten() {
            self.adapt(container);
        }
        spec.extend([
            ("restartPolicy".to_owned(), "Never".into()),
            ("readinessGates".to_owned(), json!([{"conditionType": GATE}])),
            ("terminationGracePeriodSeconds".to_owned(), 0.into()),
            ("activeDeadlineSeconds".to_owned(), TRIAL_TIME_MAX.as_secs().into()),
        ]);
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    }

    fn adapt(&self, container: &mut Value) {
        // Nobody comes to it over the network, and the ports of the node are taken by what runs.
        for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(port) = port.as_object_mut() {
                port.remove("hostPort");
            }
        }
        let Some(container) = container.as_object_mut() else { return };
        if container.get("name").is_some_and(|name| name == self.container) {
            container.insert("image".to_owned(), self.reference.into());
            // What has a digest cannot have changed.
            container.insert("imagePullPolicy".to_owned(), "IfNotPresent".into());
        }
    }

    /// What may keep it from being started beside what runs; empty: nothing that is known here.
    #[must_use]
    pub fn hindrance(&self) -> &'static str {
        let volumes = self.template.pointer("/spec/volumes").and_then(Value::as_array);
        let has_claim = volumes.into_iter().flatten().any(|volume| volume.get("persistentVolumeClaim").is_some());
        match has_claim {
            true => "; it has a claim: where only one may have that, say `updates.singleInstance`",
            false => "",
        }
    }
}

/// How far a trial is, by what is known of its pod.
#[must_use]
pub fn stage(pod: &Value, container: &str) -> Stage {
    let (reason, message) = (text(pod, "/status/reason"), text(pod, "/status/message"));
    let condition = |kind: &str| {
        let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
        conditions.into_iter().flatten().find(|condition| condition["type"] == kind)
    };
    if pod.pointer("/metadata/deletionTimestamp").is_some() {
        return Stage::Over("somebody removed it".to_owned());
    }
    if let Some(disrupted) = condition("DisruptionTarget").filter(|condition| condition["status"] == "True") {
        return Stage::Over(said(&text(disrupted, "/reason"), &text(disrupted, "/message")));
    }
    let is_over = pod.pointer("/status/phase").is_some_and(|phase| phase == "Failed" || phase == "Succeeded");
    // A node says so of a pod that it ended itself, whatever its containers made of that.
    if is_over && !reason.is_empty() {
        return Stage::Over(said(&reason, &message));
    }
    let first = statuses(pod, "/status/initContainerStatuses").find_map(unfinished);
    if let Some(why) = first {
        return Stage::Over(why);
    }
    match statuses(pod, "/status/containerStatuses").find(|status| status["name"] == container).and_then(of_container) {
        Some(stage) => stage,
        None if is_over => Stage::Over("its pod ended".to_owned()),
        None => match condition("PodScheduled").filter(|condition| condition["reason"] == "Unschedulable") {
            Some(unscheduled) => Stage::Unscheduled(text(unscheduled, "/message")),
            None => Stage::Waiting(None),
        },
    }
}

fn statuses<'p>(pod: &'p Value, pointer: &str) -> impl Iterator<Item = &'p Value> {
    pod.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// What came before it, and did not come to its end: that is of the template, and no image of ours.
fn unfinished(status: &Value) -> Option<String> {
    let code = status.pointer("/state/terminated/exitCode").and_then(Value::as_i64).filter(|code| *code != 0)?;
    Some(format!("its init container `{}` exited with status {code}", text(status, "/name")))
}

/// What the container of the server itself tells.
fn of_container(status: &Value) -> Option<Stage> {
    let state = status.get("state")?;
    if let Some(ended) = state.get("terminated") {
        return Some(of_end(ended));
    }
    if state.get("running").is_some() {
        return Some(Stage::Running { is_ready: status["ready"] == true });
    }
    let (reason, message) = (text(state, "/waiting/reason"), text(state, "/waiting/message"));
    match reason.as_str() {
        // Who an image wants to be is its own business; that a Secret is missing is not.
        "CreateContainerConfigError" if message.contains("non-root") || message.contains("runAsNonRoot") => {
            Some(Stage::Failed(said(&reason, &message)))
        }
        // The second look of a node: the first says `ErrImagePull`. Nothing of the image has run.
        "CreateContainerConfigError" | "ErrImageNeverPull" | "ImagePullBackOff" | "InvalidImageName" => {
            Some(Stage::Over(said(&reason, &message)))
        }
        // That a runtime was slow, or has a name still that it gave before, passes. What an image lacks does not, and of that only is
        // known how it is said.
        "CreateContainerError" => {
            let is_of_image = message.to_ascii_lowercase().contains("no command specified");
            Some(Stage::Unmade { why: said(&reason, &message), is_of_image })
        }
        "" => None,
        _ => Some(Stage::Waiting(Some(said(&reason, &message)))),
    }
}

fn of_end(ended: &Value) -> Stage {
    let (reason, message) = (text(ended, "/reason"), text(ended, "/message"));
    let code = ended.get("exitCode").and_then(Value::as_i64).unwrap_or_default();
    match reason.as_str() {
        // The node was away, and does not know.
        "ContainerStatusUnknown" => Stage::Over(said(&reason, &message)),
        "" | "Completed" | "Error" => Stage::Failed(said(&format!("it exited with status {code}"), &message)),
        _ => Stage::Failed(said(&format!("it exited with status {code}, {reason}"), &message)),
    }
}

/// What a look that told nothing says of an image.
#[must_use]
pub fn verdict(look: &Unexamined, seen: Circumstances) -> Untried {
    let Circumstances { stage, was_steady, is_http, trouble } = seen;
    match (stage, trouble) {
        (Stage::Failed(why), _) => Untried::Failed(format!("{look}; {why}")),
        (Stage::Over(why), _) => Untried::PutOff(why),
        (_, Some(trouble @ Trouble::Cluster(_))) => Untried::PutOff(format!("{look}; {trouble}")),
        // Whoever cannot be asked how a pod is, does not carry what it says either.
        _ if !was_steady => Untried::PutOff(format!("{look}; the API server did not answer all the time")),
        // Whatever became of one connection: over another, it has spoken to us.
        (Stage::Running { is_ready: true }, Some(trouble @ Trouble::Pod(_)))
            if !matches!(look, Unexamined::Unfit(_)) =>
        {
            Untried::Unasked(format!("it is ready, but does not listen on loopback: {trouble}"))
        }
        (Stage::Running { .. }, None) if matches!(look, Unexamined::Guarded(_)) => Untried::Unasked(look.to_string()),
        // The process lives on: somebody between us and it hung up.
        _ if matches!(look, Unexamined::Cut(_)) && !is_http => {
            Untried::PutOff(format!("{look}; it runs on, so the connection was lost"))
        }
        _ => Untried::Failed(look.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> Value {
        json!({
            "metadata": {
                "labels": {"app.kubernetes.io/component": "backend", "app.kubernetes.io/managed-by": "fairlead-operator",
                           "fairlead.dev/server": "one", "identity.test/use": "true"},
                "annotations": {"mesh.test/inject": "false"},
            },
            "spec": {
                "serviceAccountName": "team", "automountServiceAccountToken": true, "restartPolicy": "Always",
                "terminationGracePeriodSeconds": 30, "nodeSelector": {"pool": "mcp"}, "imagePullSecrets": [{"name": "r"}],
                "securityContext": {"runAsNonRoot": true}, "volumes": [{"name": "v", "emptyDir": {}}],
                "initContainers": [{"name": "first", "image": "x"}],
                "containers": [
                    {"name": "log", "image": "l", "imagePullPolicy": "Always"},
                    {"name": "mcp", "image": "r.test/s:1", "imagePullPolicy": "Always", "stdin": true,
                     "env": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
                     "resources": {"limits": {"cpu": "1"}}, "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                     "ports": [{"containerPort": 9000, "hostPort": 9000}],
                     "securityContext": {"readOnlyRootFilesystem": true}, "readinessProbe": {"tcpSocket": {"port": 9000}}},
                ],
            },
        })
    }

    fn candidate(template: &Value) -> Candidate<'_> {
        let (server, namespace, uid, container) = ("one", "team", "u", "mcp");
        Candidate { server, namespace, uid, template, container, reference: "r.test/s@sha256:2", mark: "trial 1" }
    }

    #[test]
    fn a_trial_has_all_that_the_server_has_but_another_image_and_nobody_who_waits_for_it() {
        let template = template();
        let pod = candidate(&template).pod();
        let mut expected = template["spec"].clone();
        expected["restartPolicy"] = "Never".into();
        expected["readinessGates"] = json!([{"conditionType": "fairlead.dev/in-service"}]);
        expected["terminationGracePeriodSeconds"] = 0.into();
        expected["activeDeadlineSeconds"] = TRIAL_TIME_MAX.as_secs().into();
        expected["containers"][1]["image"] = "r.test/s@sha256:2".into();
        expected["containers"][1]["imagePullPolicy"] = "IfNotPresent".into();
        expected["containers"][1]["ports"] = json!([{"containerPort": 9000}]);
        assert_eq!(pod["spec"], expected);
        assert_eq!(pod["metadata"]["annotations"], template["metadata"]["annotations"]);
    }

    #[test]
    fn no_service_and_no_workload_takes_a_trial_for_its_own_and_the_sweep_does() {
        let mut template = template();
        template["metadata"]["labels"][LABEL_REGISTRY] = "main".into();
        let pod = candidate(&template).pod();
        // Whatever else selects by the label that stays, the pod is never ready.
        assert_eq!(pod["spec"]["readinessGates"], json!([{"conditionType": GATE}]));
        let expected = json!({"fairlead.dev/probe": "one", "app.kubernetes.io/name": "fairlead",
                              "app.kubernetes.io/component": "probe", "identity.test/use": "true"});
        assert_eq!(pod["metadata"]["labels"], expected);
        let owner = &pod["metadata"]["ownerReferences"][0];
        assert_eq!((&owner["uid"], owner.get("controller")), (&json!("u"), None));
        let again = Candidate { mark: "trial 2", ..candidate(&template) };
        assert_ne!(again.pod_name(), candidate(&template).pod_name());
    }

    #[test]
    fn a_claim_is_named_where_it_may_be_what_hinders() {
        let mut template = template();
        assert_eq!(candidate(&template).hindrance(), "");
        template["spec"]["volumes"] = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]);
        assert!(candidate(&template).hindrance().contains("updates.singleInstance"));
    }

    fn of(status: Value) -> Stage {
        stage(&json!({"metadata": {}, "status": status}), "mcp")
    }

    fn in_state(state: &Value) -> Value {
        json!([{"name": "log", "ready": true, "state": {"running": {}}}, {"name": "mcp", "ready": false, "state": state}])
    }

    #[test]
    fn what_the_image_did_is_its_fault_and_how_it_ended_is_told() {
        for (state, expected) in [
            (json!({"terminated": {"exitCode": 7, "reason": "Error"}}), "it exited with status 7"),
            (json!({"terminated": {"exitCode": 0, "reason": "Completed"}}), "it exited with status 0"),
            (json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}), "it exited with status 137, OOMKilled"),
            (
                json!({"terminated": {"exitCode": 128, "reason": "StartError", "message": "no such file"}}),
                "it exited with status 128, StartError: no such file",
            ),
            (
                json!({"waiting": {"reason": "CreateContainerConfigError",
                                   "message": "container has runAsNonRoot and image will run as root"}}),
                "CreateContainerConfigError: container has runAsNonRoot and image will run as root",
            ),
        ] {
            let status = json!({"phase": "Failed", "containerStatuses": in_state(&state)});
            assert_eq!(of(status), Stage::Failed(expected.to_owned()));
        }
    }

    #[test]
    fn what_others_did_is_not_its_fault_whatever_became_of_its_process() {
        let killed = in_state(&json!({"terminated": {"exitCode": 137, "reason": "Error"}}));
        let waits = |reason: &str| in_state(&json!({"waiting": {"reason": reason, "message": "m"}}));
        for status in [
            json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory", "containerStatuses": killed}),
            json!({"phase": "Failed", "reason": "DeadlineExceeded", "containerStatuses": killed}),
            json!({"phase": "Failed", "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "Preempted"}],
                   "containerStatuses": killed}),
            json!({"phase": "Failed", "containerStatuses": in_state(&json!({"terminated": {"exitCode": 137,
                   "reason": "ContainerStatusUnknown"}}))}),
            json!({"phase": "Failed", "containerStatuses": waits("PodInitializing"), "initContainerStatuses": [
                   {"name": "first", "state": {"terminated": {"exitCode": 1}}}]}),
            json!({"containerStatuses": waits("ImagePullBackOff")}),
            json!({"containerStatuses": waits("CreateContainerConfigError")}),
            json!({"phase": "Failed"}),
        ] {
            let said = of(status.clone());
            assert!(matches!(said, Stage::Over(_)), "{status}: {said:?}");
        }
        let pod = json!({"metadata": {"deletionTimestamp": "x"}, "status": {"containerStatuses": killed}});
        assert!(matches!(stage(&pod, "mcp"), Stage::Over(_)), "whoever removes it ends its process");
    }

    #[test]
    fn a_trial_runs_when_its_own_container_does_and_is_ready_when_that_says_so() {
        assert_eq!(
            of(json!({"containerStatuses": in_state(&json!({"running": {}}))})),
            Stage::Running { is_ready: false }
        );
        let ready = json!([{"name": "mcp", "ready": true, "state": {"running": {}}}, {"name": "log", "ready": false}]);
        assert_eq!(of(json!({"containerStatuses": ready})), Stage::Running { is_ready: true });
        let pulling = of(json!({"containerStatuses": in_state(&json!({"waiting": {"reason": "ErrImagePull"}}))}));
        assert_eq!(pulling, Stage::Waiting(Some("ErrImagePull".to_owned())));
        let conditions =
            json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]);
        assert_eq!(of(json!({"conditions": conditions})), Stage::Unscheduled("0/3 nodes".to_owned()));
        assert_eq!(of(json!({})), Stage::Waiting(None));
    }

    /// Regression: an image without a program held up whoever looked at it, for as long as a pull may take.
    #[test]
    fn what_a_node_cannot_make_is_given_up_soon_and_held_against_the_image_that_has_no_program() {
        let half = TRIAL_MAKE_MAX / 2;
        for (message, is_of_image) in [
            ("failed to generate spec: no command specified", true),
            ("Error response from daemon: No command specified", true),
            ("context deadline exceeded", false),
        ] {
            let state = json!({"waiting": {"reason": "CreateContainerError", "message": message}});
            let seen = of(json!({"containerStatuses": in_state(&state)}));
            let why = format!("CreateContainerError: {message}");
            assert_eq!(seen, Stage::Unmade { why: why.clone(), is_of_image });
            assert_eq!(seen.clone().after(half), seen);
            let expected = if is_of_image { Stage::Failed(why) } else { Stage::Over(why) };
            assert_eq!(seen.after(TRIAL_MAKE_MAX), expected);
        }
        let runs = Stage::Running { is_ready: false };
        assert_eq!(runs.clone().after(TRIAL_MAKE_MAX), runs);
    }

    #[test]
    fn what_is_told_of_a_trial_reads_as_what_was_told_of_the_one_before() {
        let template = template();
        let told = |mark: &'static str| {
            let pod = Candidate { mark, ..candidate(&template) }.pod_name();
            Untried::PutOff(format!("start trial `{pod}`: pods \"{pod}\" is forbidden: exceeded quota")).of_any(&pod)
        };
        assert_eq!(told("trial 1"), told("trial 2"));
        assert_eq!(told("trial 1").to_string(), "start trial `one-…`: pods \"one-…\" is forbidden: exceeded quota");
    }

    #[test]
    fn a_lost_connection_is_told_from_a_server_that_says_nothing() {
        let runs = Stage::Running { is_ready: true };
        let calm = |is_http| Circumstances { stage: runs.clone(), was_steady: true, is_http, trouble: None };
        let (unfit, silent, cut) = ("a".to_owned(), "b".to_owned(), "c".to_owned());
        let (unfit, silent, cut) = (Unexamined::Unfit(unfit), Unexamined::Silent(silent), Unexamined::Cut(cut));
        let is_failed = |look: &Unexamined, seen| matches!(verdict(look, seen), Untried::Failed(_));
        let is_put_off = |look: &Unexamined, seen| matches!(verdict(look, seen), Untried::PutOff(_));
        for is_http in [false, true] {
            assert!(is_failed(&unfit, calm(is_http)) && is_failed(&silent, calm(is_http)));
            for look in [&unfit, &silent, &cut] {
                let over = Stage::Over("evicted".to_owned());
                assert!(is_put_off(look, Circumstances { stage: over, ..calm(is_http) }), "{look:?}");
                assert!(is_put_off(look, Circumstances { was_steady: false, ..calm(is_http) }), "{look:?}");
                let trouble = Some(Trouble::Cluster("reset".to_owned()));
                assert!(is_put_off(look, Circumstances { trouble, ..calm(is_http) }), "{look:?}");
            }
        }
        // Over stdio there is one connection, which a process that lives does not end; over HTTP, any server hangs up.
        assert!(is_put_off(&cut, calm(false)) && is_failed(&cut, calm(true)));
        let ended = Circumstances { stage: Stage::Failed("it exited with status 7".to_owned()), ..calm(false) };
        assert_eq!(verdict(&cut, ended), Untried::Failed("c; it exited with status 7".to_owned()));
    }

    #[test]
    fn a_ready_server_that_lets_us_not_in_is_not_blamed() {
        let refused = || Some(Trouble::Pod("connection refused".to_owned()));
        let (cut, was_steady, is_http) = (Unexamined::Cut("c".to_owned()), true, true);
        let seen =
            |is_ready| Circumstances { stage: Stage::Running { is_ready }, was_steady, is_http, trouble: refused() };
        assert!(matches!(verdict(&cut, seen(true)), Untried::Unasked(_)));
        assert!(matches!(verdict(&cut, seen(false)), Untried::Failed(_)));
        let unfit = Unexamined::Unfit("no message".to_owned());
        assert!(matches!(verdict(&unfit, seen(true)), Untried::Failed(_)), "it was let in to say that");
        let guarded = Unexamined::Guarded("HTTP status 401".to_owned());
        assert!(matches!(verdict(&guarded, Circumstances { trouble: None, ..seen(true) }), Untried::Unasked(_)));
    }
}
