//! What a verdict does to a message, or why it makes no sense.

use bytes::Bytes;
use fairlead_core::json::{check, patch};
use fairlead_core::limits::{ATTRIBUTE_BYTES_MAX, ATTRIBUTES_MAX, REJECTION_MESSAGE_BYTES_MAX};
use fairlead_core::middleware::{Answer, Fault, Notes, Phase, Rejection, Subject, Verdict};

/// Default code of a rejection, outside the range that JSON-RPC and MCP reserve.
const REJECTED: i64 = 4030;
/// The same for one that says when to try again.
const RATE_LIMITED: i64 = 4290;

/// What one verdict does.
pub(super) enum Effect {
    Next,
    Payload(Bytes),
    Respond(Bytes),
    Reject(Rejection),
}

/// Turns a verdict into what it does, or into the fault of making no sense.
pub(super) fn apply(answer: Answer, subject: Subject) -> Result<(Effect, Notes), Fault> {
    let nonsense = |what: String| Fault::Nonsense(what);
    let phase = subject.phase();
    let effect = match answer.verdict {
        Verdict::Next => Effect::Next,
        Verdict::Reject(rejection) => Effect::Reject(civil(rejection)?),
        Verdict::Respond(_) if phase == Phase::Event => return Err(nonsense("a response to an event".to_owned())),
        Verdict::Respond(result) => {
            check(&result).map_err(|error| nonsense(format!("the result is not JSON: {error}")))?;
            Effect::Respond(result.into())
        }
        Verdict::Patch(_) | Verdict::Replace(_) if phase == Phase::Error => {
            return Err(nonsense("an edit of an error".to_owned()));
        }
        Verdict::Replace(payload) => {
            check(&payload).map_err(|error| nonsense(format!("the payload is not JSON: {error}")))?;
            Effect::Payload(payload.into())
        }
        Verdict::Patch(operations) if operations.is_empty() => Effect::Next,
        Verdict::Patch(operations) => {
            let (Subject::Request(payload) | Subject::Response(payload) | Subject::Event(payload)) = subject else {
                return Err(nonsense("an edit of an error".to_owned()));
            };
            let payload = std::str::from_utf8(&payload).map_err(|error| nonsense(error.to_string()))?;
            let patched = patch(payload, &operations).map_err(|error| nonsense(format!("the patch: {error}")))?;
            Effect::Payload(patched.into())
        }
    };
    Ok((effect, bounded(answer.notes)))
}

/// A rejection as a client may see it: no reserved code, no endless text, data that is JSON.
fn civil(mut rejection: Rejection) -> Result<Rejection, Fault> {
    if let Some(data) = &rejection.data {
        check(data).map_err(|error| Fault::Nonsense(format!("the data of a rejection is not JSON: {error}")))?;
    }
    if (-32768..=-32000).contains(&rejection.code) {
        rejection.code = if rejection.retry_after_ms.is_some() { RATE_LIMITED } else { REJECTED };
    }
    let end = rejection.message.floor_char_boundary(REJECTION_MESSAGE_BYTES_MAX);
    rejection.message.truncate(end);
    Ok(rejection)
}

fn bounded(mut notes: Notes) -> Notes {
    notes.attributes.retain(|(name, value)| name.len() + value.len() <= ATTRIBUTE_BYTES_MAX);
    notes.attributes.truncate(ATTRIBUTES_MAX);
    notes
}
