//! From an HTTP request to whoever answers it.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use fairlead_core::jsonrpc::{Envelope, INVALID_REQUEST};
use http::{HeaderMap, Method, Request, StatusCode};
use hyper::body::Incoming;

use crate::body::{ReadError, ReplyBody, Response, Served, read};
use crate::cors;
use crate::edge::{self, Address};
use crate::http::Client;
use crate::legacy::downstream;
use crate::reply;
use crate::route::{Published, Wire};
use crate::{Proxy, elder, http as upstream, stdio};

const METHODS: &str = "GET, POST, DELETE";

/// Where a connection comes from and arrives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Connection {
    pub(crate) peer: IpAddr,
    /// The listener is reachable from this machine only.
    pub(crate) loopback: bool,
}

pub(crate) async fn handle(proxy: Arc<Proxy>, connection: Connection, request: Request<Incoming>) -> Served {
    let (parts, body) = request.into_parts();
    if let Some(refusal) = edge::check_origin(&proxy.config, connection.loopback, &parts.uri, &parts.headers) {
        return Ok(refuse(refusal, body));
    }
    let shared_with = cors::page(&parts.headers);
    let mut response = admit(proxy, connection, parts, body).await;
    if let Some(page) = shared_with {
        cors::share(&mut response, page);
    }
    Ok(response)
}

/// A request that may come from where it comes.
async fn admit(proxy: Arc<Proxy>, connection: Connection, parts: http::request::Parts, body: Incoming) -> Response {
    let address = edge::address(parts.uri.path());
    let route = match address {
        Some(Address::Health) => return health(&proxy),
        Some(
            Address::Server { tenant, server }
            | Address::Stream { tenant, server }
            | Address::Messages { tenant, server },
        ) => named(&proxy, tenant, server),
        None => None,
    };
    let (Some(address), Some(route)) = (address, route) else {
        let text = "there is no server at this address";
        return refuse(reply::error(StatusCode::NOT_FOUND, None, INVALID_REQUEST, text), body);
    };
    let route = route.serving(&parts.headers);
    if parts.method == Method::OPTIONS && cors::is_preflight(&parts.headers) {
        return cors::preflight();
    }
    match (address, &parts.method) {
        (Address::Server { .. }, &Method::POST) => match receive(&proxy, &route, &parts.headers, body).await {
            Ok(text) => match for_elder(&proxy, &route, &parts.headers, &text).await {
                Some(message) => elder::post(&proxy, &route, connection, parts.headers, message).await,
                None => serve(&proxy, &route, connection, Request::from_parts(parts, text)).await,
            },
            Err(refusal) => *refusal,
        },
        (Address::Server { .. }, &Method::GET | &Method::DELETE) => {
            serve(&proxy, &route, connection, Request::from_parts(parts, Bytes::new())).await
        }
        (Address::Stream { .. }, &Method::GET) => match edge::check_accept(&parts.headers, &["text/event-stream"]) {
            Some(refusal) => refusal,
            None => downstream::open(&proxy, &route, connection, address, parts.headers),
        },
        (Address::Messages { .. }, &Method::POST) => match read_message(&proxy, &parts.headers, body).await {
            Ok(text) => downstream::post(&proxy, &route, parts.uri.query(), parts.headers, text).await,
            Err(refusal) => *refusal,
        },
        (Address::Stream { .. }, _) => refuse(reply::wrong_method("GET"), body),
        (Address::Messages { .. }, _) => refuse(reply::wrong_method("POST"), body),
        _ => refuse(reply::wrong_method(METHODS), body),
    }
}

/// The server that an address names, or the only one that is there.
fn named(proxy: &Proxy, tenant: &str, server: &str) -> Option<Arc<Published>> {
    match &proxy.config.sole {
        Some(sole) if server.is_empty() => proxy.routes.get(sole),
        _ => proxy.routes.find(tenant, server),
    }
}

/// The message, if it goes through the bridge to an older server. Without that bridge nothing is looked at.
async fn for_elder(proxy: &Proxy, route: &Published, headers: &HeaderMap, text: &Bytes) -> Option<Envelope> {
    if !route.bridge {
        return None;
    }
    let message = Envelope::parse(text.clone()).ok()?;
    elder::takes(proxy, route, headers, &message).await.then_some(message)
}

fn health(proxy: &Proxy) -> Response {
    if proxy.draining.is_cancelled() {
        reply::json(StatusCode::SERVICE_UNAVAILABLE, &b"{\"status\":\"draining\"}"[..])
    } else {
        reply::json(StatusCode::OK, &b"{\"status\":\"ok\"}"[..])
    }
}

/// A refusal before the body was read.
fn refuse(refusal: Response, body: Incoming) -> Response {
    use http_body::Body;
    if body.is_end_stream() {
        return refusal;
    }
    let (head, text) = refusal.into_parts();
    match text {
        ReplyBody::Full(Some(text)) => Response::from_parts(head, ReplyBody::refusal(text, body)),
        text => Response::from_parts(head, text),
    }
}

/// The message in a request, read within its bounds.
async fn receive(
    proxy: &Proxy,
    route: &Published,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Bytes, Box<Response>> {
    if edge::check_content_type(headers).is_none() && !matches!(route.wire(), Wire::Http) {
        // An HTTP server says itself what it needs to be accepted.
        if let Some(refusal) = edge::check_accept(headers, &["application/json", "text/event-stream"]) {
            return Err(Box::new(refuse(refusal, body)));
        }
    }
    read_message(proxy, headers, body).await
}

async fn read_message(proxy: &Proxy, headers: &HeaderMap, mut body: Incoming) -> Result<Bytes, Box<Response>> {
    if let Some(refusal) = edge::check_content_type(headers) {
        return Err(Box::new(refuse(refusal, body)));
    }
    match read(&mut body, proxy.config.body_bytes_max, &proxy.bodies).await {
        Ok(text) => Ok(text),
        Err(error) => {
            let status = match error {
                ReadError::TooLong(_) => StatusCode::PAYLOAD_TOO_LARGE,
                ReadError::Crowded => return Err(Box::new(refuse(reply::busy(None, &error.to_string()), body))),
                ReadError::Stalled => StatusCode::REQUEST_TIMEOUT,
                ReadError::Broken(_) => StatusCode::BAD_REQUEST,
            };
            Err(Box::new(refuse(reply::error(status, None, INVALID_REQUEST, &error.to_string()), body)))
        }
    }
}

/// A request to the streamable endpoint of a server, whoever brought it.
pub(crate) async fn serve(
    proxy: &Arc<Proxy>,
    route: &Arc<Published>,
    connection: Connection,
    request: Request<Bytes>,
) -> Response {
    let (parts, text) = request.into_parts();
    match route.wire() {
        Wire::Stdio { isolation } | Wire::Sse { isolation } => match parts.method {
            Method::POST => stdio::post(proxy, route, isolation, parts.headers, text).await,
            Method::DELETE => stdio::delete(route, &parts.headers).await,
            _ => match edge::check_accept(&parts.headers, &["text/event-stream"]) {
                Some(refusal) => refusal,
                None => stdio::get(route, &parts.headers).await,
            },
        },
        Wire::Http | Wire::Detect { .. } => {
            let client = Client { headers: parts.headers, peer: connection.peer, added: HeaderMap::new() };
            match parts.method {
                Method::POST => upstream::post(proxy, route, client, text).await,
                // The server behind knows no sessions; this one is ours.
                Method::DELETE if upstream::has_face(route) => stdio::delete(route, &client.headers).await,
                Method::GET if upstream::has_face(route) => stdio::get(route, &client.headers).await,
                Method::DELETE => upstream::delete(proxy, route, client).await,
                _ => upstream::get(proxy, route, client).await,
            }
        }
    }
}
