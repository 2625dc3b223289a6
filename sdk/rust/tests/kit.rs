//! The test kit keeps to the contract where a plugin can tell.

use std::time::Duration;

use fairlead_plugin::prelude::*;
use fairlead_plugin::secrets;
use fairlead_plugin::testing::Harness;

/// Does what the arguments of a call say, with everything the host offers.
struct Probe;

#[derive(Deserialize, JsonSchema)]
struct Config {}

impl Middleware for Probe {
    type Config = Config;

    fn manifest() -> Manifest {
        Manifest::new("probe", "0.1.0", "does as it is told")
            .interest(Interest::on("tools/call").target("p*").request().response())
            .capability("kv", "test")
            .capability("secrets", "test")
    }

    fn new(_config: Config) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn on_request(&mut self, message: &Message<'_>) -> Result<Verdict, Failure> {
        let context = message.context();
        Ok(match message.text("/arguments/do").as_deref() {
            Some("count") => Verdict::respond(kv::increment("count", 1, Some(1_000))?),
            Some("set") => Verdict::respond(kv::set("key", b"value", None)?),
            Some("replace") => {
                let version = message.at::<Option<u64>>("/arguments/version")?.flatten();
                Verdict::respond(json!(kv::compare_and_set("key", version, b"other", None)?))
            }
            Some("keys") => Verdict::respond(json!(kv::keys("", message.text("/arguments/after").as_deref(), 2)?)),
            Some("too-large") => Verdict::respond(kv::set(&"x".repeat(513), b"", None)?),
            Some("mark") => {
                context.set_attribute("mark", "1");
                Verdict::next()
            }
            Some("secret") => Verdict::respond(secrets::open("token")?.as_header("Bearer {}")),
            Some("reveal") => Verdict::respond(json!(secrets::open("token")?.reveal()?)),
            Some("who") => Verdict::respond(json!([context.identity(), context.session(), context.header("x-team")])),
            Some("log") => {
                log::warn("careful");
                metrics::add("calls", 2, &[]);
                Verdict::next()
            }
            Some("edit") => {
                Verdict::patch().set("/arguments/list/-", 3).remove("/arguments/do").set("/x~1y", "z").into()
            }
            Some("nowhere") => Verdict::patch().set("/no/where", 1).into(),
            _ => Verdict::next(),
        })
    }

    fn on_response(&mut self, message: &Message<'_>) -> Result<Verdict, Failure> {
        Ok(message.context().attribute("mark").map_or(Verdict::Next, |mark| Verdict::deny(4030, mark)))
    }
}

fn call(what: &str) -> Value {
    json!({"name": "probe", "arguments": {"do": what}})
}

fn probe() -> Harness<Probe> {
    Harness::new(json!({}))
}

#[test]
fn a_message_that_was_not_asked_for_is_not_given() {
    let mut probe = probe();
    probe.request("tools/call", json!({"name": "other"})).expect_not_called();
    probe.request("tools/list", json!({})).expect_not_called();
    probe.event("notifications/message", json!({})).expect_not_called();
    probe.error("tools/call", Some("probe"), &Rejection::new(1, "x")).expect_not_called();
    probe.request("tools/call", call("nothing")).expect_next();
}

#[test]
fn attributes_belong_to_one_exchange() {
    let mut probe = probe();
    probe.request("tools/call", call("mark")).expect_next();
    probe.response("tools/call", Some("probe"), json!({})).expect_reject(4030);
    probe.request("tools/call", call("nothing")).expect_next();
    probe.response("tools/call", Some("probe"), json!({})).expect_next();
}

#[test]
fn a_counter_keeps_its_window_and_starts_anew_after_it() {
    let mut probe = probe();
    for (pause_ms, expected) in [(0, 1), (600, 2), (399, 3), (1, 1), (0, 2)] {
        probe.advance(Duration::from_millis(pause_ms));
        probe.request("tools/call", call("count")).expect_respond(json!(expected));
    }
}

#[test]
fn compare_and_set_writes_only_what_nobody_changed() {
    let mut probe = probe();
    let replace = |version: Value| json!({"name": "probe", "arguments": {"do": "replace", "version": version}});
    probe.request("tools/call", call("set")).expect_respond(json!(1));
    probe.request("tools/call", replace(Value::Null)).expect_respond(Value::Null);
    probe.request("tools/call", replace(json!(7))).expect_respond(Value::Null);
    probe.request("tools/call", replace(json!(1))).expect_respond(json!(2));
    assert_eq!(probe.stored("key").as_deref(), Some(b"other".as_slice()));
}

#[test]
fn keys_come_in_pages() {
    let mut probe = probe();
    probe.request("tools/call", call("set")).expect_respond(json!(1));
    probe.request("tools/call", call("count")).expect_respond(json!(1));
    probe.request("tools/call", call("keys")).expect_respond(json!(["count", "key"]));
    let after = json!({"name": "probe", "arguments": {"do": "keys", "after": "count"}});
    probe.request("tools/call", after).expect_respond(json!(["key"]));
}

#[test]
fn bounds_and_grants_are_those_of_the_contract() {
    let mut probe = probe();
    probe.request("tools/call", call("too-large")).expect_failure();
    probe.request("tools/call", call("secret")).expect_failure();
    probe.secret("token", "s3cret");
    probe.request("tools/call", call("secret")).expect_respond(json!("Bearer <secret:token>"));
    let failure = probe.request("tools/call", call("reveal")).expect_failure();
    assert!(matches!(failure, Failure::Config(_)), "{failure:?}");
}

#[test]
fn the_scene_is_what_the_test_sets() {
    let mut probe = probe();
    probe.identity(Some("ann")).session(None).header("x-team", "blue");
    probe.request("tools/call", call("who")).expect_respond(json!(["ann", null, "blue"]));
}

#[test]
fn logs_and_metrics_are_kept() {
    let mut probe = probe();
    probe.request("tools/call", call("log")).expect_next();
    assert_eq!(probe.logs()[0].message, "careful");
    assert_eq!((probe.metrics()[0].name.as_str(), probe.metrics()[0].value), ("calls", 2.0));
}

#[test]
fn a_patch_is_applied_in_order_and_must_lead_somewhere() {
    let mut probe = probe();
    let params = json!({"name": "probe", "arguments": {"do": "edit", "list": [1, 2]}});
    probe
        .request("tools/call", params)
        .expect_payload(json!({"name": "probe", "arguments": {"list": [1, 2, 3]}, "x/y": "z"}));
    assert!(probe.request("tools/call", call("nowhere")).payload().is_err());
}

#[test]
#[should_panic(expected = "expected Reject(1), got Ok(Verdict::Next)")]
fn an_expectation_that_does_not_hold_says_what_came() {
    probe().request("tools/call", call("nothing")).expect_reject(1);
}
