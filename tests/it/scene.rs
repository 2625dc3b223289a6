//! What most tests begin with: a daemon with the test server behind it.

use fairlead_tests::{Cli, Daemon, Output, binary};

/// Name of the test server.
pub(crate) const SERVER: &str = "tested";

/// A daemon that runs the test server as [`SERVER`]; `flags` are those of `fairlead run`.
pub(crate) async fn daemon_with_server(flags: &[&str]) -> Daemon {
    let daemon = Daemon::start().await.unwrap();
    run_test_server(&daemon.cli().unwrap(), SERVER, flags, &[]).await;
    daemon
}

/// Runs the test server under a name.
pub(crate) async fn run_test_server(cli: &Cli, name: &str, flags: &[&str], args: &[&str]) -> Output {
    let output = try_test_server(cli, name, flags, args).await;
    assert_eq!(output.code, Some(0), "{output}");
    output
}

/// Tries to run the test server under a name.
pub(crate) async fn try_test_server(cli: &Cli, name: &str, flags: &[&str], args: &[&str]) -> Output {
    let program = binary::test_server().unwrap();
    let mut all = vec!["run", "--name", name];
    all.extend(flags);
    all.extend(["--", program.to_str().unwrap()]);
    all.extend(args);
    cli.run(all).await.unwrap()
}
