//! `fairlead plugin bench`.

use std::path::PathBuf;

use fairlead_wasm::Compiler;
use serde_json::json;

use super::local;
use crate::authoring::bench::{self, Costs, Spread};
use crate::authoring::message::Message;
use crate::cli::output::{Cell, Format};
use crate::cli::{Context, Failure};

/// Bytes of text in the call that is measured when none is given: with its frame about a kilobyte.
const TEXT_BYTES: usize = 900;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A file or the name of an installed plugin, and its configuration, as a file or as JSON; several are compared
    #[arg(value_name = "PLUGIN[=CONFIG]", required = true)]
    references: Vec<String>,
    /// The message that middleware is asked about; a call of a tool with about 1 KB unless it is said
    #[arg(long, value_name = "FILE")]
    message: Option<PathBuf>,
}

/// Measures what plugins cost, one after the other.
///
/// # Errors
/// A plugin, its configuration or the message is wrong.
pub(super) async fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let message = match &args.message {
        None => Message::tool_call(json!({"name": "echo", "arguments": {"text": "x".repeat(TEXT_BYTES)}})),
        Some(file) => {
            let text = std::fs::read_to_string(file);
            let text = text.map_err(|error| Failure::new(format!("read `{}`: {error}", file.display())))?;
            local::message(&text, &format!("`{}`", file.display()))?
        }
    };
    let program = std::env::current_exe()?;
    let mut all = Vec::new();
    for typed in &args.references {
        let (path, config) = local::reference(context, typed)?;
        context.output.progress(&format!("measuring {} …", path.display()));
        let costs = bench::measure(&path, &config, &message, Compiler::Child { program: program.clone() }).await;
        context.output.progress_done();
        all.push(costs.map_err(Failure::new)?);
    }
    match all.as_slice() {
        [costs] if context.output.format == Format::Json => context.output.json(costs)?,
        costs if context.output.format == Format::Json => context.output.json(&costs)?,
        [costs] => alone(costs, context)?,
        costs => side_by_side(costs, context)?,
    }
    if cfg!(debug_assertions) {
        context
            .output
            .note("this is a debug build of fairlead: its own part of a call is many times that of a release");
    }
    Ok(())
}

fn alone(costs: &Costs, context: &Context) -> Result<(), Failure> {
    let output = &context.output;
    let rows: Vec<Vec<Cell>> = [("warm", &costs.warm), ("fresh instance", &costs.fresh)]
        .into_iter()
        .filter_map(|(name, spread)| Some(row(name, spread.as_ref()?)))
        .collect();
    if !rows.is_empty() {
        output.table(&["CALL", "CALLS", "MIN", "P50", "P90", "P99", "MAX"], &rows)?;
    }
    match costs.verdict {
        Some(verdict) => {
            output.line(&format!("verdict {}, memory {}", verdict.text(), kibibytes(costs.memory_bytes)))?
        }
        None => output.line(&format!("each call is {}", costs.measured))?,
    }
    output.line(&format!(
        "compile {}, load from the cache {}",
        milliseconds(costs.compile_micros),
        milliseconds(costs.load_micros)
    ))
}

fn side_by_side(all: &[Costs], context: &Context) -> Result<(), Failure> {
    let times = |spread: &Option<Spread>| {
        let spread = spread.as_ref();
        [spread.map(|spread| spread.p50), spread.map(|spread| spread.p99)].map(|time| time.map_or("-".into(), micros))
    };
    let rows: Vec<Vec<Cell>> = all
        .iter()
        .map(|costs| {
            let ([warm, warm_late], [fresh, fresh_late]) = (times(&costs.warm), times(&costs.fresh));
            vec![
                costs.plugin.clone().into(),
                kibibytes(costs.size_bytes).into(),
                warm,
                warm_late,
                fresh,
                fresh_late,
                costs.verdict.map_or_else(|| "-".to_owned(), |_| kibibytes(costs.memory_bytes)).into(),
                milliseconds(costs.compile_micros).into(),
                milliseconds(costs.load_micros).into(),
            ]
        })
        .collect();
    let head =
        ["PLUGIN", "SIZE", "WARM P50", "WARM P99", "FRESH P50", "FRESH P99", "MEMORY", "COMPILE", "LOAD FROM CACHE"];
    context.output.table(&head, &rows)
}

fn milliseconds(micros: u128) -> String {
    format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100)
}

fn kibibytes(bytes: u64) -> String {
    format!("{} KiB", bytes.div_ceil(1024))
}

fn micros(nanos: u128) -> Cell {
    format!("{}.{:02} µs", nanos / 1_000, nanos % 1_000 / 10).into()
}

fn row(name: &str, spread: &Spread) -> Vec<Cell> {
    let calls = Cell::from(spread.calls.to_string());
    let times = [spread.min, spread.p50, spread.p90, spread.p99, spread.max].map(micros);
    [Cell::from(name.to_owned()), calls].into_iter().chain(times).collect()
}
