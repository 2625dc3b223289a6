//! After a middleware has changed a self-describing request: its headers say again what its body says.
//!
//! The server would refuse a request whose headers and body disagree, so what the client sent is compared first: making
//! the headers anew would hide that they never agreed.

use std::sync::Arc;

use bytes::Bytes;
use fairlead_core::BoxFuture;
use fairlead_core::jsonrpc::Envelope;
use fairlead_core::mirror::PREFIX;
use http::{HeaderName, HeaderValue};

use super::ask::answer;
use super::post::{Client, call};
use crate::Proxy;
use crate::era::speaks_modern;
use crate::limits::UPSTREAM_MESSAGE_BYTES_MAX;
use crate::modern::headers::{METHOD, NAME, Refusal, check, check_mirrors, restate as rewrite};
use crate::route::Published;

/// Compares `before` with the headers of the client, and makes them those of `after`. In the legacy era there is nothing to
/// compare, and only what the client sent is made anew.
pub(super) async fn restate(
    proxy: &Arc<Proxy>,
    route: &Arc<Published>,
    client: &mut Client,
    before: &Envelope,
    after: &Envelope,
) -> Result<(), Refusal> {
    if !speaks_modern(&client.headers, before) {
        if client.headers.contains_key(NAME) {
            rewrite(&mut client.headers, after, &[]);
        }
        return Ok(());
    }
    check(&client.headers, before)?;
    let mut mirrors = Vec::new();
    if let Some(tool) = after.target().filter(|_| after.method() == "tools/call") {
        let (proxy, route, asking) = (Arc::clone(proxy), Arc::clone(route), listing(client));
        let kept = Arc::clone(&route);
        let list = move |request: Bytes| -> BoxFuture<'static, _> {
            let (proxy, route, client) = (Arc::clone(&proxy), Arc::clone(&route), asking.clone());
            Box::pin(async move {
                let response = call(&proxy, &route, &client, http::Method::POST, request.clone()).await.ok()?;
                let (head, body) = response.into_parts();
                let id = Envelope::parse(request).ok()?.id()?.to_owned();
                answer(&proxy, &head, body, Some(&id), UPSTREAM_MESSAGE_BYTES_MAX).await.ok()
            })
        };
        mirrors = kept.modern.mirrors.of(&tool, &list).await;
    }
    let params = before.params().unwrap_or_default();
    check_mirrors(&client.headers, std::str::from_utf8(&params).unwrap_or_default(), &mirrors)?;
    rewrite(&mut client.headers, after, &mirrors);
    Ok(())
}

/// The same client, asking for the tools.
fn listing(client: &Client) -> Client {
    let mut asking = client.clone();
    asking.headers.remove(NAME);
    asking.headers.insert(METHOD, HeaderValue::from_static("tools/list"));
    let mirrored: Vec<HeaderName> =
        asking.headers.keys().filter(|name| name.as_str().starts_with(PREFIX)).cloned().collect();
    for name in mirrored {
        asking.headers.remove(name);
    }
    asking
}
