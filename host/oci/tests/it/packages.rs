//! Indexes of packages on loopback: what is asked of them, how often, with what, and what becomes of their answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use fairlead_core::clock::Clock;
use fairlead_core::freshness::{ErrorClass, Freshness, Observed, Running, Unseen};
use fairlead_core::package::{PackageKind, PackageReference};
use fairlead_dial::NetDialer;
use fairlead_oci::{IndexCredentials, PackageDetector, PackageIndex, package_pin, package_version};
use jiff::Timestamp;
use serde_json::json;

use crate::support::{Asked, Said, Scripted, said};

struct Frozen;

impl Clock for Frozen {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }
}

fn detector() -> PackageDetector {
    PackageDetector::new(Arc::new(NetDialer::new()), Arc::new(Frozen), Duration::from_secs(900))
}

fn index(kind: PackageKind, of: &Scripted, path: &str, credentials: &IndexCredentials) -> PackageIndex {
    PackageIndex::new(kind, &format!("http://{}{path}", of.address), credentials).unwrap()
}

fn package(text: &str) -> PackageReference {
    PackageReference::new(text).unwrap()
}

fn running(kind: PackageKind, version: &str) -> Running {
    Running { version: package_version(kind, version), ..Running::default() }
}

fn versions(seen: &Observed) -> Vec<&str> {
    seen.candidates.iter().filter_map(|candidate| candidate.tag.as_deref()).collect()
}

fn npm(_: &Asked) -> Said {
    let document = json!({"dist-tags": {"latest": "1.2.0"}, "versions": {"1.0.0": {}, "1.2.0": {}, "2.0.0-rc.1": {}, "1.1.0": {}}});
    said(200, &[("content-type", "application/json")], document.to_string().as_bytes())
}

#[tokio::test]
async fn npm_is_asked_once_for_all_who_follow_a_package_and_with_what_is_meant_for_it() {
    let registry = Scripted::new(npm).await;
    let npmrc = format!("//{}/npm/:_authToken=s3cret\n", registry.address);
    let index = index(PackageKind::Npx, &registry, "/npm/", &IndexCredentials { npmrc, netrc: String::new() });
    let (detector, package, known) = (detector(), package("npx://@scope/server"), Freshness::default());
    for _ in 0..3 {
        let runs = running(PackageKind::Npx, "1.0.0");
        let seen = detector.observe(&index, &package, runs, &known, false).await.unwrap();
        assert_eq!(versions(&seen), ["1.2.0"]);
        assert_eq!(Some(seen.newest), package_pin(&package.at("1.2.0").unwrap()));
    }
    assert_eq!(registry.lines(), ["GET /npm/@scope%2fserver"]);
    assert_eq!(registry.asked()[0].header("authorization"), "Bearer s3cret");
    // Who chooses is offered what is above, and a version that somebody wrote is what it is.
    let chooses = async |text: &str, version: &str| {
        let package = self::package(text);
        detector
            .observe(&index, &package, running(PackageKind::Npx, version), &Freshness::default(), true)
            .await
            .unwrap()
    };
    assert_eq!(versions(&chooses("npx://@scope/server", "1.0.0").await), ["1.2.0", "2.0.0-rc.1", "1.1.0"]);
    assert_eq!(versions(&chooses("npx://@scope/server@1.1.0", "1.1.0").await), ["1.1.0", "2.0.0-rc.1", "1.2.0"]);
}

#[tokio::test]
async fn nobody_is_asked_about_a_version_that_was_written_where_nobody_chooses() {
    let registry = Scripted::new(npm).await;
    for (kind, text) in [
        (PackageKind::Npx, "npx://a@1.0.0"),
        (PackageKind::Uvx, "uvx://a@1.0"),
        (PackageKind::Go, "go://example.test/a@v1.0.0"),
    ] {
        let index = index(kind, &registry, "", &IndexCredentials::default());
        let seen = detector().observe(&index, &package(text), Running::default(), &Freshness::default(), false).await;
        assert_eq!(Some(seen.unwrap().newest), package_pin(&package(text)));
    }
    assert_eq!(registry.asked().len(), 0);
}

#[tokio::test]
async fn a_python_index_is_asked_by_the_simple_api_and_a_go_proxy_for_the_module_that_has_the_package() {
    let python = Scripted::new(|_| {
        let body = json!({"files": [{"filename": "my_server-1.4.0-py3-none-any.whl", "upload-time": "2026-05-01T00:00:00Z"},
            {"filename": "my_server-1.10.0.tar.gz"}, {"filename": "my_server-2.0.0-py3-none-any.whl", "yanked": "no"}]});
        said(200, &[("content-type", "application/vnd.pypi.simple.v1+json")], body.to_string().as_bytes())
    })
    .await;
    let at = index(PackageKind::Uvx, &python, "/simple", &IndexCredentials::default());
    let seen = detector()
        .observe(&at, &package("uvx://My_Server"), Running::default(), &Freshness::default(), false)
        .await
        .unwrap();
    assert_eq!(versions(&seen), ["1.10.0"]);
    assert_eq!(python.lines(), ["GET /simple/my-server/"]);
    let go = Scripted::new(|asked| match asked.path.as_str() {
        "/example.test/!tool/@v/list" => said(200, &[], b"v1.2.0\nv1.10.0\n"),
        _ => said(404, &[], b""),
    })
    .await;
    let at = index(PackageKind::Go, &go, "", &IndexCredentials::default());
    let seen = detector()
        .observe(&at, &package("go://example.test/Tool/cmd/server"), Running::default(), &Freshness::default(), false)
        .await
        .unwrap();
    assert_eq!(versions(&seen), ["v1.10.0"]);
    assert_eq!(go.lines().last().unwrap(), "GET /example.test/!tool/@v/list");
}

#[tokio::test]
async fn an_index_in_trouble_is_left_alone_and_its_trouble_has_a_name() {
    for (status, class) in [
        (404, ErrorClass::RegistryNotFound),
        (401, ErrorClass::RegistryAuth),
        (403, ErrorClass::RegistryAuth),
        (500, ErrorClass::RegistryUnreachable),
        (418, ErrorClass::RegistryProtocol),
    ] {
        let registry = Scripted::new(move |_| said(status, &[], b"s3cret")).await;
        let index = index(PackageKind::Npx, &registry, "", &IndexCredentials::default());
        let seen =
            detector().observe(&index, &package("npx://a"), Running::default(), &Freshness::default(), false).await;
        assert!(matches!(&seen, Err(Unseen::Failed { error, .. }) if error.class == class), "{status}: {seen:?}");
    }
    let status = Arc::new(AtomicU16::new(429));
    let now = Arc::clone(&status);
    let registry = Scripted::new(move |_| said(now.load(Ordering::SeqCst), &[("retry-after", "120")], b"")).await;
    let index = index(PackageKind::Npx, &registry, "", &IndexCredentials::default());
    let detector = detector();
    let ask = async |name: &str| {
        detector.observe(&index, &package(name), Running::default(), &Freshness::default(), false).await
    };
    let seen = ask("npx://a").await;
    let limited = matches!(&seen, Err(Unseen::Failed { error, retry_after: Some(after) })
        if error.class == ErrorClass::RegistryRateLimited && *after == Duration::from_secs(120));
    assert!(limited, "{seen:?}");
    status.store(200, Ordering::SeqCst);
    let seen = ask("npx://b").await;
    let until = Timestamp::from_second(1_800_000_120).unwrap();
    assert_eq!(seen, Err(Unseen::Deferred(until)), "another package of the same index waits too");
    assert_eq!(registry.asked().len(), 1);
}
