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
use crate::modern::headers::METHOD;
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
        // Kept while it is used: whoever does not wait for the answer to the end has it still, and opens no other.
        if let Some(session) = &self.session {
            let mut headers = session.clone();
            headers.insert(METHOD, HeaderValue::from_static("ping"));
            match ask(proxy, route, &understood(PING.into())?, headers).await {
                // Whether it knows the method or not: it is there.
                Ok((head, _)) if head.status.is_success() => return Ok(()),
                // It has forgotten the session.
                Ok(_) | Err(Unanswered::Nonsense(_)) => self.session = None,
                Err(error) => return Err(error.into()),
            }
        }
        let initialize = understood(initialize())?;
        let mut headers = headers_of(&initialize);
        // A server of the newest era wants it of everybody (SEP-2243), and an older one does not read it.
        headers.insert(METHOD, HeaderValue::from_static("initialize"));
        let (head, answer) = ask(proxy, route, &initialize, headers.clone()).await?;
        let profile = profile(&answer)?;
        if let Some(session) = head.headers.get(SESSION_ID) {
            headers.insert(SESSION_ID, session.clone());
        }
        if let Ok(version) = HeaderValue::try_from(&profile.protocol_version) {
            headers.insert(PROTOCOL_VERSION, version);
        }
        self.session = Some(headers.clone());
        headers.insert(METHOD, HeaderValue::from_static("notifications/initialized"));
        send(proxy, route, Method::POST, headers, INITIALIZED.into()).await.map_err(Unanswered::from)?;
        Ok(())
    }
}

fn understood(text: Bytes) -> Result<Envelope, ProbeError> {
    Envelope::parse(text).map_err(|error| ProbeError::Nonsense(error.to_string()))
}
