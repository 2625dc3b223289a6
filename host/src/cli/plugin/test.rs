//! `fairlead plugin test`.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{build, local};
use crate::authoring::cases::{self, Golden, Report};
use crate::cli::output::Format;
use crate::cli::{Context, Failure};

/// Where a table lies in the directory of a plugin: the first of these that is there.
const TABLES: [&str; 3] = ["tests/cases.json", "tests/cases.yaml", "tests/cases.yml"];

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory of a crate, which is built first; a file; or the name of an installed plugin
    #[arg(value_name = "DIR|PLUGIN", default_value = ".")]
    subject: String,
    /// Table of cases, in JSON or YAML; `tests/cases.json` or `tests/cases.yaml` in the directory of the plugin unless it is said
    #[arg(long, value_name = "FILE")]
    cases: Option<PathBuf>,
    /// Write what came as the golden outcomes of cases that expect nothing
    #[arg(long)]
    update: bool,
    /// Only cases whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

/// Runs a table in the real host.
///
/// # Errors
/// A case did not hold, or there is no plugin or no table.
pub(super) async fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let (component, directory) = subject(args, context)?;
    let path = args.cases.clone().unwrap_or_else(|| table_of(&directory));
    let table = cases::read(&path)
        .map_err(|error| Failure::new(error).hint("a table of cases is described in docs/guides/first-plugin.md"))?;
    let (bench, plugin) = local::load(context, &component).await?;
    let golden_path = path.with_extension("golden.json");
    let golden = read_golden(&golden_path)?;
    let (mut reports, mut kept) = (Vec::new(), Golden::new());
    for case in &table.cases {
        if args.only.as_ref().is_some_and(|only| !case.name.contains(only)) {
            kept.extend(golden.get(&case.name).map(|known| (case.name.clone(), known.clone())));
            continue;
        }
        let mut report = cases::run(&bench, &plugin, &table, case, &golden).await;
        if let (true, Some(outcomes)) = (args.update, report.golden.take()) {
            kept.insert(case.name.clone(), outcomes);
            // What golden outcomes say is the last remark.
            report = cases::run(&bench, &plugin, &table, case, &kept).await;
        }
        show(context, &report)?;
        reports.push(report);
    }
    if args.update {
        write_golden(&golden_path, &kept)?;
    }
    finish(context, &reports, &path)
}

/// The component, and the directory that its table is looked for in.
fn subject(args: &Args, context: &Context) -> Result<(PathBuf, PathBuf), Failure> {
    let directory = Path::new(&args.subject);
    if directory.is_dir() {
        return Ok((build::component(directory, None, context)?.path, directory.to_owned()));
    }
    let file = local::file(context, &args.subject)?;
    let directory = file.parent().map(Path::to_owned).unwrap_or_default();
    Ok((file, directory))
}

fn table_of(directory: &Path) -> PathBuf {
    let [usual, ..] = TABLES.map(|table| directory.join(table));
    TABLES.iter().map(|table| directory.join(table)).find(|path| path.is_file()).unwrap_or(usual)
}

fn show(context: &Context, report: &Report) -> Result<(), Failure> {
    if context.output.format == Format::Json {
        return Ok(());
    }
    let word = if report.wrong.is_empty() { "ok    " } else { "FAILED" };
    context.output.line(&format!("{word}  {}", report.name))?;
    report.wrong.iter().try_for_each(|wrong| context.output.line(&format!("        {wrong}")))
}

fn finish(context: &Context, reports: &[Report], table: &Path) -> Result<(), Failure> {
    let failed = reports.iter().filter(|report| !report.wrong.is_empty()).count();
    if context.output.format == Format::Json {
        context.output.json(&json!({"passed": reports.len() - failed, "failed": failed, "cases": reports}))?;
    } else {
        context.output.line(&format!("{} passed, {failed} failed", reports.len() - failed))?;
    }
    match (reports.is_empty(), failed) {
        (true, _) => Err(Failure::new(format!("no case of `{}` was run", table.display()))),
        (false, 0) => Ok(()),
        (false, _) => Err(Failure::new(format!("{failed} of {} cases did not hold", reports.len()))),
    }
}

fn read_golden(path: &Path) -> Result<Golden, Failure> {
    match std::fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text)
            .map_err(|error| Failure::new(format!("`{}`: {error}", path.display())).hint("`--update` writes it anew")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Golden::new()),
        Err(error) => Err(Failure::new(format!("read `{}`: {error}", path.display()))),
    }
}

fn write_golden(path: &Path, golden: &Golden) -> Result<(), Failure> {
    if golden.is_empty() {
        return Ok(());
    }
    let text = serde_json::to_string_pretty(golden).map_err(|error| Failure::chain(&error))?;
    std::fs::write(path, text + "\n").map_err(|error| Failure::new(format!("write `{}`: {error}", path.display())))
}
