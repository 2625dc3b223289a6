//! Before a rollout, an image is started with all that its server has: admitted where the server is, guarded as it is, and gone
//! whatever became of it. What it says over MCP needs a process, and is tried on a node (`tests/it/freshness_node.rs`).

use fairlead_operator::desired::Resource;
use kube::api::ListParams;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use crate::freshness::{outcomes, pinned};
use crate::ground::{Ground, http, stdio, with};
use crate::keeper::{Fate, Follower, Node, digest};

#[tokio::test]
async fn what_crashes_in_its_trial_is_not_rolled_out_and_the_pods_of_the_server_are_not_touched() {
    let Some(mut ground) = Ground::bare().await else { return };
    let node = Node::start(&ground, 1);
    node.fate(2, "trial", Fate::Crashes);
    let follower = Follower::of(&[("web", 1), ("piped", 1)]);
    ground.operator_keeping("one", None, &follower).await;
    ground.create("web", http()).await;
    ground.create("piped", stdio()).await;
    for name in ["web", "piped"] {
        ground.runs(name, 1).await;
        let generation = ground.api(Resource::StatefulSet).get(name).await.unwrap().metadata.generation;
        follower.push(name, 2);
        let is_told = |updates: &Value| updates["status"] == "rollout_failed";
        ground.fresh(name, "not rolled out", is_told).await;
        let record = ground.record(name).await;
        assert_eq!(outcomes(&record), [(digest(2).to_string(), "preflight-failed".to_owned())]);
        let detail = record["attempts"][0]["detail"].as_str().unwrap();
        assert_eq!(detail, "it exited with status 7");
        let set = ground.api(Resource::StatefulSet).get(name).await.unwrap();
        assert_eq!(set.metadata.generation, generation, "nothing was applied");
        // The next one is not held to it.
        follower.push(name, 3);
        ground.runs(name, 3).await;
        assert_eq!(ground.launched(name).await, pinned(3));
        assert!(node.has_tried(3) && node.has_tried(1), "what runs is asked as well");
    }
    ground.has_probes(0).await;
}

#[tokio::test]
async fn a_server_of_which_there_may_be_only_one_is_not_tried_beside_itself() {
    let Some(mut ground) = Ground::bare().await else { return };
    let node = Node::start(&ground, 1);
    node.fate(2, "trial", Fate::Crashes);
    let follower = Follower::of(&[("one", 1)]);
    ground.operator_keeping("one", None, &follower).await;
    let updates = json!({"check": true, "autoReinstall": true, "singleInstance": true});
    ground.create("one", with(http(), json!({"updates": updates}))).await;
    ground.runs("one", 1).await;
    follower.push("one", 2);
    ground.runs("one", 2).await;
    assert!(node.has_probed(2) && !node.has_tried(2) && !node.has_tried(1));
}

#[tokio::test]
async fn a_trial_of_an_operator_that_died_is_removed_and_another_one_is_begun() {
    let Some(mut ground) = Ground::bare().await else { return };
    let node = Node::start(&ground, 1);
    node.fate(2, "trial", Fate::Silent);
    let follower = Follower::of(&[("one", 1)]);
    ground.operator_keeping("one", None, &follower).await;
    ground.create("one", http()).await;
    ground.runs("one", 1).await;
    follower.push("one", 2);
    let policy = ground.there(Resource::NetworkPolicy, "one-probe").await;
    let selector = policy["spec"]["podSelector"]["matchLabels"].as_object().unwrap().clone();
    let guarded = selector.iter().map(|(name, value)| format!("{name}={}", value.as_str().unwrap()));
    let guarded = ListParams::default().labels(&guarded.collect::<Vec<_>>().join(","));
    let end = Instant::now() + Duration::from_secs(30);
    let first = loop {
        let pods = ground.pods().list(&guarded).await.unwrap().items;
        // The probe goes before it comes.
        if let Some(pod) = pods.into_iter().find(|pod| pod.data["spec"]["containers"][0]["name"] == "mcp") {
            break pod.metadata.name.unwrap();
        }
        assert!(Instant::now() < end, "no trial is guarded by the policy");
        sleep(Duration::from_millis(50)).await;
    };
    ground.kill_last().await;
    node.fate(2, "trial", Fate::Well);
    ground.operator_keeping("one", None, &follower).await;
    ground.runs("one", 2).await;
    ground.gone(&ground.pods(), &first).await;
    ground.has_probes(0).await;
    assert_eq!(outcomes(&ground.record("one").await), [(digest(2).to_string(), "succeeded".to_owned())]);
}
