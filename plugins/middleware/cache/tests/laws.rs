//! The laws of the cache, run natively.

use std::time::Duration;

use cache::Cache;
use fairlead_plugin::Middleware as _;
use fairlead_plugin::prelude::{Rejection, Value, json};
use fairlead_plugin::testing::Harness;

fn cache(config: Value) -> Harness<Cache> {
    Harness::new(config)
}

/// Asks, and lets the server answer.
fn fill(cache: &mut Harness<Cache>, method: &str, params: Value, result: Value) {
    let target = params.get("uri").or(params.get("name")).and_then(Value::as_str).map(str::to_owned);
    cache.request(method, params).expect_next();
    cache.response(method, target.as_deref(), result).expect_next();
}

#[test]
fn the_second_of_two_equal_reads_is_answered_from_memory() {
    let mut cache = cache(json!({}));
    for (method, params) in [
        ("tools/list", json!({})),
        ("tools/list", json!({"cursor": "2"})),
        ("resources/list", json!({})),
        ("resources/read", json!({"uri": "file:///a"})),
        ("prompts/list", json!({})),
        ("prompts/get", json!({"name": "p", "arguments": {"a": "1", "b": "2"}})),
    ] {
        let result = json!({"of": method, "params": params});
        fill(&mut cache, method, params.clone(), result.clone());
        cache.request(method, params).expect_respond(result);
    }
    let other_spelling = json!({"arguments": {"b": "2", "a": "1"}, "_meta": {"progressToken": 7}, "name": "p"});
    assert!(cache.request("prompts/get", other_spelling).payload().is_err(), "the order of fields does not count");
    cache.request("prompts/get", json!({"name": "p", "arguments": {"a": "1"}})).expect_next();
}

#[test]
fn results_keep_their_bytes() {
    let mut cache = cache(json!({}));
    let text = r#"{ "tools" : [ {"n": 1.0e2 , "u":"\u00e9", "big": 9007199254740993} ] }"#;
    cache.request("tools/list", json!({})).expect_next();
    cache.response_text("tools/list", None, text).expect_next();
    let outcome = cache.request("tools/list", json!({}));
    assert_eq!(outcome.result(), Some(&Ok(fairlead_plugin::Verdict::Respond(text.to_owned()))));
}

#[test]
fn calls_are_kept_only_of_tools_that_are_named() {
    let mut cache = cache(json!({"tools": ["get_*"]}));
    fill(&mut cache, "tools/call", json!({"name": "get_a", "arguments": {"x": 1}}), json!({"content": []}));
    cache.request("tools/call", json!({"name": "get_a", "arguments": {"x": 1}})).expect_respond(json!({"content": []}));
    cache.request("tools/call", json!({"name": "get_a", "arguments": {"x": 2}})).expect_next();
    cache.request("tools/call", json!({"name": "set_a", "arguments": {"x": 1}})).expect_not_called();
}

#[test]
fn a_result_is_served_no_longer_than_it_or_the_configuration_says() {
    let second = Duration::from_secs(1);
    for (config, result, alive, dead) in [
        (json!({"ttlSecs": 10}), json!({}), 9, 10),
        (json!({"ttlSecs": 10}), json!({"ttlMs": 20_000}), 19, 20),
        (json!({"ttlSecsMax": 5}), json!({"ttlMs": 20_000}), 4, 5),
        (json!({"ttlSecsMax": 5}), json!({}), 4, 5),
    ] {
        let mut cache = cache(config.clone());
        fill(&mut cache, "tools/list", json!({}), result.clone());
        cache.advance(second * alive);
        assert!(cache.request("tools/list", json!({})).payload().is_err(), "{config} {result}: gone too early");
        cache.advance(second * (dead - alive));
        cache.request("tools/list", json!({})).expect_next();
    }
}

#[test]
fn time_that_the_server_took_counts() {
    let mut cache = cache(json!({"ttlSecs": 10}));
    cache.request("tools/list", json!({})).expect_next();
    cache.advance(Duration::from_secs(9));
    cache.response("tools/list", None, json!({})).expect_next();
    cache.advance(Duration::from_secs(1));
    cache.request("tools/list", json!({})).expect_next();
}

#[test]
fn a_client_learns_how_much_time_is_left() {
    let mut cache = cache(json!({}));
    fill(&mut cache, "tools/list", json!({}), json!({"tools": [], "ttlMs": 30_000, "z": 1}));
    cache.advance(Duration::from_secs(12));
    cache.request("tools/list", json!({})).expect_respond(json!({"tools": [], "ttlMs": 18_000, "z": 1}));
}

#[test]
fn what_is_private_goes_to_the_same_caller_only_and_what_is_public_to_all() {
    for (config, said, shared) in [
        (json!({}), json!({}), false),
        (json!({"scope": "public"}), json!({}), true),
        (json!({"scope": "public"}), json!({"cacheScope": "private"}), false),
        (json!({}), json!({"cacheScope": "public"}), true),
    ] {
        let mut cache = cache(config);
        cache.session(Some("one")).identity(Some("ann"));
        fill(&mut cache, "tools/list", json!({}), said.clone());
        cache.request("tools/list", json!({})).expect_respond(said.clone());
        for (session, identity) in [(Some("one"), Some("bob")), (Some("two"), Some("ann")), (None, None)] {
            cache.session(session).identity(identity);
            let answered = cache.request("tools/list", json!({})).payload().is_err();
            assert_eq!(answered, shared, "{said} for {session:?} {identity:?}");
        }
    }
}

#[test]
fn who_cannot_be_told_from_others_gets_nothing_that_is_private() {
    let mut cache = cache(json!({}));
    cache.session(None).identity(None);
    fill(&mut cache, "tools/list", json!({}), json!({}));
    cache.request("tools/list", json!({})).expect_next();
}

#[test]
fn servers_share_nothing() {
    let mut cache = cache(json!({"scope": "public"}));
    cache.server("one");
    fill(&mut cache, "tools/list", json!({}), json!({}));
    cache.server("two");
    cache.request("tools/list", json!({})).expect_next();
}

#[test]
fn what_is_no_plain_result_is_never_kept() {
    for result in [
        json!({"isError": true}),
        json!({"isError": "perhaps"}),
        json!({"resultType": "input_required", "inputRequests": {}}),
        json!({"resultType": "task"}),
        json!({"task": {"taskId": "1"}}),
        json!({"ttlMs": 0}),
        json!({"ttlMs": -1}),
        json!({"ttlMs": "60000"}),
        json!({"cacheScope": "everybody"}),
        json!([]),
        json!("x".repeat(70_000)),
    ] {
        let mut cache = cache(json!({"tools": ["*"]}));
        fill(&mut cache, "tools/call", json!({"name": "a"}), result.clone());
        let outcome = cache.request("tools/call", json!({"name": "a"}));
        assert!(outcome.payload().is_ok(), "kept: {result:.60}");
    }
    let mut cache = cache(json!({}));
    cache.request("tools/list", json!({})).expect_next();
    cache.error("tools/list", None, &Rejection::new(1, "no")).expect_not_called();
    cache.request("tools/list", json!({})).expect_next();
}

#[test]
fn a_request_that_answers_a_question_is_neither_answered_nor_kept() {
    for more in [json!({"inputResponses": {}}), json!({"requestState": "s"}), json!({"task": {"ttl": 1}})] {
        let mut cache = cache(json!({}));
        let mut params = json!({"uri": "file:///a"});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fill(&mut cache, "resources/read", params.clone(), json!({"contents": []}));
        cache.request("resources/read", params).expect_next();
        cache.request("resources/read", json!({"uri": "file:///a"})).expect_next();
    }
}

#[test]
fn what_the_server_calls_changed_is_asked_again_and_the_rest_is_not() {
    let reads = [
        ("tools/list", json!({})),
        ("prompts/list", json!({})),
        ("resources/list", json!({})),
        ("resources/read", json!({"uri": "file:///a"})),
    ];
    for (event, stale) in [
        ("notifications/tools/list_changed", vec!["tools/list"]),
        ("notifications/prompts/list_changed", vec!["prompts/list"]),
        ("notifications/resources/list_changed", vec!["resources/list", "resources/read"]),
        ("notifications/resources/updated", vec!["resources/read"]),
    ] {
        let mut cache = cache(json!({}));
        for (method, params) in &reads {
            fill(&mut cache, method, params.clone(), json!({}));
        }
        // The message may come on the stream of another session.
        cache.session(Some("another"));
        cache.event(event, json!({"uri": "file:///a/part"})).expect_next();
        cache.session(Some("session-1"));
        for (method, params) in &reads {
            let asked = cache.request(method, params.clone()).payload().is_ok();
            assert_eq!(asked, stale.contains(method), "{method} after {event}");
        }
    }
}

#[test]
fn what_was_asked_before_a_change_is_stale_when_it_comes_after() {
    let mut cache = cache(json!({}));
    cache.request("tools/list", json!({})).expect_next();
    cache.event("notifications/tools/list_changed", json!({})).expect_next();
    cache.response("tools/list", None, json!({"tools": ["old"]})).expect_next();
    cache.request("tools/list", json!({})).expect_next();
    cache.response("tools/list", None, json!({"tools": ["new"]})).expect_next();
    cache.request("tools/list", json!({})).expect_respond(json!({"tools": ["new"]}));
}

#[test]
fn a_full_cache_forgets_and_never_confuses() {
    let mut cache = cache(json!({"entries": 2}));
    let mut kept = 0;
    for round in 0..2 {
        for number in 0..20 {
            let params = json!({"uri": format!("file:///{number}")});
            let outcome = cache.request("resources/read", params);
            match outcome.payload() {
                Ok(_) => cache.response("resources/read", None, json!({"n": number})).expect_next(),
                Err(_) => {
                    outcome.expect_respond(json!({"n": number}));
                    kept += round;
                }
            }
        }
    }
    assert!(kept <= 2, "two places hold {kept}");
}

#[test]
fn without_a_store_the_server_is_asked_and_a_change_is_not_lost_silently() {
    let mut cache = cache(json!({}));
    cache.break_kv(true);
    fill(&mut cache, "tools/list", json!({}), json!({}));
    cache.request("tools/list", json!({})).expect_next();
    cache.event("notifications/tools/list_changed", json!({})).expect_failure();
    cache.break_kv(false);
    fill(&mut cache, "tools/list", json!({}), json!({}));
    cache.request("tools/list", json!({})).expect_respond(json!({}));
}

#[test]
fn a_new_instance_finds_what_the_last_one_kept() {
    let mut cache = cache(json!({}));
    fill(&mut cache, "tools/list", json!({}), json!({"tools": []}));
    cache.restart(json!({})).request("tools/list", json!({})).expect_respond(json!({"tools": []}));
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused_or_warned_about() {
    for config in [
        json!({"entries": 0}),
        json!({"entryBytes": 2_000_000}),
        json!({"entries": 60_000, "entryBytes": 60_000}),
        json!({"ttlSecsMax": 0}),
        json!({"ttlSecsMax": 100_000}),
        json!({"methods": ["tools/call"]}),
        json!({"ttl": 5}),
    ] {
        assert!(Harness::<Cache>::try_new(config.clone()).is_err(), "{config}");
    }
    let warned = json!({"tools": ["*"], "ttlSecs": 7200});
    let warnings = Cache::validate(serde_json::from_value(warned).unwrap()).unwrap();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
}
