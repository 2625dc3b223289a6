//! The rules, each by its name. Those of K1 to K7 are the promises about replicas, sessions and writes, word for word.

mod pod;

use proptest::prelude::*;
use serde_json::{Value, json};

use fairlead_core::document::{self, Document};
use fairlead_core::policy::PolicyRecord;

use super::*;
use crate::status::{ConditionType, Phase, Reason, Truth};

const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

fn settings() -> Settings {
    Settings { proxy_image: "registry.test/fairlead:1".to_owned(), updates: None, binds_reviewers: true }
}

fn stdio() -> Value {
    json!({"source": {"kind": "image", "reference": "registry.test/server:1"}})
}

fn http() -> Value {
    json!({
        "source": {"kind": "image", "reference": "registry.test/server:1"},
        "transport": {"kind": "streamable-http", "port": 9000},
    })
}

fn with(mut spec: Value, fields: Value) -> Value {
    for (name, value) in fields.as_object().unwrap() {
        spec[name] = value.clone();
    }
    spec
}

fn read(kind: &str, metadata: Value, spec: Value) -> Result<Document, DocumentError> {
    document::read(&json!({"apiVersion": "fairlead.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}))
}

fn server(spec: Value) -> Server {
    let document = read("MCPServer", json!({"name": "docs", "namespace": "team"}), spec);
    Server {
        name: "docs".to_owned(),
        namespace: "team".to_owned(),
        uid: "u-1".to_owned(),
        generation: 3,
        deleting: false,
        restarted_at: None,
        created_fresh: false,
        document: document.map(|document| match document {
            Document::Server(server) => server,
            other => panic!("{other:?}"),
        }),
        status: ServerStatus::default(),
    }
}

fn running(wanted: u32) -> Option<Workload> {
    Some(Workload { wanted, replicas: wanted, ready: wanted, is_current: true })
}

fn decide(server: &Server, observed: &Observed) -> Decision {
    desired(server, observed, &settings(), Timestamp::UNIX_EPOCH)
}

fn decided(spec: Value) -> Decision {
    decide(&server(spec), &Observed::default())
}

fn object(decision: &Decision, resource: Resource, name: &str) -> Value {
    let objects = decision.objects.as_ref().unwrap();
    objects.iter().find(|object| object.resource == resource && object.name == name).unwrap().body.clone()
}

fn has(decision: &Decision, resource: Resource) -> bool {
    decision.objects.as_ref().unwrap().iter().any(|object| object.resource == resource)
}

fn condition(decision: &Decision, kind: ConditionType) -> (Truth, Reason) {
    let condition = decision.status.conditions.iter().find(|condition| condition.kind == kind).unwrap();
    (condition.status, condition.reason)
}

fn scale(decision: &Decision, resource: Resource) -> Option<u32> {
    decision.scales.iter().find(|scale| scale.resource == resource).map(|scale| scale.replicas)
}

#[test]
fn k1_nil_replicas_write_nothing_on_create_and_on_update() {
    for observed in [Observed::default(), Observed { proxy: running(5), backend: running(2), ..Observed::default() }] {
        let decision = decide(&server(http()), &observed);
        assert_eq!(decision.scales, []);
        for (resource, name) in [(Resource::Deployment, "docs"), (Resource::StatefulSet, "docs")] {
            assert!(object(&decision, resource, name)["spec"].get("replicas").is_none());
        }
    }
}

#[test]
fn k1_a_value_reaches_the_deployment_and_back_to_nil_writes_nothing() {
    assert_eq!(scale(&decided(with(http(), json!({"replicas": 3}))), Resource::Deployment), Some(3));
    assert_eq!(scale(&decided(with(http(), json!({"replicas": 0}))), Resource::Deployment), Some(0));
    let observed = Observed { proxy: running(3), ..Observed::default() };
    assert_eq!(decide(&server(http()), &observed).scales, []);
}

#[test]
fn k2_the_termination_grace_period_is_always_there() {
    for spec in [http(), stdio(), with(http(), json!({"replicas": 2}))] {
        let decision = decided(spec);
        for resource in [Resource::Deployment, Resource::StatefulSet] {
            let pod = object(&decision, resource, "docs")["spec"]["template"]["spec"].clone();
            assert_eq!(pod["terminationGracePeriodSeconds"], 30);
        }
    }
}

#[test]
fn k3_stdio_is_capped_at_one_and_said_and_looked_at_again() {
    let decision = decided(with(stdio(), json!({"replicas": 3, "backendReplicas": 2})));
    assert_eq!((scale(&decision, Resource::Deployment), scale(&decision, Resource::StatefulSet)), (Some(1), Some(1)));
    assert_eq!(condition(&decision, ConditionType::StdioReplicaCapped), (Truth::True, Reason::StdioTransportCapAt1));
    assert_eq!(decision.requeue, Some(CAP_RECHECK));
    assert!(!has(&decision, Resource::PodDisruptionBudget));
}

#[test]
fn k3_a_stdio_deployment_that_was_scaled_from_outside_is_put_back() {
    let observed = Observed { proxy: running(4), backend: running(2), ..Observed::default() };
    let decision = decide(&server(stdio()), &observed);
    assert_eq!((scale(&decision, Resource::Deployment), scale(&decision, Resource::StatefulSet)), (Some(1), Some(1)));
    assert_eq!(condition(&decision, ConditionType::StdioReplicaCapped), (Truth::True, Reason::StdioTransportCapAt1));
    assert_eq!(decision.requeue, Some(CAP_RECHECK));
}

#[test]
fn k3_one_replica_of_a_stdio_server_is_no_reason_to_look_again() {
    let observed = Observed { proxy: running(1), backend: running(1), ..Observed::default() };
    let decision = decide(&server(stdio()), &observed);
    assert_eq!((decision.requeue, decision.scales.len()), (None, 0));
    assert_eq!(
        condition(&decision, ConditionType::StdioReplicaCapped),
        (Truth::False, Reason::StdioReplicaCapNotActive)
    );
}

#[test]
fn k3_http_is_never_capped() {
    let observed = Observed { proxy: running(7), ..Observed::default() };
    let decision = decide(&server(http()), &observed);
    assert_eq!((decision.requeue, decision.scales.len()), (None, 0));
}

#[test]
fn k4_replicas_without_redis_are_warned_of_and_go_on() {
    for storage in [Value::Null, json!({"provider": "memory"})] {
        let mut spec = with(http(), json!({"replicas": 2}));
        if !storage.is_null() {
            spec["sessionStorage"] = storage;
        }
        let decision = decided(spec);
        let said = condition(&decision, ConditionType::SessionStorageWarning);
        assert_eq!(said, (Truth::True, Reason::SessionStorageMissingForReplicas));
        assert_eq!(scale(&decision, Resource::Deployment), Some(2));
    }
}

#[test]
fn k4_redis_or_one_replica_clears_the_warning() {
    let redis = json!({"replicas": 2, "sessionStorage": {"provider": "redis", "address": "redis:6379"}});
    let said = |spec| condition(&decided(spec), ConditionType::SessionStorageWarning);
    assert_eq!(said(with(http(), redis)), (Truth::False, Reason::SessionStorageConfigured));
    for replicas in [json!({}), json!({"replicas": 1}), json!({"replicas": 0})] {
        assert_eq!(said(with(http(), replicas)), (Truth::False, Reason::SessionStorageWarningNotApplicable));
    }
}

#[test]
fn k5_what_is_applied_never_has_a_count_of_replicas() {
    for spec in [with(http(), json!({"replicas": 4, "backendReplicas": 3})), with(stdio(), json!({"replicas": 9}))] {
        for object in decided(spec).objects.unwrap() {
            assert!(object.body.pointer("/spec/replicas").is_none(), "{}", object.name);
        }
    }
}

#[test]
fn k6_backend_replicas_and_session_storage_reach_the_proxy() {
    let decision = decided(with(
        http(),
        json!({"backendReplicas": 2, "sessionStorage": {
            "provider": "redis", "address": "redis:6379", "db": 3, "keyPrefix": "x:",
            "passwordRef": {"name": "redis", "key": "password"},
        }}),
    ));
    let config = object(&decision, Resource::ConfigMap, "docs-config");
    let told: Value = serde_json::from_str(config["data"]["server.json"].as_str().unwrap()).unwrap();
    assert_eq!(told["backendReplicas"], 2);
    assert_eq!(
        told["sessionStorage"],
        json!({"provider": "redis", "address": "redis:6379", "db": 3, "keyPrefix": "x:"})
    );
    let env =
        object(&decision, Resource::Deployment, "docs")["spec"]["template"]["spec"]["containers"][0]["env"].clone();
    let password =
        env.as_array().unwrap().iter().find(|variable| variable["name"] == "FAIRLEAD_SESSION_STORAGE_PASSWORD");
    assert_eq!(password.unwrap()["valueFrom"]["secretKeyRef"], json!({"name": "redis", "key": "password"}));
}

#[test]
fn a_changed_configuration_rolls_the_pods_and_a_changed_count_does_not() {
    let template = |spec| object(&decided(spec), Resource::Deployment, "docs")["spec"]["template"].clone();
    assert_eq!(template(http()), template(with(http(), json!({"replicas": 4}))));
    assert_ne!(template(http()), template(with(http(), json!({"isolation": "shared"}))));
    // The environment is the server's, not the proxy's.
    assert_eq!(template(http()), template(with(http(), json!({"env": {"A": "1"}}))));
}

#[test]
fn the_network_is_what_the_profile_says() {
    let policy = |spec| object(&decided(spec), Resource::NetworkPolicy, "docs-backend")["spec"].clone();
    let closed = policy(http());
    assert_eq!((&closed["policyTypes"], &closed["egress"]), (&json!(["Ingress", "Egress"]), &json!([])));
    assert_eq!(closed["ingress"][0]["ports"], json!([{"port": 9000, "protocol": "TCP"}]));
    let mut spec = http();
    spec["source"]["permissions"] = "network".into();
    assert_eq!(policy(spec)["policyTypes"], json!(["Ingress"]));
    assert_eq!(policy(stdio())["ingress"], json!([]));
}

#[test]
fn an_image_that_is_only_tried_reaches_no_more_than_the_server_and_nothing_reaches_it() {
    let mut open = http();
    open["source"]["permissions"] = "network".into();
    for spec in [http(), stdio(), open] {
        let decision = decided(spec);
        let policy = |name| object(&decision, Resource::NetworkPolicy, name)["spec"].clone();
        let (own, tried) = (policy("docs-backend"), policy("docs-probe"));
        assert_eq!((&tried["policyTypes"], &tried["egress"]), (&own["policyTypes"], &own["egress"]));
        assert_eq!(tried["ingress"], json!([]));
        assert_eq!(tried["podSelector"], json!({"matchLabels": {"fairlead.dev/probe": "docs"}}));
    }
}

#[test]
fn a_profile_that_a_cluster_cannot_enforce_touches_nothing() {
    let mut spec = http();
    spec["source"]["permissions"] = json!({"read": ["/srv"]});
    let decision = decided(spec);
    assert_eq!(decision.objects, None);
    let said = condition(&decision, ConditionType::PermissionProfileValid);
    assert_eq!(said, (Truth::False, Reason::PermissionProfileNotEnforceable));
    assert_eq!(decision.status.phase, Phase::Failed);
}

#[test]
fn only_the_pod_of_a_stdio_server_can_be_attached_to_and_http_needs_no_rights() {
    let role = object(&decided(stdio()), Resource::Role, "docs-proxy");
    for rule in role["rules"].as_array().unwrap() {
        assert_eq!(rule["resourceNames"], json!(["docs-0"]));
    }
    let decision = decided(http());
    assert!(!has(&decision, Resource::Role) && !has(&decision, Resource::RoleBinding));
    let pod = object(&decision, Resource::Deployment, "docs")["spec"]["template"]["spec"].clone();
    assert_eq!(pod["automountServiceAccountToken"], false);
}

#[test]
fn a_budget_is_there_only_for_several_replicas() {
    assert!(has(&decided(with(http(), json!({"replicas": 2}))), Resource::PodDisruptionBudget));
    assert!(!has(&decided(with(http(), json!({"replicas": 1}))), Resource::PodDisruptionBudget));
    let scaled = Observed { proxy: running(3), ..Observed::default() };
    assert!(has(&decide(&server(http()), &scaled), Resource::PodDisruptionBudget));
}

#[test]
fn a_remote_server_has_a_proxy_and_nothing_behind_it() {
    let decision = decided(json!({"source": {"kind": "remote", "url": "https://mcp.test/mcp"}, "replicas": 3}));
    assert!(has(&decision, Resource::Deployment) && !has(&decision, Resource::StatefulSet));
    assert!(!has(&decision, Resource::NetworkPolicy) && !has(&decision, Resource::Role));
    assert_eq!(scale(&decision, Resource::Deployment), Some(3));
    assert_eq!(decision.requeue, None);
}

#[test]
fn a_pod_template_is_laid_over_that_of_the_server() {
    let template = json!({"metadata": {"labels": {"team": "a", "fairlead.dev/server": "other"}}, "spec": {
        "nodeSelector": {"disk": "ssd"},
        "containers": [{"name": "mcp", "resources": {"limits": {"memory": "1Gi"}}}, {"name": "side", "image": "x"}],
    }});
    let set = object(&decided(with(http(), json!({"podTemplateSpec": template}))), Resource::StatefulSet, "docs");
    let pod = &set["spec"]["template"];
    assert_eq!(pod["metadata"]["labels"]["team"], "a");
    assert_eq!(pod["metadata"]["labels"]["fairlead.dev/server"], "docs");
    assert_eq!(pod["spec"]["nodeSelector"], json!({"disk": "ssd"}));
    assert_eq!(pod["spec"]["containers"][0]["resources"]["limits"]["memory"], "1Gi");
    assert_eq!(pod["spec"]["containers"][1]["name"], "side");
}

#[test]
fn a_pod_template_that_is_none_touches_nothing() {
    for template in
        [json!("x"), json!({"spec": {"containers": "x"}}), json!({"spec": {"containers": [{}]}}), json!({"specs": {}})]
    {
        let decision = decided(with(http(), json!({"podTemplateSpec": template})));
        assert_eq!(decision.objects, None, "{template}");
        assert_eq!(
            condition(&decision, ConditionType::PodTemplateValid),
            (Truth::False, Reason::InvalidPodTemplateSpec)
        );
    }
    assert_eq!(
        condition(&decided(http()), ConditionType::PodTemplateValid),
        (Truth::True, Reason::ValidPodTemplateSpec)
    );
}

#[test]
fn what_no_cluster_can_run_is_said_and_touches_nothing() {
    for spec in [
        json!({"source": {"kind": "command", "program": "server"}}),
        json!({"source": {"kind": "package", "package": "npx://server"}}),
        with(http(), json!({"env": {"A": "secret://vault/x"}})),
        with(http(), json!({"volumes": [{"name": "v", "mountPath": "/v"}]})),
        with(http(), json!({"replcas": 1})),
        json!({"source": {"kind": "image", "reference": "x", "user": "nobody"}}),
    ] {
        let decision = decided(spec.clone());
        assert_eq!((decision.objects.as_ref(), decision.status.phase), (None, Phase::Failed), "{spec}");
        assert_eq!(condition(&decision, ConditionType::SpecValid), (Truth::False, Reason::SpecIsInvalid));
        assert!(!decision.status.message.is_empty());
    }
}

fn observed_plugins() -> Observed {
    let Ok(Document::Plugin(plugin)) =
        read("Plugin", json!({"name": "guard"}), json!({"source": "registry.test/guard", "digest": DIGEST}))
    else {
        panic!("a plugin")
    };
    Observed { plugins: [(plugin.name, plugin.spec)].into(), ..Observed::default() }
}

#[test]
fn plugins_are_pinned_in_the_order_of_their_levels() {
    let mut observed = observed_plugins();
    for (namespace, name, level) in
        [("team", "theirs", "tenant"), ("fairlead-system", "ours", "platform"), ("other", "no", "tenant")]
    {
        let document = read(
            "PluginAttachment",
            json!({"name": name, "namespace": namespace}),
            json!({"plugin": "guard", "level": level}),
        );
        let Ok(Document::Attachment(attachment)) = document else { panic!("{document:?}") };
        let record = PolicyRecord {
            owner: attachment.owner.clone(),
            order: attachment.order,
            selector: attachment.selector.clone(),
            labels: attachment.labels.clone(),
            spec: attachment.spec.clone(),
            created: Timestamp::UNIX_EPOCH,
        };
        observed.policies.insert(record.key(), record);
    }
    let spec = with(http(), json!({"plugins": [{"name": "own", "plugin": "guard"}]}));
    let decision = decide(&server(spec), &observed);
    let config = object(&decision, Resource::ConfigMap, "docs-config");
    let told: Value = serde_json::from_str(config["data"]["server.json"].as_str().unwrap()).unwrap();
    let names: Vec<&str> =
        told["chain"].as_array().unwrap().iter().map(|link| link["attachment"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["ours", "theirs", "own"]);
    assert_eq!(told["chain"][0]["digest"], DIGEST);
    assert_eq!(condition(&decision, ConditionType::PluginsResolved), (Truth::True, Reason::AllPluginsResolved));
}

#[test]
fn a_guard_that_is_not_there_is_waited_for() {
    for spec in [
        json!({"plugins": [{"name": "own", "plugin": "other"}]}),
        json!({"plugins": [{"name": "own", "plugin": "./x.wasm"}]}),
        json!({"tools": ["a"]}),
    ] {
        let decision = decide(&server(with(http(), spec)), &observed_plugins());
        assert_eq!((decision.objects.as_ref(), decision.status.phase), (None, Phase::Pending));
        assert_eq!(condition(&decision, ConditionType::PluginsResolved), (Truth::False, Reason::PluginNotFound));
    }
}

#[test]
fn phases_follow_what_is_there() {
    let phase = |spec: Value, observed: Observed| {
        let status = decide(&server(spec), &observed).status;
        (status.phase, status.message)
    };
    let up = Observed { proxy: running(1), backend: running(1), ..Observed::default() };
    assert_eq!(phase(http(), up.clone()), (Phase::Ready, "MCP server is running".to_owned()));
    assert_eq!(phase(http(), Observed::default()).0, Phase::Pending);
    assert_eq!(phase(http(), Observed { backend: None, ..up.clone() }).0, Phase::Pending);
    assert_eq!(phase(with(http(), json!({"replicas": 2})), up.clone()).0, Phase::Pending);
    assert_eq!(phase(with(http(), json!({"replicas": 0})), up.clone()).0, Phase::Stopped);
    assert_eq!(phase(http(), Observed { proxy: running(0), ..up.clone() }).0, Phase::Stopped);
    let failing = Observed { backend: None, pod_failures: vec!["b".to_owned(), "a".to_owned()], ..up.clone() };
    assert_eq!(phase(http(), failing), (Phase::Failed, "a".to_owned()));
    let stale = Observed { proxy: up.proxy.map(|proxy| Workload { is_current: false, ..proxy }), ..up };
    assert_eq!(phase(http(), stale).0, Phase::Pending);
}

#[test]
fn a_server_that_is_removed_has_nothing() {
    let going = Server { deleting: true, ..server(http()) };
    let decision = decide(&going, &Observed { proxy: running(1), ..Observed::default() });
    assert_eq!((decision.objects, decision.status.phase), (Some(Vec::new()), Phase::Terminating));
}

#[test]
fn a_restart_is_asked_for_by_an_annotation() {
    let asked = Server { restarted_at: Some("2026-01-01T00:00:00Z".to_owned()), ..server(http()) };
    for resource in [Resource::Deployment, Resource::StatefulSet] {
        let template = |server: &Server| {
            object(&decide(server, &Observed::default()), resource, "docs")["spec"]["template"].clone()
        };
        assert_ne!(template(&asked), template(&server(http())));
    }
}

#[test]
fn everything_goes_with_its_server_and_is_marked() {
    for object in decided(with(http(), json!({"replicas": 2}))).objects.unwrap() {
        let metadata = &object.body["metadata"];
        assert_eq!(metadata["ownerReferences"][0]["uid"], "u-1", "{}", object.name);
        assert_eq!(metadata["labels"]["app.kubernetes.io/managed-by"], MANAGER);
        assert_eq!(metadata["namespace"], "team");
        assert!(object.is_in(&object.body));
    }
}

fn specs() -> impl Strategy<Value = Value> {
    let cluster = (
        proptest::option::of(0..4_u32),
        proptest::option::of(0..4_u32),
        prop_oneof![
            Just(Value::Null),
            Just(json!({"provider": "memory"})),
            Just(json!({"provider": "redis", "address": "r:1"}))
        ],
        proptest::collection::btree_map(
            "[A-C]",
            prop_oneof![Just("1"), Just("secret://store/x"), Just("secret://no/x")],
            0..3,
        ),
    );
    (any::<bool>(), cluster, 0..4_u8).prop_map(|(is_http, (replicas, backend, storage, env), profile)| {
        let mut spec = if is_http { http() } else { stdio() };
        for (name, value) in
            [("replicas", json!(replicas)), ("backendReplicas", json!(backend)), ("sessionStorage", storage)]
        {
            if !value.is_null() {
                spec[name] = value;
            }
        }
        spec["env"] = json!(env);
        spec["source"]["permissions"] = match profile {
            0 => json!("network"),
            1 => json!({"read": ["/x"]}),
            _ => json!("none"),
        };
        spec
    })
}

fn workloads() -> impl Strategy<Value = Option<Workload>> {
    let workload = (0..4_u32, 0..4_u32, 0..4_u32, any::<bool>());
    proptest::option::of(workload.prop_map(|(wanted, replicas, ready, is_current)| Workload {
        wanted,
        replicas,
        ready,
        is_current,
    }))
}

proptest! {
    /// Deciding again on what was decided changes nothing, whatever time it is and in whatever order things were seen.
    #[test]
    fn a_decision_is_stable(spec in specs(), proxy in workloads(), backend in workloads(), failures in proptest::collection::vec("[a-c]", 0..4)) {
        let first = server(spec);
        let observed = Observed { proxy, backend, pod_failures: failures.clone(), ..observed_plugins() };
        let decision = decide(&first, &observed);
        let reordered = Observed { pod_failures: failures.into_iter().rev().collect(), ..observed };
        let later = Timestamp::from_second(1_000).unwrap();
        let again = desired(&Server { status: decision.status.clone(), ..first }, &reordered, &settings(), later);
        prop_assert_eq!(again, decision);
    }

    /// What is written is never more than one for stdio, never anything where nothing was given and one runs, and otherwise what was given.
    #[test]
    fn scales_are_what_was_given(spec in specs(), proxy in workloads()) {
        let given = spec.get("replicas").and_then(Value::as_u64).map(|given| u32::try_from(given).unwrap());
        let is_stdio = spec.get("transport").is_none();
        let decision = decide(&server(spec), &Observed { proxy, ..Observed::default() });
        if decision.objects.is_some() {
            let expected = match (given, is_stdio) {
                (given, false) => given,
                (Some(given), true) => Some(given.min(1)),
                (None, true) => proxy.filter(|proxy| proxy.wanted > 1).map(|_| 1),
            };
            prop_assert_eq!(scale(&decision, Resource::Deployment), expected);
        } else {
            prop_assert_eq!(decision.scales.len(), 0);
        }
    }
}
