//! The data plane of a server: Deployment, Service, and a budget for disruptions where there are several.

use fairlead_core::cluster::AuthorityKind;
use fairlead_core::pod::SESSION_STORAGE_PASSWORD;
use serde_json::{Map, Value, json};

use super::config::FILE;
use super::names::Component;
use super::object::{Object, Resource};
use super::{Observed, Origin, Plan};
use crate::limits::{
    PROBE_PORT, PROBE_PORT_OTHER, PROXY_CPU_MILLIS, PROXY_DRAIN_SECS, PROXY_LEAVE_SECS, PROXY_MEMORY_MIB,
    PROXY_MEMORY_MIB_MAX, PROXY_PORT, SESSION_AFFINITY_SECS, TERMINATION_GRACE_SECS,
};

/// The annotation that starts pods anew when their configuration changes.
const CHECKSUM: &str = "fairlead.dev/config-checksum";

/// Where the configuration is in the pod.
const DIRECTORY: &str = "/etc/fairlead";

/// Where the values of secrets are in the pod, each at `<secret>/<key>`.
const SECRETS: &str = "/run/fairlead/secrets";

/// Where the certificate authority of the Redis is in the pod, and the name of its file.
const AUTHORITY: (&str, &str) = ("/run/fairlead/session-storage", "ca.pem");

/// What the proxy may write to: compiled plugins and what they keep, gone with the pod.
const SCRATCH: &str = "/tmp";

impl Plan<'_> {
    /// Without a count of replicas: that is never applied.
    pub(super) fn deployment(&self, checksum: &str) -> Object {
        let port = self.cluster.proxy_port.unwrap_or(PROXY_PORT);
        let probes = if port == PROBE_PORT { PROBE_PORT_OTHER } else { PROBE_PORT };
        let probe = |path: &str| json!({"httpGet": {"path": path, "port": probes}, "timeoutSeconds": 2});
        let mut args = vec![
            "proxy".to_owned(),
            "pod".to_owned(),
            "--file".to_owned(),
            format!("{DIRECTORY}/{FILE}"),
            "--address".to_owned(),
            format!("0.0.0.0:{port}"),
            "--probe-address".to_owned(),
            format!("0.0.0.0:{probes}"),
            "--leave-secs".to_owned(),
            PROXY_LEAVE_SECS.to_string(),
            "--drain-secs".to_owned(),
            PROXY_DRAIN_SECS.to_string(),
        ];
        let mut mounts = vec![
            json!({"name": "config", "mountPath": DIRECTORY, "readOnly": true}),
            json!({"name": "tmp", "mountPath": SCRATCH}),
        ];
        let mut volumes = vec![
            json!({"name": "config", "configMap": {"name": self.names.config_map()}}),
            json!({"name": "tmp", "emptyDir": {}}),
        ];
        if let Some(sources) = self.secret_files() {
            args.extend(["--secrets".to_owned(), SECRETS.to_owned()]);
            mounts.push(json!({"name": "secrets", "mountPath": SECRETS, "readOnly": true}));
            volumes.push(json!({"name": "secrets", "projected": {"sources": sources}}));
        }
        if let Some(volume) = self.authority() {
            let (directory, file) = AUTHORITY;
            args.extend(["--session-storage-ca".to_owned(), format!("{directory}/{file}")]);
            mounts.push(json!({"name": "session-storage-ca", "mountPath": directory, "readOnly": true}));
            volumes.push(volume);
        }
        let container = json!({
            "name": "proxy",
            "image": self.settings.proxy_image,
            "args": args,
            "env": self.proxy_env(),
            "ports": [
                {"name": "mcp", "containerPort": port, "protocol": "TCP"},
                {"name": "probes", "containerPort": probes, "protocol": "TCP"},
            ],
            "readinessProbe": probe("/ready"),
            "livenessProbe": probe("/health"),
            "resources": {
                "requests": {"cpu": format!("{PROXY_CPU_MILLIS}m"), "memory": format!("{PROXY_MEMORY_MIB}Mi")},
                "limits": {"memory": format!("{PROXY_MEMORY_MIB_MAX}Mi")},
            },
            "securityContext": confined(true),
            "volumeMounts": mounts,
        });
        let pod = json!({
            "serviceAccountName": self.names.identity(),
            "automountServiceAccountToken": self.attaches(),
            "terminationGracePeriodSeconds": TERMINATION_GRACE_SECS,
            "securityContext": without_root(None),
            "containers": [container],
            "volumes": volumes,
        });
        let mut annotations = Map::new();
        annotations.insert(CHECKSUM.to_owned(), checksum.into());
        annotations.extend(self.restart());
        let body = json!({"spec": {
            "selector": {"matchLabels": self.names.selector(Component::Proxy)},
            "template": {
                "metadata": {"labels": self.names.labels(Some(Component::Proxy)), "annotations": annotations},
                "spec": pod,
            },
        }});
        let labels = self.names.labels(Some(Component::Proxy));
        Object::new(Resource::Deployment, self.names.deployment(), labels, body)
    }

    /// The Secrets that the proxy needs itself, as files: a changed one counts without a new pod.
    fn secret_files(&self) -> Option<Vec<Value>> {
        let Origin::Remote { secrets, .. } = &self.origin else { return None };
        let source = |(name, key): &(String, String)| json!({"secret": {"name": name, "items": [{"key": key, "path": format!("{name}/{key}")}]}});
        (!secrets.is_empty()).then(|| secrets.iter().map(source).collect())
    }

    /// By what the proxy knows its Redis. Without the object the pod does not start: nobody is trusted instead.
    fn authority(&self) -> Option<Value> {
        let authority = self.cluster.session_storage.as_ref()?.authority()?;
        let items = json!([{"key": authority.key, "path": AUTHORITY.1}]);
        let (source, named) = match authority.kind {
            AuthorityKind::ConfigMap => ("configMap", "name"),
            AuthorityKind::Secret => ("secret", "secretName"),
        };
        Some(json!({"name": "session-storage-ca", source: {named: authority.name, "items": items}}))
    }

    fn proxy_env(&self) -> Vec<Value> {
        let mut env = vec![json!({"name": "FAIRLEAD_HOME", "value": format!("{SCRATCH}/fairlead")})];
        let password = self.cluster.session_storage.as_ref().and_then(|storage| storage.password_ref.as_ref());
        env.extend(
            password.map(
                |key| json!({"name": SESSION_STORAGE_PASSWORD, "valueFrom": {"secretKeyRef": {"name": key.name, "key": key.key}}}),
            ),
        );
        env
    }

    pub(super) fn proxy_service(&self) -> Object {
        let port = self.cluster.proxy_port.unwrap_or(PROXY_PORT);
        let affinity = self.cluster.session_affinity;
        let mut spec = json!({
            "type": self.cluster.service.kind.as_str(),
            "selector": self.names.selector(Component::Proxy),
            "ports": [{"name": "mcp", "port": port, "targetPort": port, "protocol": "TCP"}],
            "sessionAffinity": affinity.as_str(),
        });
        if let (fairlead_core::cluster::SessionAffinity::ClientIp, Some(fields)) = (affinity, spec.as_object_mut()) {
            let config = json!({"clientIP": {"timeoutSeconds": SESSION_AFFINITY_SECS}});
            fields.insert("sessionAffinityConfig".to_owned(), config);
        }
        let labels = self.names.labels(Some(Component::Proxy));
        let annotations =
            self.cluster.service.annotations.iter().map(|(name, value)| (name.clone(), value.clone().into()));
        Object::new(Resource::Service, self.names.service(), labels, json!({"spec": spec})).annotated(annotations)
    }

    /// With one replica there is nothing to keep: a budget would only stop nodes from being drained.
    pub(super) fn disruption_budget(&self, observed: &Observed) -> Option<Object> {
        let given = match self.origin {
            Origin::Image { .. } => self.cluster.proxy_replicas(&self.spec.transport),
            Origin::Remote { .. } => self.cluster.replicas,
        };
        let outside = || observed.proxy.filter(|_| !self.attaches()).map(|proxy| proxy.wanted);
        if given.or_else(outside).unwrap_or(1) < 2 {
            return None;
        }
        let body = json!({"spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": self.names.selector(Component::Proxy)},
        }});
        let labels = self.names.labels(Some(Component::Proxy));
        Some(Object::new(Resource::PodDisruptionBudget, self.names.identity(), labels, body))
    }

    /// The annotation that starts pods anew when somebody asks for it.
    pub(super) fn restart(&self) -> Option<(String, Value)> {
        self.server.restarted_at.clone().map(|at| (super::RESTARTED_AT.to_owned(), at.into()))
    }
}

/// What every container of ours is kept from: all that the restricted Pod Security standard asks for.
pub(crate) fn confined(read_only_root: bool) -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": read_only_root,
    })
}

/// The same for a pod; with the user and group that it runs as, where somebody says so.
pub(crate) fn without_root(user: Option<(i64, Option<i64>)>) -> Value {
    let mut context = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    if let (Some((user, group)), Some(context)) = (user, context.as_object_mut()) {
        context.insert("runAsUser".to_owned(), user.into());
        context.extend(group.map(|group| ("runAsGroup".to_owned(), group.into())));
    }
    context
}
