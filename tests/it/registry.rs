//! Registries: every source against a real server on loopback, which is slow, down, truncated, lying or huge; and the catalogue
//! through the command line, the API, and the official registry API.

mod approved;
mod clients;
mod faulty;
mod git;
mod guide;
mod kills;
mod reviewed;
mod reviews;
mod served;
mod sources;
mod upstream;

use anyhow::Result;
use fairlead_tests::{Cli, Daemon, Home, api, api_ok};
use http::Method;
use serde_json::{Value, json};

use crate::scene::{SERVER, run_test_server};
use upstream::{Reply, Upstream};

/// One `server.json`.
fn entry(name: &str, version: &str) -> Value {
    json!({
        "$schema": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json",
        "name": name, "version": version, "description": format!("serves {name}"),
        "packages": [{"registryType": "oci", "identifier": format!("example.test/{name}:{version}"), "transport": {"type": "stdio"}}],
    })
}

/// An answer of the official API.
fn list(entries: &[Value]) -> String {
    let servers: Vec<_> = entries.iter().map(|entry| json!({"server": entry, "_meta": {}})).collect();
    json!({"servers": servers, "metadata": {"count": entries.len()}}).to_string()
}

async fn ok(cli: &Cli, args: &[&str]) -> Value {
    let mut all = vec!["--format", "json"];
    all.extend(args);
    let output = cli.run(all).await.unwrap();
    assert_eq!(output.code, Some(0), "{args:?}: {output}");
    serde_json::from_str(&output.stdout).unwrap_or(Value::Null)
}

async fn names(cli: &Cli, args: &[&str]) -> Vec<String> {
    let mut all = vec!["search"];
    all.extend(args);
    let found = ok(cli, &all).await;
    found.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
}

/// A daemon that serves its catalogue, and where.
async fn serving() -> (Daemon, String) {
    let daemon = Daemon::start_with(Home::new().unwrap(), &["--registry-address", "127.0.0.1:0"]).await.unwrap();
    let info = api_ok(daemon.home(), Method::GET, "/version", None).await.unwrap();
    let address = format!("http://{}", info["registryAddress"].as_str().unwrap());
    (daemon, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_read_found_in_and_read_again() {
    let daemon = Daemon::start().await.unwrap();
    let cli = daemon.cli().unwrap();
    let file = daemon.home().path().join("servers.json");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write(
        r#"{"servers": {"weather": {"image": "example.test/weather:1.0.0", "transport": "stdio", "description": "Forecasts", "tags": ["sky"]}}}"#,
    );
    let added = ok(&cli, &["registry", "add", "mine", file.to_str().unwrap(), "--layer", "trusted"]).await;
    assert_eq!((&added["entries"], &added["spec"]["layer"]), (&json!(1), &json!("trusted")));
    for words in [&["weather"][..], &["forec"], &["wether"], &["--tag", "sky"], &["--layer", "trusted"]] {
        assert_eq!(names(&cli, words).await, ["io.github.stacklok/weather"], "{words:?}");
    }
    assert!(names(&cli, &["--layer", "community"]).await.is_empty());
    let shown = ok(&cli, &["registry", "entry", "weather"]).await;
    assert_eq!(shown["server"]["version"], "1.0.0");

    // What cannot be read takes nothing away.
    for broken in ["{", "", r#"{"servers": {}}"#, r#"{"servers": {"x": {}}}"#] {
        write(broken);
        let output = cli.run(["registry", "refresh", "mine"]).await.unwrap();
        assert_ne!(output.code, Some(0), "{broken}: {output}");
        assert_eq!(names(&cli, &["weather"]).await.len(), 1, "{broken}");
    }
    let info = ok(&cli, &["registry", "list"]).await;
    assert!(info[0]["error"].is_string() && info[0]["failures"].as_u64() >= Some(4), "{info}");
    write(&list(&[entry("a.b/c", "1.0.0"), entry("a.b/c", "1.1.0"), json!({"name": "bad"})]));
    let read = ok(&cli, &["registry", "refresh", "mine"]).await;
    assert_eq!((&read[0]["entries"], &read[0]["refusedCount"]), (&json!(2), &json!(1)), "{read}");
    assert_eq!(names(&cli, &[]).await, ["a.b/c"]);

    // It is there after a crash, without being read again.
    std::fs::remove_file(&file).unwrap();
    let home = daemon.kill().unwrap();
    let daemon = Daemon::start_in(home).await.unwrap();
    let cli = daemon.cli().unwrap();
    assert_eq!(names(&cli, &["c"]).await, ["a.b/c"]);
    let _ = ok(&cli, &["registry", "remove", "mine"]).await;
    assert!(names(&cli, &[]).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_whose_server_misbehaves_never_empties_the_catalogue() {
    let daemon = Daemon::start().await.unwrap();
    let cli = daemon.cli().unwrap();
    let upstream = Upstream::start().await.unwrap();
    let thousand: Vec<Value> = (0..1_000).map(|at| entry(&format!("a.b/c{at}"), "1.0.0")).collect();
    upstream.on("/r.json", Reply::tagged(&list(&thousand), "\"one\""));
    let url = format!("{}/r.json", upstream.url());
    let added = ok(&cli, &["registry", "add", "far", &url]).await;
    assert_eq!(added["entries"], 1_000, "{added}");

    upstream.forget();
    let same = ok(&cli, &["registry", "refresh", "far"]).await;
    assert_eq!(same[0]["entries"], 1_000);
    assert!(upstream.seen().iter().any(|request| request.to_lowercase().contains("if-none-match: \"one\"")));

    let huge = format!("[{}]", "1,".repeat(25 * 1024 * 1024));
    for (what, reply) in [
        ("failing", Reply::status(500)),
        ("gone", Reply::status(404)),
        ("cut off", Reply::Truncated(list(&thousand))),
        ("no JSON", Reply::body("<html>")),
        ("empty", Reply::body(&list(&[]))),
        ("huge", Reply::body(&huge)),
        ("closing", Reply::Close),
    ] {
        upstream.on("/r.json", reply);
        let output = cli.run(["registry", "refresh", "far", "--whole"]).await.unwrap();
        assert_ne!(output.code, Some(0), "{what}: {output}");
        let info = ok(&cli, &["registry", "info", "far"]).await;
        assert!(info["entries"] == 1_000 && info["error"].is_string(), "{what}: {info}");
    }
    // One bad entry among a thousand is told, and the rest arrives.
    let mut mixed = thousand.clone();
    mixed[500] = json!({"name": "a.b/bad"});
    upstream.on("/r.json", Reply::body(&list(&mixed)));
    let read = ok(&cli, &["registry", "refresh", "far"]).await;
    assert_eq!((&read[0]["entries"], &read[0]["refusedCount"]), (&json!(999), &json!(1)));
    assert!(read[0]["refused"][0].as_str().unwrap().starts_with("a.b/bad@"), "{read}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_goes_nowhere_but_where_it_was_granted() {
    let daemon = Daemon::start().await.unwrap();
    let upstream = Upstream::start().await.unwrap();
    upstream.on("/r.json", Reply::body(&list(&[entry("a.b/c", "1.0.0")])));
    let url = format!("{}/r.json", upstream.url());
    let create = |name: &str, grants: Value| {
        let source = json!({"kind": "plugin", "plugin": "source-json", "config": {"url": url}, "grants": grants});
        json!({"name": name, "spec": {"source": source}})
    };
    let none = api(daemon.home(), Method::POST, "/registries", Some(&create("none", json!([])))).await.unwrap();
    assert_eq!(none.status, 403, "{none:?}");
    let other = json!([{"name": "http", "scope": ["GET https://example.test"]}]);
    let other = api_ok(daemon.home(), Method::POST, "/registries", Some(&create("other", other))).await.unwrap();
    assert!(other["error"].as_str().unwrap().contains("not allowed"), "{other}");
    assert!(upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_of_the_official_api_is_followed_page_by_page_and_then_by_what_changed() {
    let daemon = Daemon::start().await.unwrap();
    let cli = daemon.cli().unwrap();
    let upstream = Upstream::start().await.unwrap();
    let page = |name: &str, status: &str, next: Option<&str>| {
        let mut page: Value = serde_json::from_str(&list(&[entry(name, "1.0.0")])).unwrap();
        page["servers"][0]["_meta"] = json!({"io.modelcontextprotocol.registry/official": {
            "status": status, "isLatest": true, "publishedAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-02-01T00:00:00Z"}});
        page["metadata"]["nextCursor"] = json!(next);
        Reply::body(&page.to_string())
    };
    let base = "/v0.1/servers?limit=100&version=latest";
    upstream.on(base, page("a.b/one", "active", Some("a.b/one:1.0.0")));
    upstream.on(&format!("{base}&cursor=a.b%2Fone%3A1.0.0"), page("a.b/two", "active", None));
    let added = ok(&cli, &["registry", "add", "far", &upstream.url()]).await;
    assert_eq!(added["entries"], 2, "{added}");

    let since = format!("{base}&updated_since=2026-01-31T23%3A59%3A00.000Z");
    upstream.on(&since, page("a.b/two", "deleted", None));
    let read = ok(&cli, &["registry", "refresh", "far"]).await;
    assert_eq!(read[0]["entries"], 2, "{read}");
    assert_eq!(names(&cli, &[]).await, ["a.b/one"], "what was taken back is not offered");

    // A cursor that leads in a circle, and one that is not understood any more.
    upstream.on(&since, page("a.b/one", "active", Some("x")));
    upstream.on(&format!("{since}&cursor=x"), page("a.b/one", "active", Some("x")));
    let output = cli.run(["registry", "refresh", "far"]).await.unwrap();
    assert!(output.code != Some(0) && output.stderr.contains("circle"), "{output}");
    upstream.on(&since, Reply::status(400));
    let read = ok(&cli, &["registry", "refresh", "far"]).await;
    assert_eq!(read[0]["entries"], 2, "{read}");
}

async fn fetch(url: &str, tag: Option<&str>) -> (u16, Value, Option<String>) {
    let (status, headers, body) = upstream::get(url, tag).await.unwrap();
    let tag = headers.iter().find(|(name, _)| name == "etag").map(|(_, value)| value.clone());
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null), tag)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_three_hands_entries_up_with_rules_at_each_step() -> Result<()> {
    let (bottom, bottom_url) = serving().await;
    let (middle, middle_url) = serving().await;
    let (top, _) = serving().await;
    let file = bottom.home().path().join("servers.json");
    std::fs::write(&file, list(&[entry("a.b/keep", "1.0.0"), entry("a.b/drop", "1.0.0"), entry("a.c/two", "2.0.0")]))?;
    let _ = ok(&bottom.cli()?, &["registry", "add", "files", file.to_str().unwrap()]).await;
    let rules = middle.home().path().join("rules.json");
    std::fs::write(
        &rules,
        json!({"exclude": [{"names": ["a.b/drop"]}], "change": [{"labels": {"step": "middle"}}]}).to_string(),
    )?;
    let _ = ok(&middle.cli()?, &["registry", "add", "below", &bottom_url, "--rules", rules.to_str().unwrap()]).await;
    std::fs::write(&rules, json!({"change": [{"rename": {"from": "a.b/", "to": "corp/"}}]}).to_string())?;
    let _ = ok(&top.cli()?, &["registry", "add", "below", &middle_url, "--rules", rules.to_str().unwrap()]).await;
    assert_eq!(names(&top.cli()?, &[]).await, ["a.c/two", "corp/keep"]);

    // The official API over each: the document as it was, and where it comes from beside it.
    let (status, page, tag) = fetch(&format!("{middle_url}/v0.1/servers?limit=1"), None).await;
    assert_eq!((status, page["servers"][0]["server"].clone()), (200, entry("a.b/keep", "1.0.0")));
    let meta = &page["servers"][0]["_meta"];
    assert_eq!(meta["io.modelcontextprotocol.registry/official"]["isLatest"], true);
    assert_eq!(meta["dev.fairlead/catalogue"]["labels"]["step"], "middle");
    let next = page["metadata"]["nextCursor"].as_str().unwrap();
    let (_, page, _) = fetch(&format!("{middle_url}/v0.1/servers?cursor={}", next.replace('/', "%2F")), None).await;
    assert_eq!(page["servers"][0]["server"]["name"], "a.c/two");
    assert!(page["metadata"].get("nextCursor").is_none());
    let unchanged = fetch(&format!("{middle_url}/v0.1/servers?limit=1"), tag.as_deref()).await;
    assert_eq!(unchanged.0, 304);

    for (path, status) in [
        ("/v0.1/servers/a.b%2Fkeep/versions/latest", 200),
        ("/v0/servers/a.b%2Fkeep/versions/1.0.0", 200),
        ("/registry/below/v0.1/servers/a.b%2Fkeep/versions", 200),
        ("/registry/other/v0.1/servers", 404),
        ("/v0.1/servers/a.b%2Fdrop/versions", 404),
        ("/v0.1/servers?limit=0", 200),
        ("/v0.1/servers?limit=x", 400),
        ("/v0.1/servers?cursor=nonsense", 200),
        ("/v0.1/servers?updated_since=yesterday", 400),
        ("/registry.json", 200),
        ("/toolhive.json", 200),
    ] {
        let (found, body, _) = fetch(&format!("{middle_url}{path}"), None).await;
        assert_eq!(found, status, "{path}: {body}");
        assert!(status == 200 || body["error"].is_string(), "{path}: {body}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_runs_and_remembers_where_it_came_from() {
    let elsewhere = Daemon::start().await.unwrap();
    run_test_server(&elsewhere.cli().unwrap(), SERVER, &[], &[]).await;
    let daemon = Daemon::start().await.unwrap();
    let cli = daemon.cli().unwrap();
    let mut offered = entry("a.b/remote-one", "1.0.0");
    offered["remotes"] = json!([{"type": "streamable-http", "url": elsewhere.url(SERVER),
        "headers": [{"name": "X-Key", "isRequired": true, "description": "any"}]}]);
    offered.as_object_mut().unwrap().remove("packages");
    let plugin = format!("source-static={}", json!({"servers": [offered]}));
    let _ = ok(&cli, &["registry", "add", "mine", "--plugin", &plugin]).await;

    let asked = cli.run(["run", "registry://remote-one"]).await.unwrap();
    assert!(asked.code == Some(1) && asked.stderr.contains("X-Key"), "{asked}");
    let run = ok(&cli, &["run", "registry://a.b/remote-one@1.0.0", "-e", "X-Key=1", "--name", "here"]).await;
    assert_eq!(run["name"], "here");
    let shown = ok(&cli, &["inspect", "here"]).await;
    let text = shown.to_string();
    assert!(text.contains("fairlead.dev/registry-entry") && text.contains("a.b/remote-one@1.0.0"), "{text}");
    let client = daemon.client("here").await.unwrap();
    assert!(client.text("environment", json!({"name": "PATH"})).await.is_ok());

    // Only what is trusted may run, whichever door it comes by.
    let _ = ok(&cli, &["registry", "layers", "--run", "trusted"]).await;
    let refused = cli.run(["run", "registry://remote-one", "-e", "X-Key=1", "--name", "again"]).await.unwrap();
    assert!(refused.code == Some(1) && refused.stderr.contains("community"), "{refused}");
    let typed = cli.run(["run", "--name", "other", &elsewhere.url(SERVER)]).await.unwrap();
    assert!(typed.code == Some(1) && typed.stderr.contains("trusted"), "{typed}");
    let forged = json!({"name": "forged", "spec": {"source": {"kind": "command", "program": "true"},
        "annotations": {"fairlead.dev/registry-entry": "a.b/remote-one@1.0.0"}}});
    let forged = api(daemon.home(), Method::POST, "/workloads", Some(&forged)).await.unwrap();
    assert_eq!(forged.status, 403, "{forged:?}");
    let document = json!({"apiVersion": "fairlead.dev/v1alpha1", "kind": "MCPServer",
        "metadata": {"name": "written", "namespace": "default"},
        "spec": {"source": {"kind": "command", "program": "true"}}});
    let document = json!({"documents": [document]});
    let written = api(daemon.home(), Method::POST, "/documents/apply", Some(&document)).await.unwrap();
    assert_eq!(written.status, 403, "{written:?}");
    let _ = ok(&cli, &["registry", "layers", "--run", "trusted,community"]).await;
    let allowed = ok(&cli, &["run", "registry://remote-one", "-e", "X-Key=1", "--name", "again"]).await;
    assert_eq!(allowed["name"], "again");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_checked_and_converted_without_a_daemon() {
    let home = Home::new().unwrap();
    let cli = Cli::new(&home).unwrap();
    let file = home.path().join("a.json");
    let toolhive = json!({"version": "1.0.0", "servers": {"x": {"image": "h.test/x:1.0.0", "transport": "stdio", "description": "d"}}});
    std::fs::write(&file, toolhive.to_string()).unwrap();
    let path = file.to_str().unwrap();
    let checked = ok(&cli, &["registry", "validate", path]).await;
    assert_eq!((&checked["format"], &checked["errors"]), (&json!("toolhive"), &json!(0)));
    let converted = ok(&cli, &["registry", "convert", path, "--to", "upstream", "--lossless"]).await;
    assert_eq!(converted["data"]["servers"][0]["name"], "io.github.stacklok/x");
    std::fs::write(&file, converted.to_string()).unwrap();
    assert_eq!(ok(&cli, &["registry", "convert", path, "--to", "toolhive", "--lossless"]).await, toolhive);
    std::fs::write(
        &file,
        json!({"name": "a.b/c", "version": "1", "websiteUrl": "https://x.test",
        "remotes": [{"type": "sse", "url": "https://x.test/sse"}]})
        .to_string(),
    )
    .unwrap();
    let lost = cli.run(["registry", "convert", path, "--to", "toolhive", "--lossless"]).await.unwrap();
    assert!(lost.code == Some(1) && lost.stderr.contains("websiteUrl"), "{lost}");
    std::fs::write(&file, "{}").unwrap();
    assert_eq!(cli.run(["registry", "validate", path]).await.unwrap().code, Some(1));
    assert!(home.daemon().is_none());
}

fn copy_of(home: &Home) -> std::path::PathBuf {
    let mut open = vec![home.path().to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            match entry.path() {
                path if path.is_dir() => open.push(path),
                path if path.file_name().is_some_and(|name| name == "default.mine.jsonl") => return path,
                _ => {}
            }
        }
    }
    panic!("there is no copy");
}
