//! How the catalogue is served: compressed, to whom, how often, and by a program that does nothing else.

use std::process::Stdio;

use anyhow::{Context, Result};
use fairlead_tests::{Cli, Daemon, Home, api_ok, eventually, process};
use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::faulty::{Fault, Faulty};
use super::git::GitServer;
use super::{entry, fetch, list, ok, serving};

/// Asks with headers of one's own; status, head and body.
pub(super) async fn ask(url: &str, path: &str, headers: &str) -> Result<(u16, String, Vec<u8>)> {
    let authority = url.strip_prefix("http://").context("a URL")?;
    let mut stream = TcpStream::connect(authority).await?;
    let head = format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\n{headers}connection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    let at = bytes.windows(4).position(|window| window == b"\r\n\r\n").context("a head")?;
    let head = String::from_utf8(bytes[..at].to_vec())?.to_lowercase();
    Ok((head.split(' ').nth(1).context("a status")?.parse()?, head, bytes[at + 4..].to_vec()))
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_compressed_for_whoever_takes_it() -> Result<()> {
    let (daemon, url) = serving().await;
    let file = daemon.home().path().join("servers.json");
    let entries: Vec<Value> = (0..200).map(|at| entry(&format!("a.b/c{at}"), "1.0.0")).collect();
    std::fs::write(&file, list(&entries))?;
    let _ = ok(&daemon.cli()?, &["registry", "add", "mine", file.to_str().context("a path")?]).await;
    let (status, head, plain) = ask(&url, "/v0.1/servers?limit=100", "").await?;
    assert!(status == 200 && !head.contains("content-encoding"), "{head}");
    let (status, head, packed) = ask(&url, "/v0.1/servers?limit=100", "accept-encoding: gzip\r\n").await?;
    assert!(
        status == 200 && head.contains("content-encoding: gzip") && head.contains("vary: accept-encoding"),
        "{head}"
    );
    assert!(packed.len() * 5 < plain.len(), "{} of {}", packed.len(), plain.len());
    let archive = daemon.home().path().join("page.gz");
    std::fs::write(&archive, &packed)?;
    let unpacked = tokio::process::Command::new("gzip").arg("-dc").arg(&archive).output().await?;
    assert_eq!(unpacked.stdout, plain, "what was packed is what was said");
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).context("a tag")?.replace("w/", "W/");
    let headers = format!("accept-encoding: gzip\r\nif-none-match: {tag}\r\n");
    assert_eq!(ask(&url, "/v0.1/servers?limit=100", &headers).await?.0, 304);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_says_whose_catalogue_is_seen() -> Result<()> {
    let args = ["--registry-address", "127.0.0.1:0", "--registry-tokens"];
    let daemon = Daemon::start_with(Home::new()?, &args).await?;
    let info = api_ok(daemon.home(), Method::GET, "/version", None).await?;
    let url = format!("http://{}", info["registryAddress"].as_str().context("an address")?);
    let cli = daemon.cli()?;
    let _ = ok(&cli, &["tenant", "create", "team"]).await;
    let file = daemon.home().path().join("servers.json");
    for (tenant, name) in [("default", "a.b/ours"), ("team", "a.b/theirs")] {
        std::fs::write(&file, list(&[entry(name, "1.0.0")]))?;
        let _ = ok(&cli, &["registry", "add", "mine", file.to_str().context("a path")?, "--tenant", tenant]).await;
    }
    let token = ok(&cli, &["token", "create", "--tenant", "team", "--role", "viewer"]).await;
    let token = token["token"].as_str().with_context(|| format!("a token in {token}"))?.to_owned();
    let (status, head, _) = ask(&url, "/v0.1/servers", "").await?;
    assert!(status == 401 && head.contains("www-authenticate: bearer"), "{head}");
    assert_eq!(ask(&url, "/v0.1/servers", "authorization: Bearer nonsense\r\n").await?.0, 401);
    assert_eq!(ask(&url, "/health", "").await?.0, 200, "who looks whether it is alive need not be let in");
    let (status, head, body) = ask(&url, "/v0.1/servers", &format!("authorization: Bearer {token}\r\n")).await?;
    let page: Value = serde_json::from_slice(&body)?;
    assert!(status == 200 && head.contains("cache-control: private"), "{head}");
    assert_eq!(
        (page["metadata"]["count"].as_u64(), &page["servers"][0]["server"]["name"]),
        (Some(1), &json!("a.b/theirs"))
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_without_end_is_told_to_wait() -> Result<()> {
    let (_daemon, url) = serving().await;
    let authority = url.strip_prefix("http://").context("a URL")?.to_owned();
    let mut stream = BufReader::new(TcpStream::connect(&authority).await?);
    let request = format!("GET /v0.1/servers?limit=1 HTTP/1.1\r\nhost: {authority}\r\n\r\n");
    for asked in 0..20_000 {
        stream.get_mut().write_all(request.as_bytes()).await?;
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            if line == "\r\n" {
                break;
            }
            if let Some((_, value)) = line.to_lowercase().split_once("content-length:") {
                length = value.trim().parse()?;
            }
            head.push_str(&line.to_lowercase());
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        if head.starts_with("http/1.1 429") {
            assert!(head.contains("retry-after: 1") && asked >= 1_000, "after {asked}: {head}");
            return Ok(());
        }
    }
    anyhow::bail!("nobody said to wait")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalogue_is_served_alone_from_a_file_that_says_what_it_reads() -> Result<()> {
    let git = GitServer::start().await?;
    git.commit("main", "one.json", &entry("a.b/one", "1.0.0").to_string()).await?;
    let home = Home::new()?;
    let file = home.path().join("registries.yaml");
    let declared = |name: &str| {
        let url = format!("http://{}/catalogue.git", git.address());
        json!({"registries": {name: {"source": {"kind": "git", "url": url}, "layer": "trusted"}}}).to_string()
    };
    for (round, name) in ["first", "second"].into_iter().enumerate() {
        std::fs::write(&file, declared(name))?;
        let (mut child, url) = serve(&home, &file).await?;
        if round == 1 {
            // What was read before is there from the first moment.
            assert_eq!(fetch(&format!("{url}/health"), None).await.0, 200);
        }
        eventually("the catalogue is read", std::time::Duration::from_secs(20), async || {
            let (status, page, _) = fetch(&format!("{url}/registry/{name}/v0.1/servers"), None).await;
            anyhow::ensure!(status == 200 && page["metadata"]["count"] == 1, "{status}: {page}");
            Ok(())
        })
        .await?;
        child.kill().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalogue_that_is_served_alone_ends_when_it_shall_however_slow_its_source_is() -> Result<()> {
    let slow = Faulty::before("127.0.0.1:9").await?;
    slow.set(Fault::Slow);
    let home = Home::new()?;
    let file = home.path().join("registries.json");
    let source = json!({"kind": "git", "url": format!("http://{}/catalogue.git", slow.address())});
    std::fs::write(&file, json!({"registries": {"slow": {"source": source}}}).to_string())?;
    let (mut child, url) = serve(&home, &file).await?;
    eventually("it is being read", std::time::Duration::from_secs(10), async || {
        let (status, page, _) = fetch(&format!("{url}/registry/slow/v0.1/servers"), None).await;
        anyhow::ensure!(status == 200, "{status}: {page}");
        Ok(())
    })
    .await?;
    process::terminate(child.id().context("it runs")?)?;
    // Its source has twenty-five seconds.
    let ended = tokio::time::timeout(std::time::Duration::from_secs(12), child.wait()).await;
    assert!(ended.context("it waits for its source")??.success());
    Ok(())
}

/// `registry serve` of a file, and where it is reached.
async fn serve(home: &Home, file: &std::path::Path) -> Result<(tokio::process::Child, String)> {
    let mut command = Cli::new(home)?.command();
    command.args(["--format", "json", "registry", "serve", "--address", "127.0.0.1:0", "--file"]).arg(file);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("a pipe")?).lines();
    let said: Value = serde_json::from_str(&lines.next_line().await?.context("a line")?)?;
    let url = format!("http://{}", said["registryAddress"].as_str().context("an address")?);
    // What it says at its end finds somebody who listens.
    child.stdout = Some(lines.into_inner().into_inner());
    Ok((child, url))
}
