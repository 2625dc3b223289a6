//! What a workload writes beside the wire, line by line: to the log, and the last of it kept to explain an end.
//!
//! The pipe is always drained. A server whose standard error fills up stands still in the middle of a request, and nobody
//! can see why. So this reads to the end whatever comes: lines without end are cut, bytes that are no text are replaced.

use std::collections::VecDeque;
use std::sync::Arc;

use fairlead_core::logs::{LogLine, LogSink, LogSource};
use fairlead_core::name::ServerKey;
use fairlead_core::workload::Stdout;
use parking_lot::Mutex;
use tokio::io::AsyncReadExt;

use crate::limits::{CHUNK_BYTES, LINE_BYTES_MAX, REASON_CHARS_MAX, TAIL_LINES};

/// Where the lines of one workload go.
#[derive(Clone)]
pub(crate) struct Lines {
    pub(crate) server: Arc<ServerKey>,
    pub(crate) sink: Arc<dyn LogSink>,
    pub(crate) workload: u64,
    pub(crate) tail: Tail,
}

impl Lines {
    /// Reads `pipe` to its end.
    pub(crate) async fn drain(self, mut pipe: Stdout, source: LogSource) {
        let mut splitter = Splitter::default();
        let mut chunk = vec![0; CHUNK_BYTES];
        while let Ok(length @ 1..) = pipe.read(&mut chunk).await {
            splitter.take(chunk.get(..length).unwrap_or_default(), |line| self.line(&source, line));
        }
        splitter.finish(|line| self.line(&source, line));
    }

    fn line(&self, source: &LogSource, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        self.sink.write(LogLine { server: &self.server, source, workload: self.workload, text: &text });
        if *source == LogSource::Stderr {
            self.tail.push(&text);
        }
    }
}

/// Cuts a stream of bytes into lines of bounded length.
#[derive(Default)]
struct Splitter {
    line: Vec<u8>,
    /// The line was given out as far as it may go; the rest of it is dropped.
    cut: bool,
}

impl Splitter {
    fn take(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8])) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at(end);
            self.append(line, &mut each);
            self.finish(&mut each);
            bytes = rest.get(1..).unwrap_or_default();
            self.cut = false;
        }
        self.append(bytes, &mut each);
    }

    /// Gives out what is there, which is nothing after a line break.
    fn finish(&mut self, mut each: impl FnMut(&[u8])) {
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        if !line.is_empty() {
            each(line);
        }
        self.line.clear();
    }

    fn append(&mut self, bytes: &[u8], each: &mut impl FnMut(&[u8])) {
        if self.cut {
            return;
        }
        let room = LINE_BYTES_MAX - self.line.len();
        match bytes.split_at_checked(room) {
            Some((fits, rest)) if !rest.is_empty() => {
                self.line.extend_from_slice(fits);
                self.line.extend_from_slice(" …".as_bytes());
                each(&self.line);
                self.line.clear();
                self.cut = true;
            }
            _ => self.line.extend_from_slice(bytes),
        }
    }
}

/// The last lines of a workload.
#[derive(Clone, Default)]
pub(crate) struct Tail(Arc<Mutex<VecDeque<String>>>);

impl Tail {
    fn push(&self, line: &str) {
        let line = printable(line);
        if line.trim().is_empty() {
            return;
        }
        let mut lines = self.0.lock();
        if lines.len() == TAIL_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// The one line that most likely says why: the last that speaks of an error and belongs to no stack trace, or else the
    /// last. (Node ends with its version, npm with where its log is.)
    pub(crate) fn telling(&self) -> Option<String> {
        let lines = self.0.lock();
        let of_error = |line: &&String| {
            let lower = line.to_lowercase();
            !line.starts_with(char::is_whitespace) && lower.contains("error") && !lower.contains("complete log")
        };
        let line = lines.iter().rev().find(of_error).or_else(|| lines.back())?;
        Some(line.trim().chars().take(REASON_CHARS_MAX).collect())
    }
}

/// Without terminal escapes and other control characters: the line becomes part of a sentence.
fn printable(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' && chars.next_if_eq(&'[').is_some() {
            while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
        } else if c == '\t' {
            text.push(' ');
        } else if !c.is_control() {
            text.push(c);
        }
    }
    text.chars().take(LINE_BYTES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut splitter, mut lines) = (Splitter::default(), Vec::new());
        for chunk in chunks {
            splitter.take(chunk, |line| lines.push(line.to_owned()));
        }
        splitter.finish(|line| lines.push(line.to_owned()));
        lines
    }

    fn telling(lines: &[&str]) -> Option<String> {
        let tail = Tail::default();
        lines.iter().for_each(|line| tail.push(line));
        tail.telling()
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_they_arrive(
            text in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'a'), any::<u8>()], 0..200),
            size in 1_usize..20,
        ) {
            let chunks: Vec<_> = text.chunks(size).collect();
            let expected: Vec<_> = text
                .split(|byte| *byte == b'\n')
                .map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_owned())
                .filter(|line| !line.is_empty())
                .collect();
            prop_assert_eq!(split(&chunks), expected);
        }

        #[test]
        fn a_line_without_end_is_cut_and_the_next_one_is_whole(extra in 1..3 * LINE_BYTES_MAX, size in 1..9_000_usize) {
            let mut text = vec![b'x'; LINE_BYTES_MAX + extra];
            text.extend_from_slice(b"\nnext\n");
            let lines = split(&text.chunks(size).collect::<Vec<_>>());
            prop_assert_eq!(lines.len(), 2);
            prop_assert_eq!(lines[0].len(), LINE_BYTES_MAX + " …".len());
            prop_assert_eq!(&lines[1], b"next");
        }
    }

    #[test]
    fn the_telling_line_is_the_one_that_names_the_error() {
        let node = [
            "file:///x.js:3",
            "throw new Error('no');",
            "",
            "Error: no key",
            "    at error (x.js:3:7)",
            "Node.js v24.0.0",
        ];
        assert_eq!(telling(&node).as_deref(), Some("Error: no key"));
        let python = ["Traceback (most recent call last):", "  raise ValueError('x')", "ValueError: no key"];
        assert_eq!(telling(&python).as_deref(), Some("ValueError: no key"));
        let npm = [
            "npm error code E404",
            "npm error 404 Not Found: x",
            "npm error A complete log of this run can be found in: y",
        ];
        assert_eq!(telling(&npm).as_deref(), Some("npm error 404 Not Found: x"));
        assert_eq!(telling(&["started", "usage: x <dir>", " \t"]).as_deref(), Some("usage: x <dir>"));
        assert_eq!(telling(&[]), None);
    }

    #[test]
    fn a_reason_has_no_control_characters_and_an_end() {
        assert_eq!(telling(&["\u{1b}[31mfatal error\u{1b}[0m\u{7}:\tx"]).as_deref(), Some("fatal error: x"));
        assert_eq!(telling(&[&"é".repeat(999)]).map(|line| line.chars().count()), Some(REASON_CHARS_MAX));
    }
}
