//! A message that an author writes down: what the data plane would make of one from a client or a server.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use fairlead_core::jsonrpc::Envelope;
use fairlead_core::middleware::{Call, Head, Identity, Notes, Origin, Phase, Rejection, Subject};
use fairlead_core::name::{ServerKey, ServerName, TenantName};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

/// Name of the server unless the message says another.
const SERVER: &str = "server";

/// Revision of MCP unless the message says another.
const PROTOCOL_VERSION: &str = "2025-11-25";

/// A message. A JSON-RPC request is one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Message {
    /// Method; of an answer, that of the request it answers.
    pub(crate) method: String,
    /// When the plugin is asked; `request` unless the message has a `result` or an `error`.
    #[serde(default)]
    pub(crate) phase: Option<Word>,
    #[serde(default)]
    params: Option<Value>,
    #[serde(default)]
    result: Option<Value>,
    #[serde(default)]
    error: Option<ErrorObject>,
    /// Tool, prompt or resource of an answer; for a request it is read from `params`.
    #[serde(default)]
    target: Option<String>,
    #[serde(default)]
    id: Option<Value>,
    /// In every JSON-RPC message; says nothing here.
    #[serde(default, rename = "jsonrpc")]
    _jsonrpc: Option<IgnoredAny>,
    #[serde(default)]
    pub(crate) tenant: TenantName,
    #[serde(default)]
    server: Option<ServerName>,
    #[serde(default)]
    session: Option<String>,
    #[serde(default)]
    identity: Option<Who>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    #[serde(default)]
    protocol_version: Option<String>,
}

/// The moments at which a plugin is asked, as words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Word {
    /// A request or notification on its way to the server
    Request,
    /// A result on its way back
    Response,
    /// An error on its way back
    Error,
    /// A message that the server sends on a stream
    Event,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ErrorObject {
    code: i64,
    message: String,
    #[serde(default)]
    data: Option<Value>,
}

/// `"alice"`, or a subject with claims.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Who {
    Subject(String),
    Identity {
        subject: String,
        #[serde(default)]
        claims: BTreeMap<String, Value>,
    },
}

impl Message {
    /// A call of a tool.
    pub(crate) fn tool_call(params: Value) -> Self {
        Self { method: "tools/call".to_owned(), params: Some(params), ..Self::default() }
    }

    /// When the plugin is asked.
    pub(crate) fn phase(&self) -> Phase {
        let word = self.phase.unwrap_or(match (&self.result, &self.error) {
            (Some(_), _) => Word::Response,
            (None, Some(_)) => Word::Error,
            (None, None) => Word::Request,
        });
        match word {
            Word::Request => Phase::Request,
            Word::Response => Phase::Response,
            Word::Error => Phase::Error,
            Word::Event => Phase::Event,
        }
    }

    /// What the hook looks at, as JSON; nothing for an error.
    pub(crate) fn payload(&self) -> Option<&Value> {
        match self.phase() {
            Phase::Request | Phase::Event => self.params.as_ref(),
            Phase::Response => self.result.as_ref(),
            Phase::Error => None,
        }
    }

    /// Tool, prompt or resource, found as the data plane finds it.
    pub(crate) fn target(&self) -> Option<String> {
        if self.target.is_some() {
            return self.target.clone();
        }
        let text = json!({"jsonrpc": "2.0", "id": 1, "method": self.method, "params": self.params.as_ref()?});
        let envelope = Envelope::parse(Bytes::from(text.to_string())).ok()?;
        envelope.target().map(|target| target.into_owned())
    }

    /// One call of a hook.
    ///
    /// # Errors
    /// What the phase needs is missing.
    pub(crate) fn call(&self) -> Result<Call, String> {
        let payload = || Bytes::from(self.payload().map(ToString::to_string).unwrap_or_default());
        let subject = match (self.phase(), &self.error) {
            (Phase::Request, _) => Subject::Request(payload()),
            (Phase::Event, _) => Subject::Event(payload()),
            (Phase::Response, _) if self.result.is_none() => return Err("a response needs a `result`".to_owned()),
            (Phase::Response, _) => Subject::Response(payload()),
            (Phase::Error, None) => return Err("the phase `error` needs an `error`".to_owned()),
            (Phase::Error, Some(error)) => Subject::Error(Rejection {
                code: error.code,
                message: error.message.clone(),
                data: error.data.as_ref().map(ToString::to_string),
                retry_after_ms: None,
            }),
        };
        let server = match &self.server {
            Some(server) => server.clone(),
            None => ServerName::new(SERVER).map_err(|error| error.to_string())?,
        };
        let attributes = self.attributes.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        Ok(Call {
            server: Arc::new(ServerKey { tenant: self.tenant.clone(), name: server }),
            head: Head { method: self.method.as_str().into(), target: self.target().map(Into::into) },
            origin: Arc::new(self.origin()),
            notes: Notes { identity: self.identity.as_ref().map(Who::identity), attributes, ..Notes::default() },
            subject,
        })
    }

    fn origin(&self) -> Origin {
        let id = self.id.clone().unwrap_or_else(|| 1.into());
        let headers = self.headers.iter().map(|(name, value)| (name.to_lowercase(), value.clone()));
        Origin {
            request_id: Some(Bytes::from(id.to_string())),
            session: Some(self.session.as_deref().unwrap_or("session-1").into()),
            protocol_version: Some(self.protocol_version.as_deref().unwrap_or(PROTOCOL_VERSION).into()),
            headers: headers.collect(),
        }
    }
}

impl Who {
    fn identity(&self) -> Identity {
        match self {
            Self::Subject(subject) => Identity { subject: subject.clone(), claims: Vec::new() },
            Self::Identity { subject, claims } => {
                let claims = claims.iter().map(|(name, value)| (name.clone(), value.to_string())).collect();
                Identity { subject: subject.clone(), claims }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(value: Value) -> Message {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_json_rpc_request_is_a_message() {
        let text = json!({"jsonrpc": "2.0", "id": "a", "method": "tools/call", "params": {"name": "echo"}});
        let call = message(text).call().unwrap();
        assert_eq!(call.head.target.as_deref(), Some("echo"));
        assert_eq!(call.origin.request_id.as_deref(), Some(&b"\"a\""[..]));
        assert_eq!(call.subject.phase(), Phase::Request);
    }

    #[test]
    fn the_phase_follows_from_what_the_message_has() {
        assert_eq!(message(json!({"method": "x", "result": {}})).phase(), Phase::Response);
        assert_eq!(message(json!({"method": "x", "error": {"code": 1, "message": "no"}})).phase(), Phase::Error);
        assert_eq!(message(json!({"method": "x", "phase": "event", "params": {}})).phase(), Phase::Event);
        assert!(message(json!({"method": "x", "phase": "response"})).call().is_err());
    }

    #[test]
    fn who_calls_is_a_name_or_a_name_with_claims() {
        let who = |identity| message(json!({"method": "x", "identity": identity})).call().unwrap().notes.identity;
        assert_eq!(who(json!("alice")).unwrap().subject, "alice");
        let alice = who(json!({"subject": "alice", "claims": {"team": "blue"}})).unwrap();
        assert_eq!(alice.claims, [("team".to_owned(), "\"blue\"".to_owned())]);
    }

    #[test]
    fn a_misspelt_field_is_refused() {
        assert!(serde_json::from_value::<Message>(json!({"method": "x", "parameters": {}})).is_err());
    }
}
