//! A web server on loopback that answers as it is told, also badly.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What is answered to one path.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// A status, a tag and a body. With the tag in `If-None-Match`, 304.
    Whole(u16, Option<String>, String),
    /// Half of the body that was announced.
    Truncated(String),
    /// Nothing.
    Close,
}

impl Reply {
    pub(super) fn body(body: &str) -> Self {
        Self::Whole(200, None, body.to_owned())
    }

    pub(super) fn tagged(body: &str, tag: &str) -> Self {
        Self::Whole(200, Some(tag.to_owned()), body.to_owned())
    }

    pub(super) fn status(status: u16) -> Self {
        Self::Whole(status, None, "{}".to_owned())
    }
}

#[derive(Debug, Default)]
struct State {
    replies: HashMap<String, Reply>,
    seen: Vec<String>,
}

/// The server; it ends with the test.
#[derive(Debug)]
pub(super) struct Upstream {
    address: std::net::SocketAddr,
    state: Arc<Mutex<State>>,
    // Ended with the set.
    _serving: JoinSet<()>,
}

impl Upstream {
    pub(super) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut answers = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                // Whether the other side hears it is its own affair.
                answers.spawn(answer(stream, Arc::clone(&shared)));
                while answers.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, state, _serving: serving })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers so to this path, with its query.
    pub(super) fn on(&self, path: &str, reply: Reply) {
        self.state.lock().unwrap().replies.insert(path.to_owned(), reply);
    }

    /// The heads of the requests that came.
    pub(super) fn seen(&self) -> Vec<String> {
        self.state.lock().unwrap().seen.clone()
    }

    pub(super) fn forget(&self) {
        self.state.lock().unwrap().seen.clear();
    }
}

async fn answer(mut stream: TcpStream, state: Arc<Mutex<State>>) -> Result<()> {
    let head = head(&mut stream).await?;
    let path = head.split(' ').nth(1).context("a request line")?.to_owned();
    let reply = {
        let mut state = state.lock().unwrap();
        state.seen.push(head.clone());
        state.replies.get(&path).cloned().unwrap_or_else(|| Reply::status(404))
    };
    match reply {
        Reply::Close => {}
        Reply::Truncated(body) => {
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&body.as_bytes()[..body.len() / 2]).await?;
        }
        Reply::Whole(status, tag, body) => {
            let known = tag.as_ref().is_some_and(|tag| head.contains(tag.as_str()));
            let (status, body) = if known { (304, String::new()) } else { (status, body) };
            let tag = tag.map(|tag| format!("etag: {tag}\r\n")).unwrap_or_default();
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{tag}content-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body.as_bytes()).await?;
        }
    }
    stream.shutdown().await?;
    Ok(())
}

async fn head(stream: &mut TcpStream) -> Result<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8(bytes)?)
}

/// An answer: status, headers by name in lower case, body.
pub(super) type Got = (u16, Vec<(String, String)>, Vec<u8>);

/// Gets a URL, as any client would.
pub(super) async fn get(url: &str, tag: Option<&str>) -> Result<Got> {
    let rest = url.strip_prefix("http://").context("a URL")?;
    let (authority, path) = rest.split_once('/').map_or((rest, String::new()), |(a, path)| (a, path.to_owned()));
    let mut stream = TcpStream::connect(authority).await?;
    let tag = tag.map(|tag| format!("if-none-match: {tag}\r\n")).unwrap_or_default();
    let request = format!("GET /{path} HTTP/1.1\r\nhost: {authority}\r\n{tag}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    let at = bytes.windows(4).position(|window| window == b"\r\n\r\n").context("a head")?;
    let head = String::from_utf8(bytes[..at].to_vec())?;
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    let headers = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    Ok((status, headers, bytes[at + 4..].to_vec()))
}

/// Sends something; the status, and the headers by name in lower case.
pub(super) async fn put(method: &str, url: &str, kind: &str, body: &[u8]) -> Result<(u16, Vec<(String, String)>)> {
    let rest = url.strip_prefix("http://").context("a URL")?;
    let (authority, path) = rest.split_once('/').context("a path")?;
    let mut stream = TcpStream::connect(authority.replace("localhost", "127.0.0.1")).await?;
    let head = format!(
        "{method} /{path} HTTP/1.1\r\nhost: {authority}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    let text = String::from_utf8_lossy(&bytes);
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    let headers = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    Ok((status, headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect()))
}
