//! A plan is what happens then: five hundred generated situations, each planned, carried out and compared; and replays.

use std::sync::Arc;
use std::time::Duration;

use fairlead_control::freshness::{CommandError, replay};
use fairlead_core::BoxFuture;
use fairlead_core::clock::Clock as _;
use fairlead_core::digest::Digest;
use fairlead_core::freshness::{
    Candidate, Check, Decision, Effect, Event, Facts, Forecast, Found, Freshness, Hold, HoldReason, Ineligible, Moment,
    Outcome, Plan, Replay, Running, Servers, Trigger, UpdateHistory, UpdatePolicy, UpdateToggles, Verdict, Wish,
    command,
};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::test_runner::Config as ProptestConfig;

use crate::world::{BAD, HOUR, World, digest, key, number};

/// Whatever speaks for or against an update.
#[derive(Debug, Clone)]
struct Situation {
    runs: u8,
    newest: u8,
    says: Decision,
    toggles: UpdateToggles,
    against: Vec<Ineligible>,
    hold: Option<Option<i64>>,
    quarantine: Option<i64>,
    flips: usize,
    stuck: bool,
    under_way: bool,
}

fn decisions() -> impl Strategy<Value = Decision> {
    prop_oneof![
        4 => (1_u8..=4, 60_000_u32..700_000)
            .prop_map(|(pin, deadline_ms)| Decision::Update(Plan { deadline_ms, ..Plan::to(digest(pin)) })),
        2 => proptest::option::of(9_000_i64..90_000).prop_map(|until| Decision::Hold {
            reason: HoldReason::TooYoung,
            detail: "wait".to_owned(),
            pin: Some(digest(2)),
            until: until.map(|seconds| Timestamp::from_second(1_800_000_000 + seconds).unwrap()),
        }),
        1 => (1_u8..=4).prop_map(|pin| Decision::Notify { pin: digest(pin), detail: String::new(), urgent: false }),
        1 => (1_u8..=3).prop_map(|pin| Decision::Rollback { pin: digest(pin), detail: String::new() }),
        1 => Just(Decision::UpToDate),
    ]
}

fn situations() -> impl Strategy<Value = Situation> {
    let against = prop_oneof![
        6 => Just(Vec::new()),
        1 => Just(vec![Ineligible::Disabled]),
        1 => Just(vec![Ineligible::CheckOff]),
        1 => Just(vec![Ineligible::InError]),
    ];
    let rarely = || proptest::bool::weighted(0.1);
    let hold = proptest::option::weighted(0.2, proptest::option::of(-1_000_i64..90_000));
    let quarantine = proptest::option::weighted(0.3, -1_000_i64..90_000);
    let whole =
        (1_u8..=2, 2_u8..=3, decisions(), any::<bool>(), against, hold, quarantine, 0_usize..6, rarely(), rarely());
    whole.prop_map(|(runs, newest, says, auto_reinstall, against, hold, quarantine, flips, stuck, under_way)| {
        let newest = if newest == runs { 3 } else { newest };
        let toggles = UpdateToggles { check: !against.contains(&Ineligible::CheckOff), auto_reinstall };
        Situation { runs, newest, says, toggles, against, hold, quarantine, flips, stuck, under_way }
    })
}

impl Situation {
    /// A world in which it is so, at this moment.
    fn world(&self) -> Arc<World> {
        let world = World::new(&["a"]);
        let now = world.now();
        let at = |seconds: i64| now + SignedDuration::from_secs(seconds);
        *world.toggles.lock() = self.toggles;
        *world.against.lock() = self.against.clone();
        *world.verdict.lock() = Some(self.says.clone().into());
        *world.tag.lock() = self.newest;
        world.runs.lock().insert(key("a"), self.runs);
        let candidate = |number: u8| Candidate {
            same_tag: number == self.newest,
            is_last_good: number == 1 && self.runs == 2,
            quarantined_until: self.quarantine.filter(|_| number == self.newest).map(at),
            ..serde_json::from_value(serde_json::json!({"pin": digest(number), "firstSeen": now, "lastSeen": now}))
                .unwrap()
        };
        let mut record = Freshness {
            candidates: (1..=3).map(candidate).collect(),
            good: (1..=self.runs).rev().map(digest).collect(),
            hold: self.hold.map(|until| Hold {
                by: "somebody".to_owned(),
                reason: "a freeze".to_owned(),
                until: until.map(at),
            }),
            stuck: self.stuck,
            ..Freshness::default()
        };
        record.check = Check {
            found: Found::Stale,
            running: Running { digests: vec![digest(self.runs)], ..Running::default() },
            newest: Some(digest(self.newest)),
            last_success: Some(now),
            next: Some(at(7_200)),
            decide: Some(now),
            flips: vec![now; self.flips],
            ..Check::default()
        };
        if self.under_way {
            let moment = Moment {
                now,
                since: now,
                toggles: UpdateToggles::for_new(),
                against: &[],
                interval: Duration::from_secs(900),
                spread: 0,
            };
            let plan = Plan::to(digest(if self.runs == 1 { 2 } else { 3 }));
            record = command(&record, Event::Ordered(Box::new(plan), 0), &moment).unwrap();
        }
        world.records.lock().insert(key("a"), record);
        world
    }
}

/// Holds a forecast against what came to pass.
fn assert_came_to_pass(forecast: &Forecast, before: &Freshness, world: &World, ordered: bool) {
    let after = world.record("a");
    let begun: Vec<_> = after.attempts.iter().rev().filter(|attempt| attempt.operation > before.operations).collect();
    let told = |topic: String| world.told.lock().contains(&topic);
    match &forecast.effect {
        Effect::Update(plan) => {
            let attempt = begun.first().expect("no update");
            assert_eq!(attempt.pin, plan.pin);
            assert_eq!(attempt.outcome, Outcome::Succeeded);
            let written = world.writes.lock().iter().find(|(_, operation, _)| *operation == attempt.operation).cloned();
            assert_eq!(written.expect("nothing was written").2, number(&plan.pin));
        }
        Effect::Rollback { pin } => {
            let attempt = begun.first().expect("no way back");
            assert_eq!((&attempt.pin, attempt.outcome), (pin, Outcome::RolledBack));
        }
        Effect::Notify { pin } => {
            assert!(begun.is_empty());
            assert!(ordered || told(format!("update:{pin}")), "nobody was told");
        }
        Effect::Hold { reason, pin, until, .. } => {
            assert!(begun.is_empty());
            if !ordered {
                let Some(Decision::Hold { reason: why, pin: what, until: when, .. }) =
                    after.check.verdict.map(|verdict| verdict.decision)
                else {
                    panic!("it is not held")
                };
                assert_eq!((why, &what, when), (*reason, pin, *until));
            }
        }
        Effect::Nothing | Effect::NotEligible { .. } => {
            assert!(begun.is_empty());
            assert!(world.told.lock().is_empty());
        }
        Effect::UnderWay { pin, .. } => assert_eq!(before.operation.as_ref().unwrap().plan.pin, *pin),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn a_plan_is_what_the_daemon_then_does_and_for_a_person_what_apply_then_does(situation in situations()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let world = situation.world();
            let before = world.record("a");
            let engine = world.engine("one");
            let forecast = engine.forecast(&key("a"), Trigger::Schedule, None).await.unwrap();
            assert_eq!(world.record("a"), before, "a plan has no effect");
            world.runs_for(engine, HOUR / 3).await;
            assert_came_to_pass(&forecast, &before, &world, false);

            let world = situation.world();
            let engine = world.engine("two");
            let forecast = engine.forecast(&key("a"), Trigger::Operator, None).await.unwrap();
            assert_eq!(world.record("a"), before, "a plan has no effect");
            // Only what a person orders: by itself nothing happens here.
            world.records.lock().get_mut(&key("a")).unwrap().check.decide = None;
            match engine.carry_out(&key("a"), &Wish::Apply(None)).await {
                Ok(done) => assert_eq!(done.forecast, Some(forecast.clone())),
                Err(CommandError::Declined(_)) => {
                    let is_nothing = |effect: &Effect| {
                        matches!(effect, Effect::Nothing | Effect::NotEligible { .. } | Effect::Hold { .. } | Effect::Notify { .. })
                    };
                    assert!(is_nothing(&forecast.effect), "{forecast:?}");
                }
                Err(error) => panic!("{error}"),
            }
            let held = world.record("a").operation.is_none();
            if held {
                *world.verdict.lock() = Some(Decision::UpToDate.into());
            }
            world.runs_for(engine, HOUR / 3).await;
            assert_came_to_pass(&forecast, &before, &world, true);
        });
    }
}

/// Waits until a candidate has been out for so long; follows at once when that is nothing.
struct After(Duration);

impl UpdatePolicy for After {
    fn decide<'a>(&'a self, facts: &'a Facts) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            let wait = SignedDuration::try_from(self.0).unwrap();
            let newer = facts.candidates.iter().filter(|known| !facts.running.digests.contains(&known.pin));
            let Some(newest) = newer.max_by_key(|known| known.first_seen) else { return Decision::UpToDate.into() };
            if newest.first_seen + wait <= facts.now {
                return Decision::Update(Plan::to(newest.pin.clone())).into();
            }
            let until = Some(newest.first_seen + wait);
            let pin = Some(newest.pin.clone());
            Decision::Hold { reason: HoldReason::TooYoung, detail: String::new(), pin, until }.into()
        })
    }
}

fn day(day: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + day * 86_400).unwrap()
}

fn history() -> UpdateHistory {
    let candidate = |number: u8, seen: i64| {
        serde_json::from_value(
            serde_json::json!({"pin": digest(number), "firstSeen": day(seen), "lastSeen": day(seen)}),
        )
        .unwrap()
    };
    let attempt = |operation: u64, number: u8, outcome: &str| {
        serde_json::from_value(serde_json::json!({
            "operation": operation, "pin": digest(number), "trigger": "schedule", "outcome": outcome, "started": day(3),
        }))
        .unwrap()
    };
    UpdateHistory {
        first: Some(digest(1)),
        candidates: vec![candidate(4, 6), candidate(BAD, 3), candidate(1, 0)],
        attempts: vec![attempt(2, 4, "succeeded"), attempt(1, BAD, "rollout-failed")],
        approvals: Vec::new(),
    }
}

async fn replayed(policy: After) -> (Vec<(i64, Option<u8>, Option<Outcome>)>, Vec<Digest>) {
    let world = World::new(&["a"]);
    let subject = Servers::subject(&*world, &key("a")).unwrap();
    let replay = replay(&subject, &history(), &policy, Duration::from_secs(900), day(10)).await;
    assert!(!replay.truncated);
    let updates = replay.decisions.iter().filter_map(|replayed| match &replayed.decision {
        Decision::Update(plan) => {
            let days = replayed.at.duration_since(day(0)).as_hours() / 24;
            Some((days, Some(number(&plan.pin)), replayed.outcome))
        }
        _ => None,
    });
    (updates.collect(), replay.running)
}

#[tokio::test(start_paused = true)]
async fn a_replay_says_what_a_policy_would_have_made_of_a_history() {
    let (eager, running) = replayed(After(Duration::ZERO)).await;
    assert_eq!(eager[0], (3, Some(BAD), Some(Outcome::RolledBack)), "what failed then fails again, and goes back");
    assert_eq!(eager.last(), Some(&(6, Some(4), Some(Outcome::Succeeded))));
    assert_eq!(running, [digest(4)]);
    // Two days of patience; the bad one is replaced after three, so it is met all the same.
    let (patient, _) = replayed(After(2 * 24 * HOUR)).await;
    assert_eq!(patient[0].0, 5);
    // Four days: it is never met.
    let (slow, running) = replayed(After(4 * 24 * HOUR)).await;
    assert_eq!(slow, [(10, Some(4), Some(Outcome::Succeeded))]);
    assert_eq!(running, [digest(4)]);
}

#[tokio::test(start_paused = true)]
async fn a_history_is_a_document_that_is_read_back() {
    let text = serde_json::to_string(&history()).unwrap();
    assert_eq!(serde_json::from_str::<UpdateHistory>(&text).unwrap(), history());
    let empty: UpdateHistory = serde_json::from_str("{}").unwrap();
    let world = World::new(&["a"]);
    let subject = Servers::subject(&*world, &key("a")).unwrap();
    assert_eq!(replay(&subject, &empty, &After(HOUR), HOUR, day(1)).await, Replay::default());
}
