//! What a plugin did with a message, and the assertions over it.

use serde_json::Value;

use super::patch;
use crate::{Edit, Failure, Rejection, Verdict};

/// What a plugin did with one message.
#[derive(Debug)]
#[must_use = "say what you expect of it"]
pub struct Outcome {
    method: String,
    payload: Option<String>,
    /// None: the plugin was not interested.
    result: Option<Result<Verdict, Failure>>,
}

/// What a case expects.
#[derive(Debug, Clone)]
pub enum Expect {
    /// The plugin is not asked at all.
    NotCalled,
    /// The message goes on unchanged.
    Next,
    /// The message goes on with this payload.
    Payload(Value),
    /// The plugin answers with this result.
    Respond(Value),
    /// The plugin refuses with this code.
    Reject(i32),
    /// The plugin fails.
    Fail,
}

/// One row of a table: a request and what is expected.
#[derive(Debug, Clone)]
pub struct Case {
    /// Names the row when it does not hold.
    pub name: String,
    /// Method of the request.
    pub method: String,
    /// Its `params`.
    pub params: Value,
    /// What is expected.
    pub expect: Expect,
}

impl Case {
    /// A row.
    #[must_use]
    pub fn new(name: &str, method: &str, params: Value, expect: Expect) -> Self {
        Self { name: name.to_owned(), method: method.to_owned(), params, expect }
    }
}

impl Outcome {
    pub(super) fn not_called(method: &str, payload: Option<String>) -> Self {
        Self { method: method.to_owned(), payload, result: None }
    }

    pub(super) fn called(method: &str, payload: Option<String>, result: Result<Verdict, Failure>) -> Self {
        Self { method: method.to_owned(), payload, result: Some(result) }
    }

    /// The verdict or the failure; none when the plugin was not asked.
    #[must_use]
    pub const fn result(&self) -> Option<&Result<Verdict, Failure>> {
        self.result.as_ref()
    }

    /// The payload after the verdict, as the next in the chain sees it.
    ///
    /// # Errors
    /// When the message does not go on, or the edit makes no sense.
    pub fn payload(&self) -> Result<Value, String> {
        let text = self.payload.as_deref().unwrap_or("null");
        let mut payload: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match &self.result {
            None | Some(Ok(Verdict::Next)) => Ok(payload),
            Some(Ok(Verdict::Edit(Edit::Replace(text)))) => {
                serde_json::from_str(text).map_err(|error| error.to_string())
            }
            Some(Ok(Verdict::Edit(Edit::Patch(operations)))) => {
                patch::apply(&mut payload, operations).map(|()| payload)
            }
            Some(other) => Err(format!("the message does not go on: {other:?}")),
        }
    }

    /// The plugin was not asked at all.
    ///
    /// # Panics
    /// When it was.
    pub fn expect_not_called(self) {
        self.check("", &Expect::NotCalled);
    }

    /// The message goes on unchanged.
    ///
    /// # Panics
    /// When it does not, or when the plugin was not even asked.
    pub fn expect_next(self) {
        self.check("", &Expect::Next);
    }

    /// The message goes on, changed or not, with this payload.
    ///
    /// # Panics
    /// When it does not.
    #[allow(clippy::needless_pass_by_value, reason = "called with json!() literals")]
    pub fn expect_payload(self, expected: Value) {
        self.check("", &Expect::Payload(expected));
    }

    /// The plugin answers with this result.
    ///
    /// # Panics
    /// When it does not.
    #[allow(clippy::needless_pass_by_value, reason = "called with json!() literals")]
    pub fn expect_respond(self, expected: Value) {
        self.check("", &Expect::Respond(expected));
    }

    /// The plugin refuses with this code.
    ///
    /// # Panics
    /// When it does not.
    pub fn expect_reject(self, code: i32) -> Rejection {
        self.check("", &Expect::Reject(code));
        match self.result {
            Some(Ok(Verdict::Reject(rejection))) => rejection,
            other => panic!("checked above: {other:?}"),
        }
    }

    /// The plugin fails.
    ///
    /// # Panics
    /// When it does not.
    pub fn expect_failure(self) -> Failure {
        match self.result {
            Some(Err(failure)) => failure,
            other => panic!("`{}`: expected a failure, got {other:?}", self.method),
        }
    }

    /// Compares with what is expected.
    ///
    /// # Panics
    /// When it does not hold.
    pub fn check(&self, name: &str, expected: &Expect) {
        let holds = match (expected, &self.result) {
            (Expect::NotCalled, result) => result.is_none(),
            (Expect::Next, Some(Ok(verdict))) => *verdict == Verdict::Next,
            (Expect::Payload(expected), Some(Ok(Verdict::Next | Verdict::Edit(_)))) => {
                self.payload().as_ref() == Ok(expected)
            }
            (Expect::Respond(expected), Some(Ok(Verdict::Respond(text)))) => {
                serde_json::from_str::<Value>(text).is_ok_and(|result| result == *expected)
            }
            (Expect::Reject(code), Some(Ok(Verdict::Reject(rejection)))) => rejection.code == *code,
            (Expect::Fail, Some(Err(_))) => true,
            _ => false,
        };
        if !holds {
            let came = self.result.as_ref().map_or_else(|| "not called".to_owned(), |result| format!("{result:?}"));
            panic!(
                "case `{name}` ({}): expected {expected:?}, got {came}; payload then: {:?}",
                self.method,
                self.payload()
            );
        }
    }
}
