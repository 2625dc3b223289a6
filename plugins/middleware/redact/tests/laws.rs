//! The laws of the redactor, run natively. Every credential here is made up; parts are joined at run time so that no
//! scanner of repositories takes one for real.

use fairlead_plugin::prelude::{Rejection, Value, json};
use fairlead_plugin::testing::{Case, Expect, Harness};
use proptest::prelude::*;
use redact::{Builtin, Redact, Scanner};

fn redactor(config: Value) -> Harness<Redact> {
    Harness::new(config)
}

fn aws_key() -> String {
    ["AKIA", "IOSFODNN7EXAMPLE"].concat()
}

fn github_token() -> String {
    ["ghp", "_", "0123456789abcdefghijABCDEFGHIJ012345"].concat()
}

/// An example of each built-in pattern, what is replaced of it, and its name.
fn examples() -> Vec<(String, String, Builtin)> {
    let jwt = ["eyJhbGciOiJIUzI1NiJ9", "eyJzdWIiOiIxMjM0In0", "c2lnbmF0dXJl_-x"].join(".");
    let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    let pem = ["-----BEGIN RSA ", "PRIVATE KEY-----\nMIIE-x\n-----END RSA PRIVATE KEY-----"].concat();
    let whole = |text: String, pattern| (text.clone(), text, pattern);
    vec![
        whole(aws_key(), Builtin::AwsAccessKey),
        (format!("aws_secret_access_key = {secret}"), secret.to_owned(), Builtin::AwsSecretKey),
        whole(github_token(), Builtin::GithubToken),
        whole(["github", "_pat_", "11ABCDEFG0123456789_abcdefghijk"].concat(), Builtin::GithubToken),
        whole(["glpat", "-", "abcdefghij0123456789"].concat(), Builtin::GitlabToken),
        whole(["xoxb", "-", "1234567890-abcdef"].concat(), Builtin::SlackToken),
        whole(["sk", "-", "proj-abcdefghij0123456789"].concat(), Builtin::ApiKey),
        whole(jwt, Builtin::Jwt),
        whole(pem, Builtin::PrivateKey),
        ("Authorization: bearer abcDEF0123456789".to_owned(), "abcDEF0123456789".to_owned(), Builtin::BearerToken),
        whole("4111 1111 1111 1111".to_owned(), Builtin::CreditCard),
        whole("378282246310005".to_owned(), Builtin::CreditCard),
        whole("ann.o'neill@example.test".replace('\'', ""), Builtin::Email),
    ]
}

fn finds(text: &str) -> Vec<(Builtin, String)> {
    let mut all = Builtin::SECRETS.to_vec();
    all.push(Builtin::Email);
    let mut found = Vec::new();
    Scanner::new(&all)
        .scan(text, |pattern, span| found.push((pattern, text.get(span).unwrap_or("not a span").to_owned())));
    found
}

#[test]
fn each_pattern_finds_its_example_alone_and_in_a_sentence() {
    for (text, secret, pattern) in examples() {
        for text in [text.clone(), format!("é: {text}, and more"), format!("<{text}>\n{text}")] {
            let found = finds(&text);
            assert!(
                !found.is_empty() && found.iter().all(|find| *find == (pattern, secret.clone())),
                "{text}: {found:?}"
            );
        }
    }
}

#[test]
fn what_only_resembles_a_secret_stays() {
    for text in [
        "AKIA",
        "AKIAIOSFODNN7EXAMPLEX",
        "XAKIAIOSFODNN7EXAMPLE",
        "4111 1111 1111 1112",
        "1.4111111111111111",
        "41111111111111111111",
        "2026-11-21 12:00:00",
        "sk-learn is a library that many people use",
        "a bearer of good tidings",
        "the bearer internationalisation",
        "eyJ.eyJ",
        "-----BEGIN CERTIFICATE-----",
        "ghp_short",
        "@example.test",
        "a@b",
        "f(x) = a@b.c",
    ] {
        assert_eq!(finds(text), [], "{text}");
    }
}

#[test]
fn finds_are_replaced_in_arguments_and_the_name_of_the_tool_is_not() {
    let (key, token) = (aws_key(), github_token());
    redactor(json!({})).check([
        Case::new(
            "nested",
            "tools/call",
            json!({"name": "x", "arguments": {"a": [{"b": format!("id {key}, token {token}.")}], "c": 7}}),
            Expect::Payload(json!({"name": "x", "arguments": {
                "a": [{"b": "id [redacted: aws-access-key], token [redacted: github-token]."}], "c": 7}})),
        ),
        Case::new("name", "tools/call", json!({"name": key, "arguments": {}}), Expect::Next),
        Case::new("meta", "tools/call", json!({"name": "x", "_meta": {"progressToken": key}}), Expect::Next),
        Case::new(
            "argument of a completion",
            "completion/complete",
            json!({"ref": {"name": "p"}, "argument": {"name": "n", "value": key}}),
            Expect::Payload(
                json!({"ref": {"name": "p"}, "argument": {"name": "n", "value": "[redacted: aws-access-key]"}}),
            ),
        ),
        Case::new(
            "what the server has asked for",
            "resources/read",
            json!({"uri": "a:b", "requestState": key, "inputResponses": {"q": {"content": {"key": key}}}}),
            Expect::Payload(json!({"uri": "a:b", "requestState": key,
                "inputResponses": {"q": {"content": {"key": "[redacted: aws-access-key]"}}}})),
        ),
        Case::new("clean", "tools/call", json!({"name": "x", "arguments": {"text": "hello"}}), Expect::Next),
        Case::new("nothing", "tools/call", json!({"name": "x"}), Expect::Next),
    ]);
}

#[test]
fn finds_are_replaced_in_results_structured_ones_too() {
    let text = json!({"key": aws_key()}).to_string();
    let result = json!({"content": [{"type": "text", "text": text}], "structuredContent": {"key": aws_key()},
        "_meta": {"x": aws_key()}});
    let expected = json!({"content": [{"type": "text", "text": "{\"key\":\"[redacted: aws-access-key]\"}"}],
        "structuredContent": {"key": "[redacted: aws-access-key]"}, "_meta": {"x": aws_key()}});
    redactor(json!({})).response("tools/call", Some("x"), result).expect_payload(expected);
}

#[test]
fn finds_are_replaced_in_events_and_errors() {
    let mut redactor = redactor(json!({}));
    redactor
        .event("notifications/message", json!({"level": "info", "data": {"line": format!("got {}", aws_key())}}))
        .expect_payload(json!({"level": "info", "data": {"line": "got [redacted: aws-access-key]"}}));
    redactor
        .event("notifications/progress", json!({"progressToken": "4111111111111111", "message": "ok"}))
        .expect_next();
    let error = Rejection::new(-32000, format!("no access with {}", aws_key())).data(json!({"token": github_token()}));
    let error = redactor.error("tools/call", Some("x"), &error).expect_reject(-32000);
    assert_eq!(error.message, "no access with [redacted: aws-access-key]");
    assert_eq!(error.data.as_deref(), Some(r#"{"token":"[redacted: github-token]"}"#));
    redactor.error("tools/call", Some("x"), &Rejection::new(-32000, "plain")).expect_next();
}

#[test]
fn the_configuration_says_where_what_and_how() {
    let call = json!({"name": "x", "arguments": {"key": aws_key(), "mail": "ann@example.test"}});
    redactor(json!({"places": ["results"]})).request("tools/call", call.clone()).expect_not_called();
    redactor(json!({"targets": ["y*"]})).request("tools/call", call.clone()).expect_next();
    redactor(json!({"patterns": ["email"], "replacement": "<{name}>"}))
        .request("tools/call", call.clone())
        .expect_payload(json!({"name": "x", "arguments": {"key": aws_key(), "mail": "<email>"}}));
    redactor(json!({"patterns": [], "fields": ["ke?", "m*l"]}))
        .request("tools/call", call.clone())
        .expect_payload(json!({"name": "x", "arguments": {"key": aws_key(), "mail": "[redacted: field]"}}));
    let custom = json!({"patterns": [], "custom": [{"name": "host", "regex": "@(?P<secret>[a-z]+)"}]});
    redactor(custom)
        .request("tools/call", call)
        .expect_payload(json!({"name": "x", "arguments": {"key": aws_key(), "mail": "ann@[redacted: host].test"}}));
}

#[test]
fn a_refusal_names_the_pattern_and_never_the_secret() {
    let call = json!({"name": "x", "arguments": {"key": aws_key()}});
    let rejection = redactor(json!({"action": "reject"})).request("tools/call", call).expect_reject(4030);
    assert!(!format!("{rejection:?}").contains("IOSFODNN7"));
    assert!(rejection.message.contains("aws-access-key"));
}

#[test]
fn a_field_given_twice_hides_nothing() {
    let text = format!(r#"{{"name":"x","arguments":{{"k":"clean","k":"{}"}}}}"#, aws_key());
    let outcome = redactor(json!({})).request_text("tools/call", Some("x"), &text);
    assert!(!format!("{:?}", outcome.result()).contains(&aws_key()));
    outcome.expect_payload(json!({"name": "x", "arguments": {"k": "[redacted: aws-access-key]"}}));
    let text = format!(r#"{{"name":"x","arguments":{{"k":"{}","k":"clean"}}}}"#, aws_key());
    let outcome = redactor(json!({})).request_text("tools/call", Some("x"), &text);
    assert!(!format!("{:?}", outcome.result()).contains(&aws_key()));
}

#[test]
fn an_escaped_secret_is_found() {
    let escaped: String = aws_key().chars().map(|character| format!("\\u{:04x}", u32::from(character))).collect();
    let text = format!(r#"{{"name":"x","arguments":{{"k":"{escaped}"}}}}"#);
    redactor(json!({}))
        .request_text("tools/call", Some("x"), &text)
        .expect_payload(json!({"name": "x", "arguments": {"k": "[redacted: aws-access-key]"}}));
}

#[test]
fn what_cannot_be_read_never_passes() {
    for text in ["{", "", "{\"content\": [\"x\"", "nonsense"] {
        let outcome = redactor(json!({})).response_text("tools/call", Some("x"), text);
        if text.is_empty() { outcome.expect_next() } else { drop(outcome.expect_failure()) }
    }
}

#[test]
fn a_pattern_that_makes_no_sense_is_refused_with_its_place() {
    for regex in ["(", "a*", ""] {
        let config = json!({"custom": [{"name": "n", "regex": "x"}, {"name": "n", "regex": regex}]});
        let refused = Harness::<Redact>::try_new(config).unwrap_err();
        assert!(refused.text().contains("/custom/1/regex"), "{refused:?}");
    }
    assert!(Harness::<Redact>::try_new(json!({"patterns": ["moon"]})).is_err());
}

#[test]
fn beginnings_without_end_cost_no_more_than_their_length() {
    for beginning in
        ["eyJ", "eyJ-", "sk-", "sk-sk_", "-----BEGIN ", "bearer ", "4-", "@a.", "ghp_", "secret_access_key="]
    {
        let text = beginning.repeat(400_000 / beginning.len());
        // Squared, this would be hours.
        let _ = finds(&text);
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_and_spans_are_in_order(text in any::<String>(), pieces in prop::collection::vec(0_usize..13, 0..6)) {
        let examples = examples();
        let mixed = pieces.iter().map(|at| format!("{}{}", examples[*at].0, text)).collect::<String>();
        let mut all = Builtin::SECRETS.to_vec();
        all.push(Builtin::Email);
        let mut end = 0;
        Scanner::new(&all).scan(&mixed, |_, span| {
            assert!(mixed.get(span.clone()).is_some_and(|find| !find.is_empty()));
            end = end.max(span.end);
        });
        prop_assert!(end <= mixed.len());
    }

    /// What was replaced once is not found again, and nothing else changes.
    #[test]
    fn a_second_pass_finds_nothing(words in prop::collection::vec("[a-z]{1,8}", 0..5), at in 0_usize..12) {
        let examples = examples();
        let text = format!("{} {} {}", words.join(" "), examples[at].0, words.join(" "));
        let mut redactor = redactor(json!({}));
        let first = redactor.request("tools/call", json!({"name": "x", "arguments": {"t": text}})).payload().unwrap();
        prop_assert!(!first.to_string().contains(&examples[at].1.replace('\n', "\\n")));
        redactor.request("tools/call", first).expect_next();
    }
}
