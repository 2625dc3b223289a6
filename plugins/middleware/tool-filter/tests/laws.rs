//! The laws of the tool filter, run natively.

use fairlead_plugin::Middleware as _;
use fairlead_plugin::prelude::{Rejection, json};
use fairlead_plugin::testing::{Case, Expect, Harness};
use tool_filter::ToolFilter;

fn filter(config: serde_json::Value) -> Harness<ToolFilter> {
    Harness::new(config)
}

#[test]
fn calls_are_judged_by_deny_over_allow() {
    filter(json!({"allow": ["time_*", "env_*"], "deny": ["env_list"]})).check([
        Case::new("allowed", "tools/call", json!({"name": "time_now"}), Expect::Next),
        Case::new("denied", "tools/call", json!({"name": "env_list"}), Expect::Reject(4030)),
        Case::new("neither", "tools/call", json!({"name": "uuid"}), Expect::Reject(4030)),
        Case::new("nameless", "tools/call", json!({}), Expect::Reject(4030)),
        Case::new("name of another type", "tools/call", json!({"name": 7}), Expect::Reject(4030)),
        Case::new("other methods", "prompts/get", json!({"name": "env_list"}), Expect::NotCalled),
    ]);
}

#[test]
fn without_configuration_everything_passes() {
    let mut filter = filter(json!({}));
    filter.request("tools/call", json!({"name": "anything"})).expect_next();
    filter.response("tools/list", None, json!({"tools": [{"name": "anything"}]})).expect_next();
}

#[test]
fn a_refusal_names_the_tool_that_was_called() {
    let rejection: Rejection =
        filter(json!({"deny": ["*"]})).request("tools/call", json!({"name": "env_list"})).expect_reject(4030);
    assert!(rejection.message.contains("`env_list`"), "{}", rejection.message);
    assert_eq!(rejection.data.as_deref(), Some(r#"{"tool":"env_list"}"#));
}

#[test]
fn hidden_tools_leave_the_list_and_the_rest_stays() {
    let list = json!({"tools": [{"name": "a", "x": 1}, {"name": "b"}, {"name": "c"}], "nextCursor": "n"});
    filter(json!({"deny": ["b"]}))
        .response("tools/list", None, list)
        .expect_payload(json!({"tools": [{"name": "a", "x": 1}, {"name": "c"}], "nextCursor": "n"}));
    let list = json!({"tools": [{"name": "a"}]});
    filter(json!({"allow": []})).response("tools/list", None, list).expect_payload(json!({"tools": []}));
}

#[test]
fn a_kept_tool_keeps_its_bytes() {
    let text = r#"{ "tools" : [ {"name":"a", "n": 1.0e2 , "u":"\u00e9"} , {"name":"b"} ] }"#;
    let outcome = filter(json!({"deny": ["b"]})).response_text("tools/list", None, text);
    assert!(format!("{:?}", outcome.result()).contains(r#"[{\"name\":\"a\", \"n\": 1.0e2 , \"u\":\"\\u00e9\"}]"#));
}

#[test]
fn renaming_works_in_both_directions() {
    let mut filter =
        filter(json!({"rename": {"env_list": "environment"}, "descriptions": {"environment": "Settings."}}));
    filter
        .request("tools/call", json!({"name": "environment", "arguments": {}}))
        .expect_payload(json!({"name": "env_list", "arguments": {}}));
    filter.request("tools/call", json!({"name": "env_list"})).expect_reject(4030);
    filter
        .response("tools/list", None, json!({"tools": [{"name": "env_list", "description": "x"}, {"name": "uuid"}]}))
        .expect_payload(json!({"tools": [{"name": "environment", "description": "Settings."}, {"name": "uuid"}]}));
}

#[test]
fn hiding_and_renaming_meet_in_one_list() {
    let config = json!({"deny": ["a", "c"], "rename": {"d": "delta"}});
    let list = json!({"tools": [{"name": "a"}, {"name": "b"}, {"name": "c"}, {"name": "d"}]});
    filter(config)
        .response("tools/list", None, list)
        .expect_payload(json!({"tools": [{"name": "b"}, {"name": "delta"}]}));
}

#[test]
fn a_name_that_was_given_away_hides_its_owner() {
    let mut filter = filter(json!({"rename": {"a": "b"}}));
    filter
        .response("tools/list", None, json!({"tools": [{"name": "a"}, {"name": "b"}]}))
        .expect_payload(json!({"tools": [{"name": "b"}]}));
    filter.request("tools/call", json!({"name": "b"})).expect_payload(json!({"name": "a"}));
}

#[test]
fn a_renamed_tool_is_judged_by_its_own_name() {
    let mut filter = filter(json!({"deny": ["env_*"], "rename": {"env_list": "harmless"}}));
    filter.request("tools/call", json!({"name": "harmless"})).expect_reject(4030);
    filter.response("tools/list", None, json!({"tools": [{"name": "env_list"}]})).expect_payload(json!({"tools": []}));
}

#[test]
fn a_list_that_cannot_be_read_never_passes() {
    for text in [
        "null",
        "[]",
        "{}",
        r#"{"tools": {}}"#,
        r#"{"tools": [1]}"#,
        r#"{"tools": [{"title": "nameless"}]}"#,
        r#"{"tools": [{"name": "a", "name": "b"}]}"#,
        r#"{"tools": [], "tools": [{"name": "b"}]}"#,
    ] {
        filter(json!({"deny": ["b"]})).response_text("tools/list", None, text).expect_failure();
    }
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused_or_warned_about() {
    let refused = Harness::<ToolFilter>::try_new(json!({"rename": {"a": "c", "b": "c"}})).unwrap_err();
    assert!(refused.text().contains("`c`"), "{refused:?}");
    assert!(Harness::<ToolFilter>::try_new(json!({"denny": []})).is_err());
    let config = json!({"allow": ["a"], "deny": ["a*"], "rename": {"b": "c"}});
    let warnings = ToolFilter::validate(serde_json::from_value(config).unwrap()).unwrap();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert_eq!(ToolFilter::validate(serde_json::from_value(json!({"allow": []})).unwrap()).unwrap().len(), 1);
}

#[test]
fn the_schema_describes_every_field() {
    let schema = Harness::<ToolFilter>::config_schema();
    for field in ["allow", "deny", "rename", "descriptions"] {
        assert!(schema["properties"][field]["description"].is_string(), "{field}");
    }
    assert_eq!(schema["additionalProperties"], json!(false));
}
