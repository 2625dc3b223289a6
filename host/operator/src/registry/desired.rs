//! The decision: what a registry server is in a cluster. As pure as that of a server, and under the same rules: a document that
//! cannot be carried out touches nothing, and a number of replicas is nobody's business but that of whoever scales.

use fairlead_core::name::RegistryName;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::access;
use super::source::{Needs, local};
use super::{Registries, RegistryServer, RegistryServerSpec};
use crate::desired::{
    Decision, LABEL_COMPONENT, LABEL_REGISTRY, MANAGER, Object, Owner, RESTARTED_AT, Resource, Settings, Workload,
    check_template, confined, overlay, selected, without_root,
};
use crate::limits::{
    PROXY_CPU_MILLIS, PROXY_PORT, REGISTRY_MEMORY_MIB, REGISTRY_MEMORY_MIB_MAX, SERVER_NAME_LENGTH_MAX,
    TERMINATION_GRACE_SECS,
};
use crate::status::{ConditionType, Finding, Phase, Reason, RegistryStatus};

/// The container of the registry server, in its pod and in a `podTemplateSpec`.
const CONTAINER: &str = "registry";

/// What its pods are, by the label of their component.
pub(crate) const COMPONENT: &str = "registry";

/// The key of the configuration in its `ConfigMap`, and the name of the file in the pod.
const FILE: &str = "registries.json";

/// Where the configuration is in the pod.
const DIRECTORY: &str = "/etc/fairlead/config";

/// The annotation that starts pods anew when their configuration changes.
const CHECKSUM: &str = "fairlead.dev/config-checksum";

/// What is there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// The Deployment.
    pub server: Option<Workload>,
    /// Why its pods do not come up, in no particular order.
    pub pod_failures: Vec<String>,
}

/// What a server of registries needs in a cluster, all of it possible there.
struct Plan<'a> {
    server: &'a RegistryServer,
    spec: &'a RegistryServerSpec,
    settings: &'a Settings,
    registries: Map<String, Value>,
    needs: Needs,
}

/// The name of each of its objects.
#[must_use]
pub fn object_name(name: &str) -> String {
    format!("{name}-registry")
}

/// Decides.
#[must_use]
pub fn desired(
    server: &RegistryServer,
    observed: &Observed,
    settings: &Settings,
    known: &Registries,
    now: Timestamp,
) -> Decision<RegistryStatus> {
    let plan = plan(server, settings, known);
    let template = template(server);
    let granted = access::finding(server, settings.binds_reviewers);
    let status = status(server, observed, plan.as_ref().map(|_| ()), &template, granted, now);
    let objects = match (server.deleting, plan, template) {
        (true, ..) => Some(Vec::new()),
        (false, Ok(plan), Ok(())) => Some(plan.objects()),
        (false, ..) => None,
    };
    Decision { objects, scales: Vec::new(), status, requeue: None }
}

fn plan<'a>(server: &'a RegistryServer, settings: &'a Settings, known: &Registries) -> Result<Plan<'a>, String> {
    let spec = server.document.as_ref().map_err(Clone::clone)?;
    if server.name.len() > SERVER_NAME_LENGTH_MAX {
        return Err(format!(
            "the name has {} characters, and {SERVER_NAME_LENGTH_MAX} are possible",
            server.name.len()
        ));
    }
    spec.check_access()?;
    let (mut registries, mut needs) = (Map::new(), Needs::default());
    for (name, registry) in &spec.registries {
        let at = |reason: String| format!("registries.{name}: {reason}");
        RegistryName::new(name).map_err(|error| at(error.to_string()))?;
        registries.insert(name.clone(), local(name, registry, known, &mut needs).map_err(at)?);
    }
    if registries.is_empty() {
        return Err("registries: there is nothing to read".to_owned());
    }
    Ok(Plan { server, spec, settings, registries, needs })
}

fn template(server: &RegistryServer) -> Result<(), String> {
    let template = server.document.as_ref().ok().and_then(|spec| spec.pod_template_spec.as_ref());
    template.map_or(Ok(()), check_template)
}

impl Plan<'_> {
    fn objects(&self) -> Vec<Object> {
        let config = self.config_map();
        let checksum = config.checksum();
        let server = self.server;
        let mut objects = vec![self.service_account()];
        if self.spec.is_reviewed() && self.settings.binds_reviewers {
            objects.push(access::binding(&server.namespace, &server.name, self.labels()));
        }
        objects.extend([config, self.service(), self.deployment(&checksum)]);
        let owner = Owner { kind: "MCPRegistry", name: &server.name, namespace: &server.namespace, uid: &server.uid };
        for object in &mut objects {
            object.own(&owner);
        }
        objects
    }

    fn labels(&self) -> Value {
        json!({
            LABEL_REGISTRY: self.server.name,
            "app.kubernetes.io/name": "fairlead",
            "app.kubernetes.io/instance": self.server.name,
            LABEL_COMPONENT: COMPONENT,
            "app.kubernetes.io/managed-by": MANAGER,
        })
    }

    fn selector(&self) -> Value {
        json!({LABEL_REGISTRY: self.server.name, LABEL_COMPONENT: COMPONENT})
    }

    fn object(&self, resource: Resource, body: Value) -> Object {
        Object::new(resource, object_name(&self.server.name), self.labels(), body)
    }

    /// Its pod asks for the token where it needs one; nothing else gets it.
    fn service_account(&self) -> Object {
        self.object(Resource::ServiceAccount, json!({"automountServiceAccountToken": false}))
    }

    fn config_map(&self) -> Object {
        let config = json!({"registries": self.registries});
        self.object(Resource::ConfigMap, json!({"data": {FILE: config.to_string()}}))
    }

    fn port(&self) -> u16 {
        self.spec.port.unwrap_or(PROXY_PORT)
    }

    fn service(&self) -> Object {
        let port = self.port();
        let service = &self.spec.service;
        let body = json!({"spec": {
            "type": service.kind.as_str(),
            "selector": self.selector(),
            "ports": [{"name": "http", "port": port, "targetPort": port, "protocol": "TCP"}],
        }});
        let annotations = service.annotations.iter().map(|(name, value)| (name.clone(), value.clone().into()));
        self.object(Resource::Service, body).annotated(annotations)
    }

    /// Without a count of replicas: that is never applied.
    fn deployment(&self, checksum: &str) -> Object {
        let port = self.port();
        let probe = json!({"httpGet": {"path": "/health", "port": port}, "timeoutSeconds": 2});
        let (mounts, volumes) = self.volumes();
        let mut args = vec![
            "registry".to_owned(),
            "serve".to_owned(),
            format!("--file={DIRECTORY}/{FILE}"),
            format!("--address=0.0.0.0:{port}"),
        ];
        args.extend(self.spec.tokens.then(|| "--tokens".to_owned()));
        let is_reviewed = self.spec.is_reviewed();
        args.extend(is_reviewed.then(|| format!("--reviewed-for={}/{}", self.server.namespace, self.server.name)));
        let container = json!({
            "name": CONTAINER,
            "image": self.settings.proxy_image,
            "args": args,
            "env": self.env(),
            "ports": [{"name": "http", "containerPort": port, "protocol": "TCP"}],
            "readinessProbe": probe,
            "livenessProbe": probe,
            "resources": {
                "requests": {"cpu": format!("{PROXY_CPU_MILLIS}m"), "memory": format!("{REGISTRY_MEMORY_MIB}Mi")},
                "limits": {"memory": format!("{REGISTRY_MEMORY_MIB_MAX}Mi")},
            },
            "securityContext": confined(true),
            "volumeMounts": mounts,
        });
        let mut annotations = Map::new();
        annotations.insert(CHECKSUM.to_owned(), checksum.into());
        annotations.extend(self.server.restarted_at.clone().map(|at| (RESTARTED_AT.to_owned(), at.into())));
        let base = json!({
            "metadata": {"labels": self.labels(), "annotations": annotations},
            "spec": {
                "serviceAccountName": object_name(&self.server.name),
                // It asks nothing of the cluster but who its clients are.
                "automountServiceAccountToken": is_reviewed,
                "terminationGracePeriodSeconds": TERMINATION_GRACE_SECS,
                "securityContext": without_root(None),
                "containers": [container],
                "volumes": volumes,
            },
        });
        let template = match &self.spec.pod_template_spec {
            Some(patch) => selected(overlay(&base, patch), &base),
            None => base,
        };
        let body = json!({"spec": {"selector": {"matchLabels": self.selector()}, "template": template}});
        self.object(Resource::Deployment, body)
    }

    fn env(&self) -> Vec<Value> {
        let mut env = vec![
            json!({"name": "FAIRLEAD_HOME", "value": "/tmp/fairlead"}),
            json!({"name": "FAIRLEAD_LOG_FORMAT", "value": "json"}),
        ];
        env.extend(self.needs.variables.iter().map(|(variable, (secret, key))| {
            json!({"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}})
        }));
        env
    }

    fn volumes(&self) -> (Vec<Value>, Vec<Value>) {
        let mut mounts = vec![
            json!({"name": "config", "mountPath": DIRECTORY, "readOnly": true}),
            json!({"name": "tmp", "mountPath": "/tmp"}),
        ];
        let mut volumes = vec![
            json!({"name": "config", "configMap": {"name": object_name(&self.server.name)}}),
            json!({"name": "tmp", "emptyDir": {}}),
        ];
        for (index, (map, key, directory)) in self.needs.files.iter().enumerate() {
            let name = format!("source-{index}");
            mounts.push(json!({"name": name, "mountPath": directory, "readOnly": true}));
            // One that is not there yet keeps no other registry from being served.
            let items = json!([{"key": key, "path": key}]);
            volumes.push(json!({"name": name, "configMap": {"name": map, "items": items, "optional": true}}));
        }
        (mounts, volumes)
    }
}

fn status(
    server: &RegistryServer,
    observed: &Observed,
    plan: Result<(), &String>,
    template: &Result<(), String>,
    granted: Finding,
    now: Timestamp,
) -> RegistryStatus {
    let there = observed.server.unwrap_or_default();
    let (phase, message) = phase(server, observed, plan, template);
    let reason = match phase {
        Phase::Ready => Reason::Ready,
        Phase::Stopped => Reason::Stopped,
        Phase::Pending | Phase::Failed | Phase::Terminating => Reason::NotReady,
    };
    let said = |kind, reason: Option<&String>, good, bad| match reason {
        None => Finding::new(kind, true, good, ""),
        Some(reason) => Finding::new(kind, false, bad, reason.clone()),
    };
    let findings = [
        Finding::new(ConditionType::Ready, phase == Phase::Ready, reason, message.clone()),
        said(ConditionType::SpecValid, plan.err(), Reason::SpecIsValid, Reason::SpecIsInvalid),
        said(
            ConditionType::PodTemplateValid,
            template.as_ref().err(),
            Reason::ValidPodTemplateSpec,
            Reason::InvalidPodTemplateSpec,
        ),
        granted,
    ];
    let port = server.document.as_ref().ok().and_then(|spec| spec.port).unwrap_or(PROXY_PORT);
    let registries = server.document.as_ref().map_or(0, |spec| spec.registries.len());
    let count = |replicas: u32| i32::try_from(replicas).unwrap_or(i32::MAX);
    RegistryStatus {
        phase,
        message,
        url: format!("http://{}.{}.svc:{port}", object_name(&server.name), server.namespace),
        registries: i32::try_from(registries).unwrap_or(i32::MAX),
        replicas: count(there.replicas),
        ready_replicas: count(there.ready),
        observed_generation: server.generation,
        conditions: findings.map(|finding| finding.since(&server.status.conditions, server.generation, now)).into(),
    }
}

fn phase(
    server: &RegistryServer,
    observed: &Observed,
    plan: Result<(), &String>,
    template: &Result<(), String>,
) -> (Phase, String) {
    if server.deleting {
        return (Phase::Terminating, "the registry is being removed".to_owned());
    }
    if let Some(reason) = plan.err().or(template.as_ref().err()) {
        return (Phase::Failed, reason.clone());
    }
    let there = observed.server.unwrap_or(Workload { wanted: 1, ..Workload::default() });
    if there.wanted == 0 {
        return (Phase::Stopped, "the registry has no replicas".to_owned());
    }
    if !there.is_current || there.ready < there.wanted {
        // The same one whatever the order in which pods were seen.
        return match observed.pod_failures.iter().min() {
            Some(failure) => (Phase::Failed, failure.clone()),
            None => (Phase::Pending, "the registry is starting".to_owned()),
        };
    }
    (Phase::Ready, "the registry is served".to_owned())
}
