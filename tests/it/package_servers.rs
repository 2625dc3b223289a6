//! The official servers, each in an image that Fairlead builds of its package: run, used by the official clients, shut in,
//! stopped, started, removed.
//!
//! The base image is made once by `tests/packages/base-image.sh` and stays on the engine, as do the images of packages of
//! which the version is pinned here; so only the first run of a machine builds.

use std::process::Command;

use fairlead_tests::packages::{OfficialClient, Packages};
use fairlead_tests::{Cli, Daemon, Home, binary};
use serde_json::{Value, json};

/// A server, its arguments, one of its tools, what that is called with and what its answer has in it.
struct Official {
    package: &'static str,
    arguments: &'static [&'static str],
    tool: &'static str,
    with: fn() -> Value,
    says: &'static str,
}

const OFFICIAL: &[Official] = &[
    Official {
        package: "npx://@modelcontextprotocol/server-filesystem@2026.8.31",
        arguments: &["/tmp"],
        tool: "list_allowed_directories",
        with: || json!({}),
        says: "/tmp",
    },
    Official {
        package: "npx://@modelcontextprotocol/server-memory@2026.8.31",
        arguments: &[],
        tool: "read_graph",
        with: || json!({}),
        says: "entities",
    },
    Official {
        package: "uvx://mcp-server-time@2026.10.19",
        arguments: &["--local-timezone=UTC"],
        tool: "get_current_time",
        with: || json!({"timezone": "Europe/Berlin"}),
        says: "Europe/Berlin",
    },
    Official {
        package: "uvx://mcp-server-git",
        arguments: &[],
        tool: "git_status",
        with: || json!({"repo_path": "/nowhere"}),
        says: "/nowhere",
    },
];

/// The image that a script makes; `None`, and said so, where this machine lacks something for it.
fn image(script: &str) -> Option<String> {
    let script = binary::root().join("tests/packages").join(script);
    let made = Command::new("sh").arg(script).output().unwrap();
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    if made.status.code() == Some(3) {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI must have what this test needs: {said}");
        eprintln!("skipped: {said}");
        return None;
    }
    assert!(made.status.success(), "{said}");
    Some(String::from_utf8(made.stdout).unwrap().trim().to_owned())
}

/// A daemon with these settings of builds.
async fn building(settings: &str) -> Daemon {
    let home = Home::new().unwrap();
    let directory = home.path().join("config");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("config.toml"), format!("[build]\n{settings}")).unwrap();
    Daemon::start_in(home).await.unwrap()
}

/// A daemon that builds on the base image of the tests; `None`, and said so, where there is none.
async fn daemon() -> Option<(Daemon, Packages)> {
    let packages = Packages::ready().await.unwrap()?;
    let image = image("base-image.sh")?;
    let certificates = "/etc/ssl/certs/ca-certificates.crt";
    let settings = format!("node_image = \"{image}\"\npython_image = \"{image}\"\nca_file = \"{certificates}\"\n");
    Some((building(&settings).await, packages))
}

#[tokio::test]
async fn a_go_module_is_built_once_and_its_program_serves() {
    let (Some(go), Some(base)) = (image("go-image.sh"), image("base-image.sh")) else { return };
    let settings = format!("go_image = \"{go}\"\ngo_base_image = \"{base}\"\ngo_proxy = \"file:///opt/goproxy\"\n");
    let daemon = building(&settings).await;
    let cli = daemon.cli().unwrap();
    let module = "go://example.test/answer";
    cli.ok(["run", module, "--name", "answer"]).await.unwrap();
    let shown = cli.json(["status", "answer"]).await.unwrap();
    assert_eq!(shown["spec"]["source"]["resolved"], "v1.2.3", "{shown}");
    assert_eq!(shown["profile"]["version"], "1.2.3", "{shown}");
    let said = daemon.client("answer").await.unwrap().call("answer", json!({})).await.unwrap().to_string();
    assert!(said.contains("forty-two"), "{said}");
    let again = cli.json(["build", "go://example.test/answer@v1.2.3"]).await.unwrap();
    assert_eq!(again["fresh"], false, "it was there: {again}");
    cli.ok(["rm", "answer"]).await.unwrap();
}

#[tokio::test]
async fn the_official_servers_run_in_images_of_their_packages() {
    let Some((daemon, _)) = daemon().await else { return };
    let cli = daemon.cli().unwrap();
    for official in OFFICIAL {
        let mut line = vec!["run", official.package, "--name", "official", "--"];
        line.extend(official.arguments);
        cli.ok(line).await.unwrap();
        let shown = cli.json(["status", "official"]).await.unwrap();
        assert!(shown["spec"]["source"]["resolved"].is_string(), "{shown}");
        shut_in(&daemon, &cli).await;
        for step in ["stop", "start"] {
            cli.ok([step, "official"]).await.unwrap();
        }
        let client = daemon.client("official").await.unwrap();
        let said = client.call(official.tool, (official.with)()).await.unwrap().to_string();
        assert!(said.contains(official.says), "{}: {said}", official.package);
        drop(client);
        cli.ok(["rm", "official"]).await.unwrap();
    }
    assert_eq!(cli.json(["list", "--all"]).await.unwrap(), json!([]));
}

#[tokio::test]
async fn the_official_clients_find_everything_in_an_image_of_its_package_over_every_transport() {
    let Some((daemon, packages)) = daemon().await else { return };
    let cli = daemon.cli().unwrap();
    let package = "npx://@modelcontextprotocol/server-everything@2026.8.31";
    let listens = ["--transport", "streamable-http", "--target-port", "3001", "-e", "PORT=3001"];
    let plain: [&str; 0] = [];
    for (name, flags, mode) in [("pipes", &plain[..], "stdio"), ("port", &listens[..], "streamableHttp")] {
        let line = [&["run", package, "--name", name][..], flags, &["--", mode]].concat();
        cli.ok(line).await.unwrap();
        let report = packages.client(OfficialClient::TypeScript, &daemon.url(name), "marker").await.unwrap();
        assert_eq!(report["echo"], "Echo: marker", "{name}: {report}");
        assert_eq!(report["sampling"], true, "{name}: {report}");
        cli.ok(["restart", name]).await.unwrap();
        cli.ok(["rm", name]).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_listens_serves_on_when_the_daemon_is_killed_and_the_next_one_takes_it_over() {
    let Some((daemon, packages)) = daemon().await else { return };
    let cli = daemon.cli().unwrap();
    let package = "npx://@modelcontextprotocol/server-everything@2026.8.31";
    let listens =
        ["--transport", "streamable-http", "--target-port", "3001", "-e", "PORT=3001", "--", "streamableHttp"];
    cli.ok([&["run", package, "--name", "port"][..], &listens].concat()).await.unwrap();
    let before = running(&daemon);
    assert!(!before.is_empty());
    let home = daemon.kill().unwrap();
    let orphans = Cli::new(&home).unwrap().json(["doctor"]).await.unwrap();
    let orphans =
        orphans["checks"].as_array().unwrap().iter().find(|check| check["name"] == "orphans").unwrap().clone();
    assert!(orphans["detail"].as_str().unwrap().contains("serves on"), "{orphans}");
    let daemon = Daemon::start_in(home).await.unwrap();
    let report = packages.client(OfficialClient::TypeScript, &daemon.url("port"), "marker").await.unwrap();
    assert_eq!(report["echo"], "Echo: marker", "{report}");
    assert_eq!(running(&daemon), before, "the same containers, since the same time");
    let cli = daemon.cli().unwrap();
    let log = cli.ok(["logs", "port"]).await.unwrap().stdout;
    assert!(log.contains("taken over as it ran"), "{log}");
    let used = cli.json(["top", "port", "--interval", "1"]).await.unwrap();
    assert!(used[0]["memoryBytes"].as_u64() > Some(1 << 20) && used[0]["processes"].as_u64() > Some(0), "{used}");
    cli.ok(["rm", "port"]).await.unwrap();
    assert_eq!(running(&daemon), Vec::<String>::new());
}

/// The containers of a home, with the time since which each runs.
fn running(daemon: &Daemon) -> Vec<String> {
    let home = std::fs::read_to_string(daemon.home().path().join("state/home-id")).unwrap();
    let label = format!("label=fairlead.dev/home={}", home.trim());
    let docker = |args: &[&str]| {
        let output = Command::new("docker").args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let ids = docker(&["ps", "--quiet", "--no-trunc", "--filter", &label]);
    let since = |id: &str| docker(&["inspect", "--format", "{{.Id}} {{.State.StartedAt}}", id]);
    let mut all: Vec<String> = ids.lines().map(since).collect();
    all.sort();
    all
}

/// What `docker inspect` says of every container of a home.
async fn shut_in(daemon: &Daemon, cli: &Cli) {
    let client = daemon.client("official").await.unwrap();
    let _ = client.tools().await.unwrap();
    let home = std::fs::read_to_string(daemon.home().path().join("state/home-id")).unwrap();
    let docker = |args: &[&str]| {
        let output = Command::new("docker").args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let ids = docker(&["ps", "--quiet", "--filter", &format!("label=fairlead.dev/home={}", home.trim())]);
    let id = ids.lines().next().expect("it runs");
    let inspected: Value = serde_json::from_str(&docker(&["inspect", id])).unwrap();
    let host = &inspected[0]["HostConfig"];
    assert_eq!(host["CapDrop"], json!(["ALL"]), "{host}");
    assert_eq!(host["SecurityOpt"], json!(["no-new-privileges:true"]), "{host}");
    assert_eq!(host["ReadonlyRootfs"], true, "{host}");
    assert_eq!(host["NetworkMode"], "none", "{host}");
    assert_eq!(host["Privileged"], false, "{host}");
    assert_eq!(host["LogConfig"]["Type"], "none", "{host}");
    assert!(
        host["Memory"].as_i64() > Some(0)
            && host["NanoCpus"].as_i64() > Some(0)
            && host["PidsLimit"].as_i64() > Some(0)
    );
    assert_eq!(inspected[0]["Config"]["User"], "65532:65532", "{inspected}");
    assert!(!cli.json(["list"]).await.unwrap().as_array().unwrap().is_empty());
}
