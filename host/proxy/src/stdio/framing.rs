//! Lines: one message each, of any length up to a bound, however the pipe cuts them.

use std::io;

use bytes::{Bytes, BytesMut};
use memchr::memchr;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::limits::{READ_CHUNK_BYTES, READ_ROOM_BYTES};

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line, without its end.
    Text(Bytes),
    /// A line beyond the bound, thrown away; and the JSON text of the `id` that stood in it, when one did: whoever waits
    /// for it can be told.
    TooLong(Option<String>),
}

/// Reads lines. Dropping the future of [`Self::next`] loses nothing.
pub(crate) struct Lines<R> {
    source: R,
    buffer: BytesMut,
    /// Before this, no line ends.
    scanned: usize,
    bytes_max: usize,
    /// Set while a line beyond the bound is being thrown away.
    skipping: Option<IdSpotter>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(crate) fn new(source: R, bytes_max: usize) -> Self {
        Self { source, buffer: BytesMut::new(), scanned: 0, bytes_max, skipping: None }
    }

    /// The next line that is not empty; `None` at the end. What stands behind the last line end is no line.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            while let Some(line) = self.take() {
                if line != Line::Text(Bytes::new()) {
                    return Ok(Some(line));
                }
            }
            if self.buffer.len() > self.bytes_max {
                let spotter = self.skipping.get_or_insert_default();
                spotter.feed(&self.buffer);
                self.buffer = BytesMut::new();
                self.scanned = 0;
            }
            if self.buffer.capacity() - self.buffer.len() < READ_ROOM_BYTES {
                self.buffer.reserve(READ_CHUNK_BYTES);
            }
            if self.source.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    fn take(&mut self) -> Option<Line> {
        let Some(found) = self.buffer.get(self.scanned..).and_then(|rest| memchr(b'\n', rest)) else {
            self.scanned = self.buffer.len();
            return None;
        };
        let mut line = self.buffer.split_to(self.scanned + found + 1).freeze();
        self.scanned = 0;
        if let Some(mut spotter) = self.skipping.take() {
            spotter.feed(&line);
            return Some(Line::TooLong(spotter.id));
        }
        line.truncate(line.len() - 1);
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            line.clear();
        }
        if line.len() > self.bytes_max {
            let mut spotter = IdSpotter::default();
            spotter.feed(&line);
            return Some(Line::TooLong(spotter.id));
        }
        Some(Line::Text(line))
    }
}

/// Finds the `id` at the top level of a JSON object without keeping the text.
#[derive(Debug, Default)]
struct IdSpotter {
    id: Option<String>,
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// The string or scalar being read at the top level, as far as an id can be long.
    text: Vec<u8>,
    /// The last complete string at the top level was this key.
    key_is_id: bool,
    /// Behind the colon of `id`.
    capturing: bool,
}

/// Longer than any id that a request of ours could have been given.
const ID_BYTES_MAX: usize = 1024;

impl IdSpotter {
    fn feed(&mut self, piece: &[u8]) {
        if self.id.is_none() {
            piece.iter().for_each(|byte| self.byte(*byte));
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.depth == 1 && self.text.len() < ID_BYTES_MAX {
            self.text.push(byte);
        }
    }

    fn byte(&mut self, byte: u8) {
        if self.in_string {
            self.keep(byte);
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => {
                    self.in_string = false;
                    if self.depth == 1 && !self.capturing {
                        self.key_is_id = self.text == b"\"id\"";
                    }
                }
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => {
                self.in_string = true;
                self.text.clear();
                self.keep(byte);
            }
            b':' if self.depth == 1 => {
                self.capturing = std::mem::take(&mut self.key_is_id);
                self.text.clear();
            }
            b'{' | b'[' => self.depth += 1,
            b',' | b'}' | b']' => {
                if self.depth == 1 && std::mem::take(&mut self.capturing) {
                    self.id = String::from_utf8(std::mem::take(&mut self.text)).ok().filter(|id| !id.is_empty());
                }
                if byte != b',' {
                    self.depth = self.depth.saturating_sub(1);
                }
            }
            _ if self.capturing && !byte.is_ascii_whitespace() => self.keep(byte),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives its text in pieces.
    struct Pieces(Vec<Vec<u8>>);

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            if let Some(mut piece) = self.0.pop() {
                let rest = piece.split_off(piece.len().min(buffer.remaining()));
                buffer.put_slice(&piece);
                if !rest.is_empty() {
                    self.0.push(rest);
                }
            }
            std::task::Poll::Ready(Ok(()))
        }
    }

    fn lines(pieces: Vec<Vec<u8>>, bytes_max: usize) -> Vec<Line> {
        let pieces = pieces.into_iter().filter(|piece| !piece.is_empty()).rev().collect();
        let mut lines = Lines::new(Pieces(pieces), bytes_max);
        let mut seen = Vec::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        while let Some(line) = runtime.block_on(lines.next()).unwrap() {
            seen.push(line);
        }
        seen
    }

    #[test]
    fn messages_that_are_kept_share_their_chunk() {
        let kept = lines((0..100).map(|number| format!("{number}\n").into_bytes()).collect(), 1 << 20);
        let places = kept.iter().map(|line| match line {
            Line::Text(text) => text.as_ptr().addr(),
            Line::TooLong(_) => panic!("{line:?}"),
        });
        let (first, last) = (places.clone().min().unwrap(), places.max().unwrap());
        assert!(last - first < READ_CHUNK_BYTES, "{} bytes apart", last - first);
    }

    proptest! {
        #[test]
        fn however_a_pipe_cuts_them_lines_are_the_same(
            text in prop::collection::vec(prop::sample::select(vec!["{\"a\":1}", "é\u{200d}", "\r\n", "\n", " ", "x"]), 0..30),
            cuts in prop::collection::vec(0_usize..200, 0..20),
        ) {
            let text = text.concat().into_bytes();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|pair| text[pair[0]..pair[1]].to_vec()).collect();
            let seen = lines(pieces, 1 << 20);
            let string = String::from_utf8(text).unwrap();
            let complete = string.rsplit_once('\n').map_or("", |(complete, _)| complete);
            let expected: Vec<_> = complete
                .split('\n')
                .map(|line| line.strip_suffix('\r').unwrap_or(line))
                .filter(|line| !line.bytes().all(|byte| byte.is_ascii_whitespace()))
                .map(|line| Line::Text(Bytes::copy_from_slice(line.as_bytes())))
                .collect();
            prop_assert_eq!(seen, expected);
        }

        #[test]
        fn a_line_beyond_the_bound_is_skipped_and_its_id_is_found(
            before in any::<bool>(),
            id in prop::sample::select(vec!["7", "\"a,}\\\"b\"", "-1"]),
            piece in 1_usize..50,
        ) {
            let big = "x".repeat(100);
            let members = [format!("\"result\":{{\"id\":5,\"t\":\"{big}\",\"l\":[{{\"id\":6}}]}}"), format!("\"id\" : {id}")];
            let [one, two] = if before { [&members[1], &members[0]] } else { [&members[0], &members[1]] };
            let text = format!("{{{one},{two}}}\n{{}}\n");
            let pieces = text.as_bytes().chunks(piece).map(<[u8]>::to_vec).collect();
            prop_assert_eq!(lines(pieces, 64), [Line::TooLong(Some(id.to_owned())), Line::Text(Bytes::from("{}"))]);
        }
    }
}
