//! What the proxy in a pod is started with, and what it is told.

use fairlead_core::pod::{PodConfig, PodUpstream};

use super::*;
use crate::limits::{PROXY_DRAIN_SECS, PROXY_LEAVE_SECS, TERMINATION_GRACE_SECS};

fn told(decision: &Decision) -> PodConfig {
    let config = object(decision, Resource::ConfigMap, "docs-config");
    serde_json::from_str(config["data"]["server.json"].as_str().unwrap()).unwrap()
}

fn pod(decision: &Decision) -> Value {
    object(decision, Resource::Deployment, "docs")["spec"]["template"]["spec"].clone()
}

fn argument(decision: &Decision, name: &str) -> Option<String> {
    let args = pod(decision)["containers"][0]["args"].clone();
    let args: Vec<String> = serde_json::from_value(args).unwrap();
    let at = args.iter().position(|arg| arg == name)?;
    args.get(at + 1).cloned()
}

#[test]
fn the_proxy_is_told_where_its_server_is() {
    let service = told(&decided(http())).upstream;
    let PodUpstream::Service { origin, transport } = service else { panic!("{service:?}") };
    assert_eq!((origin.as_str(), transport.path()), ("http://mcp-docs-headless.team.svc:9000", Some("/mcp")));
    let attach =
        PodUpstream::Attach { namespace: "team".to_owned(), pod: "docs-0".to_owned(), container: "mcp".to_owned() };
    assert_eq!(told(&decided(stdio())).upstream, attach);
    let remote = json!({"source": {"kind": "remote", "url": "https://mcp.test/mcp"}});
    assert!(
        matches!(told(&decided(remote)).upstream, PodUpstream::Remote(remote) if remote.url == "https://mcp.test/mcp")
    );
}

#[test]
fn a_newer_image_and_another_count_do_not_start_proxies_anew() {
    let template = |spec| object(&decided(spec), Resource::Deployment, "docs")["spec"]["template"].clone();
    let mut newer = http();
    newer["source"]["reference"] = "registry.test/server:2".into();
    assert_eq!(template(http()), template(newer));
    assert_eq!(template(http()), template(with(http(), json!({"replicas": 4}))));
    assert_ne!(template(http()), template(with(http(), json!({"bridge": true}))));
}

#[test]
fn the_short_form_of_tools_is_a_link_like_any_other() {
    let mut observed = Observed::default();
    let name = PluginName::new("tool-filter").unwrap();
    let plugin = PluginSpec { source: "registry.test/tool-filter:1".to_owned(), digest: DIGEST.to_owned() };
    observed.plugins.insert(name, plugin);
    let decision = decide(&server(with(http(), json!({"tools": ["echo"]}))), &observed);
    let [link] = &told(&decision).chain[..] else { panic!("one link") };
    assert_eq!(
        (link.attachment.plugin.as_str(), &link.attachment.config),
        ("tool-filter", &json!({"allow": ["echo"]}))
    );
    assert_eq!(link.digest, DIGEST);
}

#[test]
fn probes_have_a_port_of_their_own_that_no_service_leads_to() {
    for (asked, probes) in [(json!({}), 8081), (json!({"proxyPort": 8081}), 8082)] {
        let decision = decided(with(http(), asked));
        let container = pod(&decision)["containers"][0].clone();
        assert_eq!(container["readinessProbe"]["httpGet"], json!({"path": "/ready", "port": probes}));
        assert_eq!(container["livenessProbe"]["httpGet"], json!({"path": "/health", "port": probes}));
        assert_eq!(argument(&decision, "--probe-address"), Some(format!("0.0.0.0:{probes}")));
        let service = object(&decision, Resource::Service, "mcp-docs-proxy");
        assert!(service["spec"]["ports"].as_array().unwrap().iter().all(|port| port["port"] != probes));
    }
}

#[test]
fn an_end_in_order_fits_into_the_time_that_the_cluster_gives() {
    let sessions = i64::try_from(PROXY_LEAVE_SECS + PROXY_DRAIN_SECS).unwrap() + 2;
    assert!(sessions < TERMINATION_GRACE_SECS);
    let decision = decided(http());
    assert_eq!(argument(&decision, "--leave-secs"), Some(PROXY_LEAVE_SECS.to_string()));
    assert_eq!(argument(&decision, "--drain-secs"), Some(PROXY_DRAIN_SECS.to_string()));
}

#[test]
fn secrets_of_a_server_elsewhere_are_files_of_the_pod_and_never_in_the_configuration() {
    let headers =
        json!({"authorization": "Bearer ${secret://kubernetes/upstream/token}", "x-key": "secret://store/key"});
    let spec = json!({"source": {"kind": "remote", "url": "https://mcp.test/mcp", "headers": headers}});
    let decision = decided(spec);
    let volumes = pod(&decision)["volumes"].clone();
    let secrets = volumes.as_array().unwrap().iter().find(|volume| volume["name"] == "secrets").unwrap();
    let source =
        |name, key| json!({"secret": {"name": name, "items": [{"key": key, "path": format!("{name}/{key}")}]}});
    assert_eq!(secrets["projected"]["sources"], json!([source("key", "value"), source("upstream", "token")]));
    assert_eq!(argument(&decision, "--secrets").as_deref(), Some("/run/fairlead/secrets"));
    assert_eq!(argument(&decided(http()), "--secrets"), None);
}

#[test]
fn what_is_of_one_machine_makes_no_server_elsewhere() {
    for source in [
        json!({"kind": "remote", "url": "https://mcp.test/mcp", "caFile": "/etc/ca.pem"}),
        json!({"kind": "remote", "url": "https://mcp.test/mcp", "headers": {"a": "secret://pass/x"}}),
    ] {
        let decision = decided(json!({ "source": source }));
        assert_eq!((decision.objects, decision.status.phase), (None, Phase::Failed));
    }
}

#[test]
fn the_authority_of_a_redis_is_a_file_of_the_pod_wherever_it_is_kept() {
    let storage = |ca: Value| {
        let tls = json!({"ca": ca});
        with(http(), json!({"sessionStorage": {"provider": "redis", "address": "redis:6379", "tls": tls}}))
    };
    for (kind, source) in [
        ("config-map", json!({"configMap": {"name": "ca", "items": [{"key": "ca.crt", "path": "ca.pem"}]}})),
        ("secret", json!({"secret": {"secretName": "ca", "items": [{"key": "ca.crt", "path": "ca.pem"}]}})),
    ] {
        let decision = decided(storage(json!({"kind": kind, "name": "ca", "key": "ca.crt"})));
        let volumes = pod(&decision)["volumes"].clone();
        let mut volume =
            volumes.as_array().unwrap().iter().find(|it| it["name"] == "session-storage-ca").unwrap().clone();
        volume.as_object_mut().unwrap().remove("name");
        assert_eq!(volume, source);
        let file = argument(&decision, "--session-storage-ca").unwrap();
        let mounts = pod(&decision)["containers"][0]["volumeMounts"].clone();
        let mount = mounts.as_array().unwrap().iter().find(|it| it["name"] == "session-storage-ca").unwrap().clone();
        assert!(file.starts_with(mount["mountPath"].as_str().unwrap()) && file.ends_with("/ca.pem"), "{file}");
        assert!(told(&decision).session_storage.unwrap().tls.is_some());
    }
    let decision = decided(storage(Value::Null));
    assert_eq!(argument(&decision, "--session-storage-ca"), None);
    assert!(told(&decision).session_storage.unwrap().tls.is_some());
}
