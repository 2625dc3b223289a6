//! The laws of the validator, run natively.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "all of this is test code; clippy's own exception covers only functions marked as tests"
)]

use fairlead_plugin::Middleware as _;
use fairlead_plugin::prelude::{Value, json};
use fairlead_plugin::testing::{Case, Expect, Harness};
use validate::Validate;

/// A validator that has seen a list with one tool `t`.
fn listed(config: Value, tool: Value) -> Harness<Validate> {
    let mut validator = Harness::new(config);
    list(&mut validator, tool);
    validator
}

fn list(validator: &mut Harness<Validate>, mut tool: Value) {
    tool["name"] = json!("t");
    validator.response("tools/list", None, json!({"tools": [tool]})).expect_next();
}

fn input(schema: Value) -> Harness<Validate> {
    listed(json!({}), json!({"inputSchema": schema}))
}

fn call(arguments: Value) -> Value {
    json!({"name": "t", "arguments": arguments})
}

/// Pointer and reason of a refused call.
fn refusal(validator: &mut Harness<Validate>, arguments: Value) -> (String, String) {
    let rejection = validator.request("tools/call", call(arguments)).expect_reject(4220);
    let data: Value = serde_json::from_str(&rejection.data.unwrap()).unwrap();
    assert_eq!(data["tool"], "t");
    let (pointer, reason) = (data["pointer"].as_str().unwrap(), data["reason"].as_str().unwrap());
    assert!(rejection.message.contains(pointer) && rejection.message.contains(reason), "{}", rejection.message);
    (pointer.to_owned(), reason.to_owned())
}

#[test]
fn a_call_is_held_to_the_schema_that_was_listed() {
    let schema = json!({
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 1}, "tags": {"type": "array", "items": {"type": "string"}}},
        "required": ["n"],
        "additionalProperties": false,
    });
    let mut validator = input(schema);
    validator.request("tools/call", call(json!({"n": 1, "tags": ["a"]}))).expect_next();
    for (arguments, pointer) in [
        (json!({}), "/arguments/n"),
        (json!({"n": "1"}), "/arguments/n"),
        (json!({"n": 0}), "/arguments/n"),
        (json!({"n": 1.5}), "/arguments/n"),
        (json!({"n": 1, "tags": ["a", 7]}), "/arguments/tags/1"),
        (json!({"n": 1, "a/b": 1}), "/arguments/a~1b"),
        (json!([]), "/arguments"),
        (json!(null), "/arguments"),
    ] {
        assert_eq!(refusal(&mut validator, arguments.clone()).0, pointer, "{arguments}");
    }
    let (_, reason) = refusal(&mut validator, json!({"n": "the value itself"}));
    assert_eq!(reason, "is of type string, not integer");
    let rejection = validator.request("tools/call", json!({"name": "t"})).expect_reject(4220);
    assert!(rejection.message.contains("/arguments/n is required and missing"), "{}", rejection.message);
}

#[test]
fn a_tool_of_which_nothing_is_known_passes() {
    let mut validator = input(json!({"type": "object", "required": ["n"]}));
    validator.check([
        Case::new("another tool", "tools/call", json!({"name": "u", "arguments": 7}), Expect::Next),
        Case::new("no tool", "tools/call", json!({}), Expect::Next),
        Case::new("another method", "prompts/get", json!({"name": "t"}), Expect::NotCalled),
    ]);
    validator.server("another");
    validator.request("tools/call", call(json!({}))).expect_next();
}

/// Schema, values that pass, values that do not.
fn keywords() -> Vec<(Value, Vec<Value>, Vec<Value>)> {
    let node = json!({"$ref": "#/$defs/node", "$defs": {"node": {
        "type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}, "additionalProperties": false}}});
    vec![
        (json!(true), vec![json!(1)], vec![]),
        (json!({"type": ["string", "null"]}), vec![json!("a"), json!(null)], vec![json!(1), json!([])]),
        (json!({"type": "integer"}), vec![json!(1), json!(1.0), json!(u64::MAX)], vec![json!(1.5), json!("1")]),
        (json!({"enum": [1, "a", {"x": [1]}]}), vec![json!(1.0), json!("a"), json!({"x": [1.0]})], vec![json!("b")]),
        (json!({"const": null}), vec![json!(null)], vec![json!(0)]),
        (
            json!({"minimum": 9_007_199_254_740_993_u64}),
            vec![json!(9_007_199_254_740_993_u64)],
            vec![json!(9_007_199_254_740_992_u64)],
        ),
        (json!({"exclusiveMinimum": 1, "exclusiveMaximum": 2}), vec![json!(1.5)], vec![json!(1), json!(2)]),
        (json!({"maximum": 2}), vec![json!(2), json!(-3)], vec![json!(2.5)]),
        (json!({"multipleOf": 0.1}), vec![json!(0.3), json!(2)], vec![json!(0.35)]),
        (json!({"multipleOf": 3}), vec![json!(9), json!(-3)], vec![json!(10)]),
        (json!({"minLength": 2, "maxLength": 3}), vec![json!("éé"), json!("abc")], vec![json!("é"), json!("abcd")]),
        (json!({"pattern": "^a+$"}), vec![json!("aa"), json!(7)], vec![json!("ab")]),
        (json!({"minItems": 1, "maxItems": 2}), vec![json!([1])], vec![json!([]), json!([1, 2, 3])]),
        (json!({"uniqueItems": true}), vec![json!([1, "1"])], vec![json!([1, 2, 1.0])]),
        (
            json!({"prefixItems": [{"type": "string"}], "items": {"type": "integer"}}),
            vec![json!(["a", 1, 2]), json!([])],
            vec![json!([1]), json!(["a", "b"])],
        ),
        (json!({"contains": {"const": 1}, "maxContains": 1}), vec![json!([1, 2])], vec![json!([2]), json!([1, 1])]),
        (json!({"contains": {"const": 1}, "minContains": 0}), vec![json!([2])], vec![]),
        (
            json!({"minProperties": 1, "maxProperties": 1}),
            vec![json!({"a": 1})],
            vec![json!({}), json!({"a": 1, "b": 1})],
        ),
        (
            json!({"patternProperties": {"^x-": {"type": "string"}}, "additionalProperties": {"type": "integer"}}),
            vec![json!({"x-a": "b", "c": 1})],
            vec![json!({"x-a": 1}), json!({"c": "b"})],
        ),
        (json!({"propertyNames": {"maxLength": 1}}), vec![json!({"a": 1})], vec![json!({"ab": 1})]),
        (
            json!({"dependentRequired": {"a": ["b"]}}),
            vec![json!({"b": 1}), json!({"a": 1, "b": 1})],
            vec![json!({"a": 1})],
        ),
        (json!({"dependentSchemas": {"a": {"required": ["b"]}}}), vec![json!({})], vec![json!({"a": 1})]),
        (json!({"allOf": [{"minimum": 1}, {"maximum": 2}]}), vec![json!(1)], vec![json!(0), json!(3)]),
        (json!({"anyOf": [{"type": "string"}, {"minimum": 5}]}), vec![json!("a"), json!(5)], vec![json!(4)]),
        (json!({"oneOf": [{"minimum": 1}, {"maximum": 3}]}), vec![json!(0), json!(4)], vec![json!(2)]),
        (json!({"not": {"type": "string"}}), vec![json!(1)], vec![json!("a")]),
        (
            json!({"if": {"required": ["a"]}, "then": {"required": ["b"]}, "else": {"required": ["c"]}}),
            vec![json!({"a": 1, "b": 1}), json!({"c": 1})],
            vec![json!({"a": 1}), json!({})],
        ),
        (node, vec![json!({}), json!({"next": {"next": {}}})], vec![json!({"next": {"next": {"other": 1}}}), json!(1)]),
        (json!({"format": "date", "x-order": 7, "description": "d"}), vec![json!("no date")], vec![]),
    ]
}

#[test]
fn keywords_mean_what_the_specification_says() {
    for (schema, right, wrong) in keywords() {
        let mut validator =
            input(json!({"properties": {"v": schema}, "$defs": schema.get("$defs").unwrap_or(&json!({}))}));
        for value in right {
            let outcome = validator.request("tools/call", call(json!({"v": value})));
            assert!(outcome.payload().is_ok(), "{schema} refuses {value}: {outcome:?}");
        }
        for value in wrong {
            let outcome = validator.request("tools/call", call(json!({"v": value})));
            assert!(outcome.payload().is_err(), "{schema} lets {value} pass");
        }
    }
}

#[test]
fn of_several_alternatives_the_one_that_was_meant_says_what_is_wrong() {
    let mut validator = input(json!({"anyOf": [
        {"type": "object", "required": ["url"]},
        {"type": "object", "properties": {"file": {"properties": {"path": {"type": "string"}}}}, "required": ["file"]},
    ]}));
    assert_eq!(refusal(&mut validator, json!({"file": {"path": 1}})).0, "/arguments/file/path");
    assert_eq!(refusal(&mut validator, json!(7)).0, "/arguments");
}

#[test]
fn a_schema_that_is_not_understood_is_no_licence_unless_the_configuration_says_so() {
    for (schema, place) in [
        (json!({"unevaluatedProperties": false}), "/unevaluatedProperties"),
        (json!({"properties": {"a": {"mystery": 1}}}), "/properties/a/mystery"),
        (json!({"$ref": "https://example.test/schema"}), "/$ref"),
        (json!({"$ref": "#/nowhere"}), "/$ref"),
        (json!({"properties": {"a": {"pattern": "(?=x)"}}}), "/properties/a/pattern"),
        (
            json!({"$ref": "#/components/a", "x-components": {}, "x-a": {}, "components": {"a": {"mystery": 1}}}),
            "mystery",
        ),
        (json!({"type": "text"}), "/type"),
        (json!({"items": [{"type": "string"}]}), "/items"),
        (json!({"exclusiveMinimum": true}), "/exclusiveMinimum"),
        (json!(7), "``"),
    ] {
        let (pointer, reason) = refusal(&mut input(schema.clone()), json!({}));
        assert_eq!(pointer, "/arguments");
        assert!(reason.contains(place) || reason.contains("components"), "{schema}: {reason}");
    }
    let lenient = json!({"unknownKeywords": "ignore"});
    let schema = json!({"mystery": 1, "required": ["n"], "properties": {"n": {"pattern": "(?=x)"}}});
    let mut validator = listed(lenient, json!({"inputSchema": schema}));
    validator.request("tools/call", call(json!({"n": "a"}))).expect_next();
    assert_eq!(refusal(&mut validator, json!({})).0, "/arguments/n");
}

#[test]
fn a_schema_without_end_ends() {
    for schema in [
        json!({"$ref": "#"}),
        json!({"allOf": [{"$ref": "#"}, {"$ref": "#"}]}),
        json!({"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}, {"$ref": "#/$defs/b"}]}, "b": {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}),
    ] {
        assert!(refusal(&mut input(schema), json!({})).1.contains("takes too long"));
    }
    let many: Vec<u32> = (0..2_000).collect();
    let mut validator = input(json!({"properties": {"v": {"uniqueItems": true}}}));
    assert!(refusal(&mut validator, json!({"v": many})).1.contains("takes too long"));
}

#[test]
fn what_readers_understand_differently_does_not_pass() {
    let mut validator = input(json!({"properties": {"a": {"type": "integer"}}}));
    for params in [
        r#"{"name":"t","arguments":{"a":"x","a":1}}"#,
        r#"{"name":"t","arguments":{"b":{"c":1,"\u0063":2}}}"#,
        r#"{"name":"t","arguments":{"a":"x"},"arguments":{"a":1}}"#,
        r#"{"name":"t","arguments":{"a":1e999}}"#,
    ] {
        validator.request_text("tools/call", Some("t"), params).expect_reject(4220);
    }
}

#[test]
fn a_result_is_held_to_what_the_tool_promises() {
    let tool = json!({"inputSchema": {}, "outputSchema": {"type": "object", "required": ["sum"]}});
    let mut validator = listed(json!({}), tool);
    let mut answer = |result: Value| validator.response("tools/call", Some("t"), result);
    answer(json!({"content": [], "structuredContent": {"sum": 1}})).expect_next();
    answer(json!({"content": [], "isError": true})).expect_next();
    answer(json!({"resultType": "input_required"})).expect_next();
    answer(json!({"task": {"taskId": "1"}})).expect_next();
    let wrong = answer(json!({"content": [], "structuredContent": {}})).expect_reject(4220);
    assert!(wrong.message.contains("/structuredContent/sum"), "{}", wrong.message);
    let missing = answer(json!({"content": []})).expect_reject(4220);
    assert!(missing.message.contains("/structuredContent is promised"), "{}", missing.message);
}

#[test]
fn a_new_list_replaces_what_was_known_and_a_change_voids_it() {
    let mut validator = input(json!({"required": ["a"]}));
    refusal(&mut validator, json!({}));
    list(&mut validator, json!({"inputSchema": {"required": ["b"]}}));
    assert_eq!(refusal(&mut validator, json!({})).0, "/arguments/b");
    validator.event("notifications/tools/list_changed", json!({})).expect_next();
    validator.request("tools/call", call(json!({}))).expect_next();
    list(&mut validator, json!({"inputSchema": {"required": ["b"]}}));
    assert_eq!(refusal(&mut validator, json!({})).0, "/arguments/b");
    let mut validator = validator.restart(json!({}));
    assert_eq!(refusal(&mut validator, json!({})).0, "/arguments/b");
}

#[test]
fn what_is_learnt_is_bounded() {
    let mut validator = Harness::<Validate>::new(json!({}));
    let tool = |number: usize| json!({"name": format!("t{number}"), "inputSchema": {"required": ["a"]}});
    let tools: Vec<Value> = (0..1_200).map(tool).collect();
    validator.response("tools/list", None, json!({"tools": tools})).expect_next();
    validator.request("tools/call", json!({"name": "t999"})).expect_reject(4220);
    validator.request("tools/call", json!({"name": "t1100"})).expect_next();
    let huge =
        json!({"tools": [{"name": "huge", "inputSchema": {"required": ["a"], "description": "x".repeat(70_000)}}]});
    validator.response("tools/list", None, huge).expect_next();
    validator.request("tools/call", json!({"name": "huge"})).expect_next();
    validator.response("tools/list", None, json!({"tools": 7})).expect_next();
}

#[test]
fn the_configuration_comes_before_the_list_and_works_without_one() {
    let config = json!({"learn": false, "tools": {"t": {"inputSchema": {"required": ["z"]}}}});
    let mut validator = Harness::<Validate>::new(config);
    assert_eq!(refusal(&mut validator, json!({})).0, "/arguments/z");
    validator.response("tools/list", None, json!({"tools": []})).expect_not_called();
    let config = json!({"tools": {"t": {"inputSchema": {"required": ["z"]}}}});
    let mut validator = listed(config, json!({"inputSchema": {"required": ["a"]}}));
    assert_eq!(refusal(&mut validator, json!({})).0, "/arguments/z");
}

#[test]
fn a_model_may_read_what_was_wrong_instead_of_an_error() {
    let mut validator = listed(json!({"answer": "result"}), json!({"inputSchema": {"required": ["n"]}}));
    let text = "tool `t`: /arguments/n is required and missing";
    validator
        .request("tools/call", call(json!({})))
        .expect_respond(json!({"content": [{"type": "text", "text": text}], "isError": true}));
}

#[test]
fn without_a_store_nothing_is_decided() {
    let mut validator = input(json!({"required": ["n"]}));
    validator.break_kv(true);
    validator.request("tools/call", call(json!({"n": 1}))).expect_failure();
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused_or_warned_about() {
    let config = json!({"tools": {"t": {"inputSchema": {"properties": {"a": {"mystery": 1}}}}}});
    let refused = Harness::<Validate>::try_new(config).unwrap_err();
    assert!(refused.text().starts_with("/tools/t/inputSchema/properties/a/mystery"), "{refused:?}");
    assert!(Harness::<Validate>::try_new(json!({"place": []})).is_err());
    for config in [json!({"places": []}), json!({"learn": false})] {
        let warnings = Validate::validate(serde_json::from_value(config).unwrap()).unwrap();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
    }
}
