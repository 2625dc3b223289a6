//! What came of one call, in the form in which it is printed, compared and kept as a golden file.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fairlead_core::chain::covers;
use fairlead_core::json;
use fairlead_core::middleware::{Middleware, Notes, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::message::Message;

/// What came of one call.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcome {
    /// The decision.
    pub(crate) verdict: Word,
    /// What goes on after an edit, or the result of `respond`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) payload: Option<Value>,
    /// Of a rejection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<i64>,
    /// Of a rejection or a fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    /// Of a rejection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<Value>,
    /// Of a rejection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after_ms: Option<u64>,
    /// Who calls, when a plugin said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) identity: Option<String>,
    /// What the exchange carries on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) attributes: BTreeMap<String, String>,
}

/// Decisions, as words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Word {
    /// The plugin did not ask to see the message.
    #[default]
    NotCalled,
    /// Goes on unchanged.
    Next,
    /// Goes on changed.
    Edit,
    /// Answered in the server's place.
    Respond,
    /// Refused.
    Reject,
    /// No decision: a trap, a deadline, a failure.
    Fault,
}

impl Word {
    /// As in a table of cases.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::NotCalled => "not-called",
            Self::Next => "next",
            Self::Edit => "edit",
            Self::Respond => "respond",
            Self::Reject => "reject",
            Self::Fault => "fault",
        }
    }
}

/// Asks a middleware as the data plane would: not at all when it did not ask for such a message.
///
/// # Errors
/// The message lacks what its phase needs.
pub(crate) async fn ask(middleware: &dyn Middleware, message: &Message) -> Result<(Outcome, Duration), String> {
    let call = message.call()?;
    let phase = call.subject.phase();
    let wanted = |interest| covers(interest, &call.head.method, call.head.target.as_deref(), phase);
    if !middleware.interests().iter().any(wanted) {
        return Ok((Outcome::default(), Duration::ZERO));
    }
    let began = Instant::now();
    let answer = middleware.call(call).await;
    let elapsed = began.elapsed();
    let outcome = match answer {
        Ok(answer) => decided(answer.verdict, message).with(answer.notes),
        Err(fault) => fault_of(fault.to_string()),
    };
    Ok((outcome, elapsed))
}

fn fault_of(text: String) -> Outcome {
    Outcome { verdict: Word::Fault, message: Some(text), ..Outcome::default() }
}

fn decided(verdict: Verdict, message: &Message) -> Outcome {
    let with = |verdict, payload| Outcome { verdict, payload: Some(payload), ..Outcome::default() };
    let parsed = |verdict, text: &str| match serde_json::from_str(text) {
        Ok(payload) => with(verdict, payload),
        Err(error) => fault_of(format!("returned nonsense: {error}")),
    };
    match verdict {
        Verdict::Next => Outcome { verdict: Word::Next, ..Outcome::default() },
        Verdict::Replace(text) => parsed(Word::Edit, &text),
        Verdict::Respond(text) => parsed(Word::Respond, &text),
        Verdict::Patch(operations) => {
            let payload = message.payload().map_or_else(|| "{}".to_owned(), ToString::to_string);
            match json::patch(&payload, &operations) {
                Ok(text) => parsed(Word::Edit, &text),
                Err(error) => fault_of(format!("returned nonsense: {error}")),
            }
        }
        Verdict::Reject(rejection) => Outcome {
            verdict: Word::Reject,
            code: Some(rejection.code),
            message: Some(rejection.message),
            data: rejection.data.and_then(|text| serde_json::from_str(&text).ok()),
            retry_after_ms: rejection.retry_after_ms,
            ..Outcome::default()
        },
    }
}

impl Outcome {
    fn with(self, notes: Notes) -> Self {
        let identity = notes.identity.map(|identity| identity.subject);
        Self { identity, attributes: notes.attributes.into_iter().collect(), ..self }
    }
}
