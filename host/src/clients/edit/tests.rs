//! Every client has a file as people write it, before and after: a server added, and taken out again.
//!
//! `golden/<client>.before` is what is there, `golden/<client>.after` what it is with a server more. With
//! `FAIRLEAD_BLESS=1` the latter are written; a person looks at them then.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::clients::table;

const NAME: &str = "time";
const URL: &str = "http://127.0.0.1:7420/s/time/mcp";

fn clients() -> Vec<Client> {
    table::read(Path::new("/nowhere")).unwrap().into_values().collect()
}

fn client(id: &str) -> Client {
    clients().into_iter().find(|client| client.id == id).unwrap()
}

fn golden(client: &Client, what: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/clients/edit/golden").join(format!("{}.{what}", client.id))
}

fn added(client: &Client, text: &str) -> Result<String, EditError> {
    set(client, text, NAME, &client.entry(NAME, URL))
}

#[test]
fn every_client_gets_its_entry_and_keeps_every_other_byte() {
    for client in clients() {
        let before = std::fs::read_to_string(golden(&client, "before")).unwrap_or_else(|_| panic!("{}", client.id));
        let after = added(&client, &before).unwrap_or_else(|error| panic!("{}: {error}", client.id));
        if std::env::var_os("FAIRLEAD_BLESS").is_some() {
            std::fs::write(golden(&client, "after"), &after).unwrap();
        }
        let expected = std::fs::read_to_string(golden(&client, "after")).unwrap();
        assert_eq!(after, expected, "{}", client.id);
        let lines: Vec<_> = after.lines().map(|line| line.trim_end_matches(',')).collect();
        let mut found = lines.iter();
        for line in before.lines().map(|line| line.trim_end_matches(',')) {
            assert!(found.any(|kept| *kept == line), "{}: `{line}` is lost:\n{after}", client.id);
        }
        assert_eq!(added(&client, &after).unwrap(), after, "{}: once more changes nothing", client.id);
        assert_eq!(remove(&client, &after, NAME).unwrap(), before, "{}: taken out again", client.id);
    }
}

#[test]
fn a_file_that_is_not_there_or_empty_is_made() {
    for client in clients() {
        for text in ["", "\n"] {
            let after = added(&client, text).unwrap_or_else(|error| panic!("{}: {error}", client.id));
            assert!(after.contains(URL) && after.ends_with('\n'), "{}:\n{after}", client.id);
            assert_eq!(get(&client, &after, NAME).unwrap().unwrap(), Value::Object(object(&client.entry(NAME, URL))));
        }
    }
}

#[test]
fn an_entry_that_is_stale_is_corrected_where_it_stands() {
    for client in clients() {
        let before = std::fs::read_to_string(golden(&client, "after")).unwrap();
        let stale = before.replace(":7420/", ":1/");
        assert_ne!(stale, before, "{}", client.id);
        let fresh = added(&client, &stale).unwrap();
        let found = get(&client, &fresh, NAME).unwrap().unwrap();
        assert_eq!(found, Value::Object(object(&client.entry(NAME, URL))), "{}", client.id);
    }
}

#[test]
fn what_is_no_configuration_is_refused() {
    for client in clients() {
        for text in ["[1, 2", "\u{0}", "{ \"a\": }"] {
            assert!(added(&client, text).is_err(), "{}: {text:?}", client.id);
        }
    }
}

#[test]
fn something_else_in_the_place_of_servers_is_refused() {
    for (id, text) in [
        ("cursor", r#"{"mcpServers": "none"}"#),
        ("codex", "mcp_servers = 1\n"),
        ("mistral-vibe", "mcp_servers = 1\n"),
        ("goose", "extensions: none\n"),
        ("continue", "mcpServers: none\n"),
    ] {
        assert!(matches!(added(&client(id), text), Err(EditError::Shape(_))), "{id}: {:?}", added(&client(id), text));
    }
}

#[test]
fn yaml_and_toml_that_cannot_be_changed_by_lines_are_left_alone() {
    for (id, text) in [
        ("goose", "extensions: { a: { type: builtin } }\n"),
        ("continue", "mcpServers: [{ name: a, url: b }]\n"),
        ("codex", "mcp_servers = { a = { url = \"b\" } }\n"),
        ("mistral-vibe", "mcp_servers = [{ name = \"a\" }]\n"),
    ] {
        assert!(added(&client(id), text).is_err(), "{id}: {:?}", added(&client(id), text));
    }
}

#[test]
fn windows_line_ends_stay() {
    for client in clients().into_iter().filter(|client| client.format != Format::Json) {
        let before = std::fs::read_to_string(golden(&client, "before")).unwrap().replace('\n', "\r\n");
        let after = added(&client, &before).unwrap();
        assert!(!after.replace("\r\n", "").contains('\n'), "{}:\n{after:?}", client.id);
    }
}

fn lines() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        Just("extensions:".to_owned()),
        Just("  time:".to_owned()),
        Just("    type: sse".to_owned()),
        Just("# a comment".to_owned()),
        Just("mcpServers:".to_owned()),
        Just("- name: time".to_owned()),
        Just("[mcp_servers.time]".to_owned()),
        Just("[[mcp_servers]]".to_owned()),
        Just("name = \"time\"".to_owned()),
        Just("\"mcpServers\": {".to_owned()),
        Just("},".to_owned()),
        Just("x: |".to_owned()),
        "[ -~]{0,12}",
    ];
    proptest::collection::vec(line, 0..8).prop_map(|lines| lines.join("\n"))
}

proptest! {
    /// Whatever the file: it is refused, or it says the same with the entry in it, and the same again without.
    #[test]
    fn no_file_loses_anything(text in lines()) {
        for id in ["goose", "continue", "codex", "mistral-vibe", "cursor"] {
            let client = client(id);
            let Ok(before) = parse(client.format, &text) else { continue };
            let Ok(after) = added(&client, &text) else { continue };
            prop_assert!(get(&client, &after, NAME).unwrap().is_some());
            if find(&client, &before, NAME).is_none()
                && let Ok(removed) = remove(&client, &after, NAME)
            {
                prop_assert!(same(&client, parse(client.format, &removed).unwrap(), before));
            }
        }
    }
}
