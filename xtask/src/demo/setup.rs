//! What the demonstration runs: one server, three plugins, their configurations and their grants.

use anyhow::Context;
use serde_json::{Value, json};

use super::daemon::Daemon;
use crate::workspace;

/// Name of the server.
pub(crate) const SERVER: &str = "toolbox";

/// The tool that the filter hides and refuses: it would tell what the server was started with.
pub(crate) const DENIED_TOOL: &str = "environment";

/// Calls of one tool that the rate limiter lets through at once.
pub(crate) const BURST: u32 = 5;

/// The plugins with their configurations, outermost first.
fn plugins() -> [(&'static str, Value); 3] {
    [
        ("tool-filter", json!({ "deny": [DENIED_TOOL] })),
        ("rate-limit", json!({ "requests": BURST, "per": "10s", "burst": BURST, "by": ["session", "tool"] })),
        ("redact", json!({})),
    ]
}

/// Runs the server behind its plugins, with the command that a user would type, and gives its URL.
pub(crate) fn run_server(daemon: &mut Daemon) -> anyhow::Result<String> {
    let component = workspace::plugins().join("toolbox.wasm");
    let mut args: Vec<String> = ["run", "--name", SERVER, "--format", "json"].map(str::to_owned).into();
    for (name, config) in plugins() {
        let file = daemon.home().join(format!("{name}.json"));
        std::fs::write(&file, config.to_string()).with_context(|| format!("write {}", file.display()))?;
        args.extend(["--plugin".to_owned(), format!("{name}={}", file.display())]);
    }
    // The rate limiter keeps its counters in the host's key-value state, and gets it because it is said here.
    args.extend(["--grant".to_owned(), "kv".to_owned(), component.to_string_lossy().into_owned()]);
    anstream::println!("      $ fairlead {}", shown(&args, daemon));
    let printed = daemon.run(&args)?;
    let server: Value = serde_json::from_str(&printed).with_context(|| format!("`fairlead run` printed {printed}"))?;
    let url = server.get("url").and_then(Value::as_str).context("`fairlead run` named no URL")?;
    Ok(url.to_owned())
}

/// The command as it reads best: without the directories that are different on each machine.
fn shown(args: &[String], daemon: &Daemon) -> String {
    let home = format!("{}/", daemon.home().display());
    let root = format!("{}/", workspace::root().display());
    args.iter().map(|arg| arg.replace(&home, "").replace(&root, "")).collect::<Vec<_>>().join(" ")
}
