//! One post of one message, over a connection of its own, with a deadline. Redirects are not followed: a signed message is
//! for whom it was addressed to.

use std::fmt;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use fairlead_core::dial::Anywhere;
use fairlead_core::freshness::Message;
use fairlead_core::name::{ServerKey, TenantName};
use fairlead_core::secret::SecretError;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use super::{HookConfig, HookUrl, Hooks, signature};
use crate::limits::{HOOK_POST_MAX, HOOK_RETRY_MAX};
use crate::text;

/// A message as it is posted: the same bytes at every try.
pub(super) struct Letter {
    id: String,
    body: Bytes,
}

/// Why it was not taken.
#[derive(Debug)]
pub(super) enum NotTaken {
    /// There is no secret to sign it with.
    Secret(SecretError),
    /// The secret says that it is base64, and is not.
    SecretForm,
    /// Nobody answered, or not in time.
    Unreachable(String),
    /// Somebody answered something else than success.
    Answered(StatusCode, Option<Duration>),
}

impl NotTaken {
    /// Trying again is no use: `410 Gone` is how a receiver says that it wants no more of this.
    pub(super) fn is_lasting(&self) -> bool {
        matches!(self, Self::Answered(StatusCode::GONE, _))
    }

    /// What was asked for is not undercut, and not believed without bound.
    pub(super) fn pause_at_least(&self, pause: Duration) -> Duration {
        match self {
            Self::Answered(_, Some(asked)) => pause.max((*asked).min(HOOK_RETRY_MAX)),
            _ => pause,
        }
    }
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(error) => write!(f, "{error}"),
            Self::SecretForm => f.write_str("its secret begins with `whsec_` and is not base64"),
            Self::Unreachable(reason) => f.write_str(reason),
            Self::Answered(status, _) => write!(f, "it answered {status}"),
        }
    }
}

impl Letter {
    pub(super) fn new(key: &ServerKey, message: &Message) -> Self {
        // Of what makes it this message, so that a receiver knows it again after a restart of ours.
        let name = format!("{key}\n{}\n{}", message.topic, message.at);
        let hash = Sha256::digest(name.as_bytes());
        let id = hash.iter().take(16).fold("msg_".to_owned(), |id, byte| format!("{id}{byte:02x}"));
        let body = serde_json::json!({
            "type": "update",
            "timestamp": message.at,
            "data": {
                "tenant": key.tenant,
                "server": key.name,
                "topic": message.topic,
                "text": message.text,
                "urgent": message.urgent,
            },
        });
        Self { id, body: Bytes::from(body.to_string()) }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

impl Hooks {
    /// Posts once.
    pub(super) async fn deliver(&self, hook: &HookConfig, letter: &Letter) -> Result<(), NotTaken> {
        let late = |_| NotTaken::Unreachable(format!("it did not take it within {} s", HOOK_POST_MAX.as_secs()));
        let tenant = TenantName::default();
        let secret = timeout(HOOK_POST_MAX, self.secrets.resolve(&tenant, &hook.secret)).await.map_err(late)?;
        let secret = secret.map_err(NotTaken::Secret)?;
        let time = self.clock.now().as_second();
        let signature = signature::sign(&secret, &letter.id, time, &letter.body).ok_or(NotTaken::SecretForm)?;
        drop(secret);
        let request = request(&hook.url, letter, time, &signature)?;
        let (status, retry_after) = timeout(HOOK_POST_MAX, self.send(&hook.url, request)).await.map_err(late)??;
        if status.is_success() { Ok(()) } else { Err(NotTaken::Answered(status, retry_after)) }
    }

    async fn send(
        &self,
        url: &HookUrl,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Option<Duration>), NotTaken> {
        let unreachable = |error: &dyn std::error::Error| NotTaken::Unreachable(error.to_string());
        let dialed = self.dialer.dial(&url.endpoint, &Anywhere).await;
        let dialed = dialed.map_err(|error| NotTaken::Unreachable(text::chain(&error)))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(dialed.stream)).await.map_err(|error| unreachable(&error))?;
        let (mut connection, mut answer) = (Box::pin(connection), pin!(sender.send_request(request)));
        let answer = tokio::select! {
            biased;
            answer = &mut answer => answer,
            ended = &mut connection => match ended {
                // It answered and hung up in one breath, or only hung up: an answer that is lost is told of by its end.
                Ok(()) => {
                    drop(connection);
                    answer.await
                }
                Err(error) => return Err(unreachable(&error)),
            },
        };
        let answer = answer.map_err(|error| unreachable(&error))?;
        let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Ok((answer.status(), seconds.map(Duration::from_secs)))
    }
}

fn request(url: &HookUrl, letter: &Letter, time: i64, signature: &str) -> Result<Request<Full<Bytes>>, NotTaken> {
    let wrong = |_| NotTaken::Unreachable("its address cannot be asked for".to_owned());
    let endpoint = &url.endpoint;
    let host = if endpoint.host.contains(':') { format!("[{}]", endpoint.host) } else { endpoint.host.clone() };
    let usual = if endpoint.tls { 443 } else { 80 };
    let authority = if endpoint.port == usual { host } else { format!("{host}:{}", endpoint.port) };
    Request::builder()
        .method(Method::POST)
        .uri(url.path.as_str())
        .header(HOST, authority)
        .header(USER_AGENT, HeaderValue::from_static(concat!("fairlead/", env!("CARGO_PKG_VERSION"))))
        .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .header("webhook-id", letter.id.as_str())
        .header("webhook-timestamp", time.to_string())
        .header("webhook-signature", signature)
        .body(Full::new(letter.body.clone()))
        .map_err(wrong)
}
