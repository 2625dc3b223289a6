//! Golden RunConfigs, as ToolHive writes them.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::server::Source;

/// Every file of the directory is one server as `thv run` stores it.
const GOLDEN: &[(&str, &str)] = &[
    ("stdio", include_str!("golden/stdio.json")),
    ("http", include_str!("golden/http.json")),
    ("sse", include_str!("golden/sse.json")),
    ("remote", include_str!("golden/remote.json")),
    ("package", include_str!("golden/package.json")),
];

fn golden(name: &str) -> Value {
    serde_json::from_str(GOLDEN.iter().find(|(known, _)| *known == name).unwrap().1).unwrap()
}

fn fates(notes: &[Note]) -> Vec<(&str, Fate)> {
    notes.iter().map(|note| (note.pointer.as_str(), note.fate)).collect()
}

#[test]
fn after_one_round_trip_not_a_byte_changes() {
    for (name, text) in GOLDEN {
        let (server, spec, _) =
            import(&serde_json::from_str(text).unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (first, _) = export(&server, &spec).unwrap();
        let (again, respec, _) = import(&serde_json::from_str(&first).unwrap()).unwrap();
        assert_eq!((&server, &spec), (&again, &respec), "{name}");
        assert_eq!(export(&again, &respec).unwrap().0, first, "{name}");
    }
}

#[test]
fn nothing_that_says_something_is_lost() {
    for (name, text) in GOLDEN {
        let before: Value = serde_json::from_str(text).unwrap();
        let (server, spec, notes) = import(&before).unwrap();
        let after: Value = serde_json::from_str(&export(&server, &spec).unwrap().0).unwrap();
        for (field, value) in before.as_object().unwrap() {
            let says_nothing = [json!(null), json!(false), json!(""), json!([]), json!({}), json!(0)].contains(value);
            // Mounts have one home here, the permission profile.
            let moved = ["volumes", "permission_profile", "container_labels"].contains(&field.as_str());
            let dropped =
                notes.iter().any(|note| note.fate == Fate::Dropped && note.pointer.starts_with(&format!("/{field}")));
            if !says_nothing && !moved && !dropped {
                assert_eq!(after.get(field), Some(value), "{name}: {field}");
            }
        }
    }
}

#[test]
fn what_has_a_meaning_here_becomes_part_of_the_server() {
    let (name, spec, notes) = import(&golden("stdio")).unwrap();
    assert_eq!(name.as_str(), "github");
    let Source::Image(image) = &spec.source else { panic!("{spec:?}") };
    assert_eq!(image.reference.as_str(), "ghcr.io/github/github-mcp-server:v0.20.1");
    assert_eq!(image.permissions.read, ["/srv/docs:/docs"]);
    assert_eq!(image.permissions.write, ["/srv/out:/out"]);
    assert_eq!(spec.env["GITHUB_PERSONAL_ACCESS_TOKEN"], "secret://store/github");
    assert_eq!(spec.env["LOG_LEVEL"], "debug");
    assert_eq!(spec.tools, ["get_issue", "search_code"]);
    assert_eq!(
        spec.plugins[0].config,
        json!({"rename": {"search_code": "search"}, "descriptions": {"search": "Finds code"}})
    );
    assert_eq!(spec.group.as_str(), "work");
    assert_eq!(spec.labels.len(), 1, "{:?}", spec.labels);
    assert_eq!(
        fates(&notes),
        [
            ("/authz_config", Fate::NotApplied),
            ("/ferret", Fate::Unknown),
            ("/host", Fate::NotApplied),
            ("/ignore_config", Fate::NotApplied),
            ("/isolate_network", Fate::NotApplied),
            ("/middleware_configs", Fate::NotApplied),
            ("/port", Fate::NotApplied),
            ("/proxy_mode", Fate::NotApplied),
        ]
    );
}

#[test]
fn a_remote_server_keeps_its_headers_and_loses_its_plain_secret() {
    let (_, spec, notes) = import(&golden("remote")).unwrap();
    let Source::Remote(remote) = &spec.source else { panic!("{spec:?}") };
    assert_eq!(remote.headers["X-Team"], "a");
    assert_eq!(remote.headers["X-Key"], "${secret://store/key}");
    assert!(fates(&notes).contains(&("/remote_auth_config/client_secret", Fate::Dropped)), "{notes:?}");
    assert!(!format!("{spec:?}").contains("hunter2"), "{spec:?}");
}

#[test]
fn what_cannot_be_true_is_refused_at_its_place() {
    for (more, pointer) in [
        (json!({"schema_version": "v9"}), "/schema_version"),
        (json!({"name": "No Name"}), "/name"),
        (json!({"image": "NOT AN IMAGE"}), "/image"),
        (json!({"transport": "sse"}), "/target_port"),
        (json!({"transport": "pigeon"}), "/transport"),
        (json!({"secrets": ["a"]}), "/secrets/0"),
        (json!({"volumes": ["a"]}), "/volumes/0"),
        (json!({"volumes": ["/a:/b:ro:z"]}), "/volumes/0"),
        (json!({"permission_profile": {"reed": []}}), "/permission_profile"),
        (json!({"permission_profile_name_or_path": "/etc/p.json"}), "/permission_profile_name_or_path"),
        (json!({"env_vars": {"A": 1}}), "/env_vars/A"),
        (json!({"tools_override": {"a": {"annotations": {}}}}), "/tools_override/a/annotations"),
    ] {
        let mut document = json!({"name": "a", "image": "a"});
        document.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        assert_eq!(import(&document).unwrap_err().pointer, pointer, "{more}");
    }
}

#[test]
fn what_toolhive_has_nothing_like_is_refused() {
    let spec = serde_json::from_value(json!({"source": {"kind": "command", "program": "cat"}})).unwrap();
    assert!(export(&"a".parse().unwrap(), &spec).unwrap_err().reason.contains("a command of this machine"));
}

proptest! {
    #[test]
    fn whatever_else_a_document_says_comes_back(fields in proptest::collection::btree_map("[a-z]{1,8}_x", "[a-z0-9 ]{1,8}", 0..6)) {
        let mut document = json!({"name": "a", "image": "a"});
        document.as_object_mut().unwrap().extend(fields.iter().map(|(field, value)| (field.clone(), json!(value))));
        let (name, spec, notes) = import(&document).unwrap();
        prop_assert_eq!(notes.len(), fields.len());
        let after: Value = serde_json::from_str(&export(&name, &spec).unwrap().0).unwrap();
        for (field, value) in &fields {
            prop_assert_eq!(after.get(field), Some(&json!(value)));
        }
    }
}
