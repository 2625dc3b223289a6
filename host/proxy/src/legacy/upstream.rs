//! A server that speaks HTTP+SSE, as a pipe: lines that are written are posted, messages that come are lines to be read.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fairlead_core::jsonrpc::{Envelope, INTERNAL_ERROR, error_reply};
use fairlead_core::workload::{StdioConnection, Unavailable};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncWrite, AsyncWriteExt as _, DuplexStream, WriteHalf, duplex, split};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::Proxy;
use crate::http::{Place, Unreachable, UpstreamBody};
use crate::limits::{OPEN_MAX, POST_MAX, POST_PATIENCE, READ_CHUNK_BYTES};
use crate::route::Published;
use crate::sse::{EventName, Parser};
use crate::stdio::framing::{Line, Lines};

/// Opens the stream of a server and learns where it takes messages. `added` goes with every request of the connection.
pub(crate) async fn open(
    proxy: &Arc<Proxy>,
    route: &Arc<Published>,
    added: HeaderMap,
) -> Result<StdioConnection, Unavailable> {
    let opening = async {
        let place = route.endpoint.place(&route.upstream).await.map_err(unavailable)?;
        // Whoever gives the stream takes the messages.
        let place = route.endpoint.seat(&place, None).await.map_err(unavailable)?;
        let response = request(proxy, route, &place, &added, Method::GET, Bytes::new()).await.map_err(unavailable)?;
        if !(response.status().is_success() && is_stream(&response)) {
            let status = response.status().as_u16();
            return Err(Unavailable::Failed(format!("it gives no stream of events (HTTP status {status})")));
        }
        let mut stream = Stream { body: response.into_body(), parser: Parser::new(proxy.config.line_bytes_max) };
        let messages = stream.endpoint(&place, route.endpoint.is_remote()).await?;
        Ok((stream, Arc::new(messages)))
    };
    let (stream, messages) = timeout(OPEN_MAX, opening)
        .await
        .unwrap_or_else(|_| Err(Unavailable::Failed("it did not say where it takes messages".to_owned())))?;
    let (near, far) = duplex(READ_CHUNK_BYTES);
    let (read, written) = split(far);
    let written = Arc::new(Mutex::new(written));
    let posting = Posting {
        proxy: Arc::clone(proxy),
        route: Arc::clone(route),
        place: messages,
        added,
        answers: written.clone(),
    };
    let over = CancellationToken::new();
    let reader = proxy.tasks.spawn(receive(stream, written, over.clone()));
    let writer = proxy.tasks.spawn(send(posting, Lines::new(read, proxy.config.line_bytes_max), over.clone()));
    let (stdout, stdin) = split(near);
    let lease = (over.drop_guard(), AbortOnDropHandle::new(reader), AbortOnDropHandle::new(writer));
    Ok(StdioConnection { stdin: Box::new(stdin), stdout: Box::new(stdout), lease: Box::new(lease) })
}

fn unavailable(error: Unreachable) -> Unavailable {
    match error {
        Unreachable::Unavailable(error) => error,
        error => {
            tracing::debug!(error = %crate::http::chain_of(&error), "server not reached");
            Unavailable::Failed(error.to_string())
        }
    }
}

fn is_stream<B>(response: &Response<B>) -> bool {
    let content = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/event-stream")
}

async fn request(
    proxy: &Proxy,
    route: &Published,
    place: &Arc<Place>,
    added: &HeaderMap,
    method: Method,
    text: Bytes,
) -> Result<Response<UpstreamBody>, Unreachable> {
    let mut headers = HeaderMap::new();
    if method == Method::GET {
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    } else {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let mut request = Request::new(Full::new(text));
    (*request.method_mut(), *request.headers_mut()) = (method, headers);
    route.endpoint.send(place, request, added, proxy.config.request_idle_max).await
}

/// The stream of one connection.
struct Stream {
    body: UpstreamBody,
    parser: Parser,
}

impl Stream {
    /// The next event with a name and data; `None` when the stream has ended.
    async fn next(&mut self) -> Option<(EventName, Bytes)> {
        loop {
            match self.parser.next_event() {
                Ok(Some(event)) => match event.data.filter(|data| !data.is_empty()) {
                    Some(data) => return Some((event.name, data)),
                    None => continue,
                },
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "the stream of the server was given up");
                    return None;
                }
            }
            let frame = self.body.frame().await?.ok()?;
            self.parser.push(frame.data_ref().map_or(&[][..], |data| data));
        }
    }

    /// Where messages are taken. The stream says so before anything else.
    async fn endpoint(&mut self, stream: &Place, is_remote: bool) -> Result<Place, Unavailable> {
        let failed = |reason: &str| Unavailable::Failed(reason.to_owned());
        while let Some((name, data)) = self.next().await {
            if name != EventName::Endpoint {
                continue;
            }
            let reference = std::str::from_utf8(&data).unwrap_or_default().trim();
            // A server in a container names itself by an address that only it knows.
            let reference = if is_remote { reference } else { without_origin(reference) };
            return stream
                .at(reference)
                .ok_or_else(|| failed("it takes messages at another host, which is not followed"));
        }
        Err(failed("it ended the stream before it said where it takes messages"))
    }
}

/// The path and query of a URL, which may have nothing else.
fn without_origin(reference: &str) -> &str {
    let Some((_, rest)) = reference.split_once("://") else { return reference };
    rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/")
}

type Answers = Arc<Mutex<WriteHalf<DuplexStream>>>;

/// Writes what the server says as lines, until it or the connection ends.
async fn receive(mut stream: Stream, answers: Answers, over: CancellationToken) {
    let reading = async {
        while let Some((name, data)) = stream.next().await {
            if name == EventName::Message && !write_line(&mut *answers.lock().await, &data).await {
                return;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = over.cancelled() => {}
    }
    // The end of the stream is the end of the server, as far as this session is concerned.
    let _ = answers.lock().await.shutdown().await;
    over.cancel();
}

/// What a message is posted with.
struct Posting {
    proxy: Arc<Proxy>,
    route: Arc<Published>,
    place: Arc<Place>,
    added: HeaderMap,
    answers: Answers,
}

/// Posts each line, in order. One that the server is slow to accept does not hold up the next for ever: some servers accept
/// a request only when they have answered it, and may ask something in between.
async fn send<R: tokio::io::AsyncRead + Unpin>(posting: Posting, mut lines: Lines<R>, over: CancellationToken) {
    let posting = Arc::new(posting);
    let tracker = posting.proxy.tasks.clone();
    loop {
        let line = tokio::select! {
            line = lines.next() => line,
            () = over.cancelled() => return,
        };
        let Ok(Some(Line::Text(text))) = line else { break };
        let (one, given_up) = (Arc::clone(&posting), over.clone());
        let mut posted = tracker.spawn(async move {
            tokio::select! {
                () = one.post(text) => {}
                () = given_up.cancelled() => {}
            }
        });
        let _ = timeout(POST_PATIENCE, &mut posted).await;
    }
    over.cancel();
}

impl Posting {
    async fn post(&self, text: Bytes) {
        let sent = request(&self.proxy, &self.route, &self.place, &self.added, Method::POST, text.clone());
        let reason = match timeout(POST_MAX, sent).await {
            Ok(Ok(response)) if response.status().is_success() => return drain(response).await,
            Ok(Ok(response)) => {
                format!("the server refused the message with HTTP status {}", response.status().as_u16())
            }
            Ok(Err(error)) => format!("no answer: {error}"),
            Err(_) => "the server did not accept the message in time".to_owned(),
        };
        let Some(id) = Envelope::parse(text).ok().and_then(|message| message.id().map(ToOwned::to_owned)) else {
            tracing::debug!(reason, "a notification was not accepted");
            return;
        };
        let answer = error_reply(Some(&id), INTERNAL_ERROR, &reason, Some("{\"kind\":\"upstream\"}"));
        write_line(&mut *self.answers.lock().await, &answer).await;
    }
}

/// Reads what nobody needs, so that the connection can carry the next message.
async fn drain(response: Response<UpstreamBody>) {
    let mut body = response.into_body();
    let reading = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = timeout(Duration::from_secs(1), reading).await;
}

async fn write_line(output: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> bool {
    // A line break can stand only between the tokens of a JSON text, where a space means the same.
    let line = message.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte });
    let line: Vec<u8> = line.chain(std::iter::once(b'\n')).collect();
    output.write_all(&line).await.is_ok() && output.flush().await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_in_a_container_is_believed_its_path() {
        for (said, path) in [
            ("/messages?id=1", "/messages?id=1"),
            ("http://0.0.0.0:8000/messages/?id=1", "/messages/?id=1"),
            ("http://localhost:8000", "/"),
            ("messages", "messages"),
        ] {
            assert_eq!(without_origin(said), path);
        }
    }
}
