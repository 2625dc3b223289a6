//! The floor: as little as a hop that knows MCP can do.
//!
//! hyper on both sides with the pool of `hyper-util`, the request read whole, its envelope (id, method, name of the tool)
//! read without copying, the reply passed through. No session, no policy, no record. Nobody who does more can cost less, so
//! this is what everything else is compared with.

use anyhow::Context;
use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::served;

/// Longest request that is read.
const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a hop must know to decide anything.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<&'a str>,
    #[serde(borrow)]
    params: Option<Params<'a>>,
}

#[derive(Deserialize)]
struct Params<'a> {
    name: Option<&'a str>,
}

type Upstream = Client<HttpConnector, Full<Bytes>>;
type Reply = Response<Either<Incoming, Full<Bytes>>>;

/// Serves until it is ended; prints its port first.
pub(crate) async fn serve(to: &str, port: u16) -> anyhow::Result<()> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Upstream = Client::builder(TokioExecutor::new()).build(connector);
    let to = to.to_owned();
    served::serve(port, move |request| {
        let (client, to) = (client.clone(), to.clone());
        async move { pass(&client, &to, request).await }
    })
    .await
}

async fn pass(client: &Upstream, to: &str, request: Request<Incoming>) -> anyhow::Result<Reply> {
    let (mut head, body) = request.into_parts();
    let read = http_body_util::Limited::new(body, REQUEST_BYTES_MAX).collect().await;
    let body = read.map_err(|error| anyhow::anyhow!("read the request: {error}"))?.to_bytes();
    if !body.is_empty() {
        let Ok(envelope) = serde_json::from_slice::<Envelope<'_>>(&body) else {
            let mut refusal = Response::new(Either::Right(Full::default()));
            *refusal.status_mut() = StatusCode::BAD_REQUEST;
            return Ok(refusal);
        };
        let name = envelope.params.and_then(|params| params.name);
        std::hint::black_box((envelope.id, envelope.method, name));
    }
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = format!("http://{to}{path}").parse::<Uri>().context("the address of the server")?;
    head.headers.remove(http::header::HOST);
    let response = client.request(Request::from_parts(head, Full::new(body))).await.context("ask the server")?;
    Ok(response.map(Either::Left))
}
