//! What a tenant says for all of its servers, below what each document says itself.

use fairlead_core::cluster::{ClusterDefaults, ClusterSpec, ServiceSpec};

use super::{Server, overlay};

/// The server with what its tenant says where its own document does not.
pub(super) fn applied(server: &Server, defaults: &ClusterDefaults) -> Server {
    let mut server = server.clone();
    if let Ok(document) = &mut server.document {
        fill(&mut document.cluster, defaults);
    }
    server
}

fn fill(spec: &mut ClusterSpec, defaults: &ClusterDefaults) {
    spec.session_storage = spec.session_storage.take().or_else(|| defaults.session_storage.clone());
    spec.service_account = spec.service_account.take().or_else(|| defaults.service_account.clone());
    if let (Some(service), true) = (&defaults.service, spec.service == ServiceSpec::default()) {
        spec.service = service.clone();
    }
    if spec.image_pull_secrets.is_empty() {
        spec.image_pull_secrets.clone_from(&defaults.image_pull_secrets);
    }
    spec.pod_template_spec = match (&defaults.pod_template_spec, spec.pod_template_spec.take()) {
        (Some(below), Some(own)) => Some(overlay(below, &own)),
        (below, own) => own.or_else(|| below.clone()),
    };
}

#[cfg(test)]
mod tests {
    use fairlead_core::cluster::ServiceType;
    use serde_json::json;

    use super::*;

    fn defaults() -> ClusterDefaults {
        let defaults = json!({
            "sessionStorage": {"provider": "redis", "address": "redis:6379"},
            "service": {"type": "LoadBalancer"},
            "serviceAccount": "team",
            "imagePullSecrets": ["registry"],
            "podTemplateSpec": {"spec": {"nodeSelector": {"pool": "mcp"}, "priorityClassName": "low"}},
        });
        serde_json::from_value(defaults).unwrap()
    }

    #[test]
    fn a_server_that_says_nothing_gets_what_its_tenant_says() {
        let mut spec = ClusterSpec::default();
        fill(&mut spec, &defaults());
        assert!(spec.session_storage.unwrap().is_shared());
        assert_eq!(spec.service.kind, ServiceType::LoadBalancer);
        assert_eq!(spec.service_account.as_deref(), Some("team"));
        assert_eq!(spec.image_pull_secrets, ["registry"]);
        assert_eq!(spec.pod_template_spec, defaults().pod_template_spec);
        assert_eq!(spec.replicas, None, "nobody writes a number");
    }

    #[test]
    fn what_a_server_says_itself_stands_and_its_template_lies_over_the_other() {
        let own = json!({
            "sessionStorage": {"provider": "memory"}, "service": {"type": "NodePort"}, "serviceAccount": "own",
            "imagePullSecrets": ["other"], "podTemplateSpec": {"spec": {"priorityClassName": "high"}},
        });
        let own: ClusterSpec = serde_json::from_value(own).unwrap();
        let mut spec = own.clone();
        fill(&mut spec, &defaults());
        let template = json!({"spec": {"nodeSelector": {"pool": "mcp"}, "priorityClassName": "high"}});
        assert_eq!(spec, ClusterSpec { pod_template_spec: Some(template), ..own });
    }
}
