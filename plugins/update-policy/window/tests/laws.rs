//! What the policy promises.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed expectation fails the test")]

use fairlead_plugin::UpdatePolicy as _;
use fairlead_plugin::policy::{Candidate, Decision, HoldReason};
use fairlead_plugin::serde_json::{self, json};
use fairlead_plugin::testing::facts::{candidate, facts};
use update_window::{Config, Window};

const MINUTE: u64 = 60_000;
const DAY: u64 = 24 * 60 * MINUTE;
/// Monday, 2026-01-05, midnight UTC.
const MONDAY: u64 = 1_767_571_200_000;

fn decide(at: u64, offset: i32, config: &serde_json::Value) -> Decision {
    let mut facts = facts(at);
    facts.zone_offsets = vec![("Europe/Vienna".to_owned(), offset)];
    facts.candidates = vec![Candidate { same_tag: true, ..candidate("sha256:new", 5) }];
    let config: Config = serde_json::from_value(config.clone()).unwrap();
    Window::decide(&facts, &config).unwrap().decision
}

fn opens(decision: Decision) -> u64 {
    let Decision::Hold(hold) = decision else { panic!("{decision:?}") };
    assert_eq!(hold.reason, HoldReason::OutsideWindow);
    hold.until.unwrap()
}

#[test]
fn an_update_begins_in_a_window_and_waits_for_the_next_one_otherwise() {
    let config = json!({"windows": [{"days": ["sat"], "from": "02:00", "to": "04:00"}]});
    let saturday = MONDAY + 5 * DAY;
    assert_eq!(opens(decide(MONDAY, 0, &config)), saturday + 120 * MINUTE);
    assert!(matches!(decide(saturday + 120 * MINUTE, 0, &config), Decision::Update(_)));
    assert!(matches!(decide(saturday + 239 * MINUTE, 0, &config), Decision::Update(_)));
    assert_eq!(opens(decide(saturday + 240 * MINUTE, 0, &config)), saturday + 7 * DAY + 120 * MINUTE);
}

#[test]
fn a_window_goes_over_midnight_and_over_the_end_of_the_week() {
    let config = json!({"windows": [{"days": ["sun"], "from": "22:00", "to": "02:00"}]});
    for at in [MONDAY - 120 * MINUTE, MONDAY, MONDAY + 119 * MINUTE] {
        assert!(matches!(decide(at, 0, &config), Decision::Update(_)), "{at}");
    }
    assert!(matches!(decide(MONDAY + 120 * MINUTE, 0, &config), Decision::Hold(_)));
}

#[test]
fn the_hours_are_those_of_the_time_zone_in_summer_and_in_winter() {
    let config = json!({"windows": [{"from": "02:00", "to": "03:00"}], "time-zones": ["Europe/Vienna"]});
    assert!(matches!(decide(MONDAY + 60 * MINUTE, 60, &config), Decision::Update(_)));
    assert!(matches!(decide(MONDAY, 120, &config), Decision::Update(_)));
    assert_eq!(opens(decide(MONDAY + 60 * MINUTE, 120, &config)), MONDAY + DAY);
}

#[test]
fn what_is_no_window_is_refused_with_its_place() {
    for (config, place) in [
        (json!({"windows": []}), "windows"),
        (json!({"windows": [{"from": "25:00", "to": "02:00"}]}), "windows/0/from"),
        (json!({"windows": [{"from": "2:00", "to": "02:00"}]}), "windows/0/from"),
        (json!({"windows": [{"from": "02:00", "to": "02:60"}]}), "windows/0/to"),
        (json!({"windows": [{"from": "02:00", "to": "03:00"}], "time-zones": ["a", "b"]}), "time-zones"),
    ] {
        let read: Config = serde_json::from_value(config).unwrap();
        assert!(Window::validate(&read).unwrap_err().starts_with(place), "{place}");
    }
}

#[test]
fn a_zone_that_the_host_does_not_know_is_a_failure_not_utc() {
    let config: Config =
        serde_json::from_value(json!({"windows": [{"from": "02:00", "to": "03:00"}], "time-zones": ["Mars/Base"]}))
            .unwrap();
    let mut facts = facts(MONDAY);
    facts.candidates = vec![Candidate { same_tag: true, ..candidate("sha256:new", 5) }];
    assert!(Window::decide(&facts, &config).is_err());
}
