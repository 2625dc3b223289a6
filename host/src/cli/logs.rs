//! `fairlead logs`.

use std::io::IsTerminal as _;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use super::list::form;
use super::output::Format;
use super::{Context, Failure, OneTarget, workload_path};
use crate::client::Client;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: OneTarget,
    /// What the data plane and the plugins of its chain said about the server, instead of what it said itself
    #[arg(long)]
    proxy: bool,
    /// Go on with what comes, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// Begin with so many lines from the end
    #[arg(long, short = 'n', value_name = "LINES")]
    tail: Option<usize>,
}

/// Prints a log.
///
/// # Errors
/// There is no such server, or no daemon.
pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let client = context.daemon_of(&args.target.name).await?;
    let mut path = workload_path(&args.target.key(), "/logs") + &form(&[("follow", &args.follow.to_string())]);
    if args.proxy {
        path += &form(&[("proxy", "true")]);
    }
    if let Some(lines) = args.tail {
        path += &form(&[("tail", &lines.to_string())]);
    }
    print(&client, &path, context).await
}

/// Prints a log until it ends or Ctrl-C.
pub(super) async fn print(client: &Client, path: &str, context: &Context) -> Result<(), Failure> {
    let mut chunks = client.stream(path).await?;
    let terminal = std::io::stdout().is_terminal();
    let mut lines = Lines::default();
    loop {
        let chunk = tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => return Ok(()),
            chunk = chunks.next() => chunk?,
        };
        match (chunk, context.output.format) {
            (Some(chunk), Format::Json) => {
                for line in lines.take_in(&chunk) {
                    context.output.json_line(&Line::of(&line))?;
                }
            }
            (Some(chunk), Format::Text) if terminal => context.output.bytes(&harmless(&chunk))?,
            (Some(chunk), Format::Text) => context.output.bytes(&chunk)?,
            (None, _) => return Ok(()),
        }
    }
}

/// A line of a log, for programs.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Line<'a> {
    /// When it was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<Timestamp>,
    /// Who said it: `stderr` or `stdout` of the server, `fairlead`, `proxy`, or `plugin:<name>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    /// In which of the server's workloads.
    #[serde(skip_serializing_if = "Option::is_none")]
    workload: Option<u64>,
    /// What.
    text: &'a str,
}

impl<'a> Line<'a> {
    /// Takes a line apart; one that has another shape is all text.
    fn of(line: &'a str) -> Self {
        Self::parse(line).unwrap_or(Self { time: None, source: None, workload: None, text: line })
    }

    fn parse(line: &'a str) -> Option<Self> {
        let (time, rest) = line.split_once(' ')?;
        let (source, text) = rest.split_once(' ').unwrap_or((rest, ""));
        let (source, workload) = match source.split_once('/') {
            Some((source, workload)) => (source, Some(workload.parse().ok()?)),
            None => (source, None),
        };
        Some(Self { time: Some(time.parse().ok()?), source: Some(source), workload, text })
    }
}

/// Whole lines of what comes in pieces. A line is no longer than the daemon wrote it, which has a bound.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    fn take_in(&mut self, chunk: &Bytes) -> Vec<String> {
        self.rest.extend_from_slice(chunk);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        String::from_utf8_lossy(&whole).lines().map(str::to_owned).collect()
    }
}

/// A server says what it likes; its control characters must not reach the terminal of who reads it.
fn harmless(chunk: &Bytes) -> Vec<u8> {
    chunk
        .iter()
        .map(|byte| if byte.is_ascii_control() && !matches!(byte, b'\n' | b'\t') { b'?' } else { *byte })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_cannot_drive_the_terminal() {
        assert_eq!(harmless(&Bytes::from_static(b"a\x1b[2Jb\tc\r\n")), b"a?[2Jb\tc?\n");
        assert_eq!(harmless(&Bytes::from_static("é".as_bytes())), "é".as_bytes());
    }

    #[test]
    fn a_line_is_taken_apart_wherever_it_is_cut() {
        let log = "2026-11-21T16:02:50.700Z stderr/2 hello  there\n2026-11-21T16:02:51.000Z fairlead ready\nnonsense\n\u{e9}\n";
        for cut in 0..log.len() {
            let mut lines = Lines::default();
            let (one, two) = log.as_bytes().split_at(cut);
            let mut all = lines.take_in(&Bytes::from_static(one));
            all.extend(lines.take_in(&Bytes::from_static(two)));
            let shown: Vec<_> = all.iter().map(|line| serde_json::to_string(&Line::of(line)).unwrap()).collect();
            insta::allow_duplicates! {
                insta::assert_snapshot!(shown.join("\n"), @r#"
                {"time":"2026-11-21T16:02:50.7Z","source":"stderr","workload":2,"text":"hello  there"}
                {"time":"2026-11-21T16:02:51Z","source":"fairlead","text":"ready"}
                {"text":"nonsense"}
                {"text":"é"}
                "#);
            }
        }
    }
}
