//! `fairlead plugin bench`.

use std::path::PathBuf;

use serde_json::json;

use super::local;
use crate::authoring::bench::{self, Spread};
use crate::authoring::message::Message;
use crate::cli::output::{Cell, Format};
use crate::cli::{Context, Failure};

/// Bytes of text in the call that is measured when none is given: with its frame about a kilobyte.
const TEXT_BYTES: usize = 900;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A file or the name of an installed plugin, and its configuration, as a file or as JSON
    #[arg(value_name = "PLUGIN[=CONFIG]")]
    reference: String,
    /// The message that it is asked about; a call of a tool with about 1 KB unless it is said
    #[arg(long, value_name = "FILE")]
    message: Option<PathBuf>,
}

/// Measures what a plugin costs.
///
/// # Errors
/// The plugin, its configuration or the message is wrong.
pub(super) async fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let (path, config) = local::reference(context, &args.reference)?;
    let message = match &args.message {
        None => Message::tool_call(json!({"name": "echo", "arguments": {"text": "x".repeat(TEXT_BYTES)}})),
        Some(file) => {
            let text = std::fs::read_to_string(file);
            let text = text.map_err(|error| Failure::new(format!("read `{}`: {error}", file.display())))?;
            local::message(&text, &format!("`{}`", file.display()))?
        }
    };
    context.output.progress("measuring …");
    let costs = bench::measure(&path, &config, &message).await;
    context.output.progress_done();
    let costs = costs.map_err(Failure::new)?;
    let output = &context.output;
    if output.format == Format::Json {
        return output.json(&costs);
    }
    let rows: Vec<Vec<Cell>> = [("warm", &costs.warm), ("fresh instance", &costs.fresh)]
        .into_iter()
        .filter_map(|(name, spread)| Some(row(name, spread.as_ref()?)))
        .collect();
    if !rows.is_empty() {
        output.table(&["CALL", "CALLS", "MIN", "P50", "P90", "P99", "MAX"], &rows)?;
    }
    if let Some(verdict) = costs.verdict {
        output.line(&format!("verdict {}, memory {} KiB", verdict.text(), costs.memory_bytes.div_ceil(1024)))?;
    }
    let milliseconds = |micros: u128| format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100);
    output.line(&format!(
        "compile {}, load from the cache {}",
        milliseconds(costs.compile_micros),
        milliseconds(costs.load_micros)
    ))?;
    if costs.debug_build {
        output.note("this is a debug build of fairlead: its own part of a call is many times that of a release");
    }
    Ok(())
}

fn row(name: &str, spread: &Spread) -> Vec<Cell> {
    let micros = |nanos: u128| Cell::from(format!("{}.{:02} µs", nanos / 1_000, nanos % 1_000 / 10));
    let calls = Cell::from(spread.calls.to_string());
    let times = [spread.min, spread.p50, spread.p90, spread.p99, spread.max].map(micros);
    [Cell::from(name.to_owned()), calls].into_iter().chain(times).collect()
}
