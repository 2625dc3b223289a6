//! From an HTTP request to whoever answers it.

use std::net::IpAddr;
use std::sync::Arc;

use fairlead_core::jsonrpc::INVALID_REQUEST;
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;

use crate::body::{ReadError, ReplyBody, Response, Served, read};
use crate::edge::{self, Address};
use crate::http::Client;
use crate::reply;
use crate::route::{Published, Wire};
use crate::{Proxy, http as upstream, stdio};

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
    let route = match edge::address(parts.uri.path()) {
        Some(Address::Health) => return Ok(health(&proxy)),
        Some(Address::Server { tenant, server }) => proxy.routes.find(tenant, server),
        None => None,
    };
    let Some(route) = route else {
        let text = "there is no server at this address";
        return Ok(refuse(reply::error(StatusCode::NOT_FOUND, None, INVALID_REQUEST, text), body));
    };
    Ok(match parts.method {
        Method::POST => post(&proxy, &route, connection, parts, body).await,
        Method::GET => get(&proxy, &route, connection, parts).await,
        Method::DELETE => delete(&proxy, &route, connection, parts).await,
        _ => refuse(reply::wrong_method(METHODS), body),
    })
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

async fn post(
    proxy: &Arc<Proxy>,
    route: &Arc<Published>,
    connection: Connection,
    parts: http::request::Parts,
    mut body: Incoming,
) -> Response {
    let mut refusal = edge::check_content_type(&parts.headers);
    if let Wire::Stdio { .. } = route.wire {
        // An HTTP server says itself what it needs to be accepted.
        refusal = refusal.or_else(|| edge::check_accept(&parts.headers, &["application/json", "text/event-stream"]));
    }
    if let Some(refusal) = refusal {
        return refuse(refusal, body);
    }
    let text = match read(&mut body, proxy.config.body_bytes_max, &proxy.bodies).await {
        Ok(text) => text,
        Err(error) => {
            let status = match error {
                ReadError::TooLong(_) => StatusCode::PAYLOAD_TOO_LARGE,
                ReadError::Crowded => return refuse(reply::busy(None, &error.to_string()), body),
                ReadError::Stalled => StatusCode::REQUEST_TIMEOUT,
                ReadError::Broken(_) => StatusCode::BAD_REQUEST,
            };
            return refuse(reply::error(status, None, INVALID_REQUEST, &error.to_string()), body);
        }
    };
    match route.wire {
        Wire::Stdio { isolation } => stdio::post(proxy, route, isolation, parts.headers, text).await,
        Wire::Http => {
            let client = Client { headers: parts.headers, peer: connection.peer };
            upstream::post(proxy, route, client, text).await
        }
    }
}

async fn get(
    proxy: &Arc<Proxy>,
    route: &Arc<Published>,
    connection: Connection,
    parts: http::request::Parts,
) -> Response {
    match route.wire {
        Wire::Stdio { .. } => match edge::check_accept(&parts.headers, &["text/event-stream"]) {
            Some(refusal) => refusal,
            None => stdio::get(route, &parts.headers),
        },
        Wire::Http if upstream::has_face(route) => stdio::get(route, &parts.headers),
        Wire::Http => upstream::get(proxy, route, Client { headers: parts.headers, peer: connection.peer }).await,
    }
}

async fn delete(
    proxy: &Arc<Proxy>,
    route: &Arc<Published>,
    connection: Connection,
    parts: http::request::Parts,
) -> Response {
    match route.wire {
        Wire::Stdio { .. } => stdio::delete(route, &parts.headers).await,
        Wire::Http if upstream::has_face(route) => stdio::delete(route, &parts.headers).await,
        Wire::Http => upstream::delete(proxy, route, Client { headers: parts.headers, peer: connection.peer }).await,
    }
}
