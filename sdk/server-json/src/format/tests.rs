//! Round trips of the formats, as laws.

use proptest::prelude::*;

use super::*;

const DOCUMENT: &str = r#"{ "version":"1.2.3",  "name":"io.github.a/b", "zeta": 1.50, "description": "d" }"#;

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn round(format: Format, file: &Value) -> (Value, Vec<Loss>) {
    let (found, listing) = read(&file.to_string()).unwrap();
    assert_eq!(found, format);
    assert!(listing.refused.is_empty(), "{:?}", listing.refused);
    let (text, losses) = write(format, &listing);
    (value(&text), losses)
}

#[test]
fn formats_are_told_apart_by_what_they_are() {
    for (text, format) in [
        (r#"{"servers": []}"#, Some(Format::Official)),
        (r#"{"servers": {}}"#, Some(Format::ToolHive)),
        (r#"{"remote_servers": {}}"#, Some(Format::ToolHive)),
        (r#"{"data": {"servers": []}}"#, Some(Format::Upstream)),
        (DOCUMENT, Some(Format::Single)),
        ("{}", None),
        ("[]", None),
        (r#"{"servers": 7}"#, None),
    ] {
        assert_eq!(detect(text), format, "{text}");
    }
}

#[test]
fn a_document_comes_through_byte_for_byte() {
    let page =
        format!(r#"{{"servers": [{{"server": {DOCUMENT}, "_meta": {{"x": 1.50}}}}], "metadata": {{"count": 1}}}}"#);
    let (_, listing) = read(&page).unwrap();
    assert_eq!(listing.items[0].document, DOCUMENT);
    assert_eq!(listing.items[0].meta.as_deref(), Some(r#"{"x": 1.50}"#));
    let (written, losses) = write(Format::Official, &listing);
    assert!(written.contains(DOCUMENT) && losses.is_empty(), "{written}");
    let (written, _) = write(Format::Upstream, &listing);
    assert!(written.contains(DOCUMENT), "{written}");
}

#[test]
fn one_bad_entry_is_named_and_the_rest_arrives() {
    let page = format!(r#"{{"servers": [{{"server": {DOCUMENT}}}, 7, {DOCUMENT}]}}"#);
    let (_, listing) = read(&page).unwrap();
    assert_eq!((listing.items.len(), listing.refused.len()), (2, 1));
    assert_eq!(listing.refused[0].pointer, "/servers/1");
    let file = r#"{"servers": {"a": {"image": "x:1"}, "b": {"transport": "stdio"}}}"#;
    let (_, listing) = read(file).unwrap();
    assert_eq!((listing.items.len(), listing.refused[0].pointer.as_str()), (1, "/servers/b"));
}

#[test]
fn the_standing_of_an_entry_is_read_and_its_cursor_passed_on() {
    let page = format!(
        r#"{{"servers": [{{"server": {DOCUMENT}, "_meta": {{"{OFFICIAL}": {{"status": "deleted", "isLatest": true, "publishedAt": "2026-01-01T00:00:00Z"}}}}}}], "metadata": {{"nextCursor": "c", "count": 1}}}}"#
    );
    let (_, listing) = read(&page).unwrap();
    let standing = listing.items[0].standing().unwrap();
    assert_eq!((standing.status.as_str(), standing.is_latest), ("deleted", true));
    assert_eq!(listing.next_cursor.as_deref(), Some("c"));
}

#[test]
fn a_file_of_toolhive_becomes_what_the_schema_has_fields_for() {
    let file = json!({
        "version": "1.0.0", "last_updated": "2026-01-01T00:00:00Z", "groups": [{"name": "g"}],
        "servers": {"fetch": {
            "description": "Fetches", "image": "ghcr.io/a/fetch:2.1.0", "transport": "streamable-http", "target_port": 8080,
            "tools": ["fetch"], "tags": ["web"], "tier": "Official", "status": "Active",
            "permissions": {"network": {"outbound": {"insecure_allow_all": true}}},
            "env_vars": [{"name": "KEY", "description": "k", "required": true, "secret": true}],
            "repository_url": "https://github.com/a/fetch", "args": ["--x"],
        }},
        "remote_servers": {"io.acme/api": {
            "description": "API", "url": "https://api.example.test/mcp", "transport": "sse",
            "headers": [{"name": "Authorization", "required": true, "secret": true, "choices": ["a"]}],
            "oauth_config": {"issuer": "https://issuer.example.test"},
        }},
    });
    let (_, listing) = read(&file.to_string()).unwrap();
    let document = Document::of(&listing.items[0].document).unwrap();
    assert_eq!((document.name.as_str(), document.version.as_str()), ("io.github.stacklok/fetch", "2.1.0"));
    assert_eq!(document.packages[0].transport.url, "http://localhost:8080");
    assert!(document.packages[0].environment_variables[0].input.is_secret);
    assert_eq!((document.tags(), document.tools()), (vec!["web".to_owned()], vec!["fetch".to_owned()]));
    let remote = Document::of(&listing.items[1].document).unwrap();
    assert_eq!((remote.name.as_str(), remote.remotes[0].kind.as_str()), ("io.acme/api", "sse"));
    assert!(crate::check(&listing.items[0].document).iter().all(|it| it.severity == crate::Severity::Warning));

    let (written, losses) = round(Format::ToolHive, &file);
    assert_eq!((written, losses), (file, Vec::new()));
}

#[test]
fn what_a_format_cannot_say_is_listed_with_its_place() {
    let entry = json!({
        "name": "io.acme/tool", "version": "3.0.0", "websiteUrl": "https://example.test",
        "packages": [
            {"registryType": "npm", "identifier": "@acme/tool", "version": "3.0.0", "transport": {"type": "stdio"},
             "packageArguments": [{"type": "positional", "value": "x"}],
             "environmentVariables": [{"name": "A", "choices": ["x"], "format": "number"}]},
            {"registryType": "oci", "identifier": "acme/tool:3"},
        ],
        "remotes": [{"type": "sse", "url": "https://example.test"}],
    });
    let listing = Listing { items: vec![Item::new(entry.to_string())], ..Listing::default() };
    let (written, losses) = write(Format::ToolHive, &listing);
    assert_eq!(value(&written)["servers"]["io.acme/tool"]["image"], "npx://@acme/tool@3.0.0");
    let mut places: Vec<_> = losses.iter().map(|loss| loss.pointer.as_str()).collect();
    places.sort_unstable();
    assert_eq!(
        places,
        [
            "/0/packages/0/environmentVariables/0/format",
            "/0/packages/0/packageArguments",
            "/0/packages/1",
            "/0/remotes",
            "/0/websiteUrl",
        ]
    );
    let bundle =
        json!({"name": "a/b", "version": "1", "packages": [{"registryType": "mcpb", "identifier": "https://x"}]});
    let listing = Listing { items: vec![Item::new(bundle.to_string())], ..Listing::default() };
    assert_eq!(write(Format::ToolHive, &listing).1[0].pointer, "/0/packages/0");
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(true)),
        any::<i32>().prop_map(Value::from),
        "[a-z ]{0,8}".prop_map(Value::from),
        Just(json!([])),
        Just(json!(["x", {"y": 1}]))
    ]
}

/// Fields that ToolHive may have, known ones and others.
fn fields() -> impl Strategy<Value = Map<String, Value>> {
    let input = (
        "[A-Z]{1,5}",
        proptest::option::of(any::<bool>()),
        proptest::option::of(any::<bool>()),
        proptest::option::of("[a-z]{0,4}"),
    )
        .prop_map(|(name, required, secret, default)| {
            let mut input = Map::from_iter([("name".to_owned(), json!(name))]);
            input.extend(required.map(|it| ("required".to_owned(), json!(it))));
            input.extend(secret.map(|it| ("secret".to_owned(), json!(it))));
            input.extend(default.map(|it| ("default".to_owned(), json!(it))));
            Value::from(input)
        });
    let names = prop_oneof!["(description|title|name|tier|status|tags|repository_url|args|target_port|x_[a-z]{1,3})"];
    let rest = proptest::collection::btree_map(names, leaf(), 0..6);
    (rest, proptest::option::of(proptest::collection::vec(input, 0..3)), "(stdio|sse|streamable-http)").prop_map(
        |(rest, inputs, transport)| {
            let mut fields: Map<String, Value> = rest.into_iter().collect();
            fields.extend(inputs.map(|inputs| ("env_vars".to_owned(), json!(inputs))));
            fields.insert("transport".to_owned(), json!(transport));
            fields
        },
    )
}

proptest! {
    #[test]
    fn a_file_of_toolhive_comes_back_as_it_was(
        servers in proptest::collection::btree_map("[a-z]{1,6}(/[a-z]{1,4})?", (fields(), "(npx://|uvx://|go://h.test/|h.test/)[a-z]{1,5}([@:][0-9]\\.[0-9])?"), 0..4),
        remotes in proptest::collection::btree_map("[a-z]{1,6}", (fields(), "https://[a-z]{1,5}"), 1..3),
        groups in leaf(),
    ) {
        let with = |field: &'static str, servers: std::collections::BTreeMap<String, (Map<String, Value>, String)>| -> Map<String, Value> {
            servers.into_iter().map(|(key, (mut fields, place))| {
                fields.insert(field.to_owned(), place.into());
                if field == "url" {
                    fields.remove("env_vars").map(|inputs| fields.insert("headers".to_owned(), inputs));
                }
                (key, fields.into())
            }).collect()
        };
        let file = json!({"version": "1", "groups": groups, "servers": with("image", servers), "remote_servers": with("url", remotes)});
        let (written, losses) = round(Format::ToolHive, &file);
        prop_assert_eq!(written, file);
        prop_assert_eq!(losses, Vec::new());
    }

    #[test]
    fn the_upstream_file_and_the_official_list_come_back_as_they_were(
        entries in proptest::collection::vec(proptest::collection::btree_map("[a-z]{1,6}", leaf(), 0..5), 0..5),
        skills in leaf(), extra in leaf(),
    ) {
        let file = json!({"$schema": "s", "version": "2", "meta": {"last_updated": "t", "x": extra.clone()}, "data": {"servers": entries, "skills": skills}});
        prop_assert_eq!(round(Format::Upstream, &file), (file, Vec::new()));
        let servers: Vec<_> = entries.iter().map(|entry| json!({"server": entry, "_meta": {"a": extra}})).collect();
        let list = json!({"metadata": {"count": servers.len(), "more": extra}, "servers": servers});
        prop_assert_eq!(round(Format::Official, &list), (list, Vec::new()));
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "[{}\\[\\]\",:a-z0-9 ]{0,64}") {
        let _ = read(&text);
        let _ = crate::check(&text);
    }
}
