//! The laws of documents: what is written is read again, what is planned is exact, and what is wrong is named.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn document(kind: &str, metadata: Value, spec: Value) -> Value {
    json!({"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec})
}

fn wrong(value: &Value) -> (String, String, Option<String>) {
    let error = read(value).unwrap_err();
    (error.pointer, error.reason, error.suggestion)
}

fn names() -> impl Strategy<Value = String> {
    "[a-d]{1,2}"
}

fn labels() -> impl Strategy<Value = Value> {
    proptest::collection::btree_map("[x-z]", "[0-2]", 0..3).prop_map(|map| json!(map))
}

fn attachments() -> impl Strategy<Value = Value> {
    let parts = (names(), any::<i8>(), prop_oneof![Just("closed"), Just("open")], any::<bool>());
    parts.prop_map(|(plugin, number, mode, grant)| {
        let grants = if grant { json!([{"name": "kv"}]) } else { json!([]) };
        json!({"plugin": plugin, "config": {"n": number}, "failureMode": mode, "grants": grants})
    })
}

/// Documents of every kind, as people write them: with defaults left out or not.
fn documents() -> impl Strategy<Value = Value> {
    let metadata = |namespace: bool| {
        (names(), proptest::option::of(names()), labels()).prop_map(move |(name, tenant, labels)| {
            let mut metadata = json!({"name": name, "labels": labels});
            if let (true, Some(tenant)) = (namespace, tenant) {
                metadata["namespace"] = tenant.into();
            }
            metadata
        })
    };
    let tenant = (metadata(false), "[a-z ]{0,6}", any::<bool>()).prop_map(|(metadata, description, access)| {
        document("Tenant", metadata, json!({"description": description, "hostAccess": access}))
    });
    let plugin = (metadata(false), names(), 0_u8..3).prop_map(|(metadata, source, digest)| {
        let digest = format!("sha256:{}", digest.to_string().repeat(64));
        document("Plugin", metadata, json!({"source": format!("/{source}.wasm"), "digest": digest}))
    });
    let attachment = (metadata(true), attachments(), any::<i16>(), names(), any::<bool>()).prop_map(
        |(mut metadata, mut spec, order, server, platform)| {
            spec["order"] = order.into();
            spec["selector"] = json!({"servers": [server]});
            if platform {
                spec["level"] = "platform".into();
                metadata.as_object_mut().unwrap().remove("namespace");
            }
            document("PluginAttachment", metadata, spec)
        },
    );
    let server = (metadata(true), names(), proptest::collection::vec(attachments(), 0..3), any::<bool>(), names())
        .prop_map(|(metadata, program, plugins, shared, tool)| {
            let plugins = plugins.into_iter().enumerate().map(|(at, mut plugin)| {
                plugin["name"] = format!("p{at}").into();
                plugin
            });
            let mut spec = json!({
                "source": {"kind": "command", "program": program},
                "plugins": plugins.collect::<Vec<_>>(),
                "env": {"A": tool},
            });
            if shared {
                spec["isolation"] = "shared".into();
                spec["tools"] = json!([tool]);
            }
            document("MCPServer", metadata, spec)
        });
    prop_oneof![tenant, plugin, attachment, server]
}

/// A set of documents without two of the same name.
fn sets() -> impl Strategy<Value = BTreeMap<DocumentId, Document>> {
    proptest::collection::vec(documents(), 0..10).prop_map(|documents| {
        let read = documents.iter().map(|document| read(document).unwrap());
        read.map(|document| (document.id(), document)).collect()
    })
}

/// Carries out a plan on values.
fn carried_out(mut current: BTreeMap<DocumentId, Document>, steps: &[Step]) -> BTreeMap<DocumentId, Document> {
    for step in steps {
        assert_eq!(current.get(&step.id), step.before.as_ref());
        match &step.after {
            Some(after) => current.insert(step.id.clone(), after.clone()),
            None => current.remove(&step.id),
        };
    }
    current
}

proptest! {
    #[test]
    fn what_is_written_is_read_again_with_a_status_or_without(value in documents()) {
        let document = read(&value).unwrap();
        let mut written = document.to_value();
        prop_assert_eq!(&read(&written).unwrap(), &document);
        written["status"] = json!({"phase": "running"});
        written["metadata"]["uid"] = "x".into();
        written["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": "{}"});
        prop_assert_eq!(&read(&written).unwrap(), &document);
        prop_assert_eq!(read(&written).unwrap().to_value(), document.to_value());
    }

    #[test]
    fn what_is_written_has_the_shape_of_its_schema(value in documents()) {
        let document = read(&value).unwrap();
        let (_, schema) = schemas().into_iter().find(|(kind, _)| *kind == document.id().kind).unwrap();
        let known = schema["properties"]["spec"]["properties"].as_object().unwrap();
        let written = document.to_value();
        for field in written["spec"].as_object().unwrap().keys() {
            prop_assert!(known.contains_key(field), "{field}");
        }
    }

    #[test]
    fn applying_twice_changes_nothing_the_second_time(current in sets(), wanted in sets()) {
        let wanted: Vec<_> = wanted.into_values().collect();
        let steps = plan(&current, wanted.clone(), None).unwrap();
        prop_assert_eq!(steps.len(), wanted.len());
        let after = carried_out(current, &steps);
        for document in &wanted {
            prop_assert_eq!(after.get(&document.id()), Some(document));
        }
        let again = plan(&after, wanted, None).unwrap();
        prop_assert!(again.iter().all(|step| step.action == Action::Keep && step.differences.is_empty()));
    }

    #[test]
    fn nothing_else_is_touched_and_pruning_takes_exactly_what_is_marked(current in sets(), wanted in sets()) {
        let labels = BTreeMap::from([("x".to_owned(), "1".to_owned())]);
        let marked = |document: &Document| document.labels().get("x").map(String::as_str) == Some("1");
        for prune in [None, Some(&labels)] {
            let steps = plan(&current, wanted.values().cloned().collect(), prune).unwrap();
            let after = carried_out(current.clone(), &steps);
            for (id, document) in current.iter().filter(|(id, _)| !wanted.contains_key(*id)) {
                let goes = prune.is_some() && marked(document);
                prop_assert_eq!(after.get(id), (!goes).then_some(document));
            }
            prop_assert!(after.keys().all(|id| current.contains_key(id) || wanted.contains_key(id)));
        }
    }

    #[test]
    fn a_step_is_a_change_exactly_when_the_documents_differ(before in documents(), after in documents()) {
        let (before, after) = (read(&before).unwrap(), read(&after).unwrap());
        let current = BTreeMap::from([(before.id(), before.clone())]);
        let [step] = &plan(&current, vec![after.clone()], None).unwrap()[..] else { panic!() };
        let expected = match (before.id() == after.id(), before == after) {
            (false, _) => Action::Create,
            (true, true) => Action::Keep,
            (true, false) => Action::Change,
        };
        prop_assert_eq!(step.action, expected);
    }
}

#[test]
fn two_documents_about_the_same_thing_are_refused() {
    let tenant = read(&document("Tenant", json!({"name": "a"}), json!({}))).unwrap();
    let error = plan(&BTreeMap::new(), vec![tenant.clone(), tenant], None).unwrap_err();
    assert_eq!(error.to_string(), "Tenant `a`: is there twice");
}

#[test]
fn an_unknown_field_is_refused_with_its_place_and_what_was_meant() {
    let server = |spec| document("MCPServer", json!({"name": "a"}), spec);
    let source = json!({"kind": "command", "program": "cat"});
    for (value, pointer, suggestion) in [
        (server(json!({"source": source, "tols": []})), "/spec/tols", Some("tools")),
        (
            server(json!({"source": source, "plugins": [{"name": "a", "plugin": "b", "confg": {}}]})),
            "/spec/plugins/0/confg",
            Some("config"),
        ),
        (server(json!({"source": source, "isolation": "sessoin"})), "/spec/isolation", Some("session")),
        (server(json!({"source": source, "nonsense": 1})), "/spec/nonsense", None),
        (document("MCPserver", json!({"name": "a"}), json!({})), "/kind", Some("MCPServer")),
        (document("Tenant", json!({"name": "a", "lables": {}}), json!({})), "/metadata/lables", Some("labels")),
        (document("PluginAttachment", json!({"name": "a"}), json!({"plugn": "x"})), "/spec/plugn", Some("plugin")),
    ] {
        let (found, reason, meant) = wrong(&value);
        assert_eq!((found.as_str(), meant.as_deref()), (pointer, suggestion), "{reason}");
    }
    let mut value = document("Tenant", json!({"name": "a"}), json!({}));
    value["specs"] = json!({});
    assert_eq!(wrong(&value), ("/specs".into(), "unknown field `specs`".into(), Some("spec".into())));
}

#[test]
fn what_a_document_may_not_say_is_refused_at_its_place() {
    let digest = format!("sha256:{}", "a".repeat(64));
    for (value, pointer) in [
        (json!([]), ""),
        (json!({"kind": "Tenant"}), "/apiVersion"),
        (json!({"apiVersion": "v1", "kind": "Tenant"}), "/apiVersion"),
        (json!({"apiVersion": API_VERSION, "kind": 1}), "/kind"),
        (document("Tenant", json!({}), json!({})), "/metadata"),
        (document("Tenant", json!({"name": "A"}), json!({})), "/metadata/name"),
        (document("Tenant", json!({"name": "fairlead-system"}), json!({})), "/metadata/name"),
        (document("Tenant", json!({"name": "a", "namespace": "b"}), json!({})), "/metadata/namespace"),
        (document("Plugin", json!({"name": "a"}), json!({"source": "x", "digest": "sha256:1"})), "/spec/digest"),
        (document("Plugin", json!({"name": "a"}), json!({"digest": digest})), "/spec"),
        (
            document(
                "PluginAttachment",
                json!({"name": "a", "namespace": "b"}),
                json!({"plugin": "x", "level": "platform"}),
            ),
            "/metadata/namespace",
        ),
        (
            document("PluginAttachment", json!({"name": "a", "namespace": "fairlead-system"}), json!({"plugin": "x"})),
            "/spec/level",
        ),
        (
            document("PluginAttachment", json!({"name": "a"}), json!({"plugin": "x", "selector": {"tenants": ["b"]}})),
            "/spec/selector/tenants",
        ),
        (document("MCPServer", json!({"name": "a", "namespace": "fairlead-system"}), json!({})), "/metadata/namespace"),
        (
            document(
                "MCPServer",
                json!({"name": "a"}),
                json!({"source": {"kind": "command", "program": "a"}, "labels": {"a": "b"}}),
            ),
            "/spec/labels",
        ),
    ] {
        assert_eq!(wrong(&value).0, pointer, "{value}");
    }
}

#[test]
fn what_the_host_filled_in_is_no_difference() {
    let image = |source: Value| read(&document("MCPServer", json!({"name": "a"}), json!({"source": source}))).unwrap();
    let stored = image(json!({"kind": "image", "reference": "a", "engine": "unix:///x"}));
    let current = BTreeMap::from([(stored.id(), stored)]);
    let plan = |source| plan(&current, vec![image(source)], None).unwrap().remove(0).action;
    assert_eq!(plan(json!({"kind": "image", "reference": "a"})), Action::Keep);
    assert_eq!(plan(json!({"kind": "image", "reference": "a", "engine": "unix:///y"})), Action::Change);
}
