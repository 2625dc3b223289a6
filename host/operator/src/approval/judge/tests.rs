//! Each reason by its name.

use std::collections::BTreeMap;

use fairlead_core::document::{self, Document};
use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::approval::Answers;
use crate::desired::{Settings, desired};
use crate::status::ServerStatus;

const NAMED: &str = "io.acme/docs@1.0.0";

fn server(entry: Option<&str>, spec: Value) -> Server {
    let annotations: BTreeMap<&str, &str> = entry.map(|entry| (ANNOTATION_ENTRY, entry)).into_iter().collect();
    let metadata = json!({"name": "docs", "namespace": "team", "annotations": annotations});
    let document = document::read(
        &json!({"apiVersion": "fairlead.dev/v1alpha1", "kind": "MCPServer", "metadata": metadata, "spec": spec}),
    );
    Server {
        name: "docs".to_owned(),
        namespace: "team".to_owned(),
        uid: "u-1".to_owned(),
        generation: 1,
        deleting: false,
        restarted_at: None,
        created_fresh: false,
        document: document.map(|document| match document {
            Document::Server(server) => server,
            other => panic!("{other:?}"),
        }),
        status: ServerStatus::default(),
    }
}

fn image(reference: &str) -> Server {
    server(Some(NAMED), json!({"source": {"kind": "image", "reference": reference}}))
}

fn remote(url: &str) -> Server {
    server(Some(NAMED), json!({"source": {"kind": "remote", "url": url}}))
}

fn offered(status: EntryStatus, offers: Vec<Offer>) -> Option<Answer> {
    let entry = EntryName::read(NAMED).unwrap();
    Some(Answer::Offered(Offered { name: entry.name, version: entry.version, status, offers }))
}

fn of_image(reference: &str) -> Offer {
    Offer::Image(ImageReference::new(reference).unwrap())
}

fn active(reference: &str) -> Option<Answer> {
    offered(EntryStatus::Active, vec![of_image(reference)])
}

fn judged(server: &Server, answers: &[(&str, Option<Answer>)]) -> Judgement {
    let answers: Answers = answers.iter().map(|(registry, answer)| ((*registry).to_owned(), answer.clone())).collect();
    judge(server, &Observed { answers, ..Observed::default() })
}

fn said(server: &Server, answers: &[(&str, Option<Answer>)]) -> (Truth, Reason, String) {
    match judged(server, answers) {
        Judgement::Found(finding) => {
            assert_eq!(finding.kind, ConditionType::RegistryEntryApproved);
            (finding.status, finding.reason, finding.message)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn entry_approved() {
    let (truth, reason, message) = said(&image("r.test/docs:1"), &[("main", active("r.test/docs:1"))]);
    assert_eq!((truth, reason), (Truth::True, Reason::EntryApproved));
    assert!(message.contains(NAMED) && message.contains("`main`"), "{message}");
    // One of several ways is enough, and one of several registries; who else has it and says otherwise is told.
    let ways = vec![Offer::Package("npm docs".to_owned()), of_image("r.test/docs:1")];
    let several = [
        ("absent", Some(Answer::Missing)),
        ("away", Some(Answer::Unavailable("it does not answer".to_owned()))),
        ("main", offered(EntryStatus::Active, ways)),
        ("other", offered(EntryStatus::Deprecated, Vec::new())),
        ("unasked", None),
    ];
    let (truth, reason, message) = said(&image("r.test/docs:1"), &several);
    assert_eq!((truth, reason), (Truth::True, Reason::EntryApproved));
    assert!(message.contains("`other`: the entry is deprecated"), "{message}");
    assert!(!message.contains("absent") && !message.contains("away"), "{message}");
}

#[test]
fn entry_not_found() {
    let registries = [("main", Some(Answer::Missing)), ("other", Some(Answer::Missing))];
    let (truth, reason, message) = said(&image("r.test/docs:1"), &registries);
    assert_eq!((truth, reason), (Truth::False, Reason::EntryNotFound));
    assert!(message.contains("`main`") && message.contains("`other`"), "{message}");
    for text in ["docs", "io.acme/docs", "io.acme/docs@", "docs@1.0.0", &format!("io.acme/docs@{}", "1".repeat(500))] {
        let server = server(Some(text), json!({"source": {"kind": "image", "reference": "r.test/docs:1"}}));
        let (truth, reason, message) = said(&server, &[]);
        assert_eq!((truth, reason), (Truth::False, Reason::EntryNotFound), "{text}");
        assert!(message.contains("NAME@VERSION"), "{message}");
    }
}

#[test]
fn entry_withdrawn() {
    for status in [EntryStatus::Deleted, EntryStatus::Deprecated] {
        let withdrawn = offered(status, vec![of_image("r.test/docs:1")]);
        let away = Some(Answer::Unavailable("it does not answer".to_owned()));
        let (truth, reason, message) = said(&image("r.test/docs:1"), &[("away", away), ("main", withdrawn)]);
        assert_eq!((truth, reason), (Truth::False, Reason::EntryWithdrawn));
        assert!(message.contains(&format!("`main`: the entry is {}", status.name())), "{message}");
        assert!(message.contains("`away`: it does not answer"), "{message}");
    }
}

#[test]
fn entry_differs() {
    let pinned = |digit: &str| format!("r.test/docs@sha256:{}", digit.repeat(64));
    for (runs, offers, is_same) in [
        ("r.test/docs:1", "r.test/docs:1", true),
        ("redis:7", "docker.io/library/redis:7", true),
        ("r.test/docs", "r.test/docs:latest", true),
        ("r.test/docs:2", "r.test/docs:1", false),
        ("r.test/other:1", "r.test/docs:1", false),
        ("elsewhere.test/docs:1", "r.test/docs:1", false),
        (&pinned("1"), "r.test/docs:1", true),
        (&format!("r.test/docs:2@sha256:{}", "1".repeat(64)), "r.test/docs:1", false),
        (&pinned("1"), &pinned("1"), true),
        (&pinned("2"), &pinned("1"), false),
        ("r.test/docs:1", &pinned("1"), false),
    ] {
        let (_, reason, message) = said(&image(runs), &[("main", active(offers))]);
        let expected = if is_same { Reason::EntryApproved } else { Reason::EntryDiffers };
        assert_eq!(reason, expected, "{runs}, {offers}: {message}");
        assert!(is_same || (message.contains(runs) && message.contains(offers)), "{message}");
    }
    // What a pod template puts in its place is what runs.
    let laid = json!({"source": {"kind": "image", "reference": "r.test/docs:1"},
        "podTemplateSpec": {"spec": {"containers": [{"name": "beside", "image": "r.test/docs:1"},
                                                    {"name": "mcp", "image": "r.test/other:1"}]}}});
    let (truth, reason, message) = said(&server(Some(NAMED), laid), &[("main", active("r.test/docs:1"))]);
    assert_eq!((truth, reason), (Truth::False, Reason::EntryDiffers), "{message}");
    // Another kind of thing is another thing.
    let packages = offered(EntryStatus::Active, vec![Offer::Package("npm docs".to_owned())]);
    let (_, reason, message) = said(&image("r.test/docs:1"), &[("main", packages)]);
    assert!(reason == Reason::EntryDiffers && message.contains("the package `npm docs`"), "{message}");
    let (_, reason, message) = said(&image("r.test/docs:1"), &[("main", offered(EntryStatus::Active, Vec::new()))]);
    assert!(reason == Reason::EntryDiffers && message.contains("nothing that can be run"), "{message}");
}

#[test]
fn a_server_elsewhere_is_where_its_entry_says_whatever_was_filled_in() {
    for (url, template, is_same) in [
        ("https://a.test/mcp", "https://a.test/mcp", true),
        ("https://a.test/mcp/", "https://a.test/mcp", false),
        ("https://eu.a.test/mcp", "https://{region}.a.test/mcp", true),
        ("https://a.test/mcp", "https://{region}.a.test/mcp", false),
        ("https://.a.test/mcp", "https://{region}.a.test/mcp", false),
        ("https://evil.test/x.a.test/mcp", "https://{region}.a.test/mcp", false),
        ("https://evil.test#.a.test/mcp", "https://{region}.a.test/mcp", false),
        ("https://user@evil.test/.a.test/mcp", "https://{region}.a.test/mcp", false),
        ("https://a.test/t/one/u/two", "https://a.test/t/{tenant}/u/{user}", true),
        ("https://a.test/t/one/two/u/three", "https://a.test/t/{tenant}/u/{user}", false),
        ("https://a.test/aXbXc", "https://a.test/{one}X{two}", true),
        ("https://a.test/ab", "https://a.test/{one}{two}", true),
        ("https://a.test/a", "https://a.test/{one}{two}", false),
        ("https://a.test/x?key=${secret://store/key}", "https://a.test/x?key={key}", true),
        ("https://eu.test:8443/v1/mcp", "{base}/mcp", true),
        ("/mcp", "{base}/mcp", false),
        ("https://a.test/{x", "https://a.test/{x", true),
        ("https://a.test/é", "https://a.test/{one}", true),
        ("https://a.test/ééb", "https://a.test/{one}b", true),
    ] {
        let offers = offered(EntryStatus::Active, vec![Offer::Remote(template.to_owned())]);
        let (_, reason, message) = said(&remote(url), &[("main", offers)]);
        let expected = if is_same { Reason::EntryApproved } else { Reason::EntryDiffers };
        assert_eq!(reason, expected, "{url}, {template}: {message}");
    }
}

#[test]
fn registry_unavailable() {
    let away = Some(Answer::Unavailable("no pod of it is ready".to_owned()));
    let (truth, reason, message) = said(&image("r.test/docs:1"), &[("main", away), ("other", Some(Answer::Missing))]);
    assert_eq!((truth, reason), (Truth::Unknown, Reason::RegistryUnavailable));
    assert!(message.contains("`main`: no pod of it is ready"), "{message}");
}

#[test]
fn no_registry() {
    let (truth, reason, message) = said(&image("r.test/docs:1"), &[]);
    assert_eq!((truth, reason), (Truth::Unknown, Reason::NoRegistry));
    assert!(message.contains(NAMED), "{message}");
}

#[test]
fn nothing_is_said_of_a_server_that_names_no_entry_and_nothing_new_until_the_registries_were_asked() {
    let unnamed = server(None, json!({"source": {"kind": "image", "reference": "r.test/docs:1"}}));
    assert_eq!(judged(&unnamed, &[("main", active("r.test/docs:1"))]), Judgement::Nothing);
    let docs = image("r.test/docs:1");
    let later = Judgement::Later(EntryName::read(NAMED));
    assert_eq!(judged(&docs, &[("main", None)]), later);
    // The one that was not asked yet may have it.
    for first in [Answer::Missing, Answer::Unavailable("x".to_owned())] {
        assert_eq!(judged(&docs, &[("main", Some(first)), ("other", None)]), later);
    }
    let unread = server(Some(NAMED), json!({"source": {"kind": "no such"}}));
    assert_eq!(judged(&unread, &[("main", active("r.test/docs:1"))]), Judgement::Later(None));
}

#[test]
fn what_was_said_stays_to_the_letter_until_whoever_leads_has_asked() {
    let settings = Settings { proxy_image: "r.test/proxy:1".to_owned(), updates: None, binds_reviewers: true };
    let said = |server: &Server, answer: Option<Answer>, second: i64| {
        let observed = Observed { answers: [("main".to_owned(), answer)].into(), ..Observed::default() };
        let status = desired(server, &observed, &settings, Timestamp::from_second(second).unwrap()).status;
        let found = status.conditions.iter().find(|it| it.kind == ConditionType::RegistryEntryApproved).cloned();
        (status, found)
    };
    let mut docs = image("r.test/docs:1");
    assert_eq!(said(&docs, None, 1).1, None);
    let (status, before) = said(&docs, active("r.test/docs:1"), 1);
    assert_eq!(before.as_ref().unwrap().reason, Reason::EntryApproved);
    (docs.status, docs.generation) = (status, 2);
    assert_eq!(said(&docs, None, 2).1, before);
    assert_eq!(said(&docs, Some(Answer::Missing), 2).1.unwrap().reason, Reason::EntryNotFound);
}

/// Regression: a server that was given another entry was approved by what was said of the one before.
#[test]
fn what_was_said_of_another_entry_is_not_said_of_this_one() {
    let settings = Settings { proxy_image: "r.test/proxy:1".to_owned(), updates: None, binds_reviewers: true };
    let of = |entry: &str, before: &ServerStatus, answers: Answers| {
        let mut docs = server(Some(entry), json!({"source": {"kind": "image", "reference": "r.test/docs:1"}}));
        docs.status = before.clone();
        let observed = Observed { answers, ..Observed::default() };
        desired(&docs, &observed, &settings, Timestamp::from_second(1).unwrap()).status
    };
    let is_judged =
        |status: &ServerStatus| status.conditions.iter().any(|it| it.kind == ConditionType::RegistryEntryApproved);
    let from = |answer: Option<Answer>| Answers::from([("main".to_owned(), answer)]);
    let first = ServerStatus::default();
    for before in [of(NAMED, &first, from(active("r.test/docs:1"))), of(NAMED, &first, Answers::new())] {
        assert!(is_judged(&before) && is_judged(&of(NAMED, &before, from(None))));
        for other in ["io.acme/other@1.0.0", "io.acme/docs@1.0.0-rc", "io.acme/docs@1.0"] {
            assert!(!is_judged(&of(other, &before, from(None))), "{other}");
        }
    }
}
