//! Things to try a guard on: a tool that takes a while, one whose result looks secret, one that tells what the server was
//! started with.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Progress, Tool};

/// More steps would keep the only thread of the component busy for longer than anybody waits.
const STEPS_MAX: u32 = 100;
/// Longest pause between two steps.
const PAUSE_MS_MAX: u64 = 1_000;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Countdown {
    /// At most 100.
    #[serde(default = "three")]
    steps: u32,
    /// Between two steps; at most 1,000.
    #[serde(default = "fifty")]
    pause_ms: u64,
}

#[derive(Serialize, JsonSchema)]
struct Counted {
    steps: u32,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Serialize, JsonSchema)]
struct Environment {
    variables: Vec<Variable>,
}

#[derive(Serialize, JsonSchema)]
struct Variable {
    name: String,
    value: String,
}

#[derive(Serialize, JsonSchema)]
struct Configuration {
    /// A configuration file.
    file: String,
}

const fn three() -> u32 {
    3
}

const fn fifty() -> u64 {
    50
}

#[expect(clippy::disallowed_methods, reason = "a component has one thread, and this tool is there to take a while")]
fn countdown(input: &Countdown, progress: &mut Progress<'_>) -> Result<Counted, String> {
    if input.steps > STEPS_MAX || input.pause_ms > PAUSE_MS_MAX {
        return Err(format!("at most {STEPS_MAX} steps with pauses of at most {PAUSE_MS_MAX} ms"));
    }
    for step in 1..=input.steps {
        std::thread::sleep(Duration::from_millis(input.pause_ms));
        progress.report(step, input.steps);
    }
    Ok(Counted { steps: input.steps })
}

/// Made up, in the shape of real credentials; assembled here so that no scanner takes this file for a leak.
fn configuration() -> Configuration {
    let key = ["AKIA", "IOSFODNN7", "EXAMPLE"].concat();
    let token = ["ghp_", "abcdefghijklmnopqrstuvwxyz", "0123456789"].concat();
    Configuration {
        file: format!(
            "[storage]\nregion = \"eu-central-1\"\naccess_key = \"{key}\"\n\n[source]\ntoken = \"{token}\"\n"
        ),
    }
}

pub(super) fn tools() -> Vec<Tool> {
    vec![
        Tool::new("countdown", "Count down", "Takes a while and reports progress.", |input: Countdown, progress| {
            countdown(&input, progress)
        }),
        Tool::new(
            "environment",
            "Environment",
            "Lists the environment that this server was given.",
            |_: Nothing, _| {
                let variables = std::env::vars().map(|(name, value)| Variable { name, value }).collect();
                Ok(Environment { variables })
            },
        ),
        Tool::new(
            "example_config",
            "Example configuration",
            "Returns a configuration file with made-up credentials, to try a guard on.",
            |_: Nothing, _| Ok(configuration()),
        ),
    ]
}
