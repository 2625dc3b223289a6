//! Nothing is delivered to the wrong client, lost or delivered twice, when 64 clients use the same ids at the same time; and
//! when the server crashes under them, each call that is lost gets exactly one error.
//!
//! The short form runs always; `FAIRLEAD_CROSS_DELIVERY_CALLS=1000000` makes the long one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail, ensure};
use fairlead_tests::limits::SETTLE;
use fairlead_tests::{Client, Daemon, LegacyClient, Reply, binary, eventually};
use serde_json::{Value, json};
use tokio::task::{JoinSet, LocalSet};

use crate::scene::{SERVER, create, free_port};

/// Clients at the same time, each with a session of its own and one call under way.
const CLIENTS: u64 = 64;

/// Calls of one short run, over all ways together; half as many more go on while the server crashes.
const CALLS: u64 = 20_000;

/// Every so many calls one runs in a thread of the server, so that replies overtake each other.
const OVERTAKEN_EVERY: u64 = 8;

/// Times that the server crashes under the calls.
const CRASHES: u64 = 4;

/// How the calls go: what the server speaks, and what the clients speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    SharedStdio,
    SharedStdioFromSse,
    Sse,
    StreamableHttp,
}

const WAYS: [Way; 4] = [Way::SharedStdio, Way::SharedStdioFromSse, Way::Sse, Way::StreamableHttp];

impl Way {
    /// The test server as the API takes it.
    async fn server(self) -> Result<Value> {
        let program = binary::test_server()?;
        let port = free_port().await?;
        let on_port = |flag: &str, kind: &str| {
            json!({
                "source": {"kind": "command", "program": program, "args": [flag, port.to_string()]},
                "transport": {"kind": kind, "port": port},
            })
        };
        let spec = match self {
            Self::SharedStdio | Self::SharedStdioFromSse => {
                json!({"source": {"kind": "command", "program": program}, "isolation": "shared"})
            }
            Self::Sse => on_port("--sse", "sse"),
            Self::StreamableHttp => on_port("--http", "streamable-http"),
        };
        Ok(json!({"name": SERVER, "spec": spec}))
    }
}

/// One client, over what its way says.
enum Caller {
    StreamableHttp { client: Box<Client>, url: String },
    Sse(Box<LegacyClient>),
}

/// What became of a call.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Answered,
    /// One error, which says so.
    Refused,
}

impl Caller {
    async fn connect(way: Way, url: &str) -> Result<Self> {
        Ok(match way {
            Way::SharedStdioFromSse => Self::Sse(Box::new(LegacyClient::connect(&url.replace("/mcp", "/sse")).await?)),
            _ => Self::StreamableHttp { client: Box::new(Client::connect(url).await?), url: url.to_owned() },
        })
    }

    /// The `number`-th call of client `who`. Ids are the same for all clients, each once as a number and once as a string;
    /// the payload is nobody else's.
    async fn call(&mut self, who: u64, number: u64) -> Result<Outcome> {
        let id = if number.is_multiple_of(2) { json!(number / 2) } else { json!((number / 2).to_string()) };
        let payload = json!({"client": who, "call": number});
        let is_overtaken = number % OVERTAKEN_EVERY == OVERTAKEN_EVERY - 1;
        let steps = 1 + who % 3;
        let params = if is_overtaken {
            // The token is the same for all clients as well; how many steps there are tells them apart.
            let arguments = json!({"steps": steps, "step_ms": 0});
            json!({"name": "slow", "arguments": arguments, "_meta": {"progressToken": number}})
        } else {
            json!({"name": "echo", "arguments": payload})
        };
        let messages = match self {
            Self::StreamableHttp { client, .. } => messages(client.request(&id, "tools/call", params).await?).await?,
            Self::Sse(client) => vec![client.request(id.clone(), "tools/call", params).await?],
        };
        let Some((answer, progress)) = messages.split_last() else { return Ok(Outcome::Refused) };
        ensure!(answer.get("id") == Some(&id), "asked with id {id}, answered with {answer}");
        if answer.get("error").is_some() {
            return Ok(Outcome::Refused);
        }
        if is_overtaken {
            let done = answer.pointer("/result/content/0/text");
            ensure!(done == Some(&json!("done")), "a slow call was answered with {answer}");
            for (told, step) in progress.iter().zip(1..) {
                let expected = json!({"progressToken": number, "progress": step, "total": steps});
                ensure!(told.get("params") == Some(&expected), "expected {expected}, was told {told}");
            }
            let is_told = matches!(self, Self::StreamableHttp { .. });
            ensure!(!is_told || progress.len() as u64 == steps, "{steps} steps, told {progress:?}");
        } else {
            let given = answer.pointer("/result/structuredContent");
            ensure!(given == Some(&payload) && progress.is_empty(), "asked with {payload}, was told {messages:?}");
        }
        Ok(Outcome::Answered)
    }

    /// Calls a tool and returns the answer.
    async fn tool(&mut self, name: &str, arguments: Value) -> Result<Value> {
        let params = json!({"name": name, "arguments": arguments});
        match self {
            Self::StreamableHttp { client, .. } => client.ask("tools/call", params).await,
            Self::Sse(client) => client.request(json!(name), "tools/call", params).await,
        }
    }

    /// After an error: until the server answers again.
    async fn recover(&mut self) -> Result<()> {
        eventually("the server is back", SETTLE, async || self.again().await).await
    }

    /// Asks again. Over streamable HTTP a session has gone with the process and the client opens another; over HTTP+SSE that
    /// is done for it.
    async fn again(&mut self) -> Result<()> {
        match self {
            Self::StreamableHttp { client, url } => **client = Client::connect(url).await?,
            Self::Sse(client) => {
                let answer = client.request(json!("again"), "tools/list", json!({})).await?;
                ensure!(answer.get("result").is_some(), "{answer}");
            }
        }
        Ok(())
    }
}

/// Everything that comes back to one request, to the end of the body: a second answer would be seen. Nothing, when the reply
/// breaks off before its answer, as that of a server that ends while it answers does: that is the error which the call gets.
async fn messages(mut reply: Reply) -> Result<Vec<Value>> {
    if !reply.is_stream() {
        return match reply.response().await {
            Ok(answer) => Ok(vec![answer]),
            Err(error) if broke_off(&error) => Ok(Vec::new()),
            Err(error) => Err(error),
        };
    }
    let mut messages = Vec::new();
    let is_whole = loop {
        match reply.message().await {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => break true,
            Err(error) if broke_off(&error) => break false,
            Err(error) => return Err(error),
        }
    };
    let answers = messages.iter().filter(|message| message.get("method").is_none()).count();
    ensure!(answers == 1 || (answers == 0 && !is_whole), "{answers} answers to one request: {messages:?}");
    Ok(if answers == 1 { messages } else { Vec::new() })
}

fn broke_off(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<hyper::Error>())
}

fn calls() -> u64 {
    std::env::var("FAIRLEAD_CROSS_DELIVERY_CALLS").ok().and_then(|calls| calls.parse().ok()).unwrap_or(CALLS)
}

/// What is one client's over one way, of so many calls.
fn share(calls: u64) -> u64 {
    calls.div_ceil(WAYS.len() as u64).div_ceil(CLIENTS)
}

async fn daemon(way: Way) -> Result<Daemon> {
    let daemon = Daemon::start().await?;
    create(daemon.home(), &way.server().await?).await?;
    Ok(daemon)
}

/// Calls of `echo` among the first `calls`.
fn echoes(calls: u64) -> u64 {
    calls - calls / OVERTAKEN_EVERY
}

async fn each_call_is_answered_once(way: Way) -> Result<()> {
    let daemon = daemon(way).await?;
    let share = share(calls());
    let expected = CLIENTS * echoes(share);
    // A shared process is shared by those who come alike, and ends with the last of them.
    let mut witness = Caller::connect(way, &daemon.url(SERVER)).await?;
    let mut clients = JoinSet::new();
    for who in 0..CLIENTS {
        let mut caller = Caller::connect(way, &daemon.url(SERVER)).await?;
        clients.spawn(async move {
            for number in 0..share {
                let outcome = caller.call(who, number).await.with_context(|| format!("call {number} of {who}"))?;
                ensure!(outcome == Outcome::Answered, "call {number} of {who} was refused");
            }
            anyhow::Ok(())
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    // Nor did the server see one twice.
    let echoed = witness.tool("echoed", json!({})).await?;
    ensure!(
        echoed.pointer("/result/content/0/text") == Some(&json!(expected.to_string())),
        "{expected} calls, and the server saw {echoed}"
    );
    Ok(())
}

/// While the clients call, one more client makes the server crash, again and again.
async fn each_lost_call_gets_one_error(way: Way) -> Result<()> {
    let daemon = daemon(way).await?;
    let share = share(calls() / 2);
    let (answered, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut clients = JoinSet::new();
    for who in 0..CLIENTS {
        let mut caller = Caller::connect(way, &daemon.url(SERVER)).await?;
        let (answered, refused) = (Arc::clone(&answered), Arc::clone(&refused));
        clients.spawn_local(async move {
            for number in 0..share {
                let outcome = caller.call(who, number).await.with_context(|| format!("call {number} of {who}"))?;
                if outcome == Outcome::Answered {
                    answered.fetch_add(1, Ordering::Relaxed);
                } else {
                    refused.fetch_add(1, Ordering::Relaxed);
                    caller.recover().await.with_context(|| format!("after call {number} of {who}"))?;
                }
            }
            anyhow::Ok(())
        });
    }
    let all = CLIENTS * share;
    for crash in 1..=CRASHES {
        // Spread over the run; the crash itself is a call that is lost.
        let due = all * crash / (CRASHES + 1);
        eventually("calls go on", SETTLE * 4, async || {
            let seen = answered.load(Ordering::Relaxed) + refused.load(Ordering::Relaxed);
            // One that has ended badly would be waited for in vain.
            let failed =
                clients.try_join_next().and_then(|client| client.map_or_else(|error| Some(error.into()), Result::err));
            if seen < due && failed.is_none() { bail!("{seen} of {due} calls") } else { Ok(failed.map_or(Ok(()), Err)) }
        })
        .await??;
        let url = daemon.url(SERVER);
        let mut chaos = eventually("a session", SETTLE, async || Caller::connect(way, &url).await).await?;
        let lost = chaos.tool("crash", json!({"code": 9})).await?;
        ensure!(lost.get("error").is_some(), "a crash was answered with {lost}");
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    let (answered, refused) = (answered.load(Ordering::Relaxed), refused.load(Ordering::Relaxed));
    println!("{way:?}: {answered} answered, {refused} lost with one error each, {CRASHES} crashes");
    ensure!(answered + refused == all, "{answered} + {refused} of {all}");
    // Each client has one call under way, so a crash costs each one call at most, and those that come while it restarts.
    ensure!(refused > 0, "nobody noticed {CRASHES} crashes");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_sixty_four_clients_with_the_same_ids_are_answered_once_each_and_to_whom_they_belong() {
    for way in WAYS {
        each_call_is_answered_once(way).await.with_context(|| format!("{way:?}")).unwrap();
    }
}

#[tokio::test]
async fn a_call_that_is_lost_in_a_crash_gets_exactly_one_error() {
    for way in WAYS {
        let outcome = LocalSet::new().run_until(each_lost_call_gets_one_error(way)).await;
        outcome.with_context(|| format!("{way:?}")).unwrap();
    }
}
