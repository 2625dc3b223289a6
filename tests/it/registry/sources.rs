//! Every kind of source against its real server, and with that server going wrong in every way there is.

use std::time::Duration;

use anyhow::{Context, Result};
use fairlead_tests::{Cli, Daemon, api};
use http::Method;
use serde_json::{Value, json};

use super::faulty::{Fault, Faulty};
use super::git::GitServer;
use super::upstream::{Reply, Upstream, put};
use super::{entry, list, names, ok, serving};
use crate::distribution::Registry;

fn thousand() -> Vec<Value> {
    (0..1_000).map(|at| entry(&format!("a.b/c{at}"), "1.0.0")).collect()
}

/// A catalogue as an artifact.
async fn push(address: &str, repository: &str, tag: &str, catalogue: &str) -> Result<()> {
    let base = format!("http://{address}/v2/{repository}");
    let config = upload(address, &base, b"{}").await?;
    let blob = upload(address, &base, catalogue.as_bytes()).await?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.fairlead.catalogue.v1+json",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2},
        "layers": [{"mediaType": "application/vnd.fairlead.catalogue.v1+json", "digest": blob, "size": catalogue.len()}],
    });
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let (status, _) = put("PUT", &format!("{base}/manifests/{tag}"), kind, manifest.to_string().as_bytes()).await?;
    anyhow::ensure!(status == 201, "the manifest was answered {status}");
    Ok(())
}

async fn upload(address: &str, base: &str, content: &[u8]) -> Result<String> {
    let digest = sha256(content).await?;
    let (status, headers) = put("POST", &format!("{base}/blobs/uploads/"), "text/plain", b"").await?;
    anyhow::ensure!(status == 202, "an upload was answered {status}");
    let location = headers.iter().find(|(name, _)| name == "location").context("a location")?.1.clone();
    let path = location.split_once(address).map_or(location.as_str(), |(_, path)| path);
    let path = path.replace("://", "");
    let joint = if path.contains('?') { '&' } else { '?' };
    let url = format!("http://{address}{path}{joint}digest={digest}");
    let (status, _) = put("PUT", &url, "application/octet-stream", content).await?;
    anyhow::ensure!(status == 201, "a blob was answered {status}");
    Ok(digest)
}

async fn sha256(content: &[u8]) -> Result<String> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("content");
    std::fs::write(&file, content)?;
    let output = tokio::process::Command::new("sha256sum").arg(&file).output().await?;
    let text = String::from_utf8(output.stdout)?;
    Ok(format!("sha256:{}", text.split(' ').next().context("a sum")?))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_is_read_at_a_branch_or_a_tag_and_only_when_it_changed() -> Result<()> {
    let git = GitServer::start().await?;
    git.commit("main", "servers/one.json", &entry("a.b/one", "1.0.0").to_string()).await?;
    git.commit("main", "servers/more/two.json", &list(&[entry("a.b/two", "1.0.0")])).await?;
    git.commit("main", "README.json.md", "no entry").await?;
    git.tag("v1").await?;
    git.commit("other", "servers/three.json", &entry("a.b/three", "1.0.0").to_string()).await?;
    let daemon = Daemon::start().await?;
    let cli = daemon.cli()?;
    let url = format!("git+http://{}/catalogue.git", git.address());
    let added = ok(&cli, &["registry", "add", "whole", &url]).await;
    assert_eq!((&added["entries"], &added["error"]), (&json!(2), &Value::Null), "{added}");
    let other =
        ok(&cli, &["registry", "add", "other", &url, "--branch", "other", "--path", "servers/three.json"]).await;
    assert_eq!(other["entries"], 1, "{other}");
    let tagged = ok(&cli, &["registry", "add", "tagged", &url, "--tag", "v1", "--path", "servers/more"]).await;
    assert_eq!(tagged["entries"], 1, "{tagged}");
    assert_eq!(names(&cli, &[]).await, ["a.b/one", "a.b/three", "a.b/two"]);

    let again = ok(&cli, &["registry", "refresh", "whole"]).await;
    assert_eq!(again[0]["synced"], added["synced"], "nothing was read again");
    git.commit("main", "servers/bad.json", "{").await?;
    git.commit("main", "servers/four.json", &entry("a.b/four", "1.0.0").to_string()).await?;
    let read = ok(&cli, &["registry", "refresh", "whole"]).await;
    assert_eq!((&read[0]["entries"], &read[0]["refusedCount"]), (&json!(4), &json!(1)), "{read}");
    assert!(read[0]["refused"][0].as_str().is_some_and(|it| it.starts_with("servers/bad.json")), "{read}");

    for (args, told) in [
        (vec!["--branch", "none"], "no branch `none`"),
        (vec!["--tag", "none"], "no tag `none`"),
        (vec!["--path", "nowhere"], "nothing at `nowhere`"),
    ] {
        let mut all = vec!["registry", "add", "broken", url.as_str()];
        all.extend(args);
        let added = ok(&cli, &all).await;
        assert!(added["error"].as_str().is_some_and(|error| error.contains(told)), "{told}: {added}");
        let _ = ok(&cli, &["registry", "remove", "broken"]).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalogue_in_an_oci_registry_is_read_when_its_digest_changed() -> Result<()> {
    let Some(registry) = Registry::start().await else { return Ok(()) };
    push(registry.address(), "team/catalogue", "1", &list(&[entry("a.b/one", "1.0.0")])).await?;
    let daemon = Daemon::start().await?;
    let cli = daemon.cli()?;
    let reference = format!("oci://{}", registry.reference("team/catalogue:1"));
    let added = ok(&cli, &["registry", "add", "artifact", &reference]).await;
    assert_eq!((&added["entries"], &added["error"]), (&json!(1), &Value::Null), "{added}");
    let again = ok(&cli, &["registry", "refresh", "artifact"]).await;
    assert_eq!(again[0]["synced"], added["synced"], "nothing was read again");
    push(registry.address(), "team/catalogue", "1", &list(&[entry("a.b/one", "1.0.0"), json!({"name": "bad"})]))
        .await?;
    let read = ok(&cli, &["registry", "refresh", "artifact"]).await;
    assert_eq!((&read[0]["entries"], &read[0]["refusedCount"]), (&json!(1), &json!(1)), "{read}");
    Ok(())
}

/// Reads all registries at once.
async fn refresh_all(daemon: &Daemon, of: &[&str]) -> Result<Vec<(String, bool)>> {
    let mut reading = tokio::task::JoinSet::new();
    for name in of {
        let (cli, name) = (daemon.cli()?, (*name).to_owned());
        reading.spawn(async move {
            let output = cli.run(["registry", "refresh", name.as_str(), "--whole"]).await.unwrap();
            (name, output.code == Some(0))
        });
    }
    Ok(reading.join_all().await)
}

async fn all_kept(cli: &Cli, of: &[&str], why: &str) {
    for name in of {
        let info = ok(cli, &["registry", "info", name]).await;
        assert!(info["entries"] == 1_000 && info["error"].is_string(), "{name}, {why}: {info}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_server_does_each_kind_of_source_keeps_its_last_good_copy() -> Result<()> {
    let Some(registry) = Registry::start().await else { return Ok(()) };
    let entries = thousand();
    let text = list(&entries);
    // The real servers.
    let files = Upstream::start().await?;
    files.on("/r.json", Reply::body(&text));
    let (elsewhere, catalogue) = serving().await;
    let file = elsewhere.home().path().join("servers.json");
    std::fs::write(&file, &text)?;
    let _ = ok(&elsewhere.cli()?, &["registry", "add", "files", file.to_str().unwrap()]).await;
    let git = GitServer::start().await?;
    git.commit("main", "servers.json", &text).await?;
    push(registry.address(), "team/catalogue", "1", &text).await?;
    // Each behind the same thing that goes wrong.
    let before = async |address: &str| Faulty::before(address).await.unwrap();
    let faulty = [
        before(&files.url()).await,
        before(&catalogue).await,
        before(&catalogue).await,
        before(&git.address()).await,
        before(registry.address()).await,
    ];
    let at = |place: usize| faulty[place].address();
    let sources = [
        ("json", format!("http://{}/r.json", at(0))),
        ("official", format!("http://{}", at(1))),
        ("fairlead", format!("fairlead+http://{}", at(2))),
        ("git", format!("git+http://{}/catalogue.git", at(3))),
        ("oci", format!("oci://{}/team/catalogue:1", at(4))),
    ];
    let daemon = Daemon::start().await?;
    let cli = daemon.cli()?;
    for (name, source) in &sources {
        let added = ok(&cli, &["registry", "add", name, source]).await;
        assert_eq!((&added["entries"], &added["error"]), (&json!(1_000), &Value::Null), "{name}: {added}");
    }
    let of: Vec<&str> = sources.iter().map(|(name, _)| *name).collect();
    for fault in Fault::SILENT {
        faulty.iter().for_each(|server| server.set(fault));
        for (name, read) in refresh_all(&daemon, &of).await? {
            assert!(!read, "{name} took {fault:?} for an answer");
        }
        all_kept(&cli, &of, &format!("{fault:?}")).await;
    }
    let paged = ["official", "fairlead"];
    faulty.iter().for_each(|server| server.set(Fault::Circle));
    for (name, read) in refresh_all(&daemon, &paged).await? {
        assert!(!read, "{name} went in a circle");
    }
    all_kept(&cli, &paged, "a circle").await;
    for name in paged {
        let info = ok(&cli, &["registry", "info", name]).await;
        assert!(info["error"].as_str().is_some_and(|error| error.contains("circle")), "{info}");
    }
    // One that never answers is given up in time, all of them at once.
    faulty.iter().for_each(|server| server.set(Fault::Slow));
    let waited = tokio::time::timeout(Duration::from_secs(60), refresh_all(&daemon, &of)).await;
    assert!(waited.context("an end in time")??.iter().all(|(_, read)| !read));
    all_kept(&cli, &of, "no answer").await;

    // One bad entry among a thousand is told, and the rest arrives.
    faulty.iter().for_each(|server| server.set(Fault::None));
    let mut mixed = entries.clone();
    mixed[7] = json!({"version": "1.0.0"});
    files.on("/r.json", Reply::body(&list(&mixed)));
    git.commit("main", "servers.json", &list(&mixed)).await?;
    push(registry.address(), "team/catalogue", "1", &list(&mixed)).await?;
    for server in &faulty[1..3] {
        server.set(Fault::BadEntry);
    }
    assert!(refresh_all(&daemon, &of).await?.iter().all(|(_, read)| *read));
    for name in &of {
        let info = ok(&cli, &["registry", "info", name]).await;
        assert_eq!((&info["entries"], &info["refusedCount"]), (&json!(999), &json!(1)), "{name}: {info}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_is_not_a_way_into_the_network_of_this_machine() -> Result<()> {
    let git = GitServer::start().await?;
    git.commit("main", "one.json", &entry("a.b/one", "1.0.0").to_string()).await?;
    let port = git.address().rsplit_once(':').context("a port")?.1.to_owned();
    let daemon = Daemon::start().await?;
    let add = async |name: &str, source: Value| {
        let body = json!({"name": name, "spec": {"source": source}});
        api(daemon.home(), Method::POST, "/registries", Some(&body)).await.unwrap()
    };
    // A name of this machine that is not written as one: `localhost.` is found by the resolver, and leads to loopback.
    let sneaky = add("sneaky", json!({"kind": "git", "url": format!("http://localhost.:{port}/catalogue.git")})).await;
    let told = sneaky.body["error"].as_str().unwrap_or_default().to_owned();
    assert!(told.contains("not allowed") || told.contains("cannot be resolved"), "{sneaky:?}");
    let login = add("login", json!({"kind": "git", "url": format!("http://a:b@127.0.0.1:{port}/catalogue.git")})).await;
    let told = login.body.to_string();
    assert!(login.status == 422 && told.contains("login") && !told.contains("a:b"), "{login:?}");
    let written = add("written", json!({"kind": "git", "url": format!("http://127.0.0.1:{port}/catalogue.git")})).await;
    assert_eq!(written.body["entries"], 1, "{written:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn catalogues_that_read_each_other_do_not_keep_alive_what_is_gone() -> Result<()> {
    let (one, one_url) = serving().await;
    let (two, two_url) = serving().await;
    let (three, three_url) = serving().await;
    let file = one.home().path().join("servers.json");
    std::fs::write(&file, list(&[entry("a.b/own", "1.0.0"), entry("a.b/goes", "1.0.0")]))?;
    let _ = ok(&one.cli()?, &["registry", "add", "files", file.to_str().unwrap()]).await;
    let rules = two.home().path().join("rules.json");
    std::fs::write(&rules, json!({"change": [{"labels": {"step": "two"}}]}).to_string())?;
    let read = async |who: &Daemon, url: &str, more: &[&str]| {
        let source = format!("fairlead+{url}");
        let mut args = vec!["registry", "add", "around", source.as_str()];
        args.extend(more);
        ok(&who.cli().unwrap(), &args).await
    };
    let _ = read(&two, &one_url, &["--rules", rules.to_str().unwrap()]).await;
    // The third takes it by the official API, which knows nothing of circles; what is beside the documents does.
    let _ = ok(&three.cli()?, &["registry", "add", "around", &two_url, "--versions"]).await;
    let shown = ok(&three.cli()?, &["registry", "entry", "a.b/own"]).await;
    assert_eq!(shown["registry"], "around");
    let closed = read(&one, &three_url, &[]).await;
    assert_eq!((&closed["entries"], &closed["returned"]), (&json!(2), &json!(2)), "the circle is seen: {closed}");
    let own = ok(&one.cli()?, &["registry", "entry", "a.b/own"]).await;
    assert!(own["registry"] == "files" && own.get("shadowed").is_none(), "{own}");

    // What its origin has forgotten is gone everywhere, once around.
    std::fs::write(&file, list(&[entry("a.b/own", "1.0.0")]))?;
    let _ = ok(&one.cli()?, &["registry", "refresh", "files"]).await;
    assert_eq!(names(&one.cli()?, &[]).await, ["a.b/own"], "not even while the others still have it");
    for who in [&two, &three, &one] {
        let _ = ok(&who.cli()?, &["registry", "refresh", "around", "--whole"]).await;
        assert_eq!(names(&who.cli()?, &[]).await, ["a.b/own"]);
    }
    Ok(())
}
