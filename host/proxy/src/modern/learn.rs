//! Finding out which era a stdio server speaks, without wasting the process that is asked.
//!
//! A process speaks one era once it has been spoken to. So the first question is `server/discover`: a server that answers it
//! keeps its process, as the one that all modern requests go to from then on. One that does not is asked for `initialize`
//! instead, in the same process, and its answer tells who it is; that process is not kept, for it has heard what no client
//! of its era would have said.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fairlead_core::jsonrpc::{Envelope, Kind, UNSUPPORTED_VERSION, rejection_of};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::access::NotReached;
use crate::Proxy;
use crate::era::{LEGACY, MODERN, is_modern};
use crate::limits::DISCOVER_PATIENCE;
use crate::route::Published;
use crate::stdio::{Inbound, Pipe, Sharing, Ticket, connect};

const INITIALIZED: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// What a server turned out to be.
pub(crate) enum Found {
    /// It answers self-describing requests; this is what it said to `server/discover`.
    Modern(Arc<Pipe>, Envelope),
    /// It answers `initialize`; this is what it said.
    Legacy(Envelope),
}

/// A self-describing request of ours: `first` are more members of `params`, each with a comma behind it.
pub(crate) fn describing(method: &str, first: &str) -> Bytes {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        r#"{{"jsonrpc":"2.0","id":"fairlead-probe","method":"{method}","params":{{{first}"_meta":{{"io.modelcontextprotocol/protocolVersion":"{MODERN}","io.modelcontextprotocol/clientInfo":{{"name":"fairlead","version":"{version}"}},"io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
    )
    .into()
}

/// An `initialize` of ours.
pub(crate) fn initialize() -> Bytes {
    let [.., newest] = LEGACY;
    let version = env!("CARGO_PKG_VERSION");
    format!(
        r#"{{"jsonrpc":"2.0","id":"fairlead-probe","method":"initialize","params":{{"protocolVersion":"{newest}","capabilities":{{}},"clientInfo":{{"name":"fairlead","version":"{version}"}}}}}}"#
    )
    .into()
}

/// Asks the process behind a pipe. Within `deadline` it must have answered one of the questions.
pub(crate) async fn learn(pipe: &Arc<Pipe>, deadline: Instant) -> Result<Found, NotReached> {
    let discover = begin(pipe, describing("server/discover", "")).await?;
    let patience = Instant::now() + DISCOVER_PATIENCE.min(deadline.saturating_duration_since(Instant::now()));
    match timeout_at(patience, answer(&discover)).await {
        Ok(Ok(reply)) if is_modern_answer(&reply) => return Ok(Found::Modern(Arc::clone(pipe), reply)),
        Ok(Err(lost)) => return Err(lost),
        Ok(Ok(_)) | Err(_) => {}
    }
    let initialize = begin(pipe, initialize()).await?;
    let late = async {
        match answer(&discover).await {
            Ok(reply) if is_modern_answer(&reply) => Ok(reply),
            // It has been refused, or refuses late: `initialize` decides.
            _ => std::future::pending().await,
        }
    };
    tokio::select! {
        reply = answer(&initialize) => {
            let reply = reply?;
            if reply.kind() == Kind::Response {
                pipe.send(Bytes::from_static(INITIALIZED)).await;
            }
            Ok(Found::Legacy(reply))
        }
        reply = late => reply.map(|reply| Found::Modern(Arc::clone(pipe), reply)),
        () = sleep_until(deadline) => Err(NotReached::Silent),
    }
}

/// Asks a process of its own for `initialize`, and ends it.
pub(crate) async fn learn_legacy(proxy: &Proxy, route: &Published, deadline: Instant) -> Result<Envelope, NotReached> {
    let pipe = connect(route, Sharing::Requests, proxy).await?;
    let asked = timeout_at(deadline, async { answer(&begin(&pipe, initialize()).await?).await }).await;
    if matches!(&asked, Ok(Ok(reply)) if reply.kind() == Kind::Response) {
        pipe.send(Bytes::from_static(INITIALIZED)).await;
    }
    pipe.close();
    asked.unwrap_or(Err(NotReached::Silent))
}

async fn begin(pipe: &Arc<Pipe>, text: Bytes) -> Result<Ticket, NotReached> {
    let ended = || NotReached::Ended("the server has ended".into());
    let message = Envelope::parse(text).map_err(|_| ended())?;
    let ticket = pipe.enlist_request(&message).map_err(|_| ended())?;
    if pipe.send(ticket.text.clone()).await { Ok(ticket) } else { Err(ended()) }
}

/// The answer to a request of ours.
pub(super) async fn answer(ticket: &Ticket) -> Result<Envelope, NotReached> {
    loop {
        match ticket.inlet.recv().await {
            Some(Inbound::Reply(reply)) => return Ok(reply),
            Some(Inbound::Lost(reason)) => return Err(NotReached::Ended(reason)),
            Some(Inbound::Event(_) | Inbound::Cancelled) => {}
            None => return Err(NotReached::Ended("the server has ended".into())),
        }
    }
}

/// One request of ours, to its answer; `None` when there is none in time.
pub(crate) async fn ask(pipe: &Arc<Pipe>, text: Bytes, wait: Duration) -> Option<Envelope> {
    timeout_at(Instant::now() + wait, converse(pipe, text)).await.ok()?.ok()
}

/// One request of ours, to its answer, for as long as that takes.
pub(crate) async fn converse(pipe: &Arc<Pipe>, text: Bytes) -> Result<Envelope, NotReached> {
    answer(&begin(pipe, text).await?).await
}

/// What only a server of the modern era says: a result that names revisions, or that it speaks another modern revision.
pub(crate) fn is_modern_answer(reply: &Envelope) -> bool {
    named_versions(reply).iter().any(|version| is_modern(version))
}

/// Whether a server refuses our revision and names it among those that it speaks: then it is asked once more, as the
/// protocol wants it.
pub(crate) fn wants_to_be_asked_again(reply: &Envelope) -> bool {
    reply.kind() == Kind::Error && named_versions(reply).iter().any(|version| version == MODERN)
}

/// The revisions in an answer to `server/discover`, or in the refusal of one.
fn named_versions(reply: &Envelope) -> Vec<String> {
    let text = |bytes: &Bytes, pointer: &str| {
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        fairlead_core::json::find(text, pointer).ok().flatten().unwrap_or_default().to_owned()
    };
    let versions = match (reply.result(), reply.error().and_then(rejection_of)) {
        (Some(result), _) => text(&result, "/supportedVersions"),
        (None, Some(error)) if error.code == UNSUPPORTED_VERSION => {
            text(&Bytes::from(error.data.unwrap_or_default()), "/supported")
        }
        _ => return Vec::new(),
    };
    serde_json::from_str(&versions).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_modern_server_says_modern_things() {
        for (said, modern) in [
            (r#""result":{"supportedVersions":["2026-07-28","2025-11-25"]}"#, true),
            (r#""result":{"supportedVersions":["2025-11-25"]}"#, false),
            (r#""result":{}"#, false),
            (r#""error":{"code":-32022,"message":"","data":{"supported":["2027-01-01"]}}"#, true),
            (r#""error":{"code":-32022,"message":"","data":{"supported":["2025-11-25"]}}"#, false),
            (r#""error":{"code":-32601,"message":"no such method"}"#, false),
            (r#""error":{"code":-32602,"message":"not initialised"}"#, false),
        ] {
            let reply = Envelope::parse(format!(r#"{{"jsonrpc":"2.0","id":1,{said}}}"#).into()).unwrap();
            assert_eq!(is_modern_answer(&reply), modern, "{said}");
        }
    }

    #[test]
    fn only_who_refuses_our_own_revision_is_asked_again() {
        for (said, again) in [
            (r#""error":{"code":-32022,"message":"","data":{"supported":["2026-07-28"]}}"#, true),
            (r#""error":{"code":-32022,"message":"","data":{"supported":["2027-01-01"]}}"#, false),
            (r#""error":{"code":-32601,"message":"","data":{"supported":["2026-07-28"]}}"#, false),
            (r#""result":{"supportedVersions":["2026-07-28"]}"#, false),
        ] {
            let reply = Envelope::parse(format!(r#"{{"jsonrpc":"2.0","id":1,{said}}}"#).into()).unwrap();
            assert_eq!(wants_to_be_asked_again(&reply), again, "{said}");
        }
    }

    #[test]
    fn what_we_ask_describes_itself() {
        for text in [describing("tools/list", "\"cursor\":\"x\","), describing("server/discover", "")] {
            let message = Envelope::parse(text).unwrap();
            assert_eq!(message.claimed_version().as_deref(), Some(MODERN));
        }
        assert_eq!(Envelope::parse(initialize()).unwrap().method(), "initialize");
    }
}
