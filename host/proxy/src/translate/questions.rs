//! What a server wants to know before it can answer, and the request that brings it the answers.

use fairlead_core::json::{decode_string, each, find, patch};
use fairlead_core::jsonrpc::Envelope;
use fairlead_core::middleware::PatchOperation;

/// A result that wants input.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// JSON texts of key, method and `params` of each question.
    pub(super) questions: Vec<(String, String, String)>,
    /// JSON text of what the server wants back.
    state: Option<String>,
}

impl Wanted {
    /// What an answer asks for; `None` when it is the answer.
    pub(super) fn of(answer: &Envelope) -> Option<Self> {
        let result = answer.result()?;
        let result = std::str::from_utf8(&result).ok()?;
        let at = |pointer: &str| find(result, pointer).ok().flatten();
        if at("/resultType").and_then(decode_string).as_deref() != Some("input_required") {
            return None;
        }
        let questions = each(at("/inputRequests").unwrap_or_default()).filter_map(|(key, question)| {
            let part = |pointer| find(question, pointer).ok().flatten().map(ToOwned::to_owned);
            Some((key?.to_owned(), part("/method")?, part("/params").unwrap_or_else(|| "{}".to_owned())))
        });
        Some(Self { questions: questions.collect(), state: at("/requestState").map(ToOwned::to_owned) })
    }

    /// The `params` of the request, once more, with the answers (JSON texts, in the order of the questions).
    pub(super) fn answered(&self, params: &str, answers: &[String]) -> Option<String> {
        let pairs: Vec<String> =
            self.questions.iter().zip(answers).map(|((key, ..), answer)| format!("{key}:{answer}")).collect();
        let mut operations = vec![put("/inputResponses", format!("{{{}}}", pairs.join(",")))];
        operations.extend(self.state.clone().map(|state| put("/requestState", state)));
        patch(params, &operations).ok()
    }
}

pub(super) fn put(pointer: &str, value: String) -> PatchOperation {
    PatchOperation { pointer: pointer.to_owned(), value: Some(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(result: &str) -> Envelope {
        Envelope::parse(format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#).into()).unwrap()
    }

    #[test]
    fn what_is_asked_comes_back_under_its_key_and_the_state_byte_for_byte() {
        let wanted = Wanted::of(&answer(
            r#"{"resultType":"input_required","inputRequests":{"a\"b":{"method":"roots/list"},"c":{"method":"elicitation/create","params":{"m":1e2}}},"requestState":"\u00e9\/"}"#,
        ))
        .unwrap();
        assert_eq!(
            wanted.questions,
            [
                (r#""a\"b""#.to_owned(), r#""roots/list""#.to_owned(), "{}".to_owned()),
                (r#""c""#.to_owned(), r#""elicitation/create""#.to_owned(), r#"{"m":1e2}"#.to_owned())
            ]
        );
        assert_eq!(
            wanted.answered(r#"{"name":"t","arguments":{"n":1.0}}"#, &[r#"{"roots":[]}"#.into(), "{}".into()]).unwrap(),
            r#"{"name":"t","arguments":{"n":1.0},"inputResponses":{"a\"b":{"roots":[]},"c":{}},"requestState":"\u00e9\/"}"#
        );
    }

    #[test]
    fn any_other_result_is_the_answer() {
        for result in [r#"{"resultType":"complete"}"#, r#"{"resultType":"task"}"#, "{}", "[]"] {
            assert_eq!(Wanted::of(&answer(result)), None);
        }
    }
}
