//! Every hardening default, as the engine tells it (`docker inspect`) and as the server feels it.

use std::collections::BTreeMap;

use bollard::models::{HostConfig, RestartPolicyNameEnum};
use fairlead_core::image::Resources;
use fairlead_core::permission::PermissionProfile;
use fairlead_core::workload::Exit;

use super::super::confinement::{Network, Plan};
use super::scene::{Bench, launch, skipped, soon};
use super::*;

#[tokio::test]
async fn the_engine_is_told_every_default() {
    let Some(bench) = Bench::new().await else { return };
    if bench.engine.facts().product == "Podman" {
        return skipped("Podman repeats the same things in its own words").unwrap_or_default();
    }
    let started = bench.start(&["echo"]).await;
    let inspected = bench.inspect(&started).await;
    let host = inspected.host_config.unwrap();
    assert_eq!(host.cap_drop, Some(vec!["ALL".to_owned()]));
    assert!(host.cap_add.unwrap_or_default().is_empty());
    assert_eq!(host.security_opt, Some(vec!["no-new-privileges:true".to_owned()]), "and no word of seccomp");
    assert_eq!(host.privileged, Some(false));
    assert_eq!(host.readonly_rootfs, Some(true));
    assert_eq!(host.tmpfs.unwrap().keys().collect::<Vec<_>>(), ["/tmp"]);
    assert!(host.binds.unwrap_or_default().is_empty());
    assert!(host.mounts.unwrap_or_default().is_empty());
    assert!(host.devices.unwrap_or_default().is_empty());
    assert_eq!(host.network_mode.as_deref(), Some("none"));
    assert_eq!(host.ipc_mode.as_deref(), Some("private"));
    for (namespace, mode) in [("pid", host.pid_mode), ("uts", host.uts_mode), ("user", host.userns_mode)] {
        assert_eq!(mode.unwrap_or_default(), "", "{namespace}");
    }
    assert_eq!((host.memory, host.memory_swap), (Some(1 << 30), Some(1 << 30)));
    assert_eq!(host.nano_cpus, Some(1_000_000_000));
    assert_eq!(host.pids_limit, Some(512));
    let core = host.ulimits.unwrap().into_iter().find(|limit| limit.name.as_deref() == Some("core")).unwrap();
    assert_eq!((core.soft, core.hard), (Some(0), Some(0)));
    assert_eq!(host.init, Some(true));
    assert_eq!(host.log_config.unwrap().typ.as_deref(), Some("none"));
    assert!(matches!(
        host.restart_policy.unwrap().name,
        None | Some(RestartPolicyNameEnum::EMPTY | RestartPolicyNameEnum::NO)
    ));
    assert_ne!(host.oom_kill_disable, Some(true));
    let masked = host.masked_paths.unwrap_or_default();
    assert!(masked.iter().any(|path| path == "/proc/kcore"), "{masked:?}");
    // Whatever else is mounted is the image's own volume, never a socket or a path of this machine.
    for mount in inspected.mounts.unwrap_or_default() {
        assert_eq!(mount.typ.as_deref(), Some("volume"), "{mount:?}");
    }
    drop(started);
    bench.done().await;
}

#[tokio::test]
async fn labels_hold_names_and_nothing_else() {
    let Some(bench) = Bench::new().await else { return };
    let started = bench.start(&["echo"]).await;
    let inspected = bench.inspect(&started).await;
    let labels = inspected.config.unwrap().labels.unwrap();
    assert!(labels.values().all(|value| !value.contains("secret-value")), "{labels:?}");
    // An image may bring labels of its own.
    let labels: BTreeMap<_, _> = labels.into_iter().filter(|(name, _)| name.starts_with("fairlead")).collect();
    let expected = [
        ("fairlead.dev/home", bench.home.as_str()),
        ("fairlead.dev/server", "fixture"),
        ("fairlead.dev/tenant", "default"),
    ];
    assert_eq!(labels, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    assert!(inspected.name.unwrap().starts_with("/fairlead-default-fixture-"));
    drop(started);
    bench.done().await;
}

#[tokio::test]
async fn the_server_has_no_capability_and_can_gain_none() {
    let Some(bench) = Bench::new().await else { return };
    let said = bench.look(bench.source(&[]), &["status"]).await;
    let zero = "0".repeat(16);
    assert_eq!(said, [format!("status: Uid:1000 CapEff:{zero} CapBnd:{zero} NoNewPrivs:1 Seccomp:2")]);
}

#[tokio::test]
async fn root_without_capabilities_is_what_a_root_image_gets() {
    let Some(bench) = Bench::new().await else { return };
    let source = ImageSource { user: Some("0:0".into()), ..bench.source(&[]) };
    let said = bench.look(source, &["status", "write /root-was-here"]).await;
    let zero = "0".repeat(16);
    assert_eq!(said[0], format!("status: Uid:0 CapEff:{zero} CapBnd:{zero} NoNewPrivs:1 Seccomp:2"));
    assert_eq!(said[1], "write /root-was-here: read-only filesystem or storage medium");
}

#[tokio::test]
async fn only_tmp_can_be_written_and_no_engine_is_in_sight() {
    let Some(bench) = Bench::new().await else { return };
    let what = [
        "write /tmp/x",
        "write /x",
        "write /etc/x",
        "read /var/run/docker.sock",
        "read /run/docker.sock",
        "write /proc/sys/kernel/hostname",
        "interfaces",
        "default-routes",
    ];
    let said = bench.look(bench.source(&[]), &what).await;
    assert_eq!(said[0], "write /tmp/x: done");
    for line in &said[1..6] {
        assert!(!line.ends_with("done"), "{line}");
    }
    assert!(said[3].ends_with("entity not found"), "{}", said[3]);
    assert!(said[4].ends_with("entity not found"), "{}", said[4]);
    let interfaces = said[6].trim_start_matches("interfaces: ");
    let is_loopback_or_dead = |name: &str| name == "lo" || ["tunl0", "sit0", "gre0", "ip6tnl0"].contains(&name);
    assert!(interfaces.split(' ').all(is_loopback_or_dead), "{interfaces}");
    assert_eq!(said[7], "default-routes: 0");
}

#[tokio::test]
async fn a_profile_opens_what_it_names_and_no_more() {
    let Some(bench) = Bench::new().await else { return };
    let machine = tempfile::tempdir().unwrap();
    let (read, write) = (machine.path().join("read"), machine.path().join("write"));
    for directory in [&read, &write] {
        std::fs::create_dir(directory).unwrap();
        std::fs::set_permissions(directory, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    }
    std::fs::write(read.join("file"), "hello").unwrap();
    let permissions = PermissionProfile {
        read: vec![format!("{}:/in", read.display())],
        write: vec![format!("{}:/out", write.display())],
        ..PermissionProfile::none()
    };
    let source = ImageSource { permissions, ..bench.source(&[]) };
    let said = bench.look(source, &["read /in/file", "write /in/new", "write /out/new"]).await;
    let expected =
        ["read /in/file: hello", "write /in/new: read-only filesystem or storage medium", "write /out/new: done"];
    assert_eq!(said, expected);
    assert_eq!(std::fs::read_to_string(write.join("new")).unwrap(), "written");
}

#[tokio::test]
async fn what_would_undo_the_isolation_is_never_mounted() {
    let Some(bench) = Bench::new().await else { return };
    let machine = tempfile::tempdir().unwrap();
    let socket = machine.path().join("agent.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let hidden = machine.path().join("hidden");
    std::os::unix::fs::symlink(bench.engine.socket(), &hidden).unwrap();
    let engine = bench.engine.socket().to_owned();
    let directory = engine.parent().unwrap().to_owned();
    let shut = std::env::temp_dir().join("fairlead-shut");
    for (path, reason) in [
        (engine, "power over this machine"),
        (directory, "power over this machine"),
        ("/".into(), "power over this machine"),
        (hidden, "power over this machine"),
        (std::env::temp_dir(), "power over this machine"),
        (shut.join("state"), ""),
        (socket, "it is a socket"),
        ("/is/not/there".into(), "No such file"),
    ] {
        let permissions =
            PermissionProfile { write: vec![format!("{}:/in", path.display())], ..PermissionProfile::none() };
        let launch = launch(ImageSource { permissions, ..bench.source(&["echo"]) });
        let error = soon(bench.runtime.launch(&launch)).await.unwrap_err();
        let LaunchError::Unsupported(told) = &error else { panic!("{error}") };
        assert!(told.contains(reason), "{}: {told}", path.display());
    }
}

#[tokio::test]
async fn a_profile_that_cannot_be_enforced_starts_nothing() {
    let Some(bench) = Bench::new().await else { return };
    let permissions: PermissionProfile =
        serde_json::from_str(r#"{"network":{"outbound":{"allow_host":["example.test"]}}}"#).unwrap();
    let launch = launch(ImageSource { permissions, ..bench.source(&["echo"]) });
    let error = soon(bench.runtime.launch(&launch)).await.unwrap_err();
    let LaunchError::Unsupported(told) = &error else { panic!("{error}") };
    assert!(told.contains("not enforced yet"), "{told}");
    assert_eq!(bench.left().await, []);
}

#[tokio::test]
async fn a_server_that_takes_too_much_memory_is_ended_and_told_so() {
    let Some(bench) = Bench::new().await else { return };
    if bench.engine.facts().unenforced.contains(&"memory".to_owned()) {
        return skipped("this engine does not limit memory").unwrap_or_default();
    }
    let resources = Resources { memory_bytes_max: 32 * 1024 * 1024, ..Resources::default() };
    let started = bench.start_launch(&launch(ImageSource { resources, ..bench.source(&["eat"]) })).await;
    let (exit, _) = started.finished().await;
    assert_eq!(exit, Exit::Fault("ran out of its 32 MiB of memory".to_owned()));
}

#[tokio::test]
async fn a_server_that_breeds_stays_among_its_processes() {
    let Some(bench) = Bench::new().await else { return };
    let resources = Resources { processes_max: 40, ..Resources::default() };
    let started = bench.start_launch(&launch(ImageSource { resources, ..bench.source(&["breed"]) })).await;
    let (exit, text) = started.finished().await;
    let threads: u32 = text.trim().parse().unwrap();
    assert!((20..40).contains(&threads), "{threads}");
    assert_eq!(exit, Exit::Code(0));
}

#[tokio::test]
async fn the_environment_is_what_was_given() {
    let Some(bench) = Bench::new().await else { return };
    let (_, text) = bench.start(&["environment"]).await.finished().await;
    assert!(text.lines().any(|line| line == "TOKEN=secret-value"), "{text}");
    let names: Vec<_> = text.lines().filter_map(|line| line.split('=').next()).collect();
    assert!(
        names.iter().all(|name| ["TOKEN", "PATH", "HOSTNAME", "HOME", "TERM", "container"].contains(name)),
        "{names:?}"
    );
}

#[test]
fn what_the_engine_client_says_of_requests_is_never_logged() {
    // bollard writes what it creates, with the environment in it, to `log` at `debug`.
    assert!(log::STATIC_MAX_LEVEL <= log::LevelFilter::Info);
}

#[test]
fn a_limit_that_no_engine_takes_is_refused() {
    let check = |resources| confinement::check(&resources).is_err();
    assert!(check(Resources { memory_bytes_max: 1, ..Resources::default() }));
    assert!(check(Resources { cpu_millis_max: 0, ..Resources::default() }));
    assert!(check(Resources { processes_max: 0, ..Resources::default() }));
    assert!(!check(Resources::default()));
}

#[test]
fn every_plan_shuts_everything() {
    use fairlead_core::permission::{Granted, NetworkAccess};

    let granted = Granted { mounts: Vec::new(), network: NetworkAccess::Closed };
    let mut source = ImageSource::new("x".parse().unwrap());
    source.writable_root = true;
    source.user = Some("0".into());
    source.resources = Resources { cpu_millis_max: 64_000, ..Resources::default() };
    let facts = Facts { processors: 2, ..Facts::default() };
    let image = Image {
        id: "sha256:1".to_owned(),
        digest: None,
        stop_signal: String::new(),
        user: String::new(),
        has_healthcheck: true,
        entrypoint: Vec::new(),
        arguments: Vec::new(),
        signed_by: None,
    };
    for network in [Network::None, Network::Porter, Network::Open(None), Network::Open(Some("db".into()))] {
        for port in [None, Some(8080)] {
            let launch = Launch { port, ..launch(source.clone()) };
            let plan = Plan {
                launch: &launch,
                source: &source,
                granted: &granted,
                overlays: &[],
                network: &network,
                home: "h",
                facts: &facts,
                image: &image,
                init: false,
                steward: None,
            };
            let body = plan.body();
            let host: HostConfig = body.host_config.unwrap();
            assert_eq!(host.cap_drop, Some(vec!["ALL".to_owned()]));
            assert_eq!(host.security_opt, Some(vec!["no-new-privileges:true".to_owned()]));
            assert_eq!(host.readonly_rootfs, Some(false), "the one thing that was asked for");
            assert_eq!(host.nano_cpus, Some(2_000_000_000), "no more than there are");
            assert_eq!((host.privileged, host.publish_all_ports), (Some(false), None));
            for bindings in host.port_bindings.iter().flat_map(|bindings| bindings.values().flatten()) {
                assert!(bindings.iter().all(|binding| binding.host_ip.as_deref() == Some("127.0.0.1")));
            }
            assert_eq!(body.open_stdin, Some(port.is_none()));
            assert_eq!(body.healthcheck.unwrap().test, Some(vec!["NONE".to_owned()]));
        }
    }
}
