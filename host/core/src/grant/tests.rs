//! Grants as text, as sentences and as decisions.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

fn given(texts: &[&str]) -> Vec<Capability> {
    texts.iter().map(|text| parse(text)).collect()
}

fn grants(texts: &[&str]) -> Grants {
    Grants::of(&given(texts)).unwrap()
}

fn refusal(text: &str) -> String {
    check(&parse(text)).unwrap_err().to_string()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn nothing_is_granted_that_was_not_given() {
    let nothing = Grants::default();
    assert!(!nothing.kv && !nothing.may_open("a") && !nothing.may_reveal("a") && !nothing.calls_out());
    assert!(nothing.http("GET", true, "a.example", 443).is_none());
}

#[test]
fn using_a_secret_does_not_grant_seeing_it_nor_sending_it_elsewhere() {
    let grants = grants(&["secrets=key@a.example,free"]);
    assert!(grants.may_open("key") && !grants.may_reveal("key") && !grants.may_open("other"));
    assert!(grants.may_send("key", Some("A.example")) && !grants.may_send("key", Some("b.example")));
    assert!(grants.may_send("free", Some("b.example")));
    assert!(grants.may_send("free", None) && !grants.may_send("key", None), "the server behind the chain");
}

#[test]
fn a_host_is_granted_with_its_method_scheme_and_port() {
    let grants = grants(&["http=GET|HEAD api.example.com,http://plain.example:8080,*.wild.example"]);
    for (method, tls, host, port, allowed) in [
        ("GET", true, "api.example.com", 443, true),
        ("GET", true, "API.example.com.", 443, true),
        ("POST", true, "api.example.com", 443, false),
        ("GET", false, "api.example.com", 80, false),
        ("GET", false, "api.example.com", 443, false),
        ("GET", true, "api.example.com", 8443, false),
        ("DELETE", false, "plain.example", 8080, true),
        ("GET", false, "plain.example", 80, false),
        ("GET", true, "a.wild.example", 443, true),
        ("GET", true, "b.a.wild.example", 443, true),
        ("GET", true, "wild.example", 443, false),
        ("GET", true, "evilwild.example", 443, false),
        ("GET", true, "api.example.com.evil.example", 443, false),
        ("GET", true, "", 443, false),
    ] {
        assert_eq!(grants.http(method, tls, host, port).is_some(), allowed, "{method} {tls} {host}:{port}");
    }
}

#[test]
fn a_private_address_is_reached_only_when_it_is_granted_as_one() {
    let by_name = grants(&["http=a.example"]);
    let rule = by_name.http("GET", true, "a.example", 443).unwrap();
    assert!(by_name.admits(rule, address("1.1.1.1")));
    for private in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "fd00:ec2::254"] {
        assert!(!by_name.admits(rule, address(private)), "{private}");
    }
    let by_range = grants(&["http=a.example", "http-private=10.0.0.0/8"]);
    let rule = by_range.http("GET", true, "a.example", 443).unwrap();
    assert!(by_range.admits(rule, address("10.0.0.1")) && by_range.admits(rule, address("::ffff:10.0.0.1")));
    assert!(!by_range.admits(rule, address("127.0.0.1")));
    let by_address = grants(&["http=http://127.0.0.1:8080"]);
    let rule = by_address.http("GET", false, "127.0.0.1", 8080).unwrap();
    assert!(by_address.admits(rule, address("127.0.0.1")) && !by_address.admits(rule, address("127.0.0.2")));
    assert!(by_address.http("GET", false, "[::ffff:127.0.0.1]", 8080).is_some());
}

#[test]
fn a_range_around_a_metadata_service_does_not_grant_it() {
    for (range, metadata) in
        [("100.64.0.0/10", "100.100.100.200"), ("fc00::/7", "fd00:ec2::254"), ("192.0.0.0/24", "192.0.0.192")]
    {
        let grants = grants(&["http=*", &format!("http-private={range}")]);
        let rule = grants.http("GET", true, "a.example", 443).unwrap();
        assert!(!grants.admits(rule, address(metadata)), "{metadata}");
    }
    let named = grants(&["http=*", "http-private=169.254.169.254"]);
    assert!(named.admits(named.http("GET", true, "a.example", 443).unwrap(), address("169.254.169.254")));
}

#[test]
fn what_cannot_be_granted_is_refused_with_what_can() {
    for (text, reason) in [
        ("shell", "there is no capability `shell`; there are kv, secrets"),
        ("kv=a", "no scope"),
        ("secrets=@a.example", "`name@host`"),
        ("http-private", "http-private=10.0.0.0/8"),
        ("http-private=0.0.0.0/0", "more than one kind"),
        ("http-private=8.8.8.8", "needs no grant"),
        ("http-private=home", "neither an address"),
        ("http=get a.example", "capitals"),
        ("http=ftp://a.example", "scheme"),
        ("http=a.example/path", "more than a host"),
        ("http=user@a.example", "more than a host"),
        ("http=a.example:0", "from 1 to 65535"),
        ("http=a.example:port", "from 1 to 65535"),
        ("http=a..example", "the host is a name"),
        ("http=0x7f.1", "the host is a name"),
        ("http=127.1", "the host is a name"),
        ("http=a.*.example", "the host is a name"),
    ] {
        assert!(refusal(text).contains(reason), "{text}: {}", refusal(text));
    }
}

#[test]
fn a_grant_is_told_as_what_becomes_possible() {
    for (text, sentence) in [
        ("kv", "keep state of its own"),
        ("secrets=key@a.example", "send the secret `key` to a.example, without seeing it"),
        ("secrets-reveal=key", "see the value of the secret `key`"),
        ("http=GET a.example", "GET to a.example"),
        (
            "http=http://*.a.example:8080",
            "send any request to every host below a.example, port 8080, without encryption",
        ),
        ("http-private=10.0.0.0/8", "reach 10.0.0.0/8 in the private network"),
    ] {
        assert_eq!(sentences(&parse(text)), [sentence], "{text}");
    }
}

#[test]
fn what_is_asked_for_is_settled_with_what_is_given() {
    let asked = given(&["kv", "http=a.example", "secrets=key"]);
    let settled =
        settle(&asked, &given(&["http=GET a.example", "http-private=10.0.0.0/8", "secrets", "secrets-reveal=key"]));
    assert_eq!(settled.granted, given(&["http=GET a.example", "secrets=key", "http-private=10.0.0.0/8"]));
    assert_eq!(settled.open, given(&["kv"]));
    assert_eq!(settled.unused, given(&["secrets-reveal=key"]));
    let without_http = settle(&given(&["kv"]), &given(&["kv", "http-private=10.0.0.0/8"]));
    assert_eq!(without_http.unused, given(&["http-private=10.0.0.0/8"]));
}

#[test]
fn what_reaches_inside_is_known_from_the_grant_alone() {
    for (granted, inside) in [
        ("http=api.example.com", false),
        ("http=*", false),
        ("http=https://93.184.215.14", false),
        ("http=http://127.0.0.1:7420", true),
        ("http=https://[::1]", true),
        ("http=https://[::ffff:10.0.0.1]", true),
        ("http=http://169.254.169.254", true),
        ("http-private=10.0.0.0/8", true),
        ("kv", false),
    ] {
        assert_eq!(Grants::of(&given(&[granted])).unwrap().reaches_inside(), inside, "{granted}");
    }
}

#[test]
fn a_narrower_grant_is_enough_and_a_foreign_one_is_not() {
    for (asked, granted, enough) in [
        ("kv", "kv", true),
        ("secrets=key", "secrets=key@a.example", true),
        ("secrets=key", "secrets=other", false),
        ("http=a.example", "http=GET a.example", true),
        ("http=*", "http=a.example", true),
        ("http=a.example", "http=b.example", false),
        ("http=a.example", "http=http://a.example", false),
        ("http", "http=a.example", true),
        ("http=a.example", "http", false),
    ] {
        assert_eq!(missing(&given(&[asked]), &given(&[granted])).is_empty(), enough, "{asked} by {granted}");
    }
}

proptest! {
    #[test]
    fn a_rule_is_read_back_as_it_was_written(
        methods in proptest::sample::subsequence(vec!["GET", "POST", "PUT", "DELETE"], 0..4),
        tls: bool,
        host in "(\\*\\.)?[a-z][a-z0-9-]{0,8}(\\.[a-z]{2,5}){0,2}",
        port in 1_u16..,
    ) {
        let scheme = if tls { "https" } else { "http" };
        let space = if methods.is_empty() { "" } else { " " };
        let text = format!("{}{space}{scheme}://{host}:{port}", methods.join("|"));
        let rule: HttpRule = text.parse().unwrap();
        prop_assert_eq!(rule.to_string().parse::<HttpRule>().unwrap(), rule);
    }

    #[test]
    fn no_text_breaks_the_reader(text in "\\PC{0,40}") {
        let _ = check(&parse(&text));
        let _ = text.parse::<HttpRule>();
    }
}
