//! `fairlead doctor`: looks at what a daemon here would find, and says what to do about what is missing.
//!
//! It needs no daemon and starts none, because it is asked when something does not work. It looks from this shell; the daemon
//! keeps the variables of the shell that started it.

mod home;

use std::fmt::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use fairlead_runtimes::container::{Engines, Outcome, Surroundings, Tried};
use serde::Serialize;

use super::output::Format;
use super::{Context, Failure};
use crate::client::{Client, ClientError};
use crate::config::{Directories, Settings, variables};
use crate::limits::DISK_FREE_BYTES_MIN;
use crate::text;

/// All that was looked at.
#[derive(Debug, Serialize)]
struct Report {
    checks: Vec<Check>,
    engines: Vec<Tried>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    Good,
    /// Something does not work that not everybody needs.
    Warning,
    /// Nothing works.
    Bad,
}

/// Looks and prints.
///
/// # Errors
/// A daemon cannot work here.
pub(crate) async fn run(context: &Context) -> Result<(), Failure> {
    let Settings { directories, .. } = &context.settings;
    let engines = Engines::new(Surroundings::of_this_process()).look().await;
    let client = Client::new(&directories.socket());
    let running = client.hello().await.is_ok().then_some(&client);
    let checks = vec![
        daemon(&context.settings).await,
        state(directories),
        disk(directories),
        home::clock(directories),
        home::secrets(&context.settings, running).await,
        home::clients(running).await,
        home::plugins(directories, running).await,
        container_engine(&engines),
        home::orphans(&context.settings, running).await,
    ];
    let report = Report { checks, engines };
    match context.output.format {
        Format::Json => context.output.json(&report)?,
        Format::Text => context.output.text(&describe(&report))?,
    }
    match report.checks.iter().filter(|check| check.verdict == Verdict::Bad).count() {
        0 => Ok(()),
        _ => Err(Failure::new("a daemon does not work here")),
    }
}

/// Whether the daemon answers; where none runs, whether one could listen.
async fn daemon(settings: &Settings) -> Check {
    let name = "daemon";
    match Client::new(&settings.directories.socket()).hello().await {
        Ok(info) => good(name, format!("fairlead {} serves on {} (process {})", info.version, info.address, info.pid)),
        Err(ClientError::NoDaemon { .. }) => match tokio::net::TcpListener::bind(settings.address).await {
            Ok(_) => good(name, format!("none runs; {} is free for it", settings.address)),
            Err(error) => bad(name, format!("none runs, and it could not listen on {}: {error}", settings.address))
                .hint(format!("choose another with `fairlead serve --address` or `{}`", variables::ADDRESS.name)),
        },
        Err(error) => {
            bad(name, text::chain(&error)).hint("`fairlead shutdown` ends it; the next command starts another")
        }
    }
}

/// The state belongs to the user alone, who can write it.
fn state(directories: &Directories) -> Check {
    let name = "state";
    let state = &directories.state;
    let shown = state.display();
    let metadata = match std::fs::metadata(state) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return good(name, format!("`{shown}` is made when it is needed"));
        }
        Err(error) => return bad(name, format!("`{shown}`: {error}")),
    };
    let mode = metadata.permissions().mode() & 0o777;
    if rustix::fs::access(state, rustix::fs::Access::WRITE_OK).is_err() {
        return bad(name, format!("`{shown}` cannot be written")).hint("make it yours");
    }
    if metadata.uid() != rustix::process::getuid().as_raw() || mode & 0o077 != 0 {
        return warning(
            name,
            format!("others than you can look into `{shown}`, where keys of servers may be (mode {mode:o})"),
        )
        .hint(format!("make it yours alone: `chmod 700 {shown}`; the next start of the daemon does"));
    }
    good(name, format!("`{shown}` (mode {mode:o})"))
}

fn disk(directories: &Directories) -> Check {
    let name = "disk";
    // What is not there yet will lie where its nearest ancestor does.
    let there = directories.state.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(there) {
        Err(error) => warning(name, format!("free space cannot be found out: {error}")),
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let detail = format!("{} MiB are free for state, logs and compiled plugins", free >> 20);
            if free < DISK_FREE_BYTES_MIN {
                warning(name, detail).hint("make room: a daemon that cannot write keeps no change")
            } else {
                good(name, detail)
            }
        }
    }
}

fn container_engine(tried: &[Tried]) -> Check {
    let name = "container engine";
    let answering = tried.iter().find_map(|tried| match &tried.outcome {
        Outcome::Answering(facts) => Some((tried, facts)),
        _ => None,
    });
    match answering {
        None => warning(name, "none answers; servers from images cannot run".to_owned()).hint(format!(
            "install and start Podman or Docker, or set `{}` to its socket",
            variables::CONTAINER_ENGINE.name
        )),
        Some((engine, facts)) if !facts.unenforced.is_empty() => {
            let unenforced = facts.unenforced.join(", ");
            warning(
                name,
                format!("{} ({} {}) does not enforce: {unenforced}", engine.name, facts.product, facts.version),
            )
        }
        Some((engine, facts)) => {
            let rootless = if facts.rootless { ", rootless" } else { "" };
            good(name, format!("new servers go to {} ({} {}{rootless})", engine.name, facts.product, facts.version))
        }
    }
}

fn describe(report: &Report) -> String {
    let mut text = String::new();
    for Check { name, verdict, detail, hint } in &report.checks {
        let word = match verdict {
            Verdict::Good => "good",
            Verdict::Warning => "warning",
            Verdict::Bad => "bad",
        };
        let _ = writeln!(text, "{word:7}  {name:16}  {detail}");
        if let Some(hint) = hint {
            let _ = writeln!(text, "{:7}  {:16}  {hint}", "", "");
        }
    }
    text.push_str("\nengines were looked for at\n");
    for Tried { name, found_by, address, outcome } in &report.engines {
        let _ = writeln!(text, "  {address} ({name}, {found_by}): {outcome}");
    }
    text
}

fn good(name: &'static str, detail: String) -> Check {
    Check { name, verdict: Verdict::Good, detail, hint: None }
}

fn warning(name: &'static str, detail: String) -> Check {
    Check { name, verdict: Verdict::Warning, detail, hint: None }
}

fn bad(name: &'static str, detail: String) -> Check {
    Check { name, verdict: Verdict::Bad, detail, hint: None }
}

impl Check {
    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_others_can_look_into_is_a_warning() {
        let home = tempfile::tempdir().unwrap();
        let directories = Directories::below(home.path());
        assert_eq!(state(&directories).verdict, Verdict::Good);
        std::fs::create_dir(&directories.state).unwrap();
        for (mode, verdict) in [(0o700, Verdict::Good), (0o750, Verdict::Warning), (0o777, Verdict::Warning)] {
            std::fs::set_permissions(&directories.state, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(state(&directories).verdict, verdict, "{mode:o}");
        }
    }

    #[test]
    fn a_machine_without_an_engine_is_told_how_to_get_one() {
        let check = container_engine(&[]);
        assert_eq!(check.verdict, Verdict::Warning);
        assert!(check.hint.unwrap().contains("FAIRLEAD_CONTAINER_ENGINE"));
    }

    #[tokio::test]
    async fn an_address_that_somebody_has_is_bad() {
        let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let home = tempfile::tempdir().unwrap();
        let address = Some(taken.local_addr().unwrap());
        let overrides = crate::config::Overrides { home: Some(home.path().to_owned()), address, ..Default::default() };
        let settings = Settings::resolve(overrides, &|_| None).unwrap();
        assert_eq!(daemon(&settings).await.verdict, Verdict::Bad);
        drop(taken);
        assert_eq!(daemon(&settings).await.verdict, Verdict::Good);
    }
}
