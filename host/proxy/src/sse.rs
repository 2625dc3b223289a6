//! Server-sent events: writing them, and taking a stream apart into events whose bytes stay.

use bytes::{Bytes, BytesMut};
use memchr::{memchr2, memchr2_iter};

/// A comment: nothing for the client, but a sign of life for everything in between.
pub(crate) const KEEP_ALIVE_FRAME: &[u8] = b": keep-alive\n\n";

/// One event with a message (JSON text) and, where the stream can be resumed, an id.
pub(crate) fn frame(id: Option<&str>, message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(message.len() + 64);
    if let Some(id) = id {
        out.extend_from_slice(b"id: ");
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(b"\n");
    }
    out.extend_from_slice(b"event: message\n");
    data(&mut out, message);
    out.extend_from_slice(b"\n");
    out.freeze()
}

/// `data` lines. A line break can stand only between the tokens of a JSON text, where it means nothing.
fn data(out: &mut BytesMut, message: &[u8]) {
    let mut start = 0;
    for at in memchr2_iter(b'\n', b'\r', message) {
        line(out, message.get(start..at));
        start = at + 1;
    }
    line(out, message.get(start..));
}

fn line(out: &mut BytesMut, text: Option<&[u8]>) {
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(text.unwrap_or_default());
    out.extend_from_slice(b"\n");
}

/// An event without a message: tells a client under which id it can come back, and after how long at the earliest.
pub(crate) fn priming_frame(id: &str, retry: std::time::Duration) -> Bytes {
    format!("id: {id}\nretry: {}\ndata: \n\n", retry.as_millis()).into()
}

/// An event as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// All its bytes, the empty line included.
    pub raw: Bytes,
    /// The `data`, joined; `None` when it has none.
    pub data: Option<Bytes>,
    /// What it is called.
    pub name: EventName,
    /// A byte order mark stands before it: only before the very first.
    marked: bool,
}

/// The name of an event, as far as MCP knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventName {
    /// `message`, or none.
    Message,
    /// `endpoint`: where a server of 2024-11-05 takes messages.
    Endpoint,
    /// Anything else.
    Other,
}

/// What may stand at the very beginning of a stream.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl Event {
    /// Whether it carries a message of MCP.
    #[must_use]
    pub fn is_message(&self) -> bool {
        self.name == EventName::Message
    }

    /// The same event with another message: all other fields stay.
    #[must_use]
    pub fn with_data(&self, message: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(self.raw.len() + message.len());
        let raw = if self.marked { self.raw.get(BYTE_ORDER_MARK.len()..).unwrap_or_default() } else { &self.raw };
        for line in lines(raw) {
            if field(line).0 != b"data" && !line.is_empty() {
                out.extend_from_slice(line);
                out.extend_from_slice(b"\n");
            }
        }
        data(&mut out, message);
        out.extend_from_slice(b"\n");
        out.freeze()
    }
}

/// Why a stream cannot be taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {0} bytes")]
pub struct EventTooLong(pub usize);

/// Takes a stream apart, however it is cut into pieces.
#[derive(Debug)]
pub struct Parser {
    buffer: BytesMut,
    /// Before this, no end of an event is.
    scanned: usize,
    /// Where the line begins that is being read.
    line_start: usize,
    event_bytes_max: usize,
    /// Still at the very beginning, where a byte order mark may stand.
    first: bool,
}

impl Parser {
    /// A parser that refuses events longer than this.
    #[must_use]
    pub fn new(event_bytes_max: usize) -> Self {
        Self { buffer: BytesMut::new(), scanned: 0, line_start: 0, event_bytes_max, first: true }
    }

    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// What is left when the stream ends: the beginning of an event that never ended.
    #[must_use]
    pub fn rest(self) -> Bytes {
        self.buffer.freeze()
    }

    /// The next event that is complete.
    ///
    /// # Errors
    /// The event is longer than the bound.
    pub fn next_event(&mut self) -> Result<Option<Event>, EventTooLong> {
        loop {
            let rest = self.buffer.get(self.scanned..).unwrap_or_default();
            let Some(found) = memchr2(b'\n', b'\r', rest) else {
                self.scanned = self.buffer.len();
                return if self.scanned > self.event_bytes_max {
                    Err(EventTooLong(self.event_bytes_max))
                } else {
                    Ok(None)
                };
            };
            let at = self.scanned + found;
            let next = match (self.buffer.get(at), self.buffer.get(at + 1)) {
                (Some(b'\r'), Some(b'\n')) => at + 2,
                // The line feed that belongs to it may still be on its way.
                (Some(b'\r'), None) => {
                    self.scanned = at;
                    return Ok(None);
                }
                _ => at + 1,
            };
            let empty = at == self.line_start;
            (self.scanned, self.line_start) = (next, next);
            if empty {
                let raw = self.buffer.split_to(next).freeze();
                (self.scanned, self.line_start) = (0, 0);
                let skip_mark = std::mem::take(&mut self.first);
                return Ok(Some(read(raw, skip_mark)));
            }
        }
    }
}

fn read(raw: Bytes, skip_mark: bool) -> Event {
    let mut data: Option<Vec<u8>> = None;
    let mut only: Option<Bytes> = None;
    let mut name = EventName::Message;
    let marked = skip_mark && raw.starts_with(BYTE_ORDER_MARK);
    let text = if marked { raw.get(BYTE_ORDER_MARK.len()..).unwrap_or_default() } else { &raw };
    for line in lines(text) {
        match field(line) {
            (b"data", value) => match (&mut data, only.take()) {
                (None, None) => only = Some(raw.slice_ref(value)),
                (None, Some(first)) => {
                    let mut joined = first.to_vec();
                    joined.push(b'\n');
                    joined.extend_from_slice(value);
                    data = Some(joined);
                }
                (Some(data), _) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
            },
            (b"event", b"" | b"message") => name = EventName::Message,
            (b"event", b"endpoint") => name = EventName::Endpoint,
            (b"event", _) => name = EventName::Other,
            _ => {}
        }
    }
    let data = data.map(Bytes::from).or(only);
    Event { raw, data, name, marked }
}

/// Lines without their ends.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest.filter(|text| !text.is_empty())?;
        let Some(end) = memchr2(b'\n', b'\r', text) else {
            rest = None;
            return Some(text);
        };
        let skip = if text.get(end..end + 2) == Some(b"\r\n") { 2 } else { 1 };
        rest = text.get(end + skip..);
        text.get(..end)
    })
}

/// Name and value of a field.
fn field(line: &[u8]) -> (&[u8], &[u8]) {
    let Some(colon) = memchr::memchr(b':', line) else { return (line, b"") };
    let value = line.get(colon + 1..).unwrap_or_default();
    (line.get(..colon).unwrap_or_default(), value.strip_prefix(b" ").unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events(text: &[u8], cuts: &[usize]) -> (Vec<Event>, Bytes) {
        let mut parser = Parser::new(1 << 20);
        let mut events = Vec::new();
        let mut start = 0;
        let mut feed = |piece: &[u8]| {
            parser.push(piece);
            while let Some(event) = parser.next_event().unwrap() {
                events.push(event);
            }
        };
        for cut in cuts {
            let cut = (*cut).clamp(start, text.len());
            feed(&text[start..cut]);
            start = cut;
        }
        feed(&text[start..]);
        (events, parser.rest())
    }

    #[test]
    fn events_are_read_as_the_standard_says() {
        let text = b"\xef\xbb\xbfdata: a\n\ndata:b\r\ndata: c\r\n\r\n: comment\r\revent: ping\ndata\n\nid: 7\ndata:\n\nretry: 0\n\ndata: cut";
        let (events, rest) = events(text, &[]);
        let seen: Vec<_> = events.iter().map(|event| (event.data.as_deref(), event.is_message())).collect();
        assert_eq!(
            seen,
            [
                (Some(&b"a"[..]), true),
                (Some(b"b\nc"), true),
                (None, true),
                (Some(b""), false),
                (Some(b""), true),
                (None, true),
            ]
        );
        assert_eq!(rest, "data: cut");
    }

    #[test]
    fn an_event_without_end_is_refused() {
        let mut parser = Parser::new(8);
        parser.push(b"data: 123456789");
        assert_eq!(parser.next_event(), Err(EventTooLong(8)));
    }

    #[test]
    fn other_fields_survive_a_change_of_the_message() {
        let (events, _) = events(b"id: 7\r\nevent: message\r\ndata: a\r\nretry: 5\r\n\r\n", &[]);
        assert_eq!(events[0].with_data(b"{}"), "id: 7\nevent: message\nretry: 5\ndata: {}\n\n");
        let (events, _) = self::events(b"\xef\xbb\xbfdata: a\n\n", &[]);
        assert_eq!(events[0].with_data(b"{}"), "data: {}\n\n");
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(
            parts in prop::collection::vec(prop::sample::select(vec!["data: x", "data", "\n", "\r", "\r\n", "id:1", ":", "é"]), 0..40),
            cuts in prop::collection::vec(0_usize..120, 0..12),
        ) {
            let text = parts.concat();
            let mut cuts = cuts;
            cuts.sort_unstable();
            let whole = events(text.as_bytes(), &[]);
            prop_assert_eq!(&events(text.as_bytes(), &cuts), &whole);
            let mut joined: Vec<u8> = whole.0.iter().flat_map(|event| event.raw.to_vec()).collect();
            joined.extend_from_slice(&whole.1);
            prop_assert_eq!(joined, text.as_bytes(), "no byte is lost");
        }

        #[test]
        fn what_is_written_is_read_again(message in "[a-z{}\\[\\]\":, \n\r]{0,60}") {
            let written = frame(Some("0-1"), message.as_bytes());
            let (events, rest) = events(&written, &[]);
            prop_assert!(rest.is_empty());
            prop_assert_eq!(events.len(), 1);
            let expected = message.replace('\r', "\n");
            prop_assert_eq!(events[0].data.as_deref().unwrap(), expected.as_bytes());
        }
    }
}
