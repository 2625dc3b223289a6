//! Notification hooks: what people are to be told of updates, posted to addresses that the operator wrote down.
//!
//! The form is that of *Standard Webhooks*, so receivers need no code of ours: an identity that stays the same over all tries,
//! a time, and an HMAC-SHA256 of both with the body. A message waits in the record of its server until every hook has taken
//! it; here is only who is being told just now. So a crash tells twice at worst, never not at all, and a receiver that is down
//! holds up nothing: no worker waits for it.

mod delivery;
mod signature;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use fairlead_core::backoff::Backoff;
use fairlead_core::clock::Clock;
use fairlead_core::dial::{Dialer, Endpoint};
use fairlead_core::freshness::Message;
use fairlead_core::name::{ServerKey, TenantName};
use fairlead_core::secret::{SecretReference, Secrets};
use http::Uri;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::limits::{HOOK_MESSAGES_MAX, HOOK_RETRY_FIRST, HOOK_RETRY_MAX, HOOK_TRIES_MAX};

/// `[[hooks]]` of the configuration file: one receiver.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HookConfig {
    /// `https://…`, or `http://…` on a network that is trusted.
    pub(crate) url: HookUrl,
    /// With what the body is signed: a secret of the tenant `default`.
    pub(crate) secret: SecretReference,
    /// Only of servers of these tenants; empty: of all.
    #[serde(default)]
    pub(crate) tenants: Vec<TenantName>,
    /// Only what should not wait.
    #[serde(default)]
    pub(crate) only_urgent: bool,
}

/// Where to post. Shown without its query, which may be a token.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct HookUrl {
    endpoint: Endpoint,
    path: String,
}

/// Why an address is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a hook has an address like `https://example.test/updates`, without a user name")]
pub(crate) struct HookUrlError;

impl TryFrom<String> for HookUrl {
    type Error = HookUrlError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let uri: Uri = text.parse().map_err(|_| HookUrlError)?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(HookUrlError),
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or(HookUrlError)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
        Ok(Self { endpoint: Endpoint { host, port, tls }, path })
    }
}

impl fmt::Display for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.endpoint, self.path.split('?').next().unwrap_or_default())
    }
}

impl fmt::Debug for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HookUrl({self})")
    }
}

/// A message of a server: the same one as long as both are the same.
type Told = (ServerKey, String);

/// How far a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Somebody has not taken it yet.
    UnderWay,
    /// All have, or were given up.
    Done,
}

/// What became of a message that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Telling {
    /// Nobody wants it.
    Unwanted,
    /// Receivers are being told from now on.
    Begun,
    /// They still are.
    UnderWay,
    /// All of them were, or were given up.
    Done,
}

/// Tells receivers.
pub(crate) struct Hooks {
    hooks: Vec<HookConfig>,
    dialer: Arc<dyn Dialer>,
    secrets: Arc<dyn Secrets>,
    clock: Arc<dyn Clock>,
    backoff: Backoff,
    messages: Mutex<HashMap<Told, State>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").field("hooks", &self.hooks).finish_non_exhaustive()
    }
}

impl Hooks {
    /// Nobody is told anything yet.
    pub(crate) fn new(
        hooks: Vec<HookConfig>,
        dialer: Arc<dyn Dialer>,
        secrets: Arc<dyn Secrets>,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let backoff = Backoff {
            first: HOOK_RETRY_FIRST,
            max: HOOK_RETRY_MAX,
            failures_max: HOOK_TRIES_MAX,
            ..Backoff::default()
        };
        Arc::new(Self { hooks, dialer, secrets, clock, backoff, messages: Mutex::default(), tasks, stop })
    }

    /// Offers a message, and `told` is called when everybody who wants it has it. Never waits.
    pub(crate) fn tell(
        self: &Arc<Self>,
        key: &ServerKey,
        message: &Message,
        told: impl FnOnce() + Send + 'static,
    ) -> Telling {
        let wants = |hook: &&HookConfig| {
            (hook.tenants.is_empty() || hook.tenants.contains(&key.tenant)) && (message.urgent || !hook.only_urgent)
        };
        let hooks: Vec<HookConfig> = self.hooks.iter().filter(wants).cloned().collect();
        if hooks.is_empty() {
            return Telling::Unwanted;
        }
        let name = (key.clone(), message.topic.clone());
        {
            let mut messages = self.messages.lock();
            match messages.get(&name) {
                Some(State::Done) => {
                    messages.remove(&name);
                    return Telling::Done;
                }
                Some(State::UnderWay) => return Telling::UnderWay,
                // It stays where it is, and is offered again at the server's next turn.
                None if messages.len() >= HOOK_MESSAGES_MAX => {
                    messages.retain(|_, state| *state == State::UnderWay);
                    return Telling::UnderWay;
                }
                None => messages.insert(name.clone(), State::UnderWay),
            };
        }
        let (this, message) = (Arc::clone(self), message.clone());
        self.tasks.spawn(async move {
            let letter = delivery::Letter::new(&name.0, &message);
            let posts = hooks.iter().map(|hook| this.post(hook, &letter));
            tokio::select! {
                () = this.stop.cancelled() => return,
                _ = futures_util::future::join_all(posts) => {}
            }
            this.messages.lock().insert(name, State::Done);
            told();
        });
        Telling::Begun
    }

    /// Ends what is under way; the next daemon goes on with it.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// One receiver: again and again, with longer and longer pauses, and in the end no more.
    async fn post(&self, hook: &HookConfig, letter: &delivery::Letter) {
        for failures in 1.. {
            let why = match self.deliver(hook, letter).await {
                Ok(()) => return,
                Err(why) => why,
            };
            let pause = self.backoff.delay(failures).filter(|_| !why.is_lasting());
            let Some(pause) = pause else {
                tracing::error!(hook = %hook.url, message = letter.id(), reason = %why, "a hook was not told; it is given up");
                return;
            };
            if failures == 1 {
                tracing::warn!(hook = %hook.url, reason = %why, "a hook was not told; it is tried again");
            }
            tokio::time::sleep(why.pause_at_least(pause)).await;
        }
    }
}
