//! A request led through a chain without a server: what each link would be asked, exactly as in service.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use fairlead_core::chain::Chain;
use fairlead_core::jsonrpc::Envelope;
use fairlead_core::middleware::Rejection;
use fairlead_core::name::ServerKey;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::plan::ChainSet;
use super::run::{Decision, Exchange, Outcome, Provenance, Returned};

/// The session of every rehearsal.
const SESSION: &str = "rehearsal";

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rehearsed {
    /// Its method.
    pub method: String,
    /// Tool, prompt or resource.
    pub target: Option<String>,
    /// The `params` with which it would reach the server (JSON text, empty when there are none); `None`: it would not.
    pub params: Option<String>,
    /// What the client would get, as far as that is known: a result (JSON text) or an error.
    pub answer: Option<Result<String, Rejection>>,
}

/// Leads a request (JSON text) through a chain, and back with what the server would answer: an object with `result` or
/// `error`.
///
/// # Errors
/// A text is no such message.
pub async fn rehearse(
    chain: Arc<Chain>,
    server: &ServerKey,
    request: &str,
    answer: Option<&str>,
    headers: &BTreeMap<String, String>,
) -> Result<Rehearsed, String> {
    let message = Envelope::parse(Bytes::from(request.to_owned())).map_err(|error| error.to_string())?;
    if message.method().is_empty() {
        return Err("it has no `method`".to_owned());
    }
    let answer = match answer {
        None => None,
        Some(text) => Some(reply(text, &message)?),
    };
    let provenance = Provenance {
        headers: header_map(headers)?,
        request_id: message.id_bytes(),
        session: Some(SESSION.into()),
        ..Provenance::default()
    };
    let server = Arc::new(server.clone());
    let mut exchange = Exchange::begin(ChainSet::new(chain), &server, &message, || provenance);
    let (params, answer) = match exchange.request(&message).await {
        Decision::Answer(outcome) => (None, Some(outcome)),
        Decision::Forward(changed) => {
            let params = changed.or_else(|| message.params()).unwrap_or_default();
            let answer = match answer {
                None => None,
                Some(answer) => match exchange.answer(&answer).await {
                    Returned::Changed(outcome) => Some(outcome),
                    Returned::Untouched => untouched(&answer),
                },
            };
            (Some(params), answer)
        }
    };
    Ok(Rehearsed {
        method: message.method().to_owned(),
        target: message.target().map(|target| target.into_owned()),
        params: params.map(|params| text(&params)),
        answer: answer.map(|outcome| match outcome {
            Outcome::Result(result) => Ok(text(&result)),
            Outcome::Error(rejection) => Err(rejection),
        }),
    })
}

/// What the server would answer, as a message.
fn reply(answer: &str, request: &Envelope) -> Result<Envelope, String> {
    let inner = answer.trim().strip_prefix('{').ok_or("the answer is no object with `result` or `error`")?;
    let id = request.id().unwrap_or("1");
    let text = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},{inner}");
    Envelope::parse(Bytes::from(text)).map_err(|error| format!("the answer: {error}"))
}

fn untouched(answer: &Envelope) -> Option<Outcome> {
    let error = || answer.error().and_then(fairlead_core::jsonrpc::rejection_of).map(Outcome::Error);
    answer.result().map(Outcome::Result).or_else(error)
}

fn header_map(headers: &BTreeMap<String, String>) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let known = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
        let (name, value) = known.ok_or_else(|| format!("`{name}` is no header"))?;
        map.append(name, value);
    }
    Ok(map)
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
