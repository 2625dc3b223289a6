//! One pass over a message: checks the text and notes where its parts are.

use std::ops::Range;

use super::envelope::{EnvelopeError, Kind, Reason};
use super::id::is_request_id;
use crate::json::items::Items;
use crate::json::scan::{self, Scanner};
use crate::json::{SyntaxError, decode_string};

/// A part of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Texts longer than `u32::MAX` are refused before anything is measured in them.
    #[expect(clippy::cast_possible_truncation, reason = "the length of the text is checked first")]
    fn of(range: &Range<usize>) -> Self {
        Self { start: range.start as u32, end: range.end as u32 }
    }

    pub(super) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Where the parts are.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spans {
    /// The object itself, braces included.
    pub(super) whole: Option<Span>,
    pub(super) jsonrpc: Option<Span>,
    pub(super) id: Option<Span>,
    pub(super) method: Option<Span>,
    pub(super) params: Option<Span>,
    pub(super) result: Option<Span>,
    pub(super) error: Option<Span>,
    // Inside `params`, when it is an object; the last one of each.
    pub(super) name: Option<Span>,
    pub(super) uri: Option<Span>,
    pub(super) meta: Option<Span>,
    /// `progressToken` of a progress notification.
    pub(super) progress_of: Option<Span>,
    /// `requestId` of a cancellation.
    pub(super) cancelled: Option<Span>,
    /// What of the same is there twice, or in other letters as well.
    pub(super) doubtful: Doubtful,
}

/// Keys of `params` that decide what a request does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Doubtful {
    pub(super) name: bool,
    pub(super) uri: bool,
    pub(super) arguments: bool,
}

/// Keys of the envelope.
const ENVELOPE: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];

/// Which of these a key (JSON text) is but for the case of its letters. Some readers, those of Go among them, take one for the
/// other, and so understand another message than we do.
fn alike(key: &str, known: &[&'static str]) -> Option<&'static str> {
    let plain = key.trim_matches('"');
    let is = |text: &str| known.iter().find(|known| known.eq_ignore_ascii_case(text)).copied();
    if plain.is_ascii() && !plain.contains('\\') {
        return is(plain);
    }
    // The long s and the sign of the kelvin are the only other letters that count as one of these.
    is(&decode_string(key)?.replace('\u{17f}', "s").replace('\u{212a}', "k"))
}

/// One pass: checks the text and finds the parts. A second value of an envelope key is reported by its name, and so is one whose
/// key is written in other letters.
pub(super) fn measure(text: &str) -> Result<(Spans, Option<&'static str>), EnvelopeError> {
    let mut scanner = Scanner::new(text);
    scanner.space();
    let start = scanner.at();
    let Some(mut items) = Items::enter(scanner)?.filter(Items::is_object) else {
        scan::document(text)?;
        return Err(EnvelopeError::new(Reason::NotAnObject));
    };
    let mut spans = Spans::default();
    let mut duplicate = None;
    while let Some(key) = items.step()? {
        let key = key.and_then(|key| text.get(key)).unwrap_or_default();
        let (name, slot) = match field(key) {
            Some(Field::Params) => {
                let params = params(text, &mut items, &mut spans)?;
                if spans.params.replace(params).is_some() {
                    duplicate = Some("params");
                }
                continue;
            }
            Some(Field::Jsonrpc) => ("jsonrpc", &mut spans.jsonrpc),
            Some(Field::Id) => ("id", &mut spans.id),
            Some(Field::Method) => ("method", &mut spans.method),
            Some(Field::Result) => ("result", &mut spans.result),
            Some(Field::Error) => ("error", &mut spans.error),
            None => {
                duplicate = alike(key, &ENVELOPE).or(duplicate);
                items.value()?;
                continue;
            }
        };
        if slot.replace(Span::of(&items.value()?)).is_some() {
            duplicate = Some(name);
        }
    }
    let mut rest = items.leave();
    spans.whole = Some(Span::of(&(start..rest.at())));
    rest.end()?;
    Ok((spans, duplicate))
}

#[derive(Clone, Copy)]
enum Field {
    Jsonrpc,
    Id,
    Method,
    Params,
    Result,
    Error,
}

fn field(key: &str) -> Option<Field> {
    match key {
        "\"jsonrpc\"" => Some(Field::Jsonrpc),
        "\"id\"" => Some(Field::Id),
        "\"method\"" => Some(Field::Method),
        "\"params\"" => Some(Field::Params),
        "\"result\"" => Some(Field::Result),
        "\"error\"" => Some(Field::Error),
        _ if key.contains('\\') => {
            let decoded = decode_string(key)?;
            // Without escapes: no second round.
            if decoded.contains(['\\', '"']) { None } else { field(&format!("\"{decoded}\"")) }
        }
        _ => None,
    }
}

/// Walks through `params` once and notes what routing may need.
fn params(text: &str, items: &mut Items<'_>, spans: &mut Spans) -> Result<Span, SyntaxError> {
    let Some(mut inner) = items.descend()?.filter(Items::is_object) else {
        return items.value().map(|range| Span::of(&range));
    };
    let start = inner.at() - 1;
    let mut arguments = false;
    while let Some(item) = inner.next_item()? {
        let key = item.key.and_then(|key| text.get(key)).unwrap_or_default();
        match alike(key, &["name", "uri", "arguments"]) {
            None => {}
            // Ours is the one that is written as it should be; whoever has another beside it, or instead, is doubtful.
            Some("name") => spans.doubtful.name |= spans.name.is_some() || !is_written(key, "name"),
            Some("uri") => spans.doubtful.uri |= spans.uri.is_some() || !is_written(key, "uri"),
            Some(_) => {
                spans.doubtful.arguments |= arguments || !is_written(key, "arguments");
                arguments = true;
            }
        }
        let slot = match key.trim_matches('"') {
            "name" => &mut spans.name,
            "uri" => &mut spans.uri,
            "_meta" => &mut spans.meta,
            "progressToken" => &mut spans.progress_of,
            "requestId" => &mut spans.cancelled,
            _ if key.contains('\\') => match decode_string(key).as_deref() {
                Some("name") => &mut spans.name,
                Some("uri") => &mut spans.uri,
                Some("_meta") => &mut spans.meta,
                Some("progressToken") => &mut spans.progress_of,
                Some("requestId") => &mut spans.cancelled,
                _ => continue,
            },
            _ => continue,
        };
        *slot = Some(Span::of(&item.value));
    }
    items.resume(&inner);
    Ok(Span::of(&(start..inner.at())))
}

/// Whether a key (JSON text) is exactly this one, escapes or not.
fn is_written(key: &str, name: &str) -> bool {
    decode_string(key).as_deref() == Some(name)
}

/// What the parts make together.
pub(super) fn kind_of(text: &str, spans: &Spans) -> Result<Kind, Reason> {
    let part = |span: Option<Span>| span.and_then(|span| text.get(span.range()));
    if part(spans.jsonrpc).and_then(decode_string).as_deref() != Some("2.0") {
        return Err(Reason::Version);
    }
    let id = part(spans.id);
    let good_id = id.map(is_request_id);
    match (spans.method.is_some(), spans.result.is_some(), spans.error.is_some()) {
        (true, false, false) => match good_id {
            None => Ok(Kind::Notification),
            Some(true) => Ok(Kind::Request),
            Some(false) => Err(Reason::Id),
        },
        (false, true, false) => match good_id {
            Some(true) => Ok(Kind::Response),
            Some(false) => Err(Reason::Id),
            None => Err(Reason::Shape),
        },
        // An error may lack an id or have `null`: its sender could not read that of the request.
        (false, false, true) => match (good_id, id) {
            (Some(true) | None, _) | (_, Some("null")) => Ok(Kind::Error),
            _ => Err(Reason::Id),
        },
        _ => Err(Reason::Shape),
    }
}
