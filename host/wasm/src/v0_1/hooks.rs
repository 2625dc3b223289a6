//! `fairlead:middleware/hooks`: calls into a guest, and what its answers mean.
//!
//! Two results lie inside each other. The outer one is wasmtime's: the guest trapped or was interrupted, and its instance
//! is lost. The inner one is the guest's: a verdict, or a fault that an instance survives.

use fairlead_core::json;
use fairlead_core::limits::{PATCH_OPERATIONS_MAX, REJECTION_MESSAGE_BYTES_MAX};
use fairlead_core::middleware::{Call, Fault, Interest, PatchOperation, Phase, Rejection, Subject, Verdict};
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Result, Store};

use super::bindings::{Failure, hooks_export as wit};
use super::exchange::lend;
use super::manifest::configured;
use crate::limits::{FAULT_TEXT_BYTES_MAX, PAYLOAD_BYTES_MAX, REJECTION_DATA_BYTES_MAX};
use crate::state::State;
use crate::text::bounded;

/// A component that is linked and ready to be instantiated.
pub(crate) struct Prepared {
    pre: InstancePre<State>,
    indices: wit::GuestIndices,
}

/// The hooks of one instance.
pub(crate) struct Hooks(wit::Guest);

impl Prepared {
    pub(crate) fn new(linker: &Linker<State>, component: &Component) -> Result<Self> {
        let pre = linker.instantiate_pre(component)?;
        let indices = wit::GuestIndices::new(&pre)?;
        Ok(Self { pre, indices })
    }

    pub(crate) async fn instantiate(&self, store: &mut Store<State>) -> Result<Hooks> {
        let instance = self.pre.instantiate_async(&mut *store).await?;
        Ok(Hooks(self.indices.load(&mut *store, &instance)?))
    }
}

impl Hooks {
    /// Gives the instance its configuration; what it wants to be called for.
    pub(crate) async fn configure(
        &self,
        store: &mut Store<State>,
        config: &str,
    ) -> Result<std::result::Result<Vec<Interest>, Fault>> {
        let answer = self.0.call_configure(store, config).await?;
        Ok(match answer {
            Ok(interests) => configured(interests).map_err(|reason| Fault::Nonsense(format!("interests: it {reason}"))),
            Err(failure) => Err(failed(failure)),
        })
    }

    /// Calls the hook of the phase that `call` belongs to.
    pub(crate) async fn call(
        &self,
        store: &mut Store<State>,
        call: Call,
    ) -> Result<std::result::Result<Verdict, Fault>> {
        let phase = call.subject.phase();
        let head = head(&call);
        let error = match &call.subject {
            Subject::Error(error) => Some(lower(error)),
            _ => None,
        };
        store.data_mut().begin(call);
        let (context, body) = lend();
        let answer = match (phase, error) {
            (Phase::Response, _) => self.0.call_on_response(store, &head, context, body).await?,
            (Phase::Event, _) => self.0.call_on_event(store, &head, context, body).await?,
            (_, Some(error)) => self.0.call_on_error(store, &head, context, &error).await?,
            (_, None) => self.0.call_on_request(store, &head, context, body).await?,
        };
        Ok(match answer {
            Ok(verdict) => lift(verdict, phase),
            Err(failure) => Err(failed(failure)),
        })
    }
}

fn head(call: &Call) -> wit::Head {
    let size = match &call.subject {
        Subject::Request(body) | Subject::Response(body) | Subject::Event(body) => body.len(),
        Subject::Error(error) => error.data.as_ref().map_or(0, String::len),
    };
    wit::Head {
        method: call.head.method.as_ref().to_owned(),
        target: call.head.target.as_deref().map(str::to_owned),
        size: u64::try_from(size).unwrap_or(u64::MAX),
    }
}

fn lower(error: &Rejection) -> wit::Rejection {
    // A code that does not fit 32 bits is nobody's; the guest sees the nearest one.
    let code = error.code.clamp(i64::from(i32::MIN), i64::from(i32::MAX));
    wit::Rejection {
        code: i32::try_from(code).unwrap_or_default(),
        message: error.message.clone(),
        data: error.data.clone(),
        retry_after_ms: error.retry_after_ms,
    }
}

fn failed(failure: Failure) -> Fault {
    let (kind, text) = match failure {
        Failure::Config(text) => ("configuration", text),
        Failure::Upstream(text) => ("upstream", text),
        Failure::Unavailable(text) => ("unavailable", text),
        Failure::Internal(text) => ("internal", text),
        Failure::Other(text) => ("other", text),
    };
    Fault::Failure(format!("{kind}: {}", bounded(text, FAULT_TEXT_BYTES_MAX)))
}

fn lift(verdict: wit::Verdict, phase: Phase) -> std::result::Result<Verdict, Fault> {
    Ok(match verdict {
        wit::Verdict::Next => Verdict::Next,
        wit::Verdict::Edit(_) if phase == Phase::Error => return Err(nonsense("edited an error: reject or respond")),
        wit::Verdict::Edit(wit::Edit::Replace(payload)) => Verdict::Replace(payload_of("replacement", payload)?),
        wit::Verdict::Edit(wit::Edit::Patch(operations)) => Verdict::Patch(patch(operations)?),
        wit::Verdict::Respond(_) if phase == Phase::Event => return Err(nonsense("responded to an event")),
        wit::Verdict::Respond(payload) => Verdict::Respond(payload_of("response", payload)?),
        wit::Verdict::Reject(rejection) => Verdict::Reject(reject(rejection)?),
    })
}

fn payload_of(what: &str, payload: String) -> std::result::Result<String, Fault> {
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(nonsense(&format!("{what} has more than {PAYLOAD_BYTES_MAX} bytes")));
    }
    json::check(&payload).map_err(|error| nonsense(&format!("{what} is not JSON: {error}")))?;
    Ok(payload)
}

fn patch(operations: Vec<wit::PatchOperation>) -> std::result::Result<Vec<PatchOperation>, Fault> {
    if operations.len() > PATCH_OPERATIONS_MAX {
        return Err(nonsense(&format!("patch has more than {PATCH_OPERATIONS_MAX} operations")));
    }
    operations
        .into_iter()
        .map(|wit::PatchOperation { pointer, value }| {
            let value = value.map(|value| payload_of("value of a patch", value)).transpose()?;
            Ok(PatchOperation { pointer, value })
        })
        .collect()
}

fn reject(rejection: wit::Rejection) -> std::result::Result<Rejection, Fault> {
    if let Some(data) = &rejection.data {
        if data.len() > REJECTION_DATA_BYTES_MAX {
            return Err(nonsense(&format!("data of a rejection has more than {REJECTION_DATA_BYTES_MAX} bytes")));
        }
        json::check(data).map_err(|error| nonsense(&format!("data of a rejection is not JSON: {error}")))?;
    }
    Ok(Rejection {
        code: i64::from(rejection.code),
        message: bounded(rejection.message, REJECTION_MESSAGE_BYTES_MAX),
        data: rejection.data,
        retry_after_ms: rejection.retry_after_ms,
    })
}

fn nonsense(text: &str) -> Fault {
    Fault::Nonsense(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_that_is_not_json_is_nonsense() {
        for verdict in [
            wit::Verdict::Respond("{".to_owned()),
            wit::Verdict::Edit(wit::Edit::Replace(String::new())),
            wit::Verdict::Edit(wit::Edit::Patch(vec![wit::PatchOperation {
                pointer: "/a".to_owned(),
                value: Some("nope".to_owned()),
            }])),
            wit::Verdict::Reject(wit::Rejection {
                code: 1,
                message: String::new(),
                data: Some("'".to_owned()),
                retry_after_ms: None,
            }),
        ] {
            assert!(matches!(lift(verdict, Phase::Request), Err(Fault::Nonsense(_))));
        }
    }

    #[test]
    fn an_event_is_not_responded_to_and_an_error_is_not_edited() {
        let respond = wit::Verdict::Respond("{}".to_owned());
        assert!(matches!(lift(respond, Phase::Event), Err(Fault::Nonsense(_))));
        let edit = wit::Verdict::Edit(wit::Edit::Patch(vec![]));
        assert!(matches!(lift(edit, Phase::Error), Err(Fault::Nonsense(_))));
    }

    #[test]
    fn a_message_for_a_person_is_cut_to_its_bound() {
        let long = wit::Rejection { code: 7, message: "é".repeat(4_000), data: None, retry_after_ms: Some(5) };
        let rejection = reject(long).unwrap();
        assert!(rejection.message.len() <= REJECTION_MESSAGE_BYTES_MAX);
        assert_eq!((rejection.code, rejection.retry_after_ms), (7, Some(5)));
    }
}
