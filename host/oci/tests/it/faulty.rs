//! Registries that are down, slow, throttled, wrong or hostile: what is asked of them, and what is told.

use std::time::Duration;

use fairlead_core::oci::{DigestResolver as _, RegistryError};
use fairlead_oci::{Descriptor, digest_of, media_types};

use crate::support::{ByTenant, Scripted, anonymous, client, password, said, tenant};

const MANIFEST: &[u8] = br#"{"schemaVersion":2,"layers":[]}"#;

fn layer(bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: media_types::WASM.to_owned(),
        digest: digest_of(bytes),
        size: u64::try_from(bytes.len()).unwrap(),
        platform: None,
        annotations: Default::default(),
    }
}

#[tokio::test]
async fn what_is_named_is_asked_for_by_one_head_with_every_form_accepted() {
    let digest = digest_of(MANIFEST);
    let answer = digest.clone();
    let registry = Scripted::new(move |_| {
        said(200, &[("docker-content-digest", &answer), ("content-type", media_types::INDEX)], b"")
    })
    .await;
    let resolved = anonymous().resolve(&tenant("default"), &registry.reference("a/b:1")).await.unwrap();
    assert_eq!((resolved.digest, resolved.media_type.as_str()), (digest, media_types::INDEX));
    assert_eq!(registry.lines(), ["HEAD /v2/a/b/manifests/1"]);
    let accepted = registry.asked()[0].header("accept").to_owned();
    for kind in [media_types::MANIFEST, media_types::INDEX, media_types::DOCKER_MANIFEST, media_types::DOCKER_LIST] {
        assert!(accepted.contains(kind), "{accepted}");
    }
    assert_eq!(registry.asked()[0].header("accept-encoding"), "identity");
}

#[tokio::test]
async fn a_head_that_fails_is_never_made_up_for_with_a_get() {
    for (status, retry_after, waits) in [
        (429, "7", Some(Duration::from_secs(7))),
        (429, "Sat, 21 Nov 2026 12:01:00 GMT", Some(Duration::from_secs(60))),
        (429, "", None),
        (429, "99999999", Some(Duration::from_secs(24 * 3600))),
    ] {
        let registry = Scripted::new(move |_| said(status, &[("retry-after", retry_after)], b"")).await;
        let error = anonymous().resolve(&tenant("default"), &registry.reference("a")).await.unwrap_err();
        assert!(
            matches!(&error, RegistryError::RateLimited { retry_after, .. } if *retry_after == waits),
            "{retry_after}: {error:?}"
        );
        assert_eq!(registry.lines(), ["HEAD /v2/a/manifests/latest"]);
    }
    let registry = Scripted::new(|_| said(503, &[], b"")).await;
    let error = anonymous().resolve(&tenant("default"), &registry.reference("a")).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable { .. }), "{error:?}");
    assert_eq!(registry.lines().len(), 1);
}

#[tokio::test]
async fn only_a_registry_that_does_not_name_the_digest_is_asked_for_the_content() {
    let registry = Scripted::new(|_| said(200, &[("content-type", media_types::MANIFEST)], MANIFEST)).await;
    let resolved = anonymous().resolve(&tenant("default"), &registry.reference("a:1")).await.unwrap();
    assert_eq!(resolved.digest, digest_of(MANIFEST));
    assert_eq!(registry.lines(), ["HEAD /v2/a/manifests/1", "GET /v2/a/manifests/1"]);
}

#[tokio::test]
async fn content_that_is_not_what_its_digest_says_is_refused() {
    let lie = digest_of(b"something else");
    let lied = lie.clone();
    let registry = Scripted::new(move |_| said(200, &[("docker-content-digest", &lied)], MANIFEST)).await;
    let client = anonymous();
    let default = tenant("default");
    let tampered = |error: &RegistryError| matches!(error, RegistryError::Tampered { .. });
    let error = client.pull_manifest(&default, &registry.reference("a:1")).await.unwrap_err();
    assert!(tampered(&error), "the header names another digest: {error:?}");
    let error = client.pull_manifest(&default, &registry.reference(&format!("a@{lie}"))).await.unwrap_err();
    assert!(tampered(&error), "the pinned digest is another: {error:?}");
    for (content, wanted) in [(&b"evil"[..], &b"good"[..]), (b"goodness", b"good"), (b"goo", b"good"), (b"", b"good")] {
        let registry = Scripted::new(move |_| said(200, &[], content)).await;
        let mut to = std::io::Cursor::new(Vec::new());
        let reference = registry.reference("a");
        let error = client.pull_blob(&default, &reference, &layer(wanted), &mut to, &|_, _| {}).await.unwrap_err();
        assert!(tampered(&error), "{content:?}: {error:?}");
    }
}

#[tokio::test]
async fn a_transfer_that_breaks_off_is_told_and_not_kept() {
    let registry = Scripted::new(|_| said(200, &[("content-length", "100")], b"half")).await;
    let mut wanted = layer(b"half");
    wanted.size = 100;
    let mut to = std::io::Cursor::new(Vec::new());
    let reference = registry.reference("a");
    let pulled = anonymous().pull_blob(&tenant("default"), &reference, &wanted, &mut to, &|_, _| {}).await;
    assert!(matches!(pulled.unwrap_err(), RegistryError::Unreachable { .. }));
}

#[tokio::test]
async fn what_is_too_long_is_not_read_to_its_end() {
    let registry = Scripted::new(|_| said(200, &[], &vec![b' '; 5 * 1024 * 1024])).await;
    let error = anonymous().pull_manifest(&tenant("default"), &registry.reference("a")).await.unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error:?}");
}

/// A registry with a token service that gives each user a token of their own.
async fn guarded() -> Scripted {
    let digest = digest_of(MANIFEST);
    Scripted::new(move |asked| {
        let host = asked.header("host");
        if asked.path.starts_with("/token") {
            let user = match asked.header("authorization") {
                "" => "nobody".to_owned(),
                basic => basic.to_owned(),
            };
            let token = digest_of(user.as_bytes());
            return said(200, &[], format!(r#"{{"token":"{token}","expires_in":300}}"#).as_bytes());
        }
        if asked.header("authorization").is_empty() {
            let challenge = format!(r#"Bearer realm="http://{host}/token",service="s",scope="repository:a:pull""#);
            return said(401, &[("www-authenticate", &challenge)], b"");
        }
        said(200, &[("docker-content-digest", &digest)], b"")
    })
    .await
}

#[tokio::test]
async fn no_tenant_ever_shows_the_token_of_another() {
    let registry = guarded().await;
    let client = client(ByTenant(vec![("alice", password("alice")), ("bob", password("bob"))]));
    let reference = registry.reference("a:1");
    for name in ["alice", "bob", "carol", "alice", "bob", "carol"] {
        client.resolve(&tenant(name), &reference).await.unwrap();
    }
    let shown: Vec<String> = registry
        .asked()
        .iter()
        .filter(|asked| asked.path.starts_with("/v2/") && !asked.header("authorization").is_empty())
        .map(|asked| asked.header("authorization").to_owned())
        .collect();
    assert_eq!(shown.len(), 6);
    assert_eq!(shown[..3], shown[3..], "each shows its own again");
    assert!(shown[0] != shown[1] && shown[1] != shown[2] && shown[0] != shown[2], "and nobody that of another");
    let tokens = registry.lines().iter().filter(|line| line.starts_with("GET /token")).count();
    assert_eq!(tokens, 3, "a token is asked for once by each");
}

#[tokio::test]
async fn a_token_service_that_fails_is_an_error_and_no_reason_to_ask_without_a_name() {
    let registry = Scripted::new(|asked| {
        if asked.path.starts_with("/token") {
            return said(503, &[], b"");
        }
        let challenge = format!(r#"Bearer realm="http://{}/token""#, asked.header("host"));
        said(401, &[("www-authenticate", &challenge)], b"")
    })
    .await;
    let client = client(ByTenant(vec![("default", password("u"))]));
    let error = client.resolve(&tenant("default"), &registry.reference("a")).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable { .. }), "{error:?}");
    let lines = registry.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
}

#[tokio::test]
async fn a_token_that_has_ended_is_renewed_once() {
    let digest = digest_of(MANIFEST);
    let ended = std::sync::atomic::AtomicUsize::new(0);
    let registry = Scripted::new(move |asked| {
        if asked.path.starts_with("/token") {
            let number = ended.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            return said(200, &[], format!(r#"{{"token":"t{number}","expires_in":300}}"#).as_bytes());
        }
        match asked.header("authorization") {
            // As one large registry has it: 403 for a token that has ended.
            "Bearer t0" if ended.load(std::sync::atomic::Ordering::SeqCst) == 1 && asked.path.ends_with("/2") => {
                said(403, &[], b"")
            }
            "" => said(
                401,
                &[("www-authenticate", &format!(r#"Bearer realm="http://{}/token""#, asked.header("host")))],
                b"",
            ),
            _ => said(200, &[("docker-content-digest", &digest)], b""),
        }
    })
    .await;
    let client = anonymous();
    client.resolve(&tenant("default"), &registry.reference("a:1")).await.unwrap();
    client.resolve(&tenant("default"), &registry.reference("a:2")).await.unwrap();
    assert_eq!(registry.lines().iter().filter(|line| line.starts_with("GET /token")).count(), 2);
}

#[tokio::test]
async fn what_authorises_stays_behind_when_a_redirect_leads_to_another_host() {
    let store = Scripted::new(|_| said(200, &[], b"good")).await;
    let elsewhere = format!("http://{}/blob?signed=1", store.address);
    let registry = Scripted::new(move |asked| {
        if asked.header("authorization").is_empty() {
            return said(401, &[("www-authenticate", "Basic realm=\"r\"")], b"");
        }
        said(307, &[("location", &elsewhere)], b"")
    })
    .await;
    let client = client(ByTenant(vec![("default", password("u"))]));
    let mut to = std::io::Cursor::new(Vec::new());
    let reference = registry.reference("a");
    client.pull_blob(&tenant("default"), &reference, &layer(b"good"), &mut to, &|_, _| {}).await.unwrap();
    assert_eq!(to.into_inner(), b"good");
    assert_eq!(store.asked()[0].header("authorization"), "");
    assert_eq!(store.asked()[0].path, "/blob?signed=1");
}

#[tokio::test]
async fn redirects_without_end_are_ended() {
    let registry = Scripted::new(|asked| said(302, &[("location", &format!("{}x", asked.path))], b"")).await;
    let error = anonymous().resolve(&tenant("default"), &registry.reference("a")).await.unwrap_err();
    assert!(matches!(error, RegistryError::Protocol { .. }), "{error:?}");
    assert!(registry.lines().len() <= 5);
}

#[tokio::test]
async fn a_challenge_cannot_make_us_ask_for_another_repository() {
    let registry = Scripted::new(|asked| {
        if asked.path.starts_with("/token") {
            return said(200, &[], br#"{"token":"t"}"#);
        }
        let challenge = format!(
            r#"Bearer realm="http://{}/token",scope="repository:private/of-others:pull""#,
            asked.header("host")
        );
        said(401, &[("www-authenticate", &challenge)], b"")
    })
    .await;
    let _ = anonymous().resolve(&tenant("default"), &registry.reference("mine")).await;
    let token = registry.lines().into_iter().find(|line| line.starts_with("GET /token")).unwrap();
    assert!(token.contains("repository%3Amine%3Apull") && !token.contains("private"), "{token}");
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_told_with_its_name() {
    let registry =
        Scripted::new(|_| said(404, &[], br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no"}]}"#)).await;
    let error = anonymous().resolve(&tenant("default"), &registry.reference("a:1")).await.unwrap_err();
    assert!(matches!(error, RegistryError::NotFound { .. }), "{error:?}");
    let reference = registry.reference("a:1");
    let address = registry.address.clone();
    drop(registry);
    let error = anonymous().resolve(&tenant("default"), &reference).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable { .. }) && error.to_string().contains(&address), "{error}");
}

#[tokio::test]
async fn what_a_registry_says_is_told_in_one_line_that_can_be_printed() {
    let text = format!(r#"{{"errors":[{{"message":"no\u001b[2J\n{}"}}]}}"#, "x".repeat(4_000));
    let registry = Scripted::new(move |_| said(403, &[], text.as_bytes())).await;
    let error = anonymous().resolve(&tenant("default"), &registry.reference("a")).await.unwrap_err();
    // A HEAD has no body; a GET has.
    assert!(matches!(error, RegistryError::Denied { .. }), "{error:?}");
    let error = anonymous().pull_manifest(&tenant("default"), &registry.reference("a")).await.unwrap_err().to_string();
    assert!(!error.contains(['\n', '\u{1b}']) && error.len() < 400, "{error}");
}
