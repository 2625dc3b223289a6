//! Changing parts of a message by splicing: all other bytes stay.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use super::Envelope;
use super::measure::Span;

/// Changes that are being collected. Each part is changed at most once; a part that is not there is added only for
/// `params`.
#[derive(Debug)]
#[must_use]
pub struct Rewrite<'a> {
    envelope: &'a Envelope,
    splices: Vec<(Range<usize>, Cow<'a, str>)>,
    added_params: Option<&'a str>,
    params_changed: bool,
}

impl<'a> Rewrite<'a> {
    pub(super) fn new(envelope: &'a Envelope) -> Self {
        Self { envelope, splices: Vec::new(), added_params: None, params_changed: false }
    }

    fn put(mut self, range: Option<Range<usize>>, new: &'a str) -> Self {
        self.splices.extend(range.map(|range| (range, Cow::Borrowed(new))));
        self
    }

    /// Another id (JSON text).
    pub fn id(self, id: &'a str) -> Self {
        let range = self.envelope.spans.id.map(Span::range);
        self.put(range, id)
    }

    /// Other `params` (JSON text); changes inside the old ones are lost.
    pub fn params(mut self, params: &'a str) -> Self {
        self.params_changed = true;
        match self.envelope.spans.params {
            Some(span) => {
                let old = span.range();
                self.splices.retain(|(range, _)| range.start < old.start || range.end > old.end);
                self.put(Some(old), params)
            }
            None => {
                self.added_params = Some(params);
                self
            }
        }
    }

    /// Another `result` (JSON text).
    pub fn result(self, result: &'a str) -> Self {
        let range = self.envelope.spans.result.map(Span::range);
        self.put(range, result)
    }

    /// Another `params._meta.progressToken` (JSON text).
    pub fn progress_token(self, token: &'a str) -> Self {
        let range = if self.params_changed { None } else { self.envelope.progress_token_range() };
        self.put(range, token)
    }

    /// Another `params.progressToken` (JSON text) of a progress notification.
    pub fn progress_of(self, token: &'a str) -> Self {
        let span = if self.params_changed { None } else { self.envelope.spans.progress_of };
        self.put(span.map(Span::range), token)
    }

    /// Another `subscriptionId` (JSON text) in the `_meta` of a notification or a result.
    pub fn subscription(self, id: &'a str) -> Self {
        let range = if self.params_changed { None } else { self.envelope.subscription_range() };
        self.put(range, id)
    }

    /// Another `params.requestId` (JSON text) of a cancellation.
    pub fn cancelled(self, id: &'a str) -> Self {
        let span = if self.params_changed { None } else { self.envelope.spans.cancelled };
        self.put(span.map(Span::range), id)
    }

    /// The changed text. Without any change, the same buffer.
    #[must_use]
    pub fn finish(mut self) -> Bytes {
        let raw = &self.envelope.raw;
        let addition = self.added_params.map(|params| format!(",\"params\":{params}"));
        if let (Some(addition), Some(whole)) = (addition, self.envelope.spans.whole) {
            let before_brace = whole.range().end - 1;
            self.splices.push((before_brace..before_brace, Cow::Owned(addition)));
        }
        if self.splices.is_empty() {
            return raw.clone();
        }
        self.splices.sort_by_key(|(range, _)| range.start);
        let added: usize = self.splices.iter().map(|(_, new)| new.len()).sum();
        let mut out = Vec::with_capacity(raw.len() + added);
        let mut done = 0;
        for (range, new) in &self.splices {
            out.extend_from_slice(raw.get(done..range.start).unwrap_or_default());
            out.extend_from_slice(new.as_bytes());
            done = range.end;
        }
        out.extend_from_slice(raw.get(done..).unwrap_or_default());
        out.into()
    }
}
