//! What OCI registries do to people who ask them, each by one that really does it: the right status, the right pause, no
//! request too many, and servers of other registries that notice nothing.

mod lab;
mod server;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use fairlead_core::freshness::{ErrorClass, Event, Found, HoldReason, Outcome, Trigger, UpdateStatus, UpdateView};

use self::lab::{Lab, key};
use self::server::{Image, Registry, Said, said};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const INTERVAL: Duration = Duration::from_secs(900);

fn sound(image: &Image) -> impl Fn(&server::Asked) -> Said + Send + Sync + 'static {
    let image = image.clone();
    move |_| image.told()
}

/// What a faulty registry leads to.
struct Course {
    view: UpdateView,
    /// Requests at the faulty registry in the hours after it went bad.
    requests: usize,
    gets: usize,
    /// Seconds from the first failure to the next request.
    pause: i64,
}

/// A server of a registry that goes bad, beside one whose registry stays sound: twelve hours of that.
async fn course(fault: impl Fn(&server::Asked) -> Said + Send + Sync + 'static) -> Course {
    let old = Image::number(1);
    let (bad, good) = (Registry::new(sound(&old)).await, Registry::new(sound(&old)).await);
    let (a, b) = (key("default", "a"), key("default", "b"));
    let servers = vec![(a.clone(), bad.reference("x/a:1")), (b.clone(), good.reference("x/b:1"))];
    let lab = Lab::new(servers, &old, INTERVAL);
    lab.pass(HOUR).await;
    assert_eq!(lab.view(&a).await.status, UpdateStatus::UpToDate);
    bad.becomes(fault);
    bad.forget();
    good.forget();
    while bad.asked().is_empty() {
        lab.pass(MINUTE).await;
    }
    let failed = lab.now();
    let mut pause = 0;
    let first = bad.asked().len();
    for _ in 0..12 * 60 {
        lab.pass(MINUTE).await;
        if pause == 0 && bad.asked().len() > first {
            pause = lab.now().duration_since(failed).as_secs();
        }
    }
    let healthy = good.count("HEAD");
    assert!((44..=56).contains(&healthy), "{healthy} checks of the other server in twelve hours: it was harmed");
    assert_eq!(lab.view(&b).await.status, UpdateStatus::UpToDate);
    assert!(lab.view(&b).await.last_failure.is_none());
    assert_eq!(lab.runs(&a).as_str(), old.digest(), "nothing was changed");
    assert!(lab.applied.lock().is_empty());
    let course = Course { view: lab.view(&a).await, requests: bad.asked().len(), gets: bad.count("GET /v2"), pause };
    // It recovers: then all is well again.
    bad.becomes(sound(&old));
    lab.pass(7 * HOUR).await;
    let after = lab.view(&a).await;
    assert_eq!(after.status, UpdateStatus::UpToDate, "it does not come back: {:?}", after.last_error);
    assert!(after.last_failure.is_some() && after.last_error.is_some(), "what failed stays visible");
    lab.close().await;
    course
}

fn failed(course: &Course, class: ErrorClass) {
    assert_eq!(course.view.status, UpdateStatus::CheckFailed);
    assert_eq!(course.view.last_error.as_ref().map(|error| error.class), Some(class), "{:?}", course.view.last_error);
    assert_eq!(course.gets, 0, "a question that failed was asked again in a way that is counted");
}

#[tokio::test]
async fn t5_a_registry_that_fails_by_itself_is_asked_after_a_minute_and_then_less_and_less() {
    for status in [500, 502, 503] {
        let course = course(move |_| said(status, Vec::new())).await;
        failed(&course, ErrorClass::RegistryUnreachable);
        assert!((30..=90).contains(&course.pause), "{status}: asked again after {} s", course.pause);
        // A minute, doubled up to an hour: six in the first hour, then one in each.
        assert!((12..=22).contains(&course.requests), "{status}: {} requests in twelve hours", course.requests);
    }
}

#[tokio::test]
async fn t11_a_registry_that_does_not_let_us_in_is_asked_like_one_that_has_said_no() {
    for status in [401, 403] {
        let course = course(move |_| said(status, Vec::new())).await;
        failed(&course, ErrorClass::RegistryAuth);
        assert!(course.pause >= 600, "{status}: asked again after {} s", course.pause);
        // Fifteen minutes, doubled up to six hours.
        assert!((4..=12).contains(&course.requests), "{status}: {} requests in twelve hours", course.requests);
    }
}

#[tokio::test]
async fn an_image_that_is_not_there_any_more_is_no_reason_to_hurry() {
    let course = course(|_| said(404, Vec::new())).await;
    failed(&course, ErrorClass::RegistryNotFound);
    assert!(course.pause >= 600, "asked again after {} s", course.pause);
    assert!((4..=8).contains(&course.requests), "{} requests in twelve hours", course.requests);
}

#[tokio::test]
async fn t7_a_registry_that_asks_for_patience_gets_it_to_the_second() {
    for (text, least) in [("7200", 7_200), ("Fri, 15 Jan 2027 12:00:00 GMT", 9_000)] {
        let course = course(move |_| said(429, vec![("retry-after", text.to_owned())])).await;
        failed(&course, ErrorClass::RegistryRateLimited);
        assert!(course.pause >= least, "{text}: asked again after {} s", course.pause);
        assert!(course.requests <= 16, "{text}: {} requests in twelve hours", course.requests);
    }
    let without = course(|_| said(429, Vec::new())).await;
    failed(&without, ErrorClass::RegistryRateLimited);
    assert!(without.pause >= 30, "asked again after {} s", without.pause);
}

#[tokio::test]
async fn t7_a_token_service_that_asks_for_patience_gets_it_too() {
    let course = course(|asked| {
        if asked.path.starts_with("/token") {
            return said(429, vec![("retry-after", "7200".to_owned())]);
        }
        let realm = format!(r#"Bearer realm="http://{}/token""#, asked.header("host"));
        said(401, vec![("www-authenticate", realm)])
    })
    .await;
    failed(&course, ErrorClass::RegistryRateLimited);
    assert!(course.pause >= 7_200, "asked again after {} s", course.pause);
}

#[tokio::test]
async fn t9_a_digest_that_is_none_and_one_that_is_a_lie_lead_to_nothing() {
    let none = course(|_| said(200, vec![("docker-content-digest", "sha256:xyz".to_owned())])).await;
    failed(&none, ErrorClass::RegistryProtocol);
    // A HEAD that lies: what is fetched under that name is something else.
    let lie = course(|_| {
        let (said, real) = (Image::number(2), Image::number(3));
        Said::This {
            status: 200,
            headers: vec![("docker-content-digest", said.digest()), ("content-type", real.media_type.to_owned())],
            body: real.body,
        }
    })
    .await;
    assert_eq!(lie.view.last_error.as_ref().map(|error| error.class), Some(ErrorClass::RegistryProtocol));
    assert!(lie.gets <= 8, "{} times the lie was looked at", lie.gets);
}

#[tokio::test]
async fn a_manifest_that_is_cut_short_is_tried_again_and_never_believed() {
    let course = course(|asked| {
        let image = Image::number(2);
        if asked.method == "HEAD" { image.told() } else { Said::Half(image.body) }
    })
    .await;
    assert_eq!(course.view.status, UpdateStatus::CheckFailed);
    assert_eq!(course.view.last_error.as_ref().map(|error| error.class), Some(ErrorClass::RegistryUnreachable));
    assert!(course.gets <= 22, "{} times in twelve hours", course.gets);
}

#[tokio::test]
async fn t5_a_registry_that_is_gone_harms_nobody_and_is_found_again_within_its_pause() {
    let old = Image::number(1);
    let (bad, good) = (Registry::new(sound(&old)).await, Registry::new(sound(&old)).await);
    let mut servers: Vec<_> =
        (0..20).map(|n| (key("default", &format!("a{n}")), bad.reference(&format!("a{n}:1")))).collect();
    servers.push((key("default", "b"), good.reference("b:1")));
    let lab = Lab::new(servers, &old, INTERVAL);
    lab.pass(HOUR).await;
    bad.goes_down().await;
    good.forget();
    lab.pass(2 * HOUR).await;
    let view = lab.view(&key("default", "a3")).await;
    assert_eq!(view.last_error.map(|error| error.class), Some(ErrorClass::RegistryUnreachable));
    assert!((7..=10).contains(&good.count("HEAD")), "{} checks in two hours", good.count("HEAD"));
    bad.comes_back().await;
    bad.forget();
    lab.pass(HOUR + 10 * MINUTE).await;
    for n in 0..20 {
        let view = lab.view(&key("default", &format!("a{n}"))).await;
        assert_eq!(view.status, UpdateStatus::UpToDate, "a{n}: {:?}", view.last_error);
    }
    lab.close().await;
}

#[tokio::test]
async fn t6_a_registry_that_never_answers_is_cut_off_and_others_do_not_wait_for_it() {
    let old = Image::number(1);
    let (slow, good) = (Registry::new(sound(&old)).await, Registry::new(sound(&old)).await);
    let mut servers: Vec<_> =
        (0..40).map(|n| (key("default", &format!("a{n}")), slow.reference(&format!("a{n}:1")))).collect();
    servers.push((key("default", "b"), good.reference("b:1")));
    let lab = Lab::new(servers, &old, INTERVAL);
    lab.pass(MINUTE).await;
    slow.becomes(|_| Said::Nothing);
    good.forget();
    // All of them are asked about at once, the healthy one last.
    let engine = lab.engine();
    for n in 0..40 {
        engine.command(&key("default", &format!("a{n}")), Event::Asked(Trigger::Operator)).await.unwrap();
    }
    let began = std::time::Instant::now();
    engine.command(&key("default", "b"), Event::Asked(Trigger::Operator)).await.unwrap();
    while good.count("HEAD") == 0 {
        assert!(began.elapsed() < Duration::from_secs(10), "a healthy registry waits for a slow one");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("the healthy one was asked after {:?}", began.elapsed());
    assert!(slow.count("HEAD") <= 4 + 40, "few at a time");
    lab.close().await;
}

#[tokio::test]
async fn t8_a_day_in_which_nothing_changes_costs_no_request_that_is_counted() {
    let image = Image::number(1);
    let registry = Registry::new(sound(&image)).await;
    let servers: Vec<_> =
        (0..60).map(|n| (key("default", &format!("s{n}")), registry.reference(&format!("r{}:1", n % 6)))).collect();
    let lab = Lab::new(servers, &image, INTERVAL);
    lab.pass(HOUR).await;
    assert_eq!(registry.count("GET"), 6, "what sixty servers follow is fetched once for each of six references");
    registry.forget();
    let before: Vec<_> = (0..60).map(|n| lab.record(&key("default", &format!("s{n}")))).collect();
    lab.pass(24 * HOUR).await;
    assert_eq!(registry.count("GET"), 0);
    let heads = registry.count("HEAD");
    assert!(heads <= 6 * 96 + 6 * 10, "{heads} requests for six references in a day");
    assert!(heads >= 6 * 80, "{heads} requests: nobody looked");
    for (n, before) in before.iter().enumerate() {
        let after = lab.record(&key("default", &format!("s{n}")));
        assert_eq!(
            (&after.candidates.len(), &after.attempts, &after.good),
            (&before.candidates.len(), &before.attempts, &before.good)
        );
    }
    lab.close().await;
}

#[tokio::test]
async fn t8_the_tags_of_a_repository_are_listed_every_six_hours_and_when_a_person_asks() {
    let (one, two) = (Image::number(1), Image::number(2));
    let images = (one.clone(), two.clone());
    let registry = Registry::new(move |asked: &server::Asked| {
        if asked.path.contains("/tags/list") {
            let body = br#"{"name": "x", "tags": ["1.0.0", "1.1.0", "latest"]}"#.to_vec();
            return Said::This { status: 200, headers: vec![("content-type", "application/json".to_owned())], body };
        }
        let newer = asked.path.ends_with("/1.1.0") || asked.path.ends_with(&images.1.digest());
        if newer { images.1.told() } else { images.0.told() }
    })
    .await;
    let servers: Vec<_> = (0..4).map(|n| (key("default", &format!("s{n}")), registry.reference("x/a:1.0.0"))).collect();
    let lab = Lab::new(servers, &one, INTERVAL);
    lab.pass(HOUR).await;
    let first = key("default", "s0");
    let known = lab.record(&first).candidates;
    assert!(known.iter().any(|known| known.pin.as_str() == two.digest()), "{known:#?}");
    registry.forget();
    lab.pass(24 * HOUR).await;
    let lists = registry.count("GET /v2/x/a/tags");
    assert!((3..=5).contains(&lists), "{lists} lists in a day");
    assert_eq!(registry.count("GET"), lists, "nothing else is fetched");
    lab.engine().command(&first, Event::Asked(Trigger::Operator)).await.unwrap();
    lab.pass(MINUTE).await;
    assert_eq!(registry.count("GET /v2/x/a/tags"), lists + 1);
    lab.close().await;
}

#[tokio::test]
async fn t9_a_tag_that_flaps_is_followed_for_a_while_and_then_held() {
    let (one, two) = (Image::number(1), Image::number(2));
    let now_two = Arc::new(AtomicBool::new(false));
    let (images, flag) = ((one.clone(), two), Arc::clone(&now_two));
    let registry = Registry::new(move |asked: &server::Asked| {
        // By digest, each is what it is.
        if asked.path.ends_with(&images.0.digest()) {
            return images.0.told();
        }
        if asked.path.ends_with(&images.1.digest()) || flag.load(Ordering::SeqCst) {
            images.1.told()
        } else {
            images.0.told()
        }
    })
    .await;
    let a = key("default", "a");
    let lab = Lab::new(vec![(a.clone(), registry.reference("a:1"))], &one, INTERVAL);
    lab.pass(HOUR).await;
    for _ in 0..12 {
        now_two.fetch_xor(true, Ordering::SeqCst);
        lab.engine().command(&a, Event::Asked(Trigger::Webhook)).await.unwrap();
        lab.pass(4 * MINUTE).await;
    }
    let view = lab.view(&a).await;
    let rollouts = lab.applied.lock().len();
    assert!(rollouts <= 5, "{rollouts} rollouts of a tag that moved twelve times in an hour");
    now_two.fetch_xor(true, Ordering::SeqCst);
    lab.engine().command(&a, Event::Asked(Trigger::Webhook)).await.unwrap();
    lab.pass(MINUTE).await;
    let again = lab.view(&a).await;
    assert!(
        [view.held, again.held].contains(&Some(HoldReason::Ambiguous)),
        "{:?} then {:?}",
        view.detail,
        again.detail
    );
    // It has come to rest: then it is followed again.
    lab.pass(3 * HOUR).await;
    assert_eq!(lab.view(&a).await.status, UpdateStatus::UpToDate);
    lab.close().await;
}

#[tokio::test]
async fn an_index_without_an_image_for_this_machine_is_shown_and_not_taken() {
    let old = Image::number(1);
    let elsewhere = Image::index(&[("s390x", &Image::number(2).digest()), ("riscv64", &Image::number(3).digest())]);
    let registry = Registry::new(sound(&old)).await;
    let a = key("default", "a");
    let lab = Lab::new(vec![(a.clone(), registry.reference("a:1"))], &old, INTERVAL);
    lab.pass(HOUR).await;
    registry.becomes(sound(&elsewhere));
    lab.pass(4 * HOUR).await;
    let view = lab.view(&a).await;
    assert_eq!((view.status, view.held), (UpdateStatus::UpdateAvailable, Some(HoldReason::Unverified)));
    assert!(lab.applied.lock().is_empty());
    assert!(registry.count("GET") <= 2, "it is looked at once");
    lab.close().await;
}

#[tokio::test]
async fn t9_an_index_that_was_published_again_with_the_same_image_for_this_machine_is_no_update() {
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let child = Image::number(7).digest();
    let first = Image::index(&[(arch, &child)]);
    let second = Image::index(&[(arch, &child), ("s390x", &Image::number(8).digest())]);
    let registry = Registry::new(sound(&first)).await;
    let a = key("default", "a");
    let lab = Lab::new(vec![(a.clone(), registry.reference("a:1"))], &first, INTERVAL);
    lab.pass(HOUR).await;
    registry.becomes(sound(&second));
    lab.pass(2 * HOUR).await;
    let view = lab.view(&a).await;
    assert_eq!(view.status, UpdateStatus::UpToDate);
    assert_eq!(view.newest.unwrap().as_str(), second.digest());
    assert!(lab.applied.lock().is_empty());
    lab.close().await;
}

#[tokio::test]
async fn t10_a_tag_that_moves_between_any_two_requests_never_changes_what_was_decided() {
    for at in 0..6 {
        let (asked, images) = (Arc::new(AtomicUsize::new(0)), [1, 2, 3].map(Image::number));
        let pushed = Arc::new(AtomicBool::new(false));
        let (count, is_pushed, held) = (Arc::clone(&asked), Arc::clone(&pushed), images.clone());
        let registry = Registry::new(move |asked: &server::Asked| {
            if let Some(image) = held.iter().find(|image| asked.path.ends_with(&image.digest())) {
                count.fetch_add(1, Ordering::SeqCst);
                return image.told();
            }
            if !is_pushed.load(Ordering::SeqCst) {
                return held[0].told();
            }
            // Pushed again after so many requests.
            if count.fetch_add(1, Ordering::SeqCst) < at { held[1].told() } else { held[2].told() }
        })
        .await;
        let a = key("default", "a");
        let lab = Lab::new(vec![(a.clone(), registry.reference("a:1"))], &images[0], INTERVAL);
        lab.pass(HOUR).await;
        pushed.store(true, Ordering::SeqCst);
        asked.store(0, Ordering::SeqCst);
        lab.pass(3 * HOUR).await;
        let record = lab.record(&a);
        let decided: Vec<_> = record.attempts.iter().rev().map(|attempt| attempt.pin.clone()).collect();
        let applied: Vec<_> = lab.applied.lock().iter().map(|(_, pin)| pin.clone()).collect();
        assert_eq!(applied, decided, "moved after {at} requests");
        assert!(record.attempts.iter().all(|attempt| attempt.outcome == Outcome::Succeeded));
        assert_eq!(lab.runs(&a).as_str(), images[2].digest(), "moved after {at} requests");
        lab.close().await;
    }
}

#[tokio::test]
async fn t11_no_tenant_ever_shows_what_another_was_given() {
    let image = Image::number(1);
    let answers = image.clone();
    let registry = Registry::new(move |asked: &server::Asked| {
        if asked.path.starts_with("/token") {
            let token = format!("token-of-{}", asked.header("authorization").replace(' ', "-"));
            let body = format!(r#"{{"token":"{token}","expires_in":300}}"#).into_bytes();
            return Said::This { status: 200, headers: Vec::new(), body };
        }
        if asked.header("authorization").is_empty() {
            let realm = format!(r#"Bearer realm="http://{}/token""#, asked.header("host"));
            return said(401, vec![("www-authenticate", realm)]);
        }
        answers.told()
    })
    .await;
    // The same image for all: what one was told is no answer to another either.
    let tenants = ["red", "blue", "green"];
    let servers = tenants.iter().map(|tenant| (key(tenant, "a"), registry.reference("shared:1"))).collect();
    let lab = Lab::new(servers, &image, INTERVAL);
    lab.pass(6 * HOUR).await;
    let shown: BTreeSet<String> = registry
        .asked()
        .iter()
        .filter(|asked| asked.path.starts_with("/v2") && !asked.header("authorization").is_empty())
        .map(|asked| asked.header("authorization").to_owned())
        .collect();
    assert_eq!(shown.len(), 3, "each shows its own: {shown:?}");
    for tenant in tenants {
        let record = lab.record(&key(tenant, "a"));
        assert_eq!(record.check.found, Found::Fresh);
    }
    let by = |token: &String| registry.asked().iter().filter(|asked| asked.header("authorization") == token).count();
    for token in &shown {
        assert!((18..=32).contains(&by(token)), "{} requests with {token}", by(token));
    }
    lab.close().await;
}
