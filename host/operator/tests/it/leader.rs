//! Two operators: one leads, the other takes over when it dies, and never do both write.

use std::time::Duration;

use fairlead_operator::desired::Resource;
use tokio::time::{Instant, sleep};

use crate::ground::{Ground, http};

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
    ground.there(Resource::Deployment, "one").await;
    ground.quiet(&first).await;
    assert_eq!((second.leads(), second.writes(), second.reconciles()), (0, 0, 0));
    ground.kill(0);
    let died = Instant::now();
    ground.create("two", http()).await;
    while second.leads() == 0 {
        assert!(died.elapsed() < Duration::from_secs(20), "no failover within 20 s");
        sleep(Duration::from_millis(20)).await;
    }
    let written = first.writes();
    ground.there(Resource::Deployment, "two").await;
    assert_eq!(first.writes(), written);
}
