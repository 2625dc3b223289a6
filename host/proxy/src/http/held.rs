//! Sessions that an HTTP server keeps: who may use them, and what other replicas of this data plane have to know of them.
//!
//! Without other replicas all of it is in the memory of the route. With them a session counts only once it is written where
//! all of them look, and one that is not there does not exist: nobody could say whose it is.

use bytes::Bytes;
use fairlead_core::jsonrpc::Envelope;
use fairlead_core::middleware::{Identity, moment};
use fairlead_core::session::{SessionRecord, SessionStoreError};
use http::Method;

use super::client::UpstreamBody;
use super::post::{Client, call, decided, provenance};
use crate::Proxy;
use crate::body::Response;
use crate::chain::{Exchange, Outcome};
use crate::moments;
use crate::reply::{self, SESSION_ID};
use crate::route::Published;

/// Whether `caller` may use the session that a request names, if it names one. `id` is that of the request.
pub(super) async fn admit(
    route: &Published,
    client: &Client,
    caller: Option<&Identity>,
    id: Option<&str>,
) -> Result<(), Box<Response>> {
    let session = client.session();
    let is_theirs = match &route.shared {
        None => route.owners.admit(session, caller),
        Some(_) if session.is_empty() => true,
        Some(store) => match store.find(session).await {
            Ok(None) => false,
            Ok(Some(record)) => {
                if let Some(place) = record.place {
                    route.endpoint.learn(session, place);
                }
                let owner = record.owner.as_deref().map(|owner| moments::known(owner, record.issuer.as_deref()));
                moments::is_owner(owner.as_ref(), caller)
            }
            Err(error) => return Err(Box::new(away(id, &error))),
        },
    };
    if is_theirs { Ok(()) } else { Err(Box::new(moments::no_session(id))) }
}

/// A session that the server has just opened: whose it is, whether the chain lets it be, and that others learn of it.
pub(super) async fn opened(
    proxy: &Proxy,
    route: &Published,
    client: &Client,
    message: &Envelope,
    exchange: &Exchange,
    response: &http::Response<UpstreamBody>,
) -> Option<Response> {
    let session = response.headers().get(SESSION_ID).filter(|_| message.method() == "initialize")?;
    route.has_opened(session.as_bytes());
    let mut client = client.clone();
    client.headers.insert(SESSION_ID, session.clone());
    let asked = moments::ask(route, moment::SESSION_OPEN, b"", exchange.identity(), || {
        provenance(proxy, &client, Some(message))
    });
    let refusal = match asked.await {
        Ok(asked) => match keep(route, session.as_bytes(), asked.identity).await {
            Ok(()) => return None,
            Err(error) => away(message.id(), &error),
        },
        Err(rejection) => decided(&client.headers, message, &Outcome::Error(rejection)),
    };
    // Nobody has learnt its id.
    let _ = call(proxy, route, &client, Method::DELETE, Bytes::new()).await;
    Some(refusal)
}

async fn keep(route: &Published, session: &[u8], owner: Option<Identity>) -> Result<(), SessionStoreError> {
    match (&route.shared, owner) {
        (Some(store), owner) => {
            let issuer = owner.as_ref().and_then(moments::issuer).map(ToOwned::to_owned);
            let (owner, place) = (owner.map(|owner| owner.subject), route.endpoint.whereabouts(session));
            store.keep(session, &SessionRecord { owner, issuer, place }).await
        }
        (None, Some(owner)) => {
            route.owners.insert(session, owner);
            Ok(())
        }
        (None, None) => Ok(()),
    }
}

/// A client ends its session. Where that cannot be written down, the server says from now on that there is none.
pub(super) async fn ended(route: &Published, session: &[u8]) {
    route.owners.remove(session);
    if let Some(store) = &route.shared
        && let Err(error) = store.forget(session).await
    {
        tracing::debug!(%error, "an ended session is forgotten when its time is over");
    }
}

/// Before the answer to a request comes on a stream that may break off: what the request is about, for the replica at which
/// the client takes the stream up again.
pub(super) async fn expect(route: &Published, session: &[u8], request: &Envelope) {
    let (Some(store), Some(id), false) = (&route.shared, request.id(), session.is_empty()) else { return };
    let about = super::missed::about(request);
    if let Err(error) = store.expect(session, id, about.raw()).await {
        tracing::debug!(%error, "should this stream break off with its replica, its answer is lost");
    }
}

/// What the answer is for that came on such a stream.
pub(super) async fn expected(route: &Published, session: &[u8], answer: &Envelope) -> Option<Envelope> {
    let (store, id) = (route.shared.as_ref()?, answer.id()?);
    let about = store.expected(session, id).await.ok()??;
    Envelope::parse(about.into()).ok()
}

/// Nobody can say whose a session is: no answer is better than a wrong one.
fn away(id: Option<&str>, error: &SessionStoreError) -> Response {
    reply::busy(id, &error.to_string())
}
