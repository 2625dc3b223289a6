//! Two operators: one leads, the other takes over when it dies, and never do both write.

use std::time::Duration;

use fairlead_operator::desired::Resource;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::faulty::{Faults, Proxy};
use crate::ground::{self, Ground, http};

#[tokio::test]
async fn of_two_operators_one_leads_and_a_dead_one_is_replaced_within_twenty_seconds() {
    let Some(mut ground) = Ground::bare().await else { return };
    let first = ground.operator("first").await;
    let end = Instant::now() + Duration::from_secs(30);
    while first.leads() == 0 {
        assert!(Instant::now() < end, "nobody leads");
        sleep(Duration::from_millis(20)).await;
    }
    let second = ground.operator("second").await;
    ground.create("one", http()).await;
    // What the controllers have still to say of it would be written down by whoever leads then.
    for resource in [Resource::Deployment, Resource::StatefulSet] {
        let has_pods = |object: &Value| {
            object["status"]["observedGeneration"].is_i64()
                && object.pointer("/status/observedGeneration") == object.pointer("/metadata/generation")
                && object.pointer("/status/replicas") == object.pointer("/spec/replicas")
        };
        ground.until(&ground.api(resource), "one", "has its pods", has_pods).await;
    }
    ground.quiet(&first).await;
    assert_eq!((second.leads(), second.writes(), second.reconciles()), (0, 0, 0));
    ground.kill(0);
    let died = Instant::now();
    while second.leads() == 0 {
        assert!(died.elapsed() < Duration::from_secs(20), "no failover within 20 s");
        sleep(Duration::from_millis(20)).await;
    }
    // All that it knows is what it listed, and that is as it shall be.
    while second.reconciles() == 0 {
        assert!(died.elapsed() < Duration::from_secs(40), "whoever leads looks at what is there");
        sleep(Duration::from_millis(20)).await;
    }
    ground.quiet(&second).await;
    assert_eq!((second.writes(), second.failures()), (0, 0), "{second:?}");
    let written = first.writes();
    ground.create("two", http()).await;
    ground.there(Resource::Deployment, "two").await;
    assert_eq!(first.writes(), written);
}

#[tokio::test]
async fn a_leader_that_cannot_renew_stops_writing_before_another_one_begins() {
    let Some(mut ground) = Ground::bare().await else { return };
    let config = ground::config(None).await.unwrap();
    let (one, two) =
        (Proxy::start(config.clone(), Faults::default()).await, Proxy::start(config, Faults::default()).await);
    let first = ground.operator_behind("first", &one);
    let end = Instant::now() + Duration::from_secs(30);
    while first.leads() == 0 {
        assert!(Instant::now() < end, "nobody leads");
        sleep(Duration::from_millis(20)).await;
    }
    let second = ground.operator_behind("second", &two);
    ground.create("one", http()).await;
    ground.there(Resource::Deployment, "one").await;
    // All of the first one's requests go on to arrive, but for those about the lease; and there is always something to write.
    one.set(Faults { cuts_lease: true, ..Faults::default() });
    let (cut, written) = (Instant::now(), one.seen().writes);
    let mut port = 9000_u16;
    while two.seen().written.is_none() {
        port += 1;
        let change = Patch::Merge(json!({"spec": {"proxyPort": port}}));
        ground.servers().patch("one", &PatchParams::default(), &change).await.unwrap();
        assert!(second.leads() > 0 || cut.elapsed() < Duration::from_secs(20), "no failover within 20 s");
        assert!(cut.elapsed() < Duration::from_secs(60), "who leads does not write: {second:?}");
        sleep(Duration::from_millis(200)).await;
    }
    assert!(one.seen().writes > written, "the first one wrote as long as it led");
    let (Some((_, last)), Some((begun, _))) = (one.seen().written, two.seen().written) else { panic!("nobody wrote") };
    assert!(last < begun, "the first one wrote {:?} after the second one began", last - begun);
}
