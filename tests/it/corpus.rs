//! What no client application would send: cut off, malformed, too large, two requests in one. It is refused at the edge, and
//! the server behind never sees a byte of it. Clients that are slow on purpose are given up.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fairlead_tests::limits::EXCHANGE;
use fairlead_tests::{Client, Daemon};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::scene::{SERVER, daemon_with_server};

/// A call that the server would count.
const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{}}}"#;

/// Longer than any header that is taken.
const LONG: usize = 1 << 20;

/// Clients that are slow on purpose, at the same time.
const SLOW_CLIENTS: usize = 64;

/// After this an unfinished head is given up; the bound is 15 s.
const GIVEN_UP: Duration = Duration::from_secs(25);

/// The head of a request to the session, with what `more` says, but for the empty line at its end.
fn head(daemon: &Daemon, client: &Client, more: &str) -> String {
    let (address, session) = (daemon.address(), client.session().unwrap());
    format!(
        "POST /s/{SERVER}/mcp HTTP/1.1\r\nhost: {address}\r\nmcp-session-id: {session}\r\n\
         accept: application/json, text/event-stream\r\ncontent-type: application/json\r\n{more}"
    )
}

/// Sends bytes and reads until the connection ends or rests; `ends` closes our half after them.
async fn raw(address: &str, bytes: &[u8], ends: bool) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    // It may be refused before all of it is sent.
    let _ = stream.write_all(bytes).await;
    if ends {
        let _ = stream.shutdown().await;
    }
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match tokio::time::timeout(EXCHANGE, stream.read(&mut buffer)).await.context("neither answer nor end")? {
            Ok(0) | Err(_) => break,
            Ok(length) => answer.extend_from_slice(buffer.get(..length).unwrap_or_default()),
        }
        // An answer that keeps the connection has its length; the tests need no more than the status.
        if answer.windows(4).any(|window| window == b"\r\n\r\n") {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn nothing_of_a_broken_request_reaches_the_server() {
    let daemon = daemon_with_server(&[]).await;
    let client = daemon.client(SERVER).await.unwrap();
    let length = CALL.len();
    let sized = |length: usize| head(&daemon, &client, &format!("content-length: {length}\r\n\r\n"));
    let chunked = || head(&daemon, &client, "transfer-encoding: chunked\r\n\r\n");
    let cases: Vec<(&str, String)> = vec![
        ("a body that is cut off", format!("{}{}", sized(length + 10), CALL)),
        ("half a message", format!("{}{}", sized(length / 2), CALL.get(..length / 2).unwrap())),
        ("two messages in one body", format!("{}{CALL}{CALL}", sized(2 * length))),
        ("two messages, the first cut off", format!("{}{}{CALL}", sized(length + 20), CALL.get(..20).unwrap())),
        ("a chunk that is cut off", format!("{}{:x}\r\n{}", chunked(), length + 10, CALL)),
        ("a chunk without a length", format!("{}\r\n{CALL}\r\n0\r\n\r\n", chunked())),
        ("a chunk longer than anything", format!("{}ffffffffffffffffff\r\n{CALL}\r\n0\r\n\r\n", chunked())),
        (
            "two lengths",
            format!(
                "{}{CALL}",
                head(&daemon, &client, &format!("content-length: 5\r\ncontent-length: {length}\r\n\r\n"))
            ),
        ),
        ("a length that is no number", format!("{}{CALL}", head(&daemon, &client, "content-length: many\r\n\r\n"))),
        ("a negative length", format!("{}{CALL}", head(&daemon, &client, "content-length: -1\r\n\r\n"))),
        ("a header without end", head(&daemon, &client, &format!("x-long: {}\r\n\r\n", "x".repeat(LONG)))),
        ("too many headers", head(&daemon, &client, &format!("{}\r\n", "x-more: 1\r\n".repeat(10_000)))),
        (
            "a header with a line break",
            head(&daemon, &client, &format!("x-a: b\n c\r\ncontent-length: {length}\r\n\r\n{CALL}")),
        ),
        (
            "a byte that is no header",
            head(&daemon, &client, &format!("x-\0: b\r\ncontent-length: {length}\r\n\r\n{CALL}")),
        ),
        ("no HTTP at all", format!("{CALL}\r\n\r\n")),
        ("the beginning of TLS", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\r\n\r\n".to_owned()),
        ("another protocol", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
        ("bytes that are no text", format!("{}{}", sized(length), CALL.replace("echo", "\u{1}ech"))),
        ("a message inside of another's text", format!("{}[{CALL}]", sized(length + 2))),
    ];
    for (name, bytes) in cases {
        let answer = raw(daemon.address(), bytes.as_bytes(), true).await.with_context(|| name.to_owned()).unwrap();
        let status = answer.split(' ').nth(1).unwrap_or("none").to_owned();
        assert!(status == "none" || status.starts_with('4'), "{name}: {answer}");
    }
    // Neither by itself nor as the second half of something else.
    assert_eq!(client.text("echoed", json!({})).await.unwrap(), "0");
    assert_eq!(client.text("echo", json!({})).await.unwrap(), "echo", "the session is unharmed");
}

#[tokio::test]
async fn a_length_and_chunks_at_once_are_never_read_as_two_requests() {
    let daemon = daemon_with_server(&[]).await;
    let client = daemon.client(SERVER).await.unwrap();
    // Who believes the length sees one message, who believes the chunks sees an empty body and a second request.
    let second = head(&daemon, &client, &format!("content-length: {}\r\n\r\n{CALL}", CALL.len()));
    let first = head(
        &daemon,
        &client,
        &format!("content-length: {}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", second.len() + 5),
    );
    let answer = raw(daemon.address(), format!("{first}{second}").as_bytes(), true).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert_eq!(client.text("echoed", json!({})).await.unwrap(), "0");
}

#[tokio::test]
async fn clients_that_are_slow_on_purpose_are_given_up_and_slow_nobody_else() {
    let daemon = daemon_with_server(&[]).await;
    let client = daemon.client(SERVER).await.unwrap();
    let unfinished = head(&daemon, &client, "x-");
    let mut slow = JoinSet::new();
    for _ in 0..SLOW_CLIENTS {
        let (address, unfinished) = (daemon.address().to_owned(), unfinished.clone());
        slow.spawn(async move {
            let mut stream = TcpStream::connect(&address).await?;
            stream.write_all(unfinished.as_bytes()).await?;
            let mut rest = Vec::new();
            // Given up with a word or without; what counts is that it is.
            let ended = tokio::time::timeout(GIVEN_UP, stream.read_to_end(&mut rest)).await;
            ensure!(ended.is_ok(), "an unfinished head is waited for without end");
            anyhow::Ok(())
        });
    }
    while let Some(given_up) = slow.join_next().await {
        given_up.unwrap().unwrap();
        assert_eq!(client.text("echo", json!({})).await.unwrap(), "echo", "somebody else is served meanwhile");
    }
}
