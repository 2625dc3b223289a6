//! Who sees what: memories, the machine, and calls that nobody waits for any more.

use std::future::poll_fn;
use std::task::Poll;

use fairlead_core::middleware::Fault;
use fairlead_wasm::limits::INSTANCE_AGE_MAX;
use serde_json::json;

use crate::support::{Host, ask, attribute, request};

#[tokio::test]
async fn a_wasip2_guest_sees_nothing_of_the_machine() {
    let host = Host::new();
    let plugin = host.load("wasip2-noop").await;
    assert!(plugin.imports().iter().any(|import| import.starts_with("wasi:")), "{:?}", plugin.imports());
    let middleware = host.attach("wasip2-noop", json!({})).await.unwrap();
    let answer = ask(&middleware, request(json!({}))).await.unwrap();
    assert_eq!(attribute(&answer, "environment"), "0");
    assert_eq!(attribute(&answer, "arguments"), "0");
    assert_eq!(attribute(&answer, "root"), "hidden");
}

#[tokio::test]
async fn a_warm_instance_remembers_and_another_tenant_does_not_see_it() {
    let host = Host::new();
    let one = host.attach_for("acme", "wasip2-noop", json!({})).await.unwrap();
    let other = host.attach_for("emca", "wasip2-noop", json!({})).await.unwrap();
    for seen in ["1", "2", "3"] {
        assert_eq!(attribute(&ask(&one, request(json!({}))).await.unwrap(), "seen"), seen);
    }
    assert_eq!(attribute(&ask(&other, request(json!({}))).await.unwrap(), "seen"), "1");
}

#[tokio::test(start_paused = true)]
async fn what_a_burst_has_made_goes_when_it_is_old_although_nobody_calls() {
    let host = Host::new();
    let middleware = host.attach("wasip2-noop", json!({})).await.unwrap();
    assert_eq!(attribute(&ask(&middleware, request(json!({}))).await.unwrap(), "seen"), "1");
    host.host.retire_aged();
    assert_eq!(host.host.metrics()[0].instances_idle, 1, "it is young");
    assert_eq!(attribute(&ask(&middleware, request(json!({}))).await.unwrap(), "seen"), "2");
    tokio::time::advance(INSTANCE_AGE_MAX).await;
    host.host.retire_aged();
    let metrics = host.host.metrics();
    assert_eq!(metrics[0].instances_idle, 0);
    assert_eq!(metrics[0].counts.instances_created, metrics[0].counts.instances_retired);
    assert_eq!(attribute(&ask(&middleware, request(json!({}))).await.unwrap(), "seen"), "1", "the next one is new");
}

#[tokio::test]
async fn an_instance_for_each_call_remembers_nothing() {
    let host = Host::new();
    let middleware = host.attach("wasip2-noop", json!({"instances": "per-call"})).await.unwrap();
    for _ in 0..3 {
        assert_eq!(attribute(&ask(&middleware, request(json!({}))).await.unwrap(), "seen"), "1");
    }
    let metrics = host.host.metrics();
    assert_eq!(metrics[0].instances_idle, 0);
    assert_eq!(metrics[0].counts.instances_created, metrics[0].counts.instances_retired);
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_takes_its_instance_with_it() {
    let host = Host::new();
    let spec = json!({"config": {"always": false}, "limits": {"cpuMsMax": 30000, "wallMsMax": 30000}});
    let middleware = host.attach("looping", spec).await.unwrap();
    assert_eq!(host.host.metrics()[0].instances_idle, 1);
    for _ in 0..50 {
        let mut call = Box::pin(middleware.call(request(json!({"arguments": {"loop": true}}))));
        // Polled once: the guest is in the middle of its loop when it is dropped.
        let pending = poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_pending())).await;
        assert!(pending);
        drop(call);
        assert_eq!(host.host.metrics()[0].instances_idle, 0);
        ask(&middleware, request(json!({"arguments": {}}))).await.unwrap();
    }
    assert_eq!(host.host.metrics()[0].instances_idle, 1);
}

#[tokio::test]
async fn a_fault_in_one_attachment_leaves_the_instances_of_another_alone() {
    let host = Host::new();
    let trapping = host.attach("trapping", json!({})).await.unwrap();
    let well = host.attach("wasip2-noop", json!({})).await.unwrap();
    ask(&well, request(json!({}))).await.unwrap();
    assert!(matches!(ask(&trapping, request(json!({}))).await, Err(Fault::Trap(_))));
    assert_eq!(attribute(&ask(&well, request(json!({}))).await.unwrap(), "seen"), "2");
}

#[tokio::test]
async fn a_plugin_that_is_let_go_gives_its_instances_back() {
    let host = Host::new();
    let middleware = host.attach("noop", json!({})).await.unwrap();
    ask(&middleware, request(json!({}))).await.unwrap();
    assert_eq!(host.host.metrics().len(), 1);
    drop(middleware);
    assert!(host.host.metrics().is_empty());
}
