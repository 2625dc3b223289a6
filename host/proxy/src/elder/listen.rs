//! A subscription of the newest era: a session of its own, whose stream tells what was subscribed to.

use bytes::Bytes;
use fairlead_core::json::{decode_string, each, encode_string, find};
use fairlead_core::jsonrpc::{Envelope, Kind, METHOD_NOT_FOUND, error_reply, result_reply};
use http::{Method, StatusCode};
use tokio::time::timeout;

use super::call::{Call, while_there};
use super::session::{Answers, Session};
use super::words;
use crate::limits::{KEEP_ALIVE, SUBSCRIPTIONS_MAX};
use crate::modern::{Delivery, subscription_ended};

/// What was subscribed to and the server tells.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    /// Names of lists.
    lists: Vec<&'static str>,
    resources: Vec<String>,
}

impl Heard {
    /// Of what is wanted (`params`), what a server with these capabilities tells. JSON texts.
    fn of(params: &str, introduced: &str) -> Self {
        let is = |text, pointer: &str| matches!(find(text, pointer), Ok(Some("true")));
        let lists = ["tools", "prompts", "resources"].into_iter().filter(|list| {
            is(params, &format!("/notifications/{list}ListChanged"))
                && is(introduced, &format!("/capabilities/{list}/listChanged"))
        });
        let uris = find(params, "/notifications/resourceSubscriptions").ok().flatten();
        let uris = uris.filter(|_| is(introduced, "/capabilities/resources/subscribe"));
        let resources = each(uris.unwrap_or_default()).filter_map(|(_, uri)| Some(decode_string(uri)?.into_owned()));
        Self { lists: lists.collect(), resources: resources.take(SUBSCRIPTIONS_MAX).collect() }
    }

    /// What the client is told that it will hear.
    fn acknowledged(&self, id: &str) -> String {
        let mut parts: Vec<String> = self.lists.iter().map(|list| format!("\"{list}ListChanged\":true")).collect();
        if !self.resources.is_empty() {
            let uris: Vec<String> = self.resources.iter().map(|uri| encode_string(uri)).collect();
            parts.push(format!("\"resourceSubscriptions\":[{}]", uris.join(",")));
        }
        format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/subscriptions/acknowledged\",\"params\":{{\"notifications\":\
             {{{}}},\"_meta\":{{\"io.modelcontextprotocol/subscriptionId\":{id}}}}}}}",
            parts.join(",")
        )
    }

    /// Whether a notification is among it.
    fn has(&self, event: &Envelope) -> bool {
        match event.method() {
            "notifications/resources/updated" => {
                let uri = event.params().and_then(|params| {
                    let uri = find(std::str::from_utf8(&params).ok()?, "/uri").ok()??;
                    decode_string(uri).map(std::borrow::Cow::into_owned)
                });
                uri.is_some_and(|uri| self.resources.contains(&uri))
            }
            method => self.lists.iter().any(|list| method == format!("notifications/{list}/list_changed")),
        }
    }
}

/// Serves a subscription until its client, the server or this proxy ends it.
pub(super) async fn run(call: Call, mut delivery: Delivery) {
    let session = match while_there(&mut delivery, call.door.open()).await {
        Some(Ok(session)) => session,
        Some(Err(none)) => return call.refuse(none, delivery).await,
        None => return,
    };
    let params = call.message.params().unwrap_or_default();
    let heard = Heard::of(std::str::from_utf8(&params).unwrap_or_default(), &session.introduced);
    let begun = async {
        let stream = Answers::of(call.door.carry(&session, Method::GET, Bytes::new()).await);
        (stream, subscribe(&call, session, &heard).await)
    };
    let Some((mut stream, session)) = while_there(&mut delivery, begun).await else { return };
    if !delivery.event(heard.acknowledged(call.id()).as_bytes()).await {
        return;
    }
    loop {
        // A server without such a stream tells nothing, and its client waits.
        let next = async {
            match stream.is_stream() {
                true => stream.next().await,
                false => std::future::pending().await,
            }
        };
        let next = tokio::select! {
            biased;
            next = timeout(KEEP_ALIVE, next) => next,
            () = delivery.gone() => return,
            () = call.door.proxy.draining.cancelled() => {
                return delivery.finish(StatusCode::OK, subscription_ended(call.id()), None).await;
            }
        };
        match next {
            Err(_) => {
                if !delivery.keep_alive().await {
                    return;
                }
            }
            Ok(None) if call.door.proxy.draining.is_cancelled() => {
                return delivery.finish(StatusCode::OK, subscription_ended(call.id()), None).await;
            }
            // The client opens another one when it sees the stream end without an answer.
            Ok(None) => return,
            Ok(Some(message)) => {
                if !pass(&call, &session, &heard, &message, &mut delivery).await {
                    return;
                }
            }
        }
    }
}

async fn subscribe(call: &Call, mut session: Session, heard: &Heard) -> Session {
    for uri in &heard.resources {
        let (id, uri) = (session.number(), encode_string(uri));
        let text = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"resources/subscribe\",\"params\":{{\"uri\":{uri}}}}}"
        );
        Answers::of(call.door.carry(&session, Method::POST, text.into()).await).drain().await;
    }
    session
}

/// False when the client has gone.
async fn pass(call: &Call, session: &Session, heard: &Heard, message: &Envelope, delivery: &mut Delivery) -> bool {
    match message.kind() {
        Kind::Notification if heard.has(message) => {
            let params = message.params().unwrap_or_default();
            let params = words::on_subscription(std::str::from_utf8(&params).unwrap_or_default(), call.id());
            let Some(params) = params else { return true };
            let method = encode_string(message.method());
            let text = format!("{{\"jsonrpc\":\"2.0\",\"method\":{method},\"params\":{params}}}");
            delivery.event(text.as_bytes()).await
        }
        Kind::Request => {
            let id = message.id().unwrap_or("null");
            let answer = match message.method() {
                "ping" => result_reply(id, "{}"),
                // Between requests there is nobody who could be asked in this era.
                _ => error_reply(Some(id), METHOD_NOT_FOUND, "no request of a client is under way", None),
            };
            call.door.tell(session, answer).await;
            true
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_hears_what_it_wants_and_the_server_tells() {
        let params = r#"{"notifications":{"toolsListChanged":true,"promptsListChanged":true,"resourceSubscriptions":["a:/\u0062","c:"]}}"#;
        let introduced =
            r#"{"capabilities":{"tools":{"listChanged":true},"prompts":{},"resources":{"subscribe":true}}}"#;
        let heard = Heard::of(params, introduced);
        assert_eq!(heard, Heard { lists: vec!["tools"], resources: vec!["a:/b".to_owned(), "c:".to_owned()] });
        let event = |text: &str| Envelope::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap();
        assert!(heard.has(&event(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#)));
        assert!(!heard.has(&event(r#"{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}"#)));
        assert!(
            heard.has(&event(
                r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:\/b"}}"#
            ))
        );
        assert!(
            !heard.has(&event(r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"d:"}}"#))
        );
        assert!(heard.acknowledged("\"x\"").contains(r#""resourceSubscriptions":["a:/b","c:"]"#));
        assert_eq!(Heard::of(params, "{}"), Heard::default());
    }
}
