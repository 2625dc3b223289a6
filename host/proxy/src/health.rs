//! Asking a server that listens, now and then, whether it still answers: in the words of its era, `server/discover` or `ping`.
//!
//! A ping goes over a session that is kept, and not over a new one each time: a server that does not know `DELETE` would keep
//! every session that was ever opened to look after it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fairlead_core::jsonrpc::Envelope;
use fairlead_core::name::ServerKey;
use http::{HeaderMap, HeaderValue, Method};
use tokio::time::timeout;

use crate::Proxy;
use crate::http::{Unanswered, ask, headers_of, send};
use crate::modern::{describing, initialize};
use crate::probe::{INITIALIZED, ProbeError, over_sse, profile};
use crate::reply::{PROTOCOL_VERSION, SESSION_ID};
use crate::route::{Published, Wire};

const PING: &str = r#"{"jsonrpc":"2.0","id":"health","method":"ping"}"#;

/// Looks after one server that listens.
#[derive(Debug, Default)]
pub struct Vigil {
    /// The headers of the session that is kept, once there is one.
    session: Option<HeaderMap>,
}

impl Vigil {
    /// Asks once. A server whose workload is one session's alone is not asked: it would have to be started for it.
    ///
    /// # Errors
    /// There is no such server, or it did not answer as a server does within the deadline.
    pub async fn ask(&mut self, proxy: &Arc<Proxy>, key: &ServerKey, deadline: Duration) -> Result<(), ProbeError> {
        let route = proxy.routes.get(key).ok_or(ProbeError::Unknown)?;
        let asked = async {
            match route.wire() {
                Wire::Stdio { .. } => Ok(()),
                // The connection is the session, and ends with it.
                Wire::Sse { .. } => over_sse(proxy, &route).await.map(drop),
                Wire::Http | Wire::Detect { .. } if route.eras.recall().modern == Some(true) => {
                    let discover = understood(describing("server/discover", ""))?;
                    let (_, answer) = ask(proxy, &route, &discover, headers_of(&discover)).await?;
                    profile(&answer).map(drop)
                }
                Wire::Http | Wire::Detect { .. } => self.ping(proxy, &route).await,
            }
        };
        timeout(deadline, asked).await.unwrap_or(Err(ProbeError::Deadline(deadline)))
    }

    async fn ping(&mut self, proxy: &Proxy, route: &Published) -> Result<(), ProbeError> {
        if let Some(session) = self.session.take() {
            let answered = ask(proxy, route, &understood(PING.into())?, session.clone()).await;
            match answered {
                // Whether it knows the method or not: it is there.
                Ok((head, _)) if head.status.is_success() => {
                    self.session = Some(session);
                    return Ok(());
                }
                // It has forgotten the session.
                Ok(_) | Err(Unanswered::Nonsense(_)) => {}
                Err(error) => {
                    self.session = Some(session);
                    return Err(error.into());
                }
            }
        }
        let initialize = understood(initialize())?;
        let mut headers = headers_of(&initialize);
        let (head, answer) = ask(proxy, route, &initialize, headers.clone()).await?;
        let profile = profile(&answer)?;
        if let Some(session) = head.headers.get(SESSION_ID) {
            headers.insert(SESSION_ID, session.clone());
        }
        if let Ok(version) = HeaderValue::try_from(&profile.protocol_version) {
            headers.insert(PROTOCOL_VERSION, version);
        }
        send(proxy, route, Method::POST, headers.clone(), INITIALIZED.into()).await.map_err(Unanswered::from)?;
        self.session = Some(headers);
        Ok(())
    }
}

fn understood(text: Bytes) -> Result<Envelope, ProbeError> {
    Envelope::parse(text).map_err(|error| ProbeError::Nonsense(error.to_string()))
}
