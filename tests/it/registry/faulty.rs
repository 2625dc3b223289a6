//! A server in front of a real one, which lets everything through until it is told to go wrong: one set of faults for every kind
//! of source.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing.
    None,
    /// No answer, ever.
    Slow,
    /// The connection is closed.
    Down,
    /// Half of the answer.
    Truncated,
    /// More is announced than comes.
    LessThanSaid,
    /// Less is announced than comes.
    MoreThanSaid,
    /// Fifty megabytes.
    Huge,
    /// Every page leads to the same next one.
    Circle,
    /// One entry among the rest has no name.
    BadEntry,
}

impl Fault {
    /// Those after which nothing may have changed, whatever the source; the others need a page, or take their time.
    pub(super) const SILENT: [Self; 5] =
        [Self::Down, Self::Truncated, Self::LessThanSaid, Self::MoreThanSaid, Self::Huge];
}

/// The server; it ends with the test.
#[derive(Debug)]
pub(super) struct Faulty {
    address: SocketAddr,
    fault: Arc<Mutex<Fault>>,
    // Ended with the set.
    _serving: JoinSet<()>,
}

impl Faulty {
    /// In front of `host:port`.
    pub(super) async fn before(backend: &str) -> Result<Self> {
        let backend = backend.trim_start_matches("http://").replace("localhost", "127.0.0.1");
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let fault = Arc::new(Mutex::new(Fault::None));
        let shared = Arc::clone(&fault);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut answers = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let fault = *shared.lock().unwrap();
                // Whether the other side hears it is its own affair.
                answers.spawn(answer(stream, backend.clone(), fault));
                while answers.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, fault, _serving: serving })
    }

    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(super) fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }
}

async fn answer(mut stream: TcpStream, backend: String, fault: Fault) -> Result<()> {
    if fault == Fault::Down {
        return Ok(());
    }
    let (head, body) = message(&mut stream).await?;
    if fault == Fault::Slow {
        // Until the other side gives up.
        let _ = stream.read_u8().await;
        return Ok(());
    }
    let mut behind = TcpStream::connect(&backend).await?;
    let mut lines: Vec<&str> = head.trim_end().split("\r\n").collect();
    lines.retain(|line| !line.to_lowercase().starts_with("connection:"));
    let head = format!("{}\r\nconnection: close\r\n\r\n", lines.join("\r\n"));
    behind.write_all(head.as_bytes()).await?;
    behind.write_all(&body).await?;
    let (head, mut body) = message(&mut behind).await?;
    let mut said = None;
    let mut sent = None;
    match fault {
        Fault::Truncated => (said, sent) = (None, Some(body.len() / 2)),
        Fault::LessThanSaid => said = Some(body.len() + 1_000),
        Fault::MoreThanSaid => said = Some(body.len() / 2),
        Fault::Huge => body = vec![b' '; 50 * 1024 * 1024],
        Fault::Circle | Fault::BadEntry => body = changed(&body, fault)?,
        _ => {}
    }
    let kept = head.trim_end().split("\r\n").filter(|line| {
        let line = line.to_lowercase();
        !["content-length:", "transfer-encoding:", "connection:"].iter().any(|name| line.starts_with(name))
    });
    let head = kept.collect::<Vec<_>>().join("\r\n");
    let length = said.unwrap_or(body.len());
    stream.write_all(format!("{head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n").as_bytes()).await?;
    stream.write_all(&body[..sent.unwrap_or(body.len())]).await?;
    stream.shutdown().await?;
    Ok(())
}

/// A page with something wrong in it.
fn changed(body: &[u8], fault: Fault) -> Result<Vec<u8>> {
    let Ok(mut page) = serde_json::from_slice::<serde_json::Value>(body) else { return Ok(body.to_vec()) };
    if fault == Fault::Circle {
        page["metadata"]["nextCursor"] = "a.b/c0:1.0.0".into();
    } else if let Some(servers) = page["servers"].as_array_mut() {
        let bad = servers.iter_mut().find(|entry| entry["server"]["name"] == "a.b/c7");
        if let Some(entry) = bad.and_then(|entry| entry["server"].as_object_mut()) {
            entry.remove("name");
        }
    }
    Ok(serde_json::to_vec(&page)?)
}

/// A head, and what follows it.
pub(super) async fn message(stream: &mut TcpStream) -> Result<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head)?;
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let mut body = Vec::new();
    if let Some(length) = header("content-length") {
        body.resize(length.parse()?, 0);
        // An answer to `HEAD` announces what does not come.
        if let Err(error) = stream.read_exact(&mut body).await {
            anyhow::ensure!(head.starts_with("HTTP/"), error);
            body.clear();
        }
    } else if header("transfer-encoding").is_some() {
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                line.push(stream.read_u8().await?);
            }
            let size = usize::from_str_radix(std::str::from_utf8(&line)?.trim(), 16)?;
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk).await?;
            if size == 0 {
                break;
            }
            body.extend_from_slice(&chunk[..size]);
        }
    } else if head.starts_with("HTTP/") {
        stream.read_to_end(&mut body).await?;
    }
    Ok((head, body))
}
