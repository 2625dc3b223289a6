//! Laws of the envelope.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn parse(text: &str) -> Result<Envelope, EnvelopeError> {
    Envelope::parse(Bytes::copy_from_slice(text.as_bytes()))
}

#[test]
fn each_kind_of_message_is_told_from_the_others() {
    for (text, kind) in [
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, Kind::Request),
        (r#"{"method":"x","jsonrpc":"2.0","params":{}}"#, Kind::Notification),
        (r#"{"result":null,"jsonrpc":"2.0","id":"a"}"#, Kind::Response),
        (r#"{"error":{"code":1,"message":""},"jsonrpc":"2.0","id":-1}"#, Kind::Error),
        (r#"{"error":{"code":1,"message":""},"jsonrpc":"2.0","id":null}"#, Kind::Error),
        (r#"{"error":{"code":1,"message":""},"jsonrpc":"2.0"}"#, Kind::Error),
        (r#" {"\u006asonrpc":"2.0","id":0,"m\u0065thod":"ping"} "#, Kind::Request),
    ] {
        assert_eq!(parse(text).unwrap().kind(), kind, "{text}");
    }
}

#[test]
fn what_is_no_message_is_refused_with_its_reason_and_id() {
    for (text, reason, id) in [
        ("[]", Reason::NotAnObject, None),
        ("7", Reason::NotAnObject, None),
        ("{}", Reason::Version, None),
        (r#"{"jsonrpc":"1.0","id":7,"method":"a"}"#, Reason::Version, Some("7")),
        (r#"{"jsonrpc":"2.0","id":null,"method":"a"}"#, Reason::Id, None),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"a"}"#, Reason::Id, None),
        (r#"{"jsonrpc":"2.0","id":1e2,"method":"a"}"#, Reason::Id, None),
        (r#"{"jsonrpc":"2.0","id":{},"method":"a"}"#, Reason::Id, None),
        (r#"{"jsonrpc":"2.0","id":null,"result":1}"#, Reason::Id, None),
        (r#"{"jsonrpc":"2.0","id":1,"method":2}"#, Reason::Method, Some("1")),
        (r#"{"jsonrpc":"2.0","id":1}"#, Reason::Shape, Some("1")),
        (r#"{"jsonrpc":"2.0","result":1}"#, Reason::Shape, None),
        (r#"{"jsonrpc":"2.0","id":1,"result":1,"error":{}}"#, Reason::Shape, Some("1")),
        (r#"{"jsonrpc":"2.0","id":1,"method":"a","result":1}"#, Reason::Shape, Some("1")),
        (r#"{"jsonrpc":"2.0","id":1,"method":"a","m\u0065thod":"b"}"#, Reason::Duplicate("method"), Some("1")),
        (r#"{"jsonrpc":"2.0","id":1,"params":1,"params":2,"method":"b"}"#, Reason::Duplicate("params"), Some("1")),
        (r#"{"jsonrpc":"2.0","id":1,"method":"a","Method":"b"}"#, Reason::Duplicate("method"), Some("1")),
        (r#"{"jsonrpc":"2.0","id":1,"method":"a","\u0050ARAMS":{}}"#, Reason::Duplicate("params"), Some("1")),
        (r#"{"jsonrpc":"2.0","method":"a","ID":1}"#, Reason::Duplicate("id"), None),
    ] {
        let error = parse(text).unwrap_err();
        assert_eq!((error.reason.clone(), error.id.as_deref()), (reason, id), "{text}");
        assert_eq!(error.code(), INVALID_REQUEST);
    }
    for text in [&b"{"[..], b"", b"{\"a\":\"\xff\"}", b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\"} x"] {
        assert_eq!(Envelope::parse(Bytes::copy_from_slice(text)).unwrap_err().code(), PARSE_ERROR);
    }
}

#[test]
fn the_parts_share_the_buffer_and_keep_their_bytes() {
    let params = "{ \"b\":9007199254740993, \"a\":1e2,\"s\":\"\\/\\u00e9\u{2028}\u{200d}\", \"name\" : \"x\" }";
    let text =
        format!("{{\"params\":{params}, \"jsonrpc\":\"2.0\",\"method\":\"tools\\/call\",\"id\":9007199254740993 }}\r");
    let raw = Bytes::from(text.clone());
    let message = Envelope::parse(raw.clone()).unwrap();
    assert_eq!(message.params().unwrap(), params);
    assert_eq!(message.params().unwrap().as_ptr() as usize, raw.as_ptr() as usize + text.find(params).unwrap());
    assert_eq!(message.id(), Some("9007199254740993"));
    assert_eq!(message.method(), "tools/call");
    assert_eq!(message.target().as_deref(), Some("x"));
    assert_eq!(message.rewrite().finish(), raw);
}

#[test]
fn the_target_belongs_to_the_method() {
    let target = |method: &str, params: &str| {
        let message = parse(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#)).unwrap();
        message.target().map(|target| target.into_owned())
    };
    let both = r#"{"uri":"file:///x","n\u0061me":"\u0062"}"#;
    assert_eq!(target("tools/call", both).as_deref(), Some("b"));
    assert_eq!(target("prompts/get", both).as_deref(), Some("b"));
    assert_eq!(target("resources/read", both).as_deref(), Some("file:///x"));
    assert_eq!(target("tools/list", both), None);
    assert_eq!(target("tools/call", r#"{"name":7}"#), None);
    assert_eq!(target("tools/call", "[1]"), None);
}

#[test]
fn what_a_request_does_is_said_once_and_in_one_spelling() {
    let refused = |method: &str, params: &str| {
        let message = parse(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#));
        message.err().map(|error| error.reason)
    };
    for (method, params, key) in [
        ("tools/call", r#"{"name":"a","name":"b"}"#, "name"),
        ("tools/call", r#"{"name":"a","n\u0061me":"b"}"#, "name"),
        ("tools/call", r#"{"name":"a","Name":"b"}"#, "name"),
        ("tools/call", r#"{"NAME":"b"}"#, "name"),
        ("prompts/get", r#"{"\u004eame":"b","name":"a"}"#, "name"),
        ("tools/call", r#"{"name":"a","arguments":{},"arguments":{"x":1}}"#, "arguments"),
        ("tools/call", r#"{"name":"a","Arguments":{"x":1}}"#, "arguments"),
        ("tools/call", "{\"name\":\"a\",\"argument\u{17f}\":{}}", "arguments"),
        ("resources/read", r#"{"uri":"a:","Uri":"b:"}"#, "uri"),
        ("resources/subscribe", r#"{"uri":"a:","uri":"b:"}"#, "uri"),
    ] {
        assert_eq!(refused(method, params), Some(Reason::Duplicate(key)), "{method} {params}");
    }
    for (method, params) in [
        ("tools/call", r#"{"name":"a","arguments":{"name":"b","Name":"c"},"names":1,"surname":2,"Uri":3}"#),
        ("resources/read", r#"{"uri":"a:","Name":"b","Arguments":1}"#),
        ("vendor/thing", r#"{"name":"a","Name":"b"}"#),
        ("tools/list", r#"{"name":"a","name":"b"}"#),
    ] {
        assert_eq!(refused(method, params), None, "{method} {params}");
    }
}

#[test]
fn routing_fields_are_found_where_they_belong_and_nowhere_else() {
    let message = parse(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":{"_meta":{"progressToken":1}},"_meta":{"x":{"progressToken":2},"progressToken":"t","io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#,
    )
    .unwrap();
    assert_eq!(message.progress_token(), Some("\"t\""));
    assert_eq!(message.claimed_version().as_deref(), Some("2026-07-28"));
    assert_eq!(message.progress_of(), None);
    let message = parse(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"5"}}"#).unwrap();
    assert_eq!(message.cancelled(), Some("\"5\""));
}

#[test]
fn a_rewrite_changes_the_named_parts_only() {
    let message = parse(
        r#" {"id" : 1 ,"x":1e2,"params":{"_meta":{ "progressToken" : 5 },"big":9007199254740993},"jsonrpc":"2.0","method":"m"} "#,
    )
    .unwrap();
    assert_eq!(
        message.rewrite().id("42").progress_token("\"t\"").finish(),
        r#" {"id" : 42 ,"x":1e2,"params":{"_meta":{ "progressToken" : "t" },"big":9007199254740993},"jsonrpc":"2.0","method":"m"} "#
    );
    assert_eq!(
        message.rewrite().progress_token("7").params("[]").finish(),
        r#" {"id" : 1 ,"x":1e2,"params":[],"jsonrpc":"2.0","method":"m"} "#
    );
    let bare = parse(r#"{"jsonrpc":"2.0","id":1,"method":"m" } "#).unwrap();
    assert_eq!(bare.rewrite().id("2").params("{}").finish(), r#"{"jsonrpc":"2.0","id":2,"method":"m" ,"params":{}} "#);
    let answer = parse(r#"{"result":{"a":1},"id":1,"jsonrpc":"2.0"}"#).unwrap();
    assert_eq!(answer.rewrite().id("\"s\"").result("0").finish(), r#"{"result":0,"id":"s","jsonrpc":"2.0"}"#);
}

#[test]
fn a_batch_is_its_messages() {
    let raw = Bytes::from(r#" [ {"jsonrpc":"2.0","id":1,"method":"a"} , {"jsonrpc":"2.0","method":"b"} ] "#);
    assert!(is_batch(&raw));
    let messages = parse_batch(&raw).unwrap();
    assert_eq!(messages.iter().map(Envelope::method).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(parse_batch(&Bytes::from("[]")).unwrap_err().reason, Reason::EmptyBatch);
    assert_eq!(parse_batch(&Bytes::from("[1]")).unwrap_err().reason, Reason::NotAnObject);
    assert_eq!(parse_batch(&Bytes::from("[1")).unwrap_err().code(), PARSE_ERROR);
    assert!(!is_batch(b"{}"));
}

fn id() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_parts_are_what_a_tree_says_they_are(
        id in id(),
        method in any::<String>(),
        argument in any::<String>(),
        token in id(),
        pretty in any::<bool>(),
    ) {
        let tree = json!({
            "jsonrpc": "2.0", "id": id, "method": method,
            "params": {"name": argument, "_meta": {"progressToken": token}, "arguments": {"id": 1, "method": "no"}},
        });
        let text = if pretty { serde_json::to_string_pretty(&tree) } else { serde_json::to_string(&tree) }.unwrap();
        let message = parse(&text).unwrap();
        let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        prop_assert_eq!(message.method(), &method);
        prop_assert_eq!(value(message.id().unwrap()), tree["id"].clone());
        prop_assert_eq!(value(std::str::from_utf8(&message.params().unwrap()).unwrap()), tree["params"].clone());
        prop_assert_eq!(value(message.progress_token().unwrap()), token.clone());

        let mut expected = tree.clone();
        expected["id"] = json!("new");
        expected["params"]["_meta"]["progressToken"] = json!(7);
        let rewritten = message.rewrite().progress_token("7").id("\"new\"").finish();
        prop_assert_eq!(serde_json::from_slice::<Value>(&rewritten).unwrap(), expected);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let bytes = Bytes::from(bytes);
        let _ = Envelope::parse(bytes.clone());
        let _ = parse_batch(&bytes);
    }

    #[test]
    fn what_is_cut_off_is_never_a_message(cut in 0_usize..60) {
        let text = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"a":[1]}}"#;
        prop_assert_eq!(parse(text.get(..cut).unwrap()).unwrap_err().code(), PARSE_ERROR);
    }
}
