//! `cargo xtask demo`: from a fresh clone to a guarded MCP server, with a client that shows what the guards do.
//!
//! It uses what a user uses, the `fairlead` binary and the wire, and nothing else: a demonstration that reached into the
//! crates would show something that nobody has. The home is thrown away, so it changes nothing on the machine.

mod client;
mod daemon;
mod setup;
mod story;

use std::io::Write;

use anyhow::bail;

use crate::terminal::{FAINT, HEADING};
use crate::{plugins, workspace};
use daemon::Daemon;

/// Arguments.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// End after the story; the status tells whether every step held.
    #[arg(long)]
    once: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    anstream::println!("{HEADING}Fairlead: a guarded MCP server, from nothing{HEADING:#}");
    stage(1, "Wasm targets")?;
    done(&workspace::wasm_targets()?.join(", "))?;
    stage(2, "Plugins and server, compiled to Wasm components")?;
    let built = plugins::build(false)?;
    done(&built.iter().map(|built| built.name.as_str()).collect::<Vec<_>>().join(", "))?;
    stage(3, "Host (dev profile: quick to build, slower to run; `cargo build --release` is the real thing)")?;
    workspace::build("dev", &["fairlead"])?;
    done("fairlead")?;
    stage(4, "Daemon, on a free port and with a throw-away home")?;
    let mut daemon = Daemon::start()?;
    done(&format!("http://{}", daemon.address()))?;
    stage(5, "Server, behind three plugins")?;
    let endpoint = setup::run_server(&mut daemon)?;
    done("tool-filter -> rate-limit -> redact -> toolbox")?;

    anstream::println!("\n{HEADING}A client application connects to {endpoint}{HEADING:#}\n");
    let missed = story::tell(&endpoint, &mut daemon)?;
    if missed == 0 {
        anstream::println!("\nEvery step held.");
    }
    if !args.once {
        anstream::println!("{}", invitation(&endpoint));
        daemon.wait()?;
        anstream::println!("\nEnding the daemon and removing its home.");
    }
    drop(daemon);
    if missed > 0 {
        bail!("{missed} of the steps did not hold");
    }
    Ok(())
}

/// Announces a stage; what cargo prints while it lasts stands below.
fn stage(number: u8, title: &str) -> anyhow::Result<()> {
    const STAGES: u8 = 5;
    anstream::println!("\n{HEADING}[{number}/{STAGES}]{HEADING:#} {title}");
    Ok(std::io::stdout().flush()?)
}

fn done(what: &str) -> anyhow::Result<()> {
    anstream::println!("      {FAINT}ready:{FAINT:#} {what}");
    Ok(std::io::stdout().flush()?)
}

/// How to connect a client application of one's own.
fn invitation(endpoint: &str) -> String {
    let json = serde_json::json!({ "mcpServers": { setup::SERVER: { "type": "http", "url": endpoint } } });
    format!(
        "\n{HEADING}Try it with your own client application{HEADING:#}\n\n  \
         claude mcp add --transport http {} {endpoint}\n\n  \
         or, in a JSON configuration:\n\n  {json}\n\n\
         The server stays up until Ctrl-C.",
        setup::SERVER
    )
}
