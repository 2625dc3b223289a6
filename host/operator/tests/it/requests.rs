//! What people ask about updates is answered in the write that does it: by one of two who lead, once, and never for another server.

use std::sync::Arc;

use fairlead_core::freshness::{Freshness, FreshnessStore as _, Hold, Servers as _};
use fairlead_core::name::{ServerKey, ServerName};
use fairlead_operator::controller::{Asked, Fleet, Stored};
use fairlead_operator::desired::Resource;
use fairlead_operator::freshness::{Outcome, REQUEST};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use crate::ground::{Ground, http};
use crate::keeper::{Follower, Node};

impl Ground {
    /// Writes the annotation, or takes it away.
    async fn ask(&self, name: &str, request: &Value) {
        let text = if request.is_null() { Value::Null } else { request.to_string().into() };
        let patch = Patch::Merge(json!({"metadata": {"annotations": {REQUEST: text}}}));
        self.servers().patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    async fn answers(&self, name: &str) -> Vec<Value> {
        let record = self.api(Resource::ConfigMap).get(&format!("{name}-freshness")).await.unwrap();
        let answered = record.data["data"]["answered"].as_str().unwrap_or("[]");
        serde_json::from_str(answered).unwrap()
    }
}

/// Waits until something is asked, or nothing.
async fn hears(fleet: &Fleet, key: &ServerKey, is: impl Fn(Option<&Asked>) -> bool) -> Option<Asked> {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let asked = fleet.asked(key);
        if is(asked.as_ref()) {
            return asked;
        }
        assert!(Instant::now() < end, "{asked:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn leading(follower: &Follower) -> Arc<Fleet> {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(fleet) = follower.fleet() {
            return fleet;
        }
        assert!(Instant::now() < end, "nobody leads");
        sleep(Duration::from_millis(50)).await;
    }
}

fn held(record: &Freshness, by: &str) -> Option<(u64, Freshness)> {
    let hold = Some(Hold { by: by.to_owned(), reason: String::new(), until: None });
    Some((record.revision, Freshness { revision: record.revision + 1, hold, ..record.clone() }))
}

#[tokio::test]
async fn of_two_who_lead_one_answers_and_what_it_did_is_in_the_same_write() {
    let Some(mut ground) = Ground::bare().await else { return };
    let _node = Node::start(&ground, 1);
    let hour = Duration::from_secs(3600);
    let (first, second) = (Follower::every(hour, &[("one", 1)]), Follower::every(hour, &[("one", 1)]));
    ground.operator_keeping("one", None, &first).await;
    ground.create("one", http()).await;
    ground.runs("one", 1).await;
    let paused = leading(&first).await;
    let key = paused.keys().pop().unwrap();
    ground.kill_last().await;
    let tally = ground.operator_keeping("one", None, &second).await;
    let leads = leading(&second).await;

    ground.ask("one", &json!({"id": "a", "do": "hold", "by": "eve"})).await;
    let (late, asked) = (
        hears(&paused, &key, |asked| asked.is_some()).await.unwrap(),
        hears(&leads, &key, |asked| asked.is_some()).await,
    );
    let asked = asked.unwrap();
    assert!(asked.request.is_ok());
    let (before, same) = (paused.load(&key).await.unwrap(), leads.load(&key).await.unwrap());
    assert_eq!(before, same);
    assert_eq!(leads.answer(&key, &asked, held(&same, "eve"), Outcome::Done).await.unwrap(), Stored::Yes);
    // On the record as it was, and as it is.
    assert_eq!(paused.answer(&key, &late, held(&before, "late"), Outcome::Done).await.unwrap(), Stored::Conflict);
    let now = paused.load(&key).await.unwrap();
    assert_eq!(paused.answer(&key, &late, held(&now, "late"), Outcome::Done).await.unwrap(), Stored::Not);
    assert_eq!(leads.load(&key).await.unwrap().hold.map(|hold| hold.by), Some("eve".to_owned()));
    assert_eq!(ground.answers("one").await.len(), 1);
    let is_told = |server: &Value| server["status"]["updateRequest"]["outcome"] == "done";
    ground.until(&ground.servers(), "one", "told", is_told).await;
    hears(&leads, &key, |asked| asked.is_none()).await;
    // It stands there, and nobody looks at it again.
    ground.quiet(&tally).await;
    assert_eq!(ground.answers("one").await.len(), 1);
    // Nor when somebody takes the record away.
    ground.api(Resource::ConfigMap).delete("one-freshness", &DeleteParams::default()).await.unwrap();
    ground.change("one", json!({"updates": {"check": true}})).await;
    ground.there(Resource::ConfigMap, "one-freshness").await;
    ground.quiet(&tally).await;
    assert_eq!(leads.asked(&key), None);
}

#[tokio::test]
async fn a_request_that_is_taken_back_or_is_of_another_server_does_nothing() {
    let Some(mut ground) = Ground::bare().await else { return };
    let _node = Node::start(&ground, 1);
    let follower = Follower::every(Duration::from_secs(3600), &[("one", 1)]);
    ground.operator_keeping("one", None, &follower).await;
    ground.create("one", http()).await;
    ground.runs("one", 1).await;
    let fleet = leading(&follower).await;
    let key = fleet.keys().pop().unwrap();

    ground.ask("one", &json!({"id": "back", "do": "hold", "by": "eve"})).await;
    let asked = hears(&fleet, &key, |asked| asked.is_some()).await.unwrap();
    ground.ask("one", &Value::Null).await;
    hears(&fleet, &key, |asked| asked.is_none()).await;
    let record = fleet.load(&key).await.unwrap();
    assert_eq!(fleet.answer(&key, &asked, held(&record, "eve"), Outcome::Done).await.unwrap(), Stored::Not);
    assert_eq!((fleet.load(&key).await.unwrap(), ground.answers("one").await.len()), (record, 0));

    ground.ask("one", &json!({"id": "other", "do": "rollback", "uid": "of-another"})).await;
    let asked = hears(&fleet, &key, |asked| asked.is_some()).await.unwrap();
    assert!(asked.request.is_err_and(|why| why.contains("an earlier server")));

    // A server elsewhere has no record: it is told in an Event, and not asked about again and again.
    ground.create("far", json!({"source": {"kind": "remote", "url": "https://mcp.example/mcp"}})).await;
    ground.observed("far").await;
    ground.ask("far", &json!({"id": "far", "do": "check"})).await;
    let far = ServerKey { name: ServerName::new("far").unwrap(), ..key.clone() };
    let asked = hears(&fleet, &far, |asked| asked.is_some()).await.unwrap();
    let why = asked.request.clone().unwrap_err();
    assert!(why.contains("follows no image"), "{why}");
    let answered = fleet.answer(&far, &asked, None, Outcome::not_understood(&why)).await.unwrap();
    assert_eq!(answered, Stored::Not);
    ground.until_told("far", "UpdateRequestRefused", "Warning").await;
    assert!(ground.api(Resource::ConfigMap).get_opt("far-freshness").await.unwrap().is_none());
}
