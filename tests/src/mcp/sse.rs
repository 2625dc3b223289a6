//! Server-sent events, as the HTML standard parses them.
//!
//! Written a second time on purpose, apart from the one in the product: two readers that share a mistake agree.

use std::collections::VecDeque;

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// `id`, if it was sent with this event.
    pub id: Option<String>,
    /// `event`; empty stands for `message`.
    pub name: String,
    /// `data`, lines joined.
    pub data: String,
    /// `retry`, if it was sent with this event.
    pub retry: Option<String>,
}

/// Takes bytes as they come and gives events as they are complete.
#[derive(Debug, Default)]
pub struct Parser {
    rest: Vec<u8>,
    event: Event,
    has_data: bool,
    ready: VecDeque<Event>,
}

impl Parser {
    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        let mut start = 0;
        while let Some(length) = self.rest.get(start..).and_then(|rest| rest.iter().position(|byte| *byte == b'\n')) {
            let line = self.rest.get(start..start + length).unwrap_or_default();
            let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned();
            start += length + 1;
            self.line(&line);
        }
        self.rest.drain(..start);
    }

    /// The next complete event.
    pub fn next_event(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    fn line(&mut self, line: &str) {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            if std::mem::take(&mut self.has_data) {
                self.ready.push_back(event);
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            "id" => self.event.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.event.name),
            "retry" => self.event.retry = Some(value.to_owned()),
            _ => {} // a comment, or a field that the standard does not know
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_the_same_however_the_bytes_are_cut() {
        let wire =
            b": hello\n\nid: 1\ndata:\n\nevent: message\r\ndata: {\"a\":\r\ndata:1}\r\n\r\ndata: lost at the end\n";
        let mut whole = Parser::default();
        whole.push(wire);
        let mut bytewise = Parser::default();
        wire.iter().for_each(|byte| bytewise.push(&[*byte]));
        let events = |mut parser: Parser| std::iter::from_fn(move || parser.next_event()).collect::<Vec<_>>();
        let events = (events(whole), events(bytewise));
        assert_eq!(events.0, events.1);
        assert_eq!(events.0.len(), 2);
        assert_eq!(events.0[0].id.as_deref(), Some("1"));
        assert_eq!(events.0[1].data, "{\"a\":\n1}");
    }
}
