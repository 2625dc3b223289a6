//! The decision about a registry server, rule by rule.

use fairlead_registry::spec::RegistrySpec;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::desired::{Decision, Object, Resource, Settings, Workload};
use crate::status::{ConditionType, Phase, Reason, Truth};

const SUM: &str = "fairlead.dev/config-checksum";

fn known() -> Registries {
    Registries {
        schema: || Value::Null,
        check: |registry| {
            let read = serde_json::from_value::<RegistrySpec>(registry.clone());
            read.map(drop).map_err(|error| error.to_string())
        },
        grants: |url, token| json!([{"name": "http", "scope": [format!("GET {url}")], "reason": token.unwrap_or("")}]),
        read: fairlead_registry::offer::read,
    }
}

fn server(spec: Value) -> RegistryServer {
    RegistryServer {
        name: "main".to_owned(),
        namespace: "team".to_owned(),
        uid: "u".to_owned(),
        generation: 3,
        deleting: false,
        restarted_at: None,
        created_fresh: false,
        document: serde_json::from_value(spec).map_err(|error| error.to_string()),
        status: RegistryStatus::default(),
    }
}

fn decide(server: &RegistryServer, observed: &Observed) -> Decision<RegistryStatus> {
    let settings =
        Settings { proxy_image: "registry.test/fairlead:1".to_owned(), updates: None, binds_reviewers: true };
    desired(server, observed, &settings, &known(), Timestamp::UNIX_EPOCH)
}

fn of(registries: Value) -> Decision<RegistryStatus> {
    decide(&server(json!({"registries": registries})), &Observed::default())
}

fn object(decision: &Decision<RegistryStatus>, resource: Resource) -> &Object {
    decision.objects.as_ref().unwrap().iter().find(|object| object.resource == resource).unwrap()
}

/// What the server in the pod is told.
fn told(decision: &Decision<RegistryStatus>) -> Value {
    let map = object(decision, Resource::ConfigMap);
    serde_json::from_str(map.body["data"]["registries.json"].as_str().unwrap()).unwrap()
}

fn container(decision: &Decision<RegistryStatus>) -> &Value {
    &object(decision, Resource::Deployment).body["spec"]["template"]["spec"]["containers"][0]
}

fn refused(decision: &Decision<RegistryStatus>, kind: ConditionType) -> String {
    assert_eq!(decision.objects, None, "nothing is touched");
    assert_eq!(decision.status.phase, Phase::Failed);
    let condition = decision.status.conditions.iter().find(|condition| condition.kind == kind).unwrap();
    assert_eq!(condition.status, Truth::False);
    condition.message.clone()
}

#[test]
fn a_source_of_a_cluster_becomes_one_that_a_registry_server_reads() {
    let decision = of(json!({
        "files": {"source": {"kind": "config-map", "name": "servers", "key": "servers.json"}, "layer": "trusted"},
        "web": {"source": {"kind": "json", "url": "https://r.test/servers.json"}},
        "upstream": {"source": {"kind": "api", "url": "https://r.test", "versions": true}, "intervalSecs": 60},
        "code": {"source": {"kind": "git", "url": "https://git.test/r.git", "branch": "main"}},
        "artifact": {"source": {"kind": "oci", "reference": "r.test/servers:1"}},
        "own": {"source": {"kind": "plugin", "plugin": "source-static", "config": {"servers": []}}},
    }));
    let told = told(&decision);
    for (_, registry) in told["registries"].as_object().unwrap() {
        serde_json::from_value::<RegistrySpec>(registry.clone()).unwrap();
    }
    let source = |name: &str| &told["registries"][name]["source"];
    assert_eq!(source("files"), &json!({"kind": "file", "path": "/etc/fairlead/sources/files/servers.json"}));
    assert_eq!(source("web")["plugin"], "source-json");
    assert_eq!(source("web")["grants"][0]["scope"], json!(["GET https://r.test/servers.json"]));
    assert_eq!(source("upstream")["plugin"], "source-mcp-registry");
    assert_eq!(source("upstream")["config"], json!({"url": "https://r.test", "versions": true}));
    assert_eq!(source("code")["url"], "https://git.test/r.git");
    let pod = &object(&decision, Resource::Deployment).body["spec"]["template"]["spec"];
    let volume = json!({"name": "source-0", "configMap": {"name": "servers", "optional": true,
                        "items": [{"key": "servers.json", "path": "servers.json"}]}});
    assert!(pod["volumes"].as_array().unwrap().contains(&volume), "{pod:#}");
    assert_eq!(decision.status.registries, 6);
    assert_eq!(decision.status.url, "http://main-registry.team.svc:8080");
}

#[test]
fn a_secret_is_a_variable_of_the_pod_and_never_in_a_config_map() {
    let decision = of(json!({
        "web": {"source": {"kind": "json", "url": "https://r.test/a.json", "token": "secret://kubernetes/web/token"}},
        "code": {"source": {"kind": "git", "url": "https://git.test/r.git", "token": "secret://store/git"}},
        "own": {"source": {"kind": "plugin", "plugin": "x", "config": {"key": "secret://kubernetes/web/token"},
                           "grants": [{"name": "secrets", "scope": ["secret://kubernetes/web/token@r.test"]}]}},
    }));
    let env = container(&decision)["env"].as_array().unwrap();
    let secrets: Vec<&Value> = env.iter().filter(|variable| variable.get("valueFrom").is_some()).collect();
    assert_eq!(secrets.len(), 2, "one for each key: {env:#?}");
    let told = told(&decision);
    let reference = told["registries"]["web"]["source"]["config"]["token"].as_str().unwrap();
    let id = reference.strip_prefix("secret://env/").unwrap();
    let variable = format!("FAIRLEAD_SECRET_{}", id.to_ascii_uppercase());
    let found = secrets.iter().find(|secret| secret["name"] == variable).unwrap();
    assert_eq!(found["valueFrom"]["secretKeyRef"], json!({"name": "web", "key": "token"}));
    let own = &told["registries"]["own"]["source"];
    assert_eq!(own["config"]["key"], reference);
    assert_eq!(own["grants"][0]["scope"][0], format!("{reference}@r.test"));
    assert!(!told.to_string().contains("secret://kubernetes") && !told.to_string().contains("secret://store"));
}

#[test]
fn what_no_cluster_has_is_refused_with_its_place_and_touches_nothing() {
    let plugin = |config: Value| json!({"source": {"kind": "plugin", "plugin": "x", "config": config}});
    for (registry, said) in [
        (json!({"source": {"kind": "file", "path": "/srv/servers.json"}}), "registries.one: a file is of one machine"),
        (json!({"source": {"kind": "config-map", "name": "a", "key": "../b"}}), "is no key of a ConfigMap"),
        (json!({"source": {"kind": "json"}}), "missing field `url`"),
        (json!({"source": {"kind": "smoke"}}), "unknown variant"),
        (json!({"layer": "trusted"}), "`source` is missing"),
        (json!({"source": {"kind": "oci", "reference": "r.test/a:1"}, "rule": {}}), "unknown field `rule`"),
        (plugin(json!({"key": "secret://vault/x"})), "there is no provider `vault` in a cluster"),
        (plugin(json!({"key": "secret://kubernetes/x"})), "secret://kubernetes/<secret>/<key>"),
    ] {
        let decision = of(json!({"one": registry}));
        let message = refused(&decision, ConditionType::SpecValid);
        assert!(message.contains(said), "{registry}: {message}");
    }
    assert!(refused(&of(json!({})), ConditionType::SpecValid).contains("nothing to read"));
    let nothing = decide(&server(json!({})), &Observed::default());
    assert!(refused(&nothing, ConditionType::SpecValid).contains("registries"));
    let mut long = server(json!({"registries": {"a": plugin(json!({}))}}));
    long.name = "x".repeat(51);
    assert!(refused(&decide(&long, &Observed::default()), ConditionType::SpecValid).contains("50 are possible"));
    let template = json!({"registries": {"a": plugin(json!({}))}, "podTemplateSpec": {"spec": {"containers": [{}]}}});
    refused(&decide(&server(template), &Observed::default()), ConditionType::PodTemplateValid);
}

#[test]
fn a_change_of_what_is_read_starts_the_pods_anew_and_nothing_else_does() {
    let spec = |layer: &str| json!({"registries": {"a": {"source": {"kind": "oci", "reference": "r.test/a:1"}, "layer": layer}}});
    let sum = |decision: &Decision<RegistryStatus>| {
        object(decision, Resource::Deployment).body["spec"]["template"]["metadata"]["annotations"][SUM].clone()
    };
    let decide = |server: &RegistryServer| decide(server, &Observed::default());
    let (one, two) = (decide(&server(spec("trusted"))), decide(&server(spec("community"))));
    assert_ne!(sum(&one), sum(&two));
    let mut service = spec("trusted");
    service["service"] = json!({"type": "LoadBalancer", "annotations": {"a": "b"}});
    service["tokens"] = true.into();
    let other = decide(&server(service));
    assert_eq!(sum(&one), sum(&other));
    assert_eq!(object(&other, Resource::Service).body["spec"]["type"], "LoadBalancer");
    assert!(container(&other)["args"].as_array().unwrap().contains(&json!("--tokens")));
    let mut again = server(spec("trusted"));
    again.restarted_at = Some("2026-11-21T00:00:00Z".to_owned());
    assert_ne!(decide(&again).objects, one.objects);
}

#[test]
fn the_number_of_replicas_is_nobodys_business_here_and_the_pod_is_confined() {
    let decision = of(json!({"a": {"source": {"kind": "oci", "reference": "r.test/a:1"}}}));
    assert!(decision.scales.is_empty());
    let deployment = object(&decision, Resource::Deployment);
    assert!(deployment.body["spec"].get("replicas").is_none());
    let pod = &deployment.body["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["terminationGracePeriodSeconds"], 30);
    assert_eq!(container(&decision)["securityContext"]["readOnlyRootFilesystem"], true);
    for object in decision.objects.iter().flatten().filter(|object| object.resource.is_namespaced()) {
        let owner = &object.body["metadata"]["ownerReferences"][0];
        assert_eq!((&owner["kind"], &owner["uid"]), (&json!("MCPRegistry"), &json!("u")));
    }
}

#[test]
fn its_phase_says_where_it_stands() {
    let mut server = server(json!({"registries": {"a": {"source": {"kind": "oci", "reference": "r.test/a:1"}}}}));
    let stand = |server: &RegistryServer, wanted, ready, failures: &[&str]| {
        let workload = Workload { wanted, replicas: wanted, ready, is_current: true };
        let pod_failures = failures.iter().map(|&failure| failure.to_owned()).collect();
        let status = decide(server, &Observed { server: Some(workload), pod_failures }).status;
        let ready = status.conditions.iter().find(|condition| condition.kind == ConditionType::Ready).unwrap().reason;
        (status.phase, ready)
    };
    assert_eq!(stand(&server, 1, 0, &[]), (Phase::Pending, Reason::NotReady));
    assert_eq!(stand(&server, 1, 0, &["pod `x`: CrashLoopBackOff"]), (Phase::Failed, Reason::NotReady));
    assert_eq!(stand(&server, 2, 2, &[]), (Phase::Ready, Reason::Ready));
    assert_eq!(stand(&server, 0, 0, &[]), (Phase::Stopped, Reason::Stopped));
    server.deleting = true;
    assert_eq!(stand(&server, 1, 1, &[]), (Phase::Terminating, Reason::NotReady));
    assert_eq!(decide(&server, &Observed::default()).objects, Some(Vec::new()));
}

#[test]
fn whoever_reads_is_reviewed_by_the_cluster_unless_something_else_is_said() {
    let with = |fields: Value| {
        let mut spec = json!({"registries": {"a": {"source": {"kind": "oci", "reference": "r.test/a:1"}}}});
        spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        server(spec)
    };
    let bound = |decision: &Decision<RegistryStatus>| {
        let mut objects = decision.objects.iter().flatten();
        objects.find(|it| it.resource == Resource::ClusterRoleBinding).map(|it| it.body.clone())
    };
    let granted = |decision: &Decision<RegistryStatus>| {
        let mut conditions = decision.status.conditions.iter();
        let granted = conditions.find(|it| it.kind == ConditionType::ReviewsGranted).unwrap();
        (granted.status, granted.reason)
    };
    for fields in [json!({}), json!({"access": "cluster"}), json!({"tokens": false})] {
        let decision = decide(&with(fields), &Observed::default());
        assert!(container(&decision)["args"].as_array().unwrap().contains(&json!("--reviewed-for=team/main")));
        let pod = &object(&decision, Resource::Deployment).body["spec"]["template"]["spec"];
        assert_eq!(pod["automountServiceAccountToken"], true);
        let binding = bound(&decision).unwrap();
        assert_eq!(binding["roleRef"]["name"], "system:auth-delegator");
        let account = json!([{"kind": "ServiceAccount", "name": "main-registry", "namespace": "team"}]);
        assert_eq!(binding["subjects"], account);
        let metadata = &binding["metadata"];
        assert!(metadata.get("namespace").is_none() && metadata.get("ownerReferences").is_none(), "{metadata:#}");
        assert_eq!(metadata["labels"]["fairlead.dev/owner"], "u");
        assert_eq!(metadata["labels"]["fairlead.dev/namespace"], "team");
        assert_eq!(granted(&decision), (Truth::True, Reason::ReviewerBound));
    }
    for fields in [json!({"access": "open"}), json!({"tokens": true})] {
        let decision = decide(&with(fields), &Observed::default());
        assert!(!container(&decision)["args"].to_string().contains("reviewed-for"));
        let pod = &object(&decision, Resource::Deployment).body["spec"]["template"]["spec"];
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!((bound(&decision), granted(&decision).0), (None, Truth::Unknown));
    }
    for access in ["open", "cluster"] {
        let both = decide(&with(json!({"access": access, "tokens": true})), &Observed::default());
        assert!(refused(&both, ConditionType::SpecValid).contains("two things"));
    }
    // An operator of one namespace says who has to.
    let settings = Settings { proxy_image: "x".to_owned(), updates: None, binds_reviewers: false };
    let decision = desired(&with(json!({})), &Observed::default(), &settings, &known(), Timestamp::UNIX_EPOCH);
    assert_eq!((bound(&decision), granted(&decision).1), (None, Reason::ReviewerBoundByOthers));
    let conditions = &decision.status.conditions;
    let message = &conditions.iter().find(|it| it.kind == ConditionType::ReviewsGranted).unwrap().message;
    assert!(message.contains("--clusterrole=system:auth-delegator --serviceaccount=team:main-registry"), "{message}");
}
