//! Running somebody's program for a secret: nothing of ours on its command line but names, the value on its standard
//! output, an end in time, and not a word of what it printed in any error.

use std::io::{self, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use fairlead_core::limits::SECRET_VALUE_BYTES_MAX;
use rustix::process::{Pid, Signal, kill_process_group};
use zeroize::Zeroizing;

use crate::limits::POLL_INTERVAL;

/// Why there is no value.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProgramError {
    /// It is not there, or cannot be started.
    #[error("start `{program}`: {source}")]
    Start {
        /// The program.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// It said no. What it printed may quote a secret.
    #[error("`{program}` ended with {status}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// It took too long: it may wait for a person.
    #[error("`{program}` did not end within {} s", limit.as_secs())]
    Timeout {
        /// The program.
        program: String,
        /// How long it had.
        limit: Duration,
    },
    /// It printed more than a secret.
    #[error("`{program}` printed more than {SECRET_VALUE_BYTES_MAX} bytes")]
    TooMuch {
        /// The program.
        program: String,
    },
}

/// Runs a program and gives what it printed. Blocking.
pub(super) fn run(
    command: &[String],
    input: Option<&[u8]>,
    limit: Duration,
) -> Result<Zeroizing<Vec<u8>>, ProgramError> {
    let Some((program, args)) = command.split_first() else {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "there is no program");
        return Err(ProgramError::Start { program: String::new(), source });
    };
    let name = || program.clone();
    let start = |source| ProgramError::Start { program: name(), source };
    let mut child = Command::new(program)
        .args(args)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        // A person does not read it, and it may quote what it was to keep to itself.
        .stderr(Stdio::null())
        // Of a group of its own, so that what it starts ends with it.
        .process_group(0)
        .spawn()
        .map_err(start)?;
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        // One that does not read it says so by its status.
        let _ = stdin.write_all(input);
    }
    let stdout = child.stdout.take();
    let (give, take) = mpsc::channel();
    std::thread::spawn(move || {
        let mut value = Zeroizing::new(Vec::with_capacity(SECRET_VALUE_BYTES_MAX + 1));
        let most = u64::try_from(SECRET_VALUE_BYTES_MAX + 1).unwrap_or(u64::MAX);
        let read = stdout.map_or(Ok(0), |stdout| stdout.take(most).read_to_end(&mut value));
        let _ = give.send(read.map(|_| value));
    });
    let deadline = Instant::now() + limit;
    let read = take.recv_timeout(limit);
    let status = loop {
        match child.try_wait().map_err(start)? {
            Some(status) => break Some(status),
            None if Instant::now() >= deadline
                || matches!(&read, Ok(Ok(value)) if value.len() > SECRET_VALUE_BYTES_MAX) =>
            {
                end(&mut child);
                break None;
            }
            None => std::thread::park_timeout(POLL_INTERVAL),
        }
    };
    match (read, status) {
        (Ok(Ok(value)), _) if value.len() > SECRET_VALUE_BYTES_MAX => Err(ProgramError::TooMuch { program: name() }),
        (Ok(Ok(value)), Some(status)) if status.success() => Ok(value),
        (_, Some(status)) if !status.success() => Err(ProgramError::Failed { program: name(), status }),
        (Ok(Err(error)), _) => Err(start(error)),
        _ => Err(ProgramError::Timeout { program: name(), limit }),
    }
}

fn end(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, input: Option<&[u8]>) -> Result<Zeroizing<Vec<u8>>, ProgramError> {
        run(&["sh".to_owned(), "-c".to_owned(), script.to_owned()], input, Duration::from_secs(5))
    }

    #[test]
    fn what_it_prints_is_the_value() {
        assert_eq!(**shell("printf 'a b\\n'", None).unwrap(), *b"a b\n");
        assert_eq!(**shell("cat", Some(b"in")).unwrap(), *b"in");
    }

    #[test]
    fn what_a_program_says_of_its_failure_is_not_repeated() {
        let error = shell("echo hunter2; echo hunter2 >&2; exit 3", None).unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && !error.contains("hunter2"), "{error}");
        assert!(matches!(run(&["/no/such".to_owned()], None, Duration::from_secs(1)), Err(ProgramError::Start { .. })));
    }

    #[test]
    fn one_that_waits_for_a_person_is_ended_with_what_it_started() {
        let command = ["sh", "-c", "sleep 1000 & wait"].map(str::to_owned);
        let error = run(&command, None, Duration::from_millis(200)).unwrap_err();
        assert!(matches!(error, ProgramError::Timeout { .. }), "{error}");
    }

    #[test]
    fn one_that_prints_without_end_is_ended() {
        assert!(matches!(shell("yes", None), Err(ProgramError::TooMuch { .. })));
    }
}
