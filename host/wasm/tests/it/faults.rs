//! Broken guests: each gives its own fault, none of them harms anybody else.

use std::sync::Arc;
use std::time::Duration;

use fairlead_core::limits::{PLUGIN_MEMORY_BYTES_MAX, REJECTION_MESSAGE_BYTES_MAX};
use fairlead_core::middleware::{Fault, Middleware, Verdict};
use serde_json::json;

use crate::support::{Host, ask, error, event, request, response};

#[tokio::test]
async fn a_guest_that_loops_is_cut_off_after_its_share() {
    let host = Host::new();
    let middleware = host.attach("looping", json!({"limits": {"cpuMsMax": 5, "wallMsMax": 10000}})).await.unwrap();
    let started = std::time::Instant::now();
    assert_eq!(ask(&middleware, request(json!({}))).await.unwrap_err(), Fault::Deadline(5));
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_guest_that_loops_shares_its_thread_with_others() {
    // One thread, as `tokio::test` gives: if the guest kept it, nobody else would be served until it is cut off.
    let host = Host::new();
    let looping = host.attach("looping", json!({"limits": {"cpuMsMax": 30000, "wallMsMax": 30000}})).await.unwrap();
    let noop = host.attach("noop", json!({})).await.unwrap();
    let mut endless = Box::pin(looping.call(request(json!({}))));
    let mut served = 0;
    while served < 20 {
        tokio::select! {
            biased;
            answer = noop.call(request(json!({}))) => { answer.unwrap(); served += 1; }
            _ = &mut endless => panic!("a loop ended"),
        }
        tokio::select! {
            biased;
            _ = &mut endless => panic!("a loop ended"),
            () = tokio::task::yield_now() => {}
        }
    }
    drop(endless);
    ask(&noop, request(json!({}))).await.unwrap();
}

#[tokio::test]
async fn a_guest_that_waits_for_others_too_long_is_cut_off_as_well() {
    let host = Host::new();
    let middleware = host.attach("looping", json!({"limits": {"cpuMsMax": 30000, "wallMsMax": 20}})).await.unwrap();
    assert_eq!(ask(&middleware, request(json!({}))).await.unwrap_err(), Fault::Deadline(20));
}

#[tokio::test]
async fn a_guest_that_allocates_without_end_reaches_its_limit() {
    let host = Host::new();
    let spec = json!({"limits": {"cpuMsMax": 10000}});
    let middleware = host.attach("allocating", spec).await.unwrap();
    assert_eq!(ask(&middleware, request(json!({}))).await.unwrap_err(), Fault::Memory(PLUGIN_MEMORY_BYTES_MAX));
    let spec = json!({"name": "small", "limits": {"cpuMsMax": 10000, "memoryBytesMax": 8388608}});
    let middleware = host.attach("allocating", spec).await.unwrap();
    assert_eq!(ask(&middleware, request(json!({}))).await.unwrap_err(), Fault::Memory(8_388_608));
}

#[tokio::test]
async fn a_trap_is_a_fault_and_the_next_call_gets_a_new_instance() {
    let host = Host::new();
    let middleware = host.attach("trapping", json!({"config": {"always": false}})).await.unwrap();
    for _ in 0..3 {
        ask(&middleware, request(json!({"arguments": {}}))).await.unwrap();
        let fault = ask(&middleware, request(json!({"arguments": {"trap": true}}))).await.unwrap_err();
        assert!(matches!(fault, Fault::Trap(_)), "{fault:?}");
    }
    let metrics = host.host.metrics();
    assert_eq!(metrics[0].counts.faults, [("trap", 3)]);
    assert_eq!(metrics[0].counts.instances_retired, 3);
    assert_eq!(metrics[0].counts.calls, 6);
}

#[tokio::test]
async fn slots_are_given_back_after_a_thousand_traps() {
    let host = Host::new();
    let trapping = host.attach("trapping", json!({})).await.unwrap();
    let before = resident_kib();
    // Twice as many as there are slots: one that leaks would not get far.
    for _ in 0..1_100 {
        assert!(matches!(ask(&trapping, request(json!({}))).await, Err(Fault::Trap(_))));
    }
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 64 * 1024, "{grown} KiB more than before");
    let counts = &host.host.metrics()[0].counts;
    assert_eq!((counts.instances_created, counts.instances_retired), (1_100, 1_100));
}

#[tokio::test]
async fn nonsense_is_a_fault_and_never_a_decision() {
    let host = Host::new();
    for kind in ["invalid-replace", "invalid-patch-value", "invalid-respond", "invalid-data"] {
        let spec = json!({"config": {"kind": kind}});
        let middleware = host.attach("nonsense", spec).await.unwrap();
        let fault = ask(&middleware, request(json!({}))).await.unwrap_err();
        assert!(matches!(fault, Fault::Nonsense(_)), "{kind}: {fault:?}");
        let fault = ask(&middleware, response(json!({}))).await.unwrap_err();
        assert!(matches!(fault, Fault::Nonsense(_)), "{kind}: {fault:?}");
    }
    let middleware = host.attach("nonsense", json!({"config": {"kind": "respond"}})).await.unwrap();
    assert!(matches!(ask(&middleware, request(json!({}))).await.unwrap().verdict, Verdict::Respond(_)));
    assert!(matches!(ask(&middleware, event(json!({}))).await, Err(Fault::Nonsense(_))));
}

#[tokio::test]
async fn a_failure_is_a_fault_that_the_instance_survives() {
    let host = Host::new();
    let middleware = host.attach("nonsense", json!({"config": {"kind": "failure"}})).await.unwrap();
    for _ in 0..3 {
        let fault = ask(&middleware, request(json!({}))).await.unwrap_err();
        assert_eq!(fault, Fault::Failure("upstream: on purpose".to_owned()));
    }
    assert_eq!(host.host.metrics()[0].counts.instances_created, 1);
}

#[tokio::test]
async fn a_refusal_is_a_decision_with_a_bounded_text() {
    let host = Host::new();
    let middleware = host.attach("nonsense", json!({"config": {"kind": "long-message"}})).await.unwrap();
    let Verdict::Reject(rejection) = ask(&middleware, request(json!({}))).await.unwrap().verdict else { panic!() };
    assert_eq!((rejection.code, rejection.message.len()), (4030, REJECTION_MESSAGE_BYTES_MAX));
}

#[tokio::test]
async fn every_phase_reaches_its_own_hook() {
    let host = Host::new();
    let middleware = host.attach("observer", json!({"config": {"read": true}})).await.unwrap();
    let mut notes = fairlead_core::middleware::Notes::default();
    for call in [request(json!({"a": 1})), event(json!({})), error(-32601), response(json!({}))] {
        let call = fairlead_core::middleware::Call { notes: std::mem::take(&mut notes), ..call };
        notes = ask(&middleware, call).await.unwrap().notes;
    }
    assert_eq!(notes.attributes, [("observed".to_owned(), "request,event,error:-32601,response".to_owned())]);
    let metrics = host.host.metrics();
    assert_eq!(metrics[0].series.len(), 4, "{:?}", metrics[0].series);
}

#[tokio::test]
async fn more_calls_than_allowed_wait_and_then_overload() {
    let host = Host::new();
    let spec =
        json!({"config": {"always": false}, "limits": {"concurrencyMax": 1, "cpuMsMax": 30000, "wallMsMax": 50}});
    let middleware = host.attach("looping", spec).await.unwrap();
    let endless = request(json!({"arguments": {"loop": true}}));
    let (first, second) = tokio::join!(middleware.call(endless), middleware.call(request(json!({}))));
    assert_eq!(first.unwrap_err(), Fault::Deadline(50));
    // Its turn comes when the first is cut off, which is about when its own time is over.
    assert!(matches!(second, Ok(_) | Err(Fault::Overload | Fault::Deadline(50))), "{second:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_neighbours_do_no_harm() {
    let host = Host::new();
    let well = host.attach("observer", json!({})).await.unwrap();
    let limits = json!({"cpuMsMax": 3});
    let mut broken: Vec<Arc<dyn Middleware>> = Vec::new();
    for name in ["looping", "trapping", "allocating", "nonsense"] {
        broken.push(host.attach(name, json!({"limits": limits})).await.unwrap());
    }
    let mut tasks = tokio::task::JoinSet::new();
    for middleware in broken {
        tasks.spawn(async move {
            for _ in 0..20 {
                assert!(middleware.call(request(json!({}))).await.is_err());
            }
        });
    }
    for _ in 0..200 {
        assert_eq!(ask(&well, request(json!({}))).await.unwrap().verdict, Verdict::Next);
        tokio::task::yield_now().await;
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    assert_eq!(ask(&well, request(json!({}))).await.unwrap().verdict, Verdict::Next);
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}
