//! The official servers, each in an image that Fairlead builds of its package: run, used by the official clients, shut in,
//! stopped, started, restarted, removed.
//!
//! The base image is made once by `tests/packages/base-image.sh` and stays on the engine, as do the images of packages of
//! which the version is pinned here; so only the first run of a machine builds.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use fairlead_tests::limits::IMAGE_COMMAND;
use fairlead_tests::packages::{OfficialClient, Packages};
use fairlead_tests::{Cli, Daemon, Home, binary};
use serde_json::{Value, json};

/// A server, what it is given beside its package, its arguments, one of its tools, what that is called with and what its
/// answer has in it.
struct Official {
    package: &'static str,
    given: fn(&Path) -> Vec<String>,
    arguments: &'static [&'static str],
    tool: &'static str,
    with: fn() -> Value,
    says: &'static str,
}

const OFFICIAL: &[Official] = &[
    Official {
        package: "npx://@modelcontextprotocol/server-filesystem@2026.8.31",
        given: nothing,
        arguments: &["/tmp"],
        tool: "list_allowed_directories",
        with: || json!({}),
        says: "/tmp",
    },
    Official {
        package: "npx://@modelcontextprotocol/server-memory@2026.8.31",
        // It keeps what it is told in a file, and `/tmp` is where it may.
        given: |_| words("-e MEMORY_FILE_PATH=/tmp/memory.json"),
        arguments: &[],
        tool: "create_entities",
        with: || json!({"entities": [{"name": "Tern", "entityType": "bird", "observations": ["migrates"]}]}),
        says: "Tern",
    },
    Official {
        package: "uvx://mcp-server-time@2026.10.19",
        given: nothing,
        arguments: &["--local-timezone=UTC"],
        tool: "get_current_time",
        with: || json!({"timezone": "Europe/Berlin"}),
        says: "Europe/Berlin",
    },
    Official {
        package: "uvx://mcp-server-git",
        given: |directory| {
            // It belongs to whoever runs the test, which git asks to be told that it may trust.
            let trust = "-e GIT_CONFIG_COUNT=1 -e GIT_CONFIG_KEY_0=safe.directory -e GIT_CONFIG_VALUE_0=*";
            words(&format!("--volume {}:/repository:ro {trust}", directory.display()))
        },
        arguments: &[],
        tool: "git_log",
        with: || json!({"repo_path": "/repository", "max_count": 1}),
        says: "a commit of the test",
    },
];

fn nothing(_: &Path) -> Vec<String> {
    Vec::new()
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

/// A repository with one commit, which every user may read.
fn repository() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let who = ["-c", "user.name=a", "-c", "user.email=a@example.test"];
    for step in [&["init", "-q"][..], &["commit", "-q", "--allow-empty", "-m", "a commit of the test"]] {
        let done = Command::new("git").current_dir(directory.path()).args(who).args(step).status().unwrap();
        assert!(done.success());
    }
    directory
}

/// The image that a script makes; `None`, and said so, where this machine lacks something for it.
pub(crate) fn image(script: &str) -> Option<String> {
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
    let cli = daemon.cli().unwrap().within(IMAGE_COMMAND);
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
    let Some((daemon, packages)) = daemon().await else { return };
    let cli = daemon.cli().unwrap().within(IMAGE_COMMAND);
    let repository = repository();
    for official in OFFICIAL {
        let given = (official.given)(repository.path());
        let mounts = given.iter().filter(|word| *word == "--volume").count();
        let mut line = vec!["run", official.package, "--name", "official"];
        line.extend(given.iter().map(String::as_str));
        line.push("--");
        line.extend(official.arguments);
        cli.ok(line).await.unwrap();
        let shown = cli.json(["status", "official"]).await.unwrap();
        assert!(shown["spec"]["source"]["resolved"].is_string(), "{shown}");
        for step in ["stop", "start", "restart"] {
            cli.ok([step, "official"]).await.unwrap();
        }
        for client in [OfficialClient::TypeScript, OfficialClient::TypeScript2, OfficialClient::Python] {
            let url = daemon.url("official");
            let report = packages.ask(client, &url, official.tool, &(official.with)()).await.unwrap();
            let said = report["said"].as_str().unwrap();
            assert!(said.contains(official.says), "{client:?}, {}: {said}", official.package);
            assert!(report["tools"].as_array().unwrap().contains(&json!(official.tool)), "{report}");
        }
        let session = daemon.client("official").await.unwrap();
        // A session of each client may still be open, with a container each.
        let (servers, porters) = shut_in(&daemon, mounts);
        assert!(servers >= 1 && porters == 0, "{}: {servers} servers and {porters} porters", official.package);
        drop(session);
        cli.ok(["rm", "official"]).await.unwrap();
    }
    assert_eq!(cli.json(["list", "--all"]).await.unwrap(), json!([]));
}

#[tokio::test]
async fn the_official_clients_find_everything_in_an_image_of_its_package_over_every_transport() {
    let Some((daemon, packages)) = daemon().await else { return };
    let cli = daemon.cli().unwrap().within(IMAGE_COMMAND);
    let package = "npx://@modelcontextprotocol/server-everything@2026.8.31";
    let listens = ["--target-port", "3001", "-e", "PORT=3001", "--transport"];
    let over = |transport: &'static str| listens.into_iter().chain([transport]).collect::<Vec<_>>();
    let transports = [
        ("pipes", vec![], "stdio", &OfficialClient::ALL[..], 0),
        ("port", over("streamable-http"), "streamableHttp", &[OfficialClient::TypeScript], 1),
        ("events", over("sse"), "sse", &[OfficialClient::TypeScript], 1),
    ];
    for (name, flags, mode, clients, porters) in transports {
        let line = [&["run", package, "--name", name][..], &flags, &["--", mode]].concat();
        cli.ok(line).await.unwrap();
        for client in clients {
            let report = packages.client(*client, &daemon.url(name), "marker").await.unwrap();
            assert_eq!(report["echo"], "Echo: marker", "{name}, {client:?}: {report}");
            assert_eq!(report["sampling"], true, "{name}, {client:?}: {report}");
        }
        for step in ["stop", "start", "restart"] {
            cli.ok([step, name]).await.unwrap();
        }
        let session = daemon.client(name).await.unwrap();
        assert_eq!(session.text("echo", json!({"message": "again"})).await.unwrap(), "Echo: again", "{name}");
        let (servers, beside) = shut_in(&daemon, 0);
        assert!(servers >= 1 && beside == porters, "{name}: {servers} servers and {beside} porters");
        drop(session);
        cli.ok(["rm", name]).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_listens_serves_on_when_the_daemon_is_killed_and_the_next_one_takes_it_over() {
    let Some((daemon, packages)) = daemon().await else { return };
    let cli = daemon.cli().unwrap().within(IMAGE_COMMAND);
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
    let cli = daemon.cli().unwrap().within(IMAGE_COMMAND);
    let log = cli.ok(["logs", "port"]).await.unwrap().stdout;
    assert!(log.contains("taken over as it ran"), "{log}");
    let used = cli.json(["top", "port", "--interval", "1"]).await.unwrap();
    assert!(used[0]["memoryBytes"].as_u64() > Some(1 << 20) && used[0]["processes"].as_u64() > Some(0), "{used}");
    cli.ok(["rm", "port"]).await.unwrap();
    assert_eq!(running(&daemon), Vec::<String>::new());
}

/// What the engine says of the containers of a home that run. One that ends meanwhile is none of them.
fn inspected(daemon: &Daemon) -> Vec<Value> {
    let home = std::fs::read_to_string(daemon.home().path().join("state/home-id")).unwrap();
    let docker = |args: &[&str]| Command::new("docker").args(args).output().unwrap();
    let listed =
        docker(&["ps", "--quiet", "--no-trunc", "--filter", &format!("label=fairlead.dev/home={}", home.trim())]);
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let ids = String::from_utf8(listed.stdout).unwrap();
    let inspect = |id: &str| {
        let output = docker(&["inspect", id]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() || told.contains("No such"), "{told}");
        serde_json::from_slice::<Vec<Value>>(&output.stdout).unwrap().pop()
    };
    ids.lines().filter_map(inspect).collect()
}

/// The containers of a home, with the time since which each runs.
fn running(daemon: &Daemon) -> Vec<String> {
    let since = |it: &Value| format!("{} {}", it["Id"].as_str().unwrap(), it["State"]["StartedAt"].as_str().unwrap());
    let mut all: Vec<String> = inspected(daemon).iter().map(since).collect();
    all.sort();
    all
}

/// Holds every container of a home to what `docker inspect` says of it, and to so many mounts, all for reading; how many are
/// servers, and how many porters.
fn shut_in(daemon: &Daemon, mounts: usize) -> (usize, usize) {
    let (mut servers, mut porters) = (0, 0);
    for inspected in inspected(daemon) {
        let is_porter = inspected["Config"]["Image"].as_str().unwrap().contains("/porter:");
        hardened(&inspected["HostConfig"], is_porter);
        // Mounts of an image are volumes of its own, never a path or a socket of this machine.
        let binds = inspected["Mounts"].as_array().unwrap().iter().filter(|mount| mount["Type"] == "bind");
        let (writable, read_only): (Vec<&Value>, Vec<&Value>) = binds.partition(|mount| mount["RW"] == true);
        let granted = if is_porter { (1, 0) } else { (0, mounts) };
        assert_eq!((writable.len(), read_only.len()), granted, "{inspected}");
        if is_porter {
            porters += 1;
        } else {
            servers += 1;
            assert_eq!(inspected["Config"]["User"], "65532:65532", "{inspected}");
        }
    }
    (servers, porters)
}

/// Every default of ours, as the engine has it.
fn hardened(host: &Value, is_porter: bool) {
    let is_empty = |name: &str| {
        let value = &host[name];
        value.is_null() || value == "" || value.as_array().is_some_and(Vec::is_empty) || value == &json!({})
    };
    assert_eq!(host["CapDrop"], json!(["ALL"]), "{host}");
    assert_eq!(host["SecurityOpt"], json!(["no-new-privileges:true"]), "and seccomp is the engine's own: {host}");
    for nothing in
        ["CapAdd", "Devices", "DeviceRequests", "PortBindings", "PidMode", "UTSMode", "UsernsMode", "GroupAdd"]
    {
        assert!(is_empty(nothing), "{nothing}: {host}");
    }
    assert_eq!((&host["Privileged"], &host["ReadonlyRootfs"]), (&json!(false), &json!(true)), "{host}");
    assert_eq!(host["PublishAllPorts"], false, "{host}");
    assert!(is_porter || host["IpcMode"] == "private", "{host}");
    let network = host["NetworkMode"].as_str().unwrap();
    assert!(if is_porter { network.starts_with("container:") } else { network == "none" }, "{network}");
    assert!(host["Memory"].as_i64() > Some(0) && host["MemorySwap"] == host["Memory"], "{host}");
    // A porter does nothing but carry what its server, which is bounded, says.
    assert!((is_porter || host["NanoCpus"].as_i64() > Some(0)) && host["PidsLimit"].as_i64() > Some(0), "{host}");
    assert_ne!(host["OomKillDisable"], true, "{host}");
    assert_eq!(host["LogConfig"]["Type"], "none", "{host}");
    assert!(matches!(host["RestartPolicy"]["Name"].as_str(), Some("" | "no")), "{host}");
    if !is_porter {
        assert!(host["Tmpfs"].as_object().unwrap().keys().eq(["/tmp"]), "{host}");
        assert!(host["Ulimits"].as_array().unwrap().iter().any(|limit| limit["Name"] == "core" && limit["Hard"] == 0));
        assert_eq!(host["Init"], true, "{host}");
    }
}
