//! Runs `cargo test` and counts what libtest says.
//!
//! A test that finds its tool missing cannot tell libtest that it was skipped: it counts as passed. Such a test writes a
//! line `skipped: <reason>` to standard error, past libtest's capture, and is counted here as what it is.

use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::process::{Command, Stdio};

use anyhow::Context;

use super::Tally;

/// How a line begins that a test writes when it cannot run.
const SKIPPED: &str = "skipped: ";

/// What one run of `cargo test` gave.
pub(crate) struct Run {
    pub(crate) tally: Tally,
    /// Why tests skipped themselves, each reason once.
    pub(crate) skips: Vec<String>,
    /// Tests that failed, by name.
    pub(crate) failures: Vec<String>,
    pub(crate) success: bool,
}

/// Runs a `cargo test` command; its output passes through.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<Run> {
    if std::io::stderr().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    let line = crate::workspace::line(command);
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().with_context(|| format!("start `{line}`"))?;
    let stderr = child.stderr.take().context("take standard error of the tests")?;
    let stdout = child.stdout.take().context("take standard output of the tests")?;
    let reasons = std::thread::spawn(move || {
        let mut reasons = Vec::new();
        for line in lines(stderr) {
            if let Some(reason) = line.strip_prefix(SKIPPED) {
                reasons.push(reason.trim().to_owned());
            }
            anstream::eprintln!("{line}");
        }
        reasons
    });
    let (mut tally, mut failures) = (Tally::default(), Vec::new());
    for line in lines(stdout) {
        if let Some(counted) = count(&line) {
            tally.add(counted);
        }
        failures.extend(failure(&line).map(str::to_owned));
        anstream::println!("{line}");
    }
    let status = child.wait().context("wait for the tests")?;
    let mut skips = reasons.join().unwrap_or_default();
    let skipped = skips.len() as u64;
    tally.passed = tally.passed.saturating_sub(skipped);
    tally.skipped += skipped;
    skips.sort();
    skips.dedup();
    Ok(Run { tally, skips, failures, success: status.success() })
}

/// Lines of a pipe until it ends. A test may print anything, so bytes that are no text are replaced.
fn lines(pipe: impl Read) -> impl Iterator<Item = String> {
    BufReader::new(pipe).split(b'\n').map_while(Result::ok).map(|line| String::from_utf8_lossy(&line).into_owned())
}

/// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; …`, with or without colour.
fn count(line: &str) -> Option<Tally> {
    let (_, result) = line.split_once("test result: ")?;
    let number = |word: &str| {
        let part = result.split([';', '.']).find_map(|part| part.trim().strip_suffix(word))?;
        part.split_whitespace().next_back()?.parse().ok()
    };
    Some(Tally { passed: number(" passed")?, failed: number(" failed")?, skipped: number(" ignored")? })
}

/// Reads `test chain::tests::a_star ... FAILED`, with or without colour.
fn failure(line: &str) -> Option<&str> {
    let (name, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
    outcome.contains("FAILED").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::{Tally, count, failure, lines};

    #[test]
    fn a_result_line_is_counted_with_and_without_colour() {
        let expected = Some(Tally { passed: 12, failed: 1, skipped: 3 });
        let plain = "test result: FAILED. 12 passed; 1 failed; 3 ignored; 0 measured; 4 filtered out; finished in 0.1s";
        let coloured = "test result: \u{1b}[31mFAILED\u{1b}[0m. 12 passed; 1 failed; 3 ignored; 0 measured";
        assert_eq!(count(plain), expected);
        assert_eq!(count(coloured), expected);
        assert_eq!(count("test chain::tests::a_star ... ok"), None);
    }

    #[test]
    fn a_test_that_failed_is_known_by_name() {
        assert_eq!(failure("test chain::tests::a_star ... FAILED"), Some("chain::tests::a_star"));
        assert_eq!(failure("test chain::tests::a_star ... \u{1b}[31mFAILED\u{1b}[0m"), Some("chain::tests::a_star"));
        assert_eq!(failure("test chain::tests::a_star ... ok"), None);
        assert_eq!(failure("test result: FAILED. 12 passed; 1 failed"), None);
    }

    #[test]
    fn bytes_that_are_no_text_do_not_end_the_output() {
        let read: Vec<String> = lines(&b"a\n\xff\nb"[..]).collect();
        assert_eq!(read, ["a", "\u{fffd}", "b"]);
    }
}
