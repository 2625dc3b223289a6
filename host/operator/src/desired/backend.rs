//! The server itself: a `StatefulSet`, so that each of its pods has a name that a session can be bound to, and the Service that
//! makes those names.

use std::collections::BTreeSet;

use fairlead_core::cluster::{ClusterSpec, ClusterVolume};
use fairlead_core::image::{ImageSource, PullPolicy};
pub(crate) use fairlead_core::secret::{KUBERNETES, STORE_KEY};
use fairlead_core::secret::{SCHEME, STORE, SecretReference, SecretText};
use fairlead_core::server::ServerSpec;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::{Map, Value, json};

use super::names::Component;
use super::object::{Object, Resource};
use super::proxy::{confined, without_root};
use super::{Plan, overlay};
use crate::limits::TERMINATION_GRACE_SECS;

/// The container of the server, in its pod and in a `podTemplateSpec`.
pub(crate) const CONTAINER: &str = "mcp";

impl Plan<'_> {
    pub(super) fn headless_service(&self) -> Object {
        let ports: Vec<Value> = self.spec.transport.port().map(port_of_service).into_iter().collect();
        let body = json!({"spec": {
            "clusterIP": "None",
            "selector": self.names.selector(Component::Backend),
            "ports": ports,
        }});
        let labels = self.names.labels(Some(Component::Backend));
        Object::new(Resource::Service, self.names.headless(), labels, body)
    }

    /// Without a count of replicas: that is never applied.
    pub(super) fn stateful_set(&self, image: &ImageSource, env: &[Value]) -> Object {
        let base = self.template(image, env);
        let template = match &self.cluster.pod_template_spec {
            Some(patch) => selected(overlay(&base, patch), &base),
            None => base,
        };
        let body = json!({"spec": {
            "serviceName": self.names.headless(),
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": self.names.selector(Component::Backend)},
            "template": template,
        }});
        let labels = self.names.labels(Some(Component::Backend));
        Object::new(Resource::StatefulSet, self.names.stateful_set(), labels, body)
    }

    fn template(&self, image: &ImageSource, env: &[Value]) -> Value {
        let (mounts, volumes) = self.volumes();
        let limits = json!({
            "cpu": thousandths(image.resources.cpu_millis_max),
            "memory": bytes(image.resources.memory_bytes_max),
        });
        let mut container = Map::new();
        container.insert("name".to_owned(), CONTAINER.into());
        // What has a digest cannot have changed.
        let (reference, pull) = match &self.launched {
            Some(launched) => (launched, image.pull.without_always()),
            None => (&image.reference, image.pull),
        };
        container.insert("image".to_owned(), reference.as_str().into());
        container.insert("imagePullPolicy".to_owned(), pull_policy(pull).into());
        container.insert("env".to_owned(), env.into());
        container.insert("resources".to_owned(), json!({"limits": limits}));
        container.insert("securityContext".to_owned(), confined(!image.writable_root));
        container.insert("volumeMounts".to_owned(), mounts.into());
        for (name, words) in [("command", &image.command), ("args", &image.args)] {
            if !words.is_empty() {
                container.insert(name.to_owned(), words.iter().map(|word| literal(word)).collect::<Vec<_>>().into());
            }
        }
        match self.spec.transport.port() {
            // Whoever is attached writes to it as long as the pod lives.
            None => container.extend([("stdin".to_owned(), true.into())]),
            Some(port) => container.extend([
                ("ports".to_owned(), json!([{"name": "mcp", "containerPort": port, "protocol": "TCP"}])),
                ("readinessProbe".to_owned(), json!({"tcpSocket": {"port": port}})),
            ]),
        }
        let mut pod = Map::new();
        pod.insert("automountServiceAccountToken".to_owned(), self.cluster.service_account.is_some().into());
        pod.insert("terminationGracePeriodSeconds".to_owned(), TERMINATION_GRACE_SECS.into());
        pod.insert("securityContext".to_owned(), without_root(image.user.as_deref().and_then(user)));
        pod.insert("containers".to_owned(), json!([container]));
        pod.insert("volumes".to_owned(), volumes.into());
        if let Some(account) = &self.cluster.service_account {
            pod.insert("serviceAccountName".to_owned(), account.as_str().into());
        }
        if !self.cluster.image_pull_secrets.is_empty() {
            let secrets = self.cluster.image_pull_secrets.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
            pod.insert("imagePullSecrets".to_owned(), secrets.into());
        }
        let annotations: Map<_, _> = self.restart().into_iter().collect();
        json!({
            "metadata": {"labels": self.names.labels(Some(Component::Backend)), "annotations": annotations},
            "spec": pod,
        })
    }

    fn volumes(&self) -> (Vec<Value>, Vec<Value>) {
        let mut mounts = vec![json!({"name": "tmp", "mountPath": "/tmp"})];
        let mut volumes = vec![json!({"name": "tmp", "emptyDir": {}})];
        for volume in &self.cluster.volumes {
            mounts.push(json!({"name": volume.name, "mountPath": volume.mount_path, "readOnly": volume.read_only}));
            let (kind, from) = match volume {
                ClusterVolume { claim: Some(claim), .. } => ("persistentVolumeClaim", json!({"claimName": claim})),
                ClusterVolume { config_map: Some(name), .. } => ("configMap", json!({"name": name})),
                ClusterVolume { secret, .. } => ("secret", json!({"secretName": secret})),
            };
            volumes.push(json!({"name": volume.name, kind: from}));
        }
        (mounts, volumes)
    }
}

/// The labels by which the pods are found are ours, whatever a template says.
pub(crate) fn selected(mut template: Value, base: &Value) -> Value {
    let ours = base.pointer("/metadata/labels").cloned().unwrap_or_default();
    if let (Some(labels), Value::Object(ours)) =
        (template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut), ours)
    {
        labels.extend(ours);
    }
    template
}

/// Whether a value is a pod template that can be laid over that of a server.
pub(crate) fn check_template(template: &Value) -> Result<(), String> {
    serde_json::from_value::<PodTemplateSpec>(template.clone()).map_err(|error| format!("podTemplateSpec: {error}"))?;
    let fields = template.as_object().ok_or("podTemplateSpec: is no object")?;
    if let Some(unknown) = fields.keys().find(|name| !matches!(name.as_str(), "metadata" | "spec")) {
        return Err(format!("podTemplateSpec: has `metadata` and `spec`, not `{unknown}`"));
    }
    for list in ["containers", "initContainers", "volumes"] {
        let elements = template.pointer(&format!("/spec/{list}")).and_then(Value::as_array);
        if elements.into_iter().flatten().any(|element| element.get("name").is_none()) {
            return Err(format!("podTemplateSpec: spec.{list}: each has a `name`, by which it is found or added"));
        }
    }
    Ok(())
}

/// What the server is told by environment: texts as they are, secrets by reference.
///
/// # Errors
/// A reference means nothing in a cluster, or two things have one name.
pub(super) fn environment(spec: &ServerSpec, cluster: &ClusterSpec) -> Result<Vec<Value>, String> {
    let mut env: Vec<Value> = Vec::new();
    for (name, text) in &spec.env {
        env.push(variable(name, text).map_err(|reason| format!("env.{name}: {reason}"))?);
    }
    for secret in &cluster.secrets {
        if spec.env.contains_key(secret.variable()) {
            return Err(format!("`{}` is in `env` and in `secrets`", secret.variable()));
        }
        env.push(by_key(secret.variable(), &secret.name, &secret.key));
    }
    Ok(env)
}

fn variable(name: &str, text: &str) -> Result<Value, String> {
    if text.starts_with(SCHEME) {
        let reference: SecretReference =
            text.parse().map_err(|error: fairlead_core::secret::SecretReferenceError| error.to_string())?;
        let (object, key) = key_of_secret(&reference)?;
        return Ok(by_key(name, object, key));
    }
    if SecretText::parse(text).map_err(|error| error.to_string())?.has_secrets() {
        return Err("a secret inside a text cannot be put together in a cluster: let it be the whole value".to_owned());
    }
    Ok(json!({"name": name, "value": literal(text)}))
}

/// The Secret that a reference names, and the key in it.
fn key_of_secret(reference: &SecretReference) -> Result<(&str, &str), String> {
    let name = reference.name().as_str();
    match reference.provider().as_str() {
        STORE => Ok((name, STORE_KEY)),
        KUBERNETES => name.split_once('/').ok_or("write `secret://kubernetes/<secret>/<key>`".to_owned()),
        other => {
            Err(format!("there is no provider `{other}` in a cluster: write `secret://kubernetes/<secret>/<key>`"))
        }
    }
}

/// The Secrets that texts name, each with its key.
///
/// # Errors
/// A reference is none, or means nothing in a cluster.
pub(super) fn secrets_in<'t>(texts: impl IntoIterator<Item = &'t String>) -> Result<Vec<(String, String)>, String> {
    let mut found = BTreeSet::new();
    for text in texts {
        for reference in SecretText::parse(text).map_err(|error| error.to_string())?.references() {
            let (object, key) = key_of_secret(reference)?;
            found.insert((object.to_owned(), key.to_owned()));
        }
    }
    Ok(found.into_iter().collect())
}

fn by_key(variable: &str, secret: &str, key: &str) -> Value {
    json!({"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}})
}

/// A text that Kubernetes does not read as one of its own variables.
fn literal(text: &str) -> String {
    text.replace("$(", "$$(")
}

fn port_of_service(port: u16) -> Value {
    json!({"name": "mcp", "port": port, "targetPort": port, "protocol": "TCP"})
}

const fn pull_policy(pull: PullPolicy) -> &'static str {
    match pull {
        PullPolicy::Always => "Always",
        PullPolicy::Missing => "IfNotPresent",
        PullPolicy::Never => "Never",
    }
}

/// `user[:group]` in numbers; names mean nothing outside of an image.
pub(super) fn user(text: &str) -> Option<(i64, Option<i64>)> {
    match text.split_once(':') {
        Some((user, group)) => Some((user.parse().ok()?, Some(group.parse().ok()?))),
        None => Some((text.parse().ok()?, None)),
    }
}

/// Thousandths of a processor in the one form that an API server writes them in, so that what is there compares equal.
fn thousandths(millis: u32) -> String {
    if millis.is_multiple_of(1000) { (millis / 1000).to_string() } else { format!("{millis}m") }
}

/// Bytes in that form: the largest binary unit, or else the plain number with its zeros as a decimal unit.
fn bytes(count: u64) -> String {
    let binary = ["Ei", "Pi", "Ti", "Gi", "Mi", "Ki"].into_iter().zip([60, 50, 40, 30, 20, 10]);
    for (unit, shift) in binary {
        if count != 0 && count.trailing_zeros() >= shift {
            return format!("{}{unit}", count >> shift);
        }
    }
    let (mut count, mut units) = (count, ["k", "M", "G", "T", "P", "E"].into_iter());
    let mut unit = "";
    while count != 0 && count.is_multiple_of(1000) {
        let Some(next) = units.next() else { break };
        (count, unit) = (count / 1000, next);
    }
    format!("{count}{unit}")
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn quantities_are_written_as_an_api_server_writes_them() {
        for (count, text) in
            [(0, "0"), (1500, "1500"), (2000, "2k"), (1024, "1Ki"), (536_870_912, "512Mi"), (1 << 30, "1Gi")]
        {
            assert_eq!(bytes(count), text);
        }
        assert_eq!((thousandths(250), thousandths(2000)), ("250m".to_owned(), "2".to_owned()));
    }

    #[test]
    fn secrets_are_named_and_never_written() {
        let secret = variable("A", "secret://kubernetes/db/password").unwrap();
        assert_eq!(secret["valueFrom"]["secretKeyRef"], json!({"name": "db", "key": "password"}));
        let stored = variable("A", "secret://store/token").unwrap();
        assert_eq!(stored["valueFrom"]["secretKeyRef"], json!({"name": "token", "key": "value"}));
        assert!(variable("A", "secret://vault/x").is_err() && variable("A", "x ${secret://store/y}").is_err());
        assert_eq!(variable("A", "$(HOME)").unwrap()["value"], "$$(HOME)");
    }
}
