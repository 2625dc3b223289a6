//! Local processes: a command of this machine, with pipes, a process group of its own and an environment that it was given.
//!
//! The group is the point. `npx` starts a shell that starts node; ending the one that we know would leave the others to
//! hold the port, the lock file and the memory. So everything is done to the group: asking, killing, and waiting until it
//! is empty. A process that leaves its group on purpose (`setsid`) is out of reach, as it wants to be.

mod environment;
mod group;
mod identity;
mod minder;
mod program;

use std::process::Stdio;

use fairlead_core::BoxFuture;
use fairlead_core::server::Source;
use fairlead_core::workload::{Launch, LaunchError, Workload, WorkloadRuntime};
use rustix::process::Pid;
use tokio::process::{Child, Command};
use tokio_util::task::TaskTracker;

use self::group::Group;
use self::identity::Identity;
use self::minder::Process;

/// Starts commands of this machine. They are not isolated.
#[derive(Debug, Default)]
pub struct ProcessRuntime {
    minders: TaskTracker,
}

impl ProcessRuntime {
    /// A runtime without processes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    async fn start(&self, launch: &Launch) -> Result<Workload, LaunchError> {
        let Source::Command { program, args, directory } = &launch.source else {
            return Err(LaunchError::Unsupported("a process is started from a command".to_owned()));
        };
        let environment = environment::of_workload(std::env::vars_os(), &launch.env);
        let directory = program::directory(directory.as_deref(), &environment)?;
        let path = program::find(program, &directory, &environment)?;
        let mut child = Command::new(&path)
            .args(args)
            .env_clear()
            .envs(&environment)
            .current_dir(&directory)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| program::not_started(program, &path, error))?;
        let group = Group::led_by(leader(&child).ok_or_else(|| no_pipes(program))?);
        let id = Identity::of(group.leader()).await;
        if id.is_none() {
            tracing::warn!(fairlead.server.name = %launch.server, "a process cannot be recognised after a crash of the daemon");
        }
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(no_pipes(program));
        };
        Ok(Workload {
            id: id.map(|id| id.to_string()),
            stdin: Box::new(stdin),
            stdout: Box::new(stdout),
            stderr: Box::new(stderr),
            handle: Box::new(Process::mind(&self.minders, child, group)),
        })
    }
}

impl WorkloadRuntime for ProcessRuntime {
    fn name(&self) -> &'static str {
        "process"
    }

    fn supports(&self, source: &Source) -> bool {
        matches!(source, Source::Command { .. })
    }

    fn launch<'a>(&'a self, launch: &'a Launch) -> BoxFuture<'a, Result<Workload, LaunchError>> {
        Box::pin(self.start(launch))
    }

    fn end_leftover<'a>(&'a self, id: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let Ok(id) = id.parse::<Identity>() else { return false };
            // Somebody else may have the number by now, and must not be hurt.
            if Identity::of(id.pid()).await.as_ref() != Some(&id) {
                return false;
            }
            group::end(id.pid()).await
        })
    }
}

fn leader(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
}

fn no_pipes(program: &str) -> LaunchError {
    let source = std::io::Error::other("the process came without its pipes");
    LaunchError::Start { what: program.to_owned(), source: Box::new(source) }
}

#[cfg(test)]
mod tests;
