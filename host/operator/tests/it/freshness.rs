//! Servers of a cluster are kept fresh: noticed, probed, rolled out by digest and confirmed; what is not well is taken back; and
//! an operator that dies in the middle of it is gone on from.

use std::sync::Arc;

use fairlead_core::freshness::{Deployed, Freshness, FreshnessStore as _, Roller as _, Servers as _};
use fairlead_operator::desired::Resource;
use fairlead_operator::freshness::CREATED_FRESH;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::core::DynamicObject;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use crate::ground::{Ground, http, resource, with};
use crate::keeper::{Fate, Follower, Node, digest};

impl Ground {
    /// Waits until what is said of a server's freshness is as it is looked for.
    pub(crate) async fn fresh(&self, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let of = |server: &Value| server.pointer("/status/updates").is_some_and(&is);
        self.until(&self.servers(), name, what, of).await["status"]["updates"].clone()
    }

    /// Waits until a server runs this and nothing else, and should.
    pub(crate) async fn runs(&self, name: &str, number: u8) -> Value {
        let is = |updates: &Value| updates["status"] == "up_to_date" && updates["running"] == json!([digest(number)]);
        self.fresh(name, &format!("runs {number}"), is).await
    }

    /// What is launched of a server.
    pub(crate) async fn launched(&self, name: &str) -> String {
        let set = self.api(Resource::StatefulSet).get(name).await.unwrap();
        let image = &set.data["spec"]["template"]["spec"]["containers"][0]["image"];
        image.as_str().unwrap().to_owned()
    }

    pub(crate) async fn record(&self, name: &str) -> Value {
        let record = self.api(Resource::ConfigMap).get(&format!("{name}-freshness")).await.unwrap();
        serde_json::from_str(record.data["data"]["record"].as_str().unwrap()).unwrap()
    }

    pub(crate) async fn probes(&self) -> Vec<DynamicObject> {
        self.pods().list(&ListParams::default().labels("fairlead.dev/probe")).await.unwrap().items
    }

    /// Waits until there are as many probes.
    pub(crate) async fn has_probes(&self, count: usize) {
        let end = Instant::now() + Duration::from_secs(30);
        while self.probes().await.len() != count {
            assert!(Instant::now() < end, "{} probes, not {count}", self.probes().await.len());
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Kills the operator of a server at every step of an update that is seen, and starts it again, until the update has ended.
    /// Returns how often.
    async fn die_through(&mut self, name: &str, number: u8, follower: &Arc<Follower>) -> u32 {
        let end = Instant::now() + Duration::from_secs(120);
        let (mut kills, mut before) = (0, String::new());
        loop {
            let record = self.record(name).await;
            let is_over = outcomes(&record).iter().any(|(pin, _)| *pin == digest(number).to_string());
            if is_over && record["operation"].is_null() {
                return kills;
            }
            assert!(Instant::now() < end, "it comes to no end: {record:#}");
            // Whoever dies at each write of a lease never gets further: what it did before it died counts.
            let progress = format!("{:?} {:?}", record["operation"]["phase"], record["check"]["newest"]);
            if progress == before {
                sleep(Duration::from_millis(20)).await;
                continue;
            }
            before = progress;
            self.kill_last().await;
            self.operator_keeping("one", None, follower).await;
            kills += 1;
        }
    }
}

pub(crate) fn pinned(number: u8) -> String {
    format!("registry.test/server@{}", digest(number))
}

pub(crate) fn outcomes(record: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let attempts = record["attempts"].as_array().unwrap().iter();
    attempts.map(|attempt| (text(&attempt["pin"]), text(&attempt["outcome"]))).collect()
}

#[tokio::test]
async fn what_is_newer_is_probed_and_rolled_out_by_digest_and_what_does_not_come_up_is_taken_back() {
    let Some(mut ground) = Ground::bare().await else { return };
    let node = Node::start(&ground, 1);
    node.fate(3, "server", Fate::Crashes);
    let follower = Follower::of(&[("good", 1), ("bad", 1), ("asked", 1)]);
    ground.operator_keeping("one", None, &follower).await;
    for name in ["good", "bad"] {
        ground.create(name, http()).await;
    }
    ground.create("asked", with(http(), json!({"updates": {"check": true}}))).await;
    for name in ["good", "bad", "asked"] {
        let updates = ground.runs(name, 1).await;
        // F1: on and on for a new one that says nothing.
        assert_eq!((&updates["check"], &updates["autoReinstall"]), (&json!(true), &json!(name != "asked")));
        assert_eq!(ground.launched(name).await, "registry.test/server:1");
    }
    assert!(!node.has_probed(1), "what runs need not be tried");
    follower.push("good", 2);
    follower.push("asked", 2);
    follower.push("bad", 3);
    // F7: it is marked, and nothing else, where nobody wants more.
    let is_marked = |updates: &Value| updates["status"] == "update_available";
    let marked = ground.fresh("asked", "marked", is_marked).await;
    assert_eq!((&marked["newest"], &marked["running"]), (&json!(digest(2)), &json!([digest(1)])));
    assert!(node.has_probed(2), "it was tried before it was marked");
    let updates = ground.runs("good", 2).await;
    assert_eq!(ground.launched("good").await, pinned(2));
    // F9.
    for field in ["lastSuccess", "lastReinstall", "newest", "nextCheck"] {
        assert!(!updates[field].is_null(), "{field}: {updates:#}");
    }
    let failed = |updates: &Value| updates["status"] == "rollout_failed" && updates["running"] == json!([digest(1)]);
    ground.fresh("bad", "taken back", failed).await;
    assert_eq!(ground.launched("bad").await, pinned(1));
    let record = ground.record("bad").await;
    let expected = [(digest(1), "rolled-back"), (digest(3), "rollout-failed")];
    assert_eq!(outcomes(&record), expected.map(|(digest, outcome)| (digest.to_string(), outcome.to_owned())));
    let candidates = record["candidates"].as_array().unwrap();
    let bad = candidates.iter().find(|candidate| candidate["pin"] == json!(digest(3))).unwrap();
    assert!(!bad["quarantinedUntil"].is_null(), "{bad:#}");
    let events = kube::Api::<DynamicObject>::namespaced_with(
        ground.client.clone(),
        &ground.namespace,
        &resource("events.k8s.io", "Event", "events"),
    );
    let events = events.list(&ListParams::default()).await.unwrap().items;
    let is_told =
        |event: &DynamicObject| event.data["reason"] == "UpdateFailed" && event.data["regarding"]["name"] == "bad";
    assert!(events.iter().any(is_told), "a person is told");
    assert_eq!(ground.launched("asked").await, "registry.test/server:1");
    ground.has_probes(0).await;
    // A person who names another reference is not held to what was deployed of the one before.
    ground.change("good", json!({"source": {"kind": "image", "reference": "registry.test/server:2"}})).await;
    let own = |set: &Value| set["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.test/server:2";
    ground.until(&ground.api(Resource::StatefulSet), "good", "is what its document says", own).await;
    ground.delete("good").await;
    ground.gone(&ground.servers(), "good").await;
    ground.gone(&ground.api(Resource::ConfigMap), "good-freshness").await;
}

#[tokio::test]
async fn an_operator_that_dies_after_every_step_of_an_update_is_gone_on_from() {
    let Some(mut ground) = Ground::bare().await else { return };
    let node = Node::start(&ground, 1);
    let follower = Follower::of(&[("one", 1)]);
    ground.operator_keeping("one", None, &follower).await;
    ground.create("one", http()).await;
    ground.runs("one", 1).await;
    // How many steps of one update are seen, and died at, is a matter of luck: on a quiet machine it was three.
    let mut kills = 0;
    for number in 2..=3 {
        follower.push("one", number);
        kills += ground.die_through("one", number, &follower).await;
        ground.runs("one", number).await;
        assert_eq!(ground.launched("one").await, pinned(number));
        assert!(node.has_probed(number));
    }
    assert!(kills >= 3, "only {kills} kills");
    let mut outcomes = outcomes(&ground.record("one").await);
    outcomes.sort_unstable();
    let mut expected = [2, 3].map(|number| (digest(number).to_string(), "succeeded".to_owned()));
    expected.sort_unstable();
    assert_eq!(outcomes, expected);
    ground.has_probes(0).await;
}

#[tokio::test]
async fn a_probe_of_an_operator_that_died_is_removed_although_nobody_asks_again() {
    let Some(mut ground) = Ground::bare().await else { return };
    let node = Node::start(&ground, 1);
    node.fate(2, "probe", Fate::Silent);
    let follower = Follower::of(&[("one", 1)]);
    ground.operator_keeping("one", None, &follower).await;
    ground.create("one", http()).await;
    ground.runs("one", 1).await;
    follower.push("one", 2);
    ground.has_probes(1).await;
    ground.kill_last().await;
    // It was a mistake, and is taken back.
    follower.push("one", 1);
    assert_eq!(ground.probes().await.len(), 1, "who died removes nothing");
    ground.operator_keeping("one", None, &follower).await;
    ground.has_probes(0).await;
    ground.runs("one", 1).await;
}

#[tokio::test]
async fn a_server_that_was_there_before_is_left_alone_and_one_that_is_not_well_is_not_looked_at() {
    let Some(mut ground) = Ground::bare().await else { return };
    let _node = Node::start(&ground, 1);
    ground.operator("one").await;
    ground.create("old", http()).await;
    ground.condition("old", "Ready", "True", "Ready").await;
    ground.kill_last().await;
    let follower = Follower::every(Duration::from_secs(3600), &[("old", 2), ("stopped", 2)]);
    ground.operator_keeping("one", None, &follower).await;
    let old = ground.fresh("old", "is told of", |updates| updates["status"] == "disabled").await;
    assert_eq!((&old["check"], &old["autoReinstall"]), (&json!(false), &json!(false)));
    assert_eq!(old["running"], json!([digest(1)]), "its pods tell");
    assert!(
        ground
            .servers()
            .get("old")
            .await
            .unwrap()
            .metadata
            .annotations
            .is_none_or(|it| !it.contains_key(CREATED_FRESH))
    );
    ground.create("stopped", with(http(), json!({"replicas": 0}))).await;
    let stopped = ground.fresh("stopped", "is told of", |updates| updates["ineligible"] == json!(["stopped"])).await;
    assert_eq!(stopped["status"], "not_eligible");
    // Turned on, it is looked at soon, not at the next of its turns.
    ground.change("old", json!({"updates": {"check": true}})).await;
    ground.fresh("old", "is looked at", |updates| updates["newest"] == json!(digest(2))).await;
    assert_eq!(ground.launched("old").await, "registry.test/server:1");
}

#[tokio::test]
async fn a_person_who_changes_the_image_during_a_rollout_has_the_last_word() {
    let Some(mut ground) = Ground::bare().await else { return };
    let node = Node::start(&ground, 1);
    node.fate(2, "server", Fate::Silent);
    let follower = Follower::of(&[("one", 1)]);
    ground.operator_keeping("one", None, &follower).await;
    ground.create("one", http()).await;
    ground.runs("one", 1).await;
    follower.push("one", 2);
    let rolls = |set: &Value| set["spec"]["template"]["spec"]["containers"][0]["image"] == pinned(2);
    ground.until(&ground.api(Resource::StatefulSet), "one", "rolls", rolls).await;
    follower.push("one", 1);
    ground.change("one", json!({"source": {"kind": "image", "reference": "registry.test/other:1"}})).await;
    ground.runs("one", 1).await;
    assert_eq!(ground.launched("one").await, "registry.test/other:1");
    let outcome = outcomes(&ground.record("one").await);
    assert_eq!(outcome, [(digest(2).to_string(), "superseded".to_owned())]);
    // Nobody is blamed, and a record that somebody takes away is made again.
    ground.api(Resource::ConfigMap).delete("one-freshness", &DeleteParams::default()).await.unwrap();
    let touch = Patch::Merge(json!({"spec": {"updates": {"check": true}}}));
    ground.servers().patch("one", &PatchParams::default(), &touch).await.unwrap();
    ground.there(Resource::ConfigMap, "one-freshness").await;
    ground.runs("one", 1).await;
}

#[tokio::test]
async fn a_leader_that_was_paused_and_wakes_up_late_writes_nothing() {
    let Some(mut ground) = Ground::bare().await else { return };
    let _node = Node::start(&ground, 1);
    let hour = Duration::from_secs(3600);
    let (first, second) = (Follower::every(hour, &[("one", 1)]), Follower::every(hour, &[("one", 1)]));
    ground.operator_keeping("one", None, &first).await;
    ground.create("one", http()).await;
    ground.runs("one", 1).await;
    let key = first.fleet().unwrap().keys().pop().unwrap();
    ground.kill_last().await;
    let paused = first.fleet().unwrap();
    let (record, deployed) = (paused.load(&key).await.unwrap(), paused.deployed(&key).await.unwrap());
    ground.operator_keeping("one", None, &second).await;
    let end = Instant::now() + Duration::from_secs(30);
    while second.fleet().is_none() {
        assert!(Instant::now() < end, "nobody leads");
        sleep(Duration::from_millis(50)).await;
    }
    let leads = second.fleet().unwrap();
    assert_eq!(leads.load(&key).await.unwrap(), record, "nothing was to be done");
    let next = Freshness { revision: record.revision + 1, operations: 7, ..record.clone() };
    assert!(leads.swap(&key, record.revision, &next).await.unwrap());
    let late = Freshness { operations: 9, ..next.clone() };
    assert!(!paused.swap(&key, record.revision, &late).await.unwrap());
    let seen = paused.deployed(&key).await.unwrap();
    assert_eq!(seen, deployed);
    let next_deployed = Deployed { revision: seen.revision + 1, pin: Some(digest(2)), mark: None };
    assert!(leads.deploy(&key, seen.revision, &next_deployed).await.unwrap());
    let late = Deployed { pin: Some(digest(3)), ..next_deployed.clone() };
    assert!(!paused.deploy(&key, seen.revision, &late).await.unwrap());
    assert_eq!(leads.load(&key).await.unwrap(), next);
    assert_eq!(leads.deployed(&key).await.unwrap(), next_deployed);
}
