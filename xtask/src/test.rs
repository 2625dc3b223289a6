//! `cargo xtask test`: every check and every test of the project, one summary at the end.
//!
//! The steps go on after a failure, because the second thing that is wrong is worth knowing too; only what cannot work
//! without a failed step is skipped, and says so. A tool that is missing skips its step on a laptop and fails it under
//! `CI=true`: a check that silently stopped running is how a project rots.

mod documents;
mod guides;
mod house;
mod libtest;
mod licences;
mod steps;

use std::time::{Duration, Instant};

use anyhow::bail;

use crate::terminal::{BAD, FAINT, GOOD, HEADING, SKIPPED, heading};

/// Arguments.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these steps; may be given several times.
    #[arg(long, value_name = "STEP", value_parser = steps::names())]
    only: Vec<String>,
    /// What takes less than a minute or two after a small change: no test packages, no integration tests.
    #[arg(long)]
    quick: bool,
    /// Only tests whose name contains this text (for the steps that run tests).
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
}

/// What the steps need to know.
pub(crate) struct Plan {
    /// Leave out what is slow.
    quick: bool,
    /// Run only tests whose name contains this.
    filter: Option<String>,
    /// A missing tool is a failure.
    is_ci: bool,
}

/// How a step ended.
pub(crate) enum Outcome {
    /// It held; a few words on what was looked at.
    Passed(String),
    /// It did not, and why.
    Failed(String),
    /// It was not tried, and why.
    Skipped(String),
}

/// Single tests, as counted by libtest.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

struct Row {
    name: &'static str,
    outcome: Outcome,
    tally: Tally,
    took: Duration,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    let plan = Plan { quick: args.quick, filter: args.filter.clone(), is_ci };
    let mut rows: Vec<Row> = Vec::new();
    for step in steps::ALL {
        if !args.only.is_empty() && !args.only.iter().any(|name| name == step.name) {
            continue;
        }
        heading(&format!("{}: {}", step.name, step.about));
        let broken = step
            .needs
            .iter()
            .find(|name| rows.iter().any(|row| row.name == **name && matches!(row.outcome, Outcome::Failed(_))));
        let begin = Instant::now();
        let mut tally = Tally::default();
        let outcome = match broken {
            Some(name) => Outcome::Skipped(format!("needs `{name}`, which failed")),
            None => (step.run)(&plan, &mut tally).unwrap_or_else(|error| Outcome::Failed(format!("{error:#}"))),
        };
        let outcome = match outcome {
            Outcome::Skipped(why) if is_ci && broken.is_none() && !args.quick => {
                Outcome::Failed(format!("{why} (may be skipped on a laptop, not in CI)"))
            }
            outcome => outcome,
        };
        if let Outcome::Failed(why) = &outcome {
            anstream::println!("{BAD}failed:{BAD:#} {why}");
        }
        rows.push(Row { name: step.name, outcome, tally, took: begin.elapsed() });
    }
    summarise(&rows)
}

fn summarise(rows: &[Row]) -> anyhow::Result<()> {
    heading("summary");
    let mut tally = Tally::default();
    let mut failed = Vec::new();
    for Row { name, outcome, tally: step, took } in rows {
        tally.add(*step);
        let (style, word, note) = match outcome {
            Outcome::Passed(note) => (GOOD, "passed", note),
            Outcome::Failed(why) => (BAD, "FAILED", why),
            Outcome::Skipped(why) => (SKIPPED, "skipped", why),
        };
        if matches!(outcome, Outcome::Failed(_)) {
            failed.push(*name);
        }
        let seconds = took.as_secs_f32();
        // The whole of it stands where the step ran.
        let note = note.lines().next().unwrap_or_default();
        anstream::println!(
            "  {style}{word:8}{style:#} {HEADING}{name:12}{HEADING:#} {FAINT}{seconds:6.1} s{FAINT:#}  {note}"
        );
    }
    // A step that failed without a failing test of its own counts as one, so that the last line never says all is well.
    let silent = rows.iter().filter(|row| matches!(row.outcome, Outcome::Failed(_)) && row.tally.failed == 0).count();
    anstream::println!(
        "\n{} passed, {} failed, {} skipped",
        tally.passed,
        tally.failed + u64::try_from(silent)?,
        tally.skipped
    );
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}
