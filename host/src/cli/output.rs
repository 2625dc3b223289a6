//! Printing: results to standard output, everything else to standard error; colour and progress only on a terminal.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};

use fairlead_core::status::ServerPhase;
use jiff::Timestamp;
use serde::Serialize;

use super::Failure;
use crate::config::variables::NO_COLOR;

/// How results are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Whether JSON is wanted by whoever typed something that could not be understood. What follows `--` is another program's.
#[must_use]
pub(crate) fn wants_json(typed: impl Iterator<Item = OsString>) -> bool {
    let typed: Vec<OsString> = typed.take_while(|word| word != "--").collect();
    let pairs = typed.iter().zip(typed.iter().skip(1));
    typed.iter().any(|word| word == "--format=json")
        || pairs.into_iter().any(|(name, value)| name == "--format" && value == "json")
}

/// Where results go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// How results are printed.
    pub(crate) format: Format,
    quiet: bool,
    colour: bool,
    colour_of_errors: bool,
    /// Progress is worth showing: somebody watches.
    watched: bool,
}

impl Output {
    /// Looks at the terminal once.
    #[must_use]
    pub(crate) fn new(format: Format, quiet: bool) -> Self {
        let allowed = std::env::var_os(NO_COLOR.name).is_none_or(|value| value.is_empty());
        let terminal = io::stderr().is_terminal();
        Self {
            format,
            quiet,
            colour: allowed && io::stdout().is_terminal(),
            colour_of_errors: allowed && terminal,
            watched: terminal && !quiet,
        }
    }

    /// One line of a result, for people.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub(crate) fn line(&self, line: &str) -> Result<(), Failure> {
        self.verbatim(&harmless(line))
    }

    /// Lines of a result, for people.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub(crate) fn text(&self, text: &str) -> Result<(), Failure> {
        self.bytes(harmless(text).as_bytes())
    }

    /// A result as it is, and the end of its line: for programs, and what is kept.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub(crate) fn verbatim(&self, text: &str) -> Result<(), Failure> {
        writeln!(io::stdout().lock(), "{text}").map_err(unread)
    }

    /// Bytes of a result, as they are.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(unread)
    }

    /// A result as JSON.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(|error| Failure::chain(&error))?;
        self.verbatim(&text)
    }

    /// A result on one line of JSON, for who reads line by line.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub(crate) fn json_line(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(|error| Failure::chain(&error))?;
        self.verbatim(&text)
    }

    /// A table with a head.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub(crate) fn table(&self, head: &[&str], rows: &[Vec<Cell>]) -> Result<(), Failure> {
        self.bytes(table(head, rows, self.colour).as_bytes())
    }

    /// Something worth knowing that is no result.
    pub(crate) fn note(&self, text: &str) {
        match self.format {
            _ if self.quiet => {}
            Format::Text => self.complain(&harmless(text)),
            Format::Json => self.complain_as_json(&serde_json::json!({ "note": text })),
        }
    }

    /// What is being waited for; replaced by the next.
    pub(crate) fn progress(&self, text: &str) {
        if self.watched {
            let mut stderr = io::stderr().lock();
            let _ = write!(stderr, "\r\x1b[K{}", harmless(text));
            let _ = stderr.flush();
        }
    }

    /// Takes the last progress away.
    pub(crate) fn progress_done(&self) {
        self.progress("");
    }

    /// Why the command failed: for programs one object on one line, as everything that they read there.
    pub(crate) fn failure(&self, failure: &Failure) {
        if self.format == Format::Json {
            return self.complain_as_json(failure);
        }
        let (red, cyan, reset) =
            if self.colour_of_errors { ("\x1b[1;31m", "\x1b[36m", "\x1b[0m") } else { ("", "", "") };
        self.complain(&format!("{red}error:{reset} {}", harmless(&failure.message)));
        if let Some(hint) = &failure.hint {
            self.complain(&format!("{cyan}hint:{reset} {}", harmless(hint)));
        }
    }

    fn complain_as_json(&self, value: &impl Serialize) {
        // What is written out here has no keys that are no text: it cannot fail.
        self.complain(&serde_json::to_string(value).unwrap_or_default());
    }

    /// One line to standard error; whether somebody reads it changes nothing.
    fn complain(&self, line: &str) {
        let _ = writeln!(io::stderr().lock(), "{line}");
    }
}

/// `fairlead list | head -1` is no failure.
fn unread(error: io::Error) -> Failure {
    let code = if error.kind() == io::ErrorKind::BrokenPipe { 0 } else { super::failure::FAILED };
    Failure { code, ..Failure::chain(&error) }
}

/// Text that may come from anywhere, and cannot drive the terminal of who reads it.
fn harmless(text: &str) -> String {
    text.replace(drives_a_terminal, "\u{fffd}")
}

/// A control character, or one that turns the direction of writing around. Newlines and tabs are layout.
fn drives_a_terminal(character: char) -> bool {
    let turns = matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || (character.is_control() && !matches!(character, '\n' | '\t'))
}

/// A cell of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    colour: Option<&'static str>,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<String> for Cell {
    /// On one line: a cell that breaks it draws rows of its own.
    fn from(text: String) -> Self {
        Self { text: harmless(&text).replace(['\n', '\t'], " "), colour: None }
    }
}

impl From<ServerPhase> for Cell {
    fn from(phase: ServerPhase) -> Self {
        let colour = match phase {
            ServerPhase::Running => "\x1b[32m",
            ServerPhase::Starting | ServerPhase::Stopping | ServerPhase::BackingOff => "\x1b[33m",
            ServerPhase::Failed => "\x1b[31m",
            ServerPhase::Stopped => "\x1b[2m",
        };
        Self { text: word(phase).to_owned(), colour: Some(colour) }
    }
}

/// A state in one word, the same as in JSON.
#[must_use]
pub(crate) fn word(phase: ServerPhase) -> &'static str {
    match phase {
        ServerPhase::Starting => "starting",
        ServerPhase::Running => "running",
        ServerPhase::BackingOff => "backing-off",
        ServerPhase::Failed => "failed",
        ServerPhase::Stopping => "stopping",
        ServerPhase::Stopped => "stopped",
    }
}

/// How long ago, in one unit.
#[must_use]
pub(crate) fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(since).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Rows under a head.
#[must_use]
pub(crate) fn table(head: &[&str], rows: &[Vec<Cell>], colour: bool) -> String {
    let head: Vec<Cell> = head.iter().map(|text| Cell::from(*text)).collect();
    let width = |cell: &Cell| cell.text.chars().count();
    let mut widths: Vec<usize> = head.iter().map(width).collect();
    for row in rows {
        for (column, cell) in widths.iter_mut().zip(row) {
            *column = width(cell).max(*column);
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&head).chain(rows) {
        let last = row.len().saturating_sub(1);
        for (at, (cell, column)) in row.iter().zip(&widths).enumerate() {
            match cell.colour.filter(|_| colour) {
                Some(code) => text += &format!("{code}{}\x1b[0m", cell.text),
                None => text += &cell.text,
            }
            if at < last {
                text += &" ".repeat(column - width(cell) + 2);
            }
        }
        text += "\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            vec![Cell::from("everything"), ServerPhase::Running.into(), "x".into()],
            vec![Cell::from("é"), ServerPhase::BackingOff.into(), "y".into()],
        ];
        insta::assert_snapshot!(table(&["NAME", "STATUS", "AGE"], &rows, false), @r"
        NAME        STATUS       AGE
        everything  running      x
        é           backing-off  y
        ");
        assert!(table(&["NAME", "STATUS", "AGE"], &rows, true).contains("\x1b[32mrunning\x1b[0m"));
    }

    #[test]
    fn what_a_stranger_says_cannot_drive_the_terminal() {
        assert_eq!(harmless("a\tb\né ✓"), "a\tb\né ✓", "layout and letters stay");
        for one in [
            '\0', '\u{7}', '\r', '\u{1b}', '\u{7f}', '\u{85}', '\u{9b}', '\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}',
        ] {
            assert_eq!(harmless(&format!("a{one}b")), "a\u{fffd}b", "{one:?}");
        }
        let rows = [vec![Cell::from("\u{1b}[2Jall\nmine"), ServerPhase::Running.into()]];
        let shown = "NAME          STATUS\n\u{fffd}[2Jall mine  running\n";
        assert_eq!(table(&["NAME", "STATUS"], &rows, false), shown, "no row of its own");
        assert!(table(&["NAME", "STATUS"], &rows, true).contains("\x1b[32mrunning\x1b[0m"), "our own colour stays");
    }

    #[test]
    fn json_is_wanted_by_whoever_said_so_for_this_program() {
        let wants = |line: &str| wants_json(line.split(' ').map(OsString::from));
        assert!(wants("fairlead nonsense --format json") && wants("fairlead --format=json"));
        assert!(!wants("fairlead run -- x --format json") && !wants("fairlead list --format text") && !wants("x json"));
    }

    #[test]
    fn an_age_has_one_unit() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        for (seconds, text) in
            [(-5, "0s"), (0, "0s"), (59, "59s"), (60, "1m"), (3_599, "59m"), (86_399, "23h"), (200_000, "2d")]
        {
            assert_eq!(age(Timestamp::from_second(1_000_000 - seconds).unwrap(), now), text);
        }
    }

    #[test]
    fn a_state_is_the_same_word_as_in_json() {
        for phase in [
            ServerPhase::Starting,
            ServerPhase::Running,
            ServerPhase::BackingOff,
            ServerPhase::Failed,
            ServerPhase::Stopping,
            ServerPhase::Stopped,
        ] {
            assert_eq!(serde_json::to_value(phase).unwrap(), word(phase));
        }
    }
}
