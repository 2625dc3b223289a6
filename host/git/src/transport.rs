//! What gix sends and reads, on our [`Line`]: the port that it has for this.
//!
//! A request goes out when its answer is first asked for, because only then is all of it written; so nothing runs beside
//! anything, and there is no pipe to fill up.

use std::any::Any;
use std::io::{self, BufRead, Cursor, Read, Write};
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use gix_transport::client::blocking_io::http::{GetResponse, Http, PostBodyDataKind, PostResponse};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use parking_lot::Mutex;

use crate::GitError;
use crate::limits::{REASON_BYTES_MAX, REDIRECTS_MAX, SENT_BYTES_MAX};
use crate::line::{Answer, Line};

/// gix over a line.
pub(crate) struct Wire {
    line: Arc<Line>,
    /// Where the repository is, once somebody said that it is not where it was.
    moved: Option<String>,
}

impl Wire {
    pub(crate) fn new(line: Arc<Line>) -> Self {
        Self { line, moved: None }
    }
}

/// A request, and its answer once that was asked for.
pub(crate) struct Exchange {
    line: Arc<Line>,
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Vec<u8>,
    answer: Option<Answer>,
}

/// The headers of an answer, a line each.
pub(crate) struct Heads {
    exchange: Arc<Mutex<Exchange>>,
    lines: Option<Cursor<Vec<u8>>>,
}

/// The content of an answer.
pub(crate) struct Content {
    exchange: Arc<Mutex<Exchange>>,
    chunk: Bytes,
}

/// The content of a request.
pub(crate) struct Sent(Arc<Mutex<Exchange>>);

impl Http for Wire {
    type Headers = Heads;
    type ResponseBody = Content;
    type PostBody = Sent;

    fn get(
        &mut self,
        url: &str,
        base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> gix::Result<GetResponse<Heads, Content>> {
        let headers = read(headers);
        let mut url = url.to_owned();
        let tail = url.strip_prefix(base_url).unwrap_or_default().to_owned();
        for _ in 0..=REDIRECTS_MAX {
            let exchange = Exchange::new(&self.line, Method::GET, &url, headers.clone());
            let exchange = Arc::new(Mutex::new(exchange));
            match exchange.lock().begin().map_err(gix::Error::from_error)? {
                None => {}
                Some(onward) if url.starts_with("https://") && !onward.starts_with("https://") => {
                    return Err(self.refused("it leads away from encryption"));
                }
                Some(onward) => {
                    // A repository that moved is at the address without what we asked of it.
                    let Some(base) = onward.strip_suffix(tail.as_str()) else {
                        return Err(self.refused("it leads to something that is no repository"));
                    };
                    self.moved = Some(base.to_owned());
                    url = onward;
                    continue;
                }
            }
            let (headers, body) = parts(exchange);
            return Ok(GetResponse { headers, body });
        }
        Err(self.refused("too many redirects"))
    }

    fn post(
        &mut self,
        url: &str,
        _base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
        _body: PostBodyDataKind,
    ) -> gix::Result<PostResponse<Heads, Content, Sent>> {
        let exchange = Exchange::new(&self.line, Method::POST, url, read(headers));
        let exchange = Arc::new(Mutex::new(exchange));
        let post_body = Sent(Arc::clone(&exchange));
        let (headers, body) = parts(exchange);
        Ok(PostResponse { post_body, headers, body })
    }

    fn configure(&mut self, _config: &dyn Any) -> gix::Result<()> {
        // What could be configured is what the line has decided.
        Ok(())
    }

    fn redirected_base_url(&self) -> Option<String> {
        self.moved.clone()
    }
}

impl Wire {
    fn refused(&self, reason: &str) -> gix::Error {
        gix::Error::from_error(self.line.fail(self.line.protocol(reason)))
    }
}

impl Exchange {
    fn new(line: &Arc<Line>, method: Method, url: &str, headers: HeaderMap) -> Self {
        Self { line: Arc::clone(line), method, url: url.to_owned(), headers, body: Vec::new(), answer: None }
    }

    /// Sends what is to be sent, unless that was done; where the answer leads, if it leads elsewhere.
    fn begin(&mut self) -> io::Result<Option<String>> {
        if self.answer.is_some() {
            return Ok(None);
        }
        let body = Bytes::from(std::mem::take(&mut self.body));
        let asked = self.line.ask(self.method.clone(), &self.url, &self.headers, body);
        let mut answer = asked.map_err(|error| self.line.fail(error))?;
        let status = answer.head.status;
        if status.is_success() {
            self.answer = Some(answer);
            return Ok(None);
        }
        if self.method == Method::GET
            && let Some(onward) = answer.leads_to(&self.url)
        {
            return Ok(Some(onward));
        }
        let said = self.line.next(&mut answer).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let said: String = said.lines().next().unwrap_or_default().chars().take(REASON_BYTES_MAX).collect();
        let said = if said.trim_start().starts_with('<') { String::new() } else { said };
        let reason =
            if said.is_empty() { format!("it answered {status}") } else { format!("it answered {status}: {said}") };
        Err(self.line.fail(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.line.denied(reason),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => self.line.unreachable(reason),
            status if status.is_server_error() => self.line.unreachable(reason),
            _ => self.line.protocol(reason),
        }))
    }

    fn next(&mut self) -> io::Result<Bytes> {
        if self.begin()?.is_some() {
            return Err(self.line.fail(self.line.protocol("it leads elsewhere in the middle")));
        }
        let Some(answer) = &mut self.answer else { return Ok(Bytes::new()) };
        self.line.next(answer).map_err(|error| self.line.fail(error))
    }
}

impl Read for Heads {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        copy(self, buf)
    }
}

impl BufRead for Heads {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.lines.is_none() {
            let mut exchange = self.exchange.lock();
            if exchange.begin()?.is_some() {
                return Err(exchange.line.fail(exchange.line.protocol("it leads elsewhere in the middle")));
            }
            let headers = exchange.answer.as_ref().map(|answer| &answer.head.headers);
            let text: String = headers
                .into_iter()
                .flatten()
                .filter_map(|(name, value)| Some(format!("{name}: {}\n", value.to_str().ok()?)))
                .collect();
            self.lines = Some(Cursor::new(text.into_bytes()));
        }
        match &mut self.lines {
            Some(lines) => lines.fill_buf(),
            None => Ok(&[]),
        }
    }

    fn consume(&mut self, amount: usize) {
        if let Some(lines) = &mut self.lines {
            lines.consume(amount);
        }
    }
}

impl Read for Content {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        copy(self, buf)
    }
}

impl BufRead for Content {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.chunk.is_empty() {
            self.chunk = self.exchange.lock().next()?;
        }
        Ok(&self.chunk)
    }

    fn consume(&mut self, amount: usize) {
        self.chunk.advance(amount.min(self.chunk.len()));
    }
}

impl Write for Sent {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let mut exchange = self.0.lock();
        if exchange.body.len() + buf.len() > SENT_BYTES_MAX {
            let limit = u64::try_from(SENT_BYTES_MAX).unwrap_or(u64::MAX);
            return Err(exchange.line.fail(GitError::TooMuch { what: "bytes to ask for it with", limit }));
        }
        exchange.body.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn parts(exchange: Arc<Mutex<Exchange>>) -> (Heads, Content) {
    let content = Content { exchange: Arc::clone(&exchange), chunk: Bytes::new() };
    (Heads { exchange, lines: None }, content)
}

/// `Name: value`, as gix gives them.
fn read(headers: impl IntoIterator<Item = impl AsRef<str>>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for line in headers {
        let Some((name, value)) = line.as_ref().split_once(':') else { continue };
        let name: Result<HeaderName, _> = name.trim().parse();
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value.trim())) {
            map.append(name, value);
        }
    }
    map
}

fn copy(from: &mut impl BufRead, buf: &mut [u8]) -> io::Result<usize> {
    let mut known = from.fill_buf()?;
    let read = known.read(buf)?;
    from.consume(read);
    Ok(read)
}
