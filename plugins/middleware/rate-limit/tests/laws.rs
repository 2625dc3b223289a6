//! The laws of the rate limiter, run natively.

use std::time::Duration;

use fairlead_plugin::Failure;
use fairlead_plugin::prelude::json;
use fairlead_plugin::serde_json::Value;
use fairlead_plugin::testing::Harness;
use rate_limit::RateLimit;

fn call(tool: &str) -> Value {
    json!({"name": tool, "arguments": {}})
}

fn limiter(config: Value) -> Harness<RateLimit> {
    Harness::new(config)
}

#[test]
fn a_burst_is_served_and_the_next_call_is_told_when_to_come_back() {
    let mut limiter = limiter(json!({"requests": 2, "per": "1s", "burst": 3}));
    for _ in 0..3 {
        limiter.request("tools/call", call("a")).expect_next();
    }
    let rejection = limiter.request("tools/call", call("a")).expect_reject(4290);
    assert_eq!(rejection.retry_after_ms, Some(500));
    limiter.advance(Duration::from_millis(499));
    limiter.request("tools/call", call("a")).expect_reject(4290);
    limiter.advance(Duration::from_millis(1));
    limiter.request("tools/call", call("a")).expect_next();
    limiter.request("tools/call", call("a")).expect_reject(4290);
}

#[test]
fn a_refused_call_costs_nothing() {
    let mut limiter = limiter(json!({"requests": 1, "per": "1s"}));
    limiter.request("tools/call", call("a")).expect_next();
    for _ in 0..100 {
        limiter.request("tools/call", call("a")).expect_reject(4290);
    }
    limiter.advance(Duration::from_secs(1));
    limiter.request("tools/call", call("a")).expect_next();
}

#[test]
fn after_a_quiet_time_the_bucket_is_full_and_no_fuller() {
    let mut limiter = limiter(json!({"requests": 10, "per": "1s", "burst": 2}));
    limiter.advance(Duration::from_secs(3600));
    limiter.request("tools/call", call("a")).expect_next();
    limiter.request("tools/call", call("a")).expect_next();
    limiter.request("tools/call", call("a")).expect_reject(4290);
}

#[test]
fn each_session_has_a_bucket_of_its_own() {
    let mut limiter = limiter(json!({"requests": 1, "per": "1m"}));
    limiter.session(Some("one")).request("tools/call", call("a")).expect_next();
    limiter.session(Some("one")).request("tools/call", call("b")).expect_reject(4290);
    limiter.session(Some("two")).request("tools/call", call("a")).expect_next();
    limiter.session(None).request("tools/call", call("a")).expect_next();
    limiter.session(None).request("tools/call", call("a")).expect_reject(4290);
    limiter.session(Some("-")).request("tools/call", call("a")).expect_next();
}

#[test]
fn several_parts_make_a_bucket_for_each_combination() {
    let mut limiter = limiter(json!({"requests": 1, "per": "1m", "by": ["tool", "identity"]}));
    for (identity, tool) in [("ann", "a"), ("ann", "b"), ("bob", "a"), ("a/tool:1:b", "a")] {
        limiter.identity(Some(identity)).request("tools/call", call(tool)).expect_next();
        limiter.identity(Some(identity)).request("tools/call", call(tool)).expect_reject(4290);
    }
}

#[test]
fn no_parts_make_one_bucket_for_all() {
    let mut limiter = limiter(json!({"requests": 1, "per": "1m", "by": []}));
    limiter.session(Some("one")).request("tools/call", call("a")).expect_next();
    limiter.session(Some("two")).identity(Some("ann")).request("tools/call", call("b")).expect_reject(4290);
}

#[test]
fn a_very_long_name_has_a_bucket_too() {
    let mut limiter = limiter(json!({"requests": 1, "per": "1m", "by": ["tool"]}));
    let (one, two) = ("x".repeat(5_000), "x".repeat(5_001));
    limiter.request("tools/call", call(&one)).expect_next();
    limiter.request("tools/call", call(&one)).expect_reject(4290);
    limiter.request("tools/call", call(&two)).expect_next();
}

#[test]
fn only_what_the_configuration_names_is_counted() {
    let mut limiter = limiter(json!({"requests": 1, "per": "1m", "methods": ["tools/*"], "target": "slow_*"}));
    limiter.request("prompts/get", call("slow_a")).expect_not_called();
    limiter.request("tools/list", json!({})).expect_not_called();
    limiter.request("tools/call", call("fast")).expect_not_called();
    limiter.request("tools/call", call("slow_a")).expect_next();
    limiter.request("tools/call", call("slow_b")).expect_reject(4290);
}

#[test]
fn the_buckets_outlive_an_instance() {
    let config = json!({"requests": 1, "per": "1m"});
    let mut limiter = limiter(config.clone());
    limiter.request("tools/call", call("a")).expect_next();
    limiter.restart(config).request("tools/call", call("a")).expect_reject(4290);
}

#[test]
fn a_lost_race_is_run_again_but_not_for_ever() {
    let mut limiter = limiter(json!({"requests": 10, "per": "1m"}));
    limiter.contend(5).request("tools/call", call("a")).expect_next();
    let failure = limiter.contend(u32::MAX).request("tools/call", call("a")).expect_failure();
    assert!(matches!(failure, Failure::Unavailable(_)), "{failure:?}");
}

#[test]
fn a_broken_store_is_a_failure_and_no_free_pass() {
    let mut limiter = limiter(json!({"requests": 10, "per": "1m"}));
    limiter.break_kv(true).request("tools/call", call("a")).expect_failure();
    limiter.break_kv(false).request("tools/call", call("a")).expect_next();
}

#[test]
fn a_period_that_is_none_is_refused_with_the_field() {
    for per in ["", "s", "1", "0s", "1d", "1 s", "-1s", "25h", "99999999999999999999h", "1sm"] {
        let refused = Harness::<RateLimit>::try_new(json!({"requests": 1, "per": per})).unwrap_err();
        assert!(refused.text().contains("/per"), "{per}: {refused:?}");
    }
    assert!(Harness::<RateLimit>::try_new(json!({"requests": 0, "per": "1s"})).is_err());
    assert!(Harness::<RateLimit>::try_new(json!({"requests": 1, "per": "1s", "burst": 0})).is_err());
    assert!(Harness::<RateLimit>::try_new(json!({"requests": 1, "per": "1s", "by": ["moon"]})).is_err());
}
