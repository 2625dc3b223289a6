//! Clients that send too slowly, or never read: what they can take is bounded, the daemon stays small, and others are served.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fairlead_tests::process::{children, own_bytes};
use fairlead_tests::{Client, Daemon, Reply};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use crate::scene::{SERVER, create, daemon_with_server, server};

/// Connections that never come to the end of their head.
const LORISES: usize = 300;

/// The daemon gives up a head after 15 seconds and a body after 30; a loaded machine may take longer to say so.
const GIVEN_UP: Duration = Duration::from_secs(60);

/// Clients that never read.
const VICTIMS: usize = 8;

/// What each of them is told: steps of a tool, each under a long token, so much more than any buffer holds.
const STEPS: u64 = 2_000;
const TOKEN_BYTES: usize = 16 * 1024;

/// What the daemon may take for each of them: a lane, a stream and the copies of a message on its way, in a build without
/// optimisation; a fifth of what the server has to say.
const VICTIM_BYTES: u64 = 6 << 20;

/// Growth that has nothing to do with them.
const SLACK_BYTES: u64 = 24 << 20;

/// The server writes no more when its bytes did not change in so many looks, each with a call of somebody else in between.
const STANDSTILL_LOOKS: usize = 60;

#[tokio::test]
async fn a_head_that_never_ends_is_given_up_and_holds_up_nobody() {
    let daemon = daemon_with_server(&[]).await;
    let client = daemon.client(SERVER).await.unwrap();
    let mut patient = TcpStream::connect(daemon.address()).await.unwrap();
    asked(&mut patient).await.unwrap();
    let mut lorises = JoinSet::new();
    for number in 0..LORISES {
        let address = daemon.address().to_owned();
        lorises.spawn(async move { timeout(GIVEN_UP, loris(&address, number % 2 == 0)).await.context("held")? });
    }
    let started = Instant::now();
    while let Some(given_up) = {
        // Others are served all the while.
        assert_eq!(client.text("echo", json!({})).await.unwrap(), "echo");
        lorises.join_next().await
    } {
        given_up.unwrap().unwrap();
    }
    assert!(started.elapsed() > Duration::from_secs(5), "a slow head is not a broken one");
    // Who had nothing to say for as long is not slow: the next request goes over the same connection.
    asked(&mut patient).await.unwrap();
}

/// Asks something over a connection that stays.
async fn asked(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await?;
    let mut said = Vec::new();
    while !said.ends_with(br#"{"status":"ok"}"#) {
        ensure!(timeout(GIVEN_UP, stream.read_buf(&mut said)).await?? > 0, "{}", String::from_utf8_lossy(&said));
    }
    Ok(())
}

/// Sends a head that never ends, at once or in drops, until the daemon hangs up.
async fn loris(address: &str, drips: bool) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"POST /s/tested/mcp HTTP/1.1\r\nhost: localhost\r\nx-slow: ").await?;
    let (mut reading, mut writing) = stream.split();
    let mut pace = interval(Duration::from_millis(500));
    let mut said = Vec::new();
    loop {
        tokio::select! {
            read = reading.read_buf(&mut said) => match read {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            },
            _ = pace.tick(), if drips => {
                // The end is read, not written.
                let _ = writing.write_all(b"x").await;
            }
        }
    }
    let said = String::from_utf8_lossy(&said);
    ensure!(!said.contains(" 200 "), "it was answered: {said}");
    Ok(())
}

#[tokio::test]
async fn a_body_that_never_ends_is_answered_with_408_and_reaches_no_server() {
    let daemon = daemon_with_server(&[]).await;
    let client = daemon.client(SERVER).await.unwrap();
    let session = client.session().unwrap();
    let mut stream = TcpStream::connect(daemon.address()).await.unwrap();
    let head = format!(
        "POST /s/{SERVER}/mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\naccept: application/json, \
         text/event-stream\r\nmcp-session-id: {session}\r\ncontent-length: 90\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}"#).await.unwrap();
    let mut said = Vec::new();
    timeout(GIVEN_UP, stream.read_buf(&mut said)).await.expect("given up").unwrap();
    let said = String::from_utf8_lossy(&said);
    assert!(said.starts_with("HTTP/1.1 408"), "{said}");
    assert_eq!(client.text("echoed", json!({})).await.unwrap(), "0");
}

/// Bytes that the servers of a daemon have written so far.
fn written(daemon: &Daemon) -> u64 {
    let of = |pid: u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
        text.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse::<u64>().ok())
    };
    children(daemon.pid()).into_iter().filter_map(of).sum()
}

/// Asks for more than fits anywhere, and reads nothing of it.
async fn ask_for_much(client: &Client) -> Reply {
    let token = "t".repeat(TOKEN_BYTES);
    let arguments = json!({"steps": STEPS, "step_ms": 0});
    let params = json!({"name": "slow", "arguments": arguments, "_meta": {"progressToken": token}});
    client.request(&json!(1), "tools/call", params).await.unwrap()
}

/// Lets eight clients ask and not read; gives them back once their servers write no more.
async fn flooded(daemon: &Daemon, spec: &Value) -> Vec<(Client, Reply)> {
    create(daemon.home(), &server("flooding", spec)).await.unwrap();
    create(daemon.home(), &server("beside", &json!({}))).await.unwrap();
    let beside = daemon.client("beside").await.unwrap();
    let same = daemon.client("flooding").await.unwrap();
    let before = own_bytes(daemon.pid()).unwrap();
    let mut victims = Vec::new();
    for _ in 0..VICTIMS {
        let client = daemon.client("flooding").await.unwrap();
        let reply = ask_for_much(&client).await;
        assert!(reply.is_stream());
        victims.push((client, reply));
    }
    let (mut last, mut looks) = (0, 0);
    while looks < STANDSTILL_LOOKS {
        for client in [&beside, &same] {
            assert_eq!(client.text("echo", json!({})).await.unwrap(), "echo", "somebody else is held up");
        }
        let now = written(daemon);
        // The answers to the calls above are a few hundred bytes each.
        looks = if now.abs_diff(last) < TOKEN_BYTES as u64 { looks + 1 } else { 0 };
        last = now;
        let growth = own_bytes(daemon.pid()).unwrap().saturating_sub(before);
        let bound = VICTIM_BYTES * VICTIMS as u64 + SLACK_BYTES;
        assert!(growth < bound, "{growth} bytes for clients that do not read; {bound} would be much");
    }
    victims
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_its_own_server_and_loses_nothing() {
    let daemon = Daemon::start().await.unwrap();
    let mut victims = flooded(&daemon, &json!({})).await;
    let all = STEPS * TOKEN_BYTES as u64 * VICTIMS as u64;
    assert!(written(&daemon) < all / 2, "the servers wrote everything: nobody told them to wait");
    let (_client, mut reply) = victims.pop().unwrap();
    let mut step = 0;
    while let Some(message) = reply.message().await.unwrap() {
        if message["method"] == "notifications/progress" {
            step += 1;
            assert_eq!(message["params"]["progress"], step);
        } else {
            assert_eq!(message["result"]["content"][0]["text"], "done");
        }
    }
    assert_eq!(step, STEPS, "it was slow, and has lost something");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_no_burden_to_those_that_share_its_server() {
    let daemon = Daemon::start().await.unwrap();
    let mut victims = flooded(&daemon, &json!({"isolation": "shared"})).await;
    let (_client, mut reply) = victims.pop().unwrap();
    let mut last = Value::Null;
    while let Some(message) = reply.message().await.unwrap() {
        last = message;
    }
    assert_eq!(last["result"]["content"][0]["text"], "done", "events may be lost there, the answer is not");
}
