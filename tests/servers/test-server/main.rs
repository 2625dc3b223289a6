//! An MCP server (legacy era) for tests: every answer is predictable, what it was sent comes back byte for byte, and it
//! misbehaves when asked. It speaks stdio, or with `--http PORT` and `--sse PORT` what those say.
//!
//! Ids of its own requests are small numbers on purpose: they collide with those of its clients.

mod tools;
mod web;
mod wire;

use std::io::BufRead;
use std::process::ExitCode;
use std::sync::Arc;

use web::Transport;
use wire::{Message, Wire};

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        // Ends before it answers anything.
        Some("--fail") => {
            eprintln!("no such database: {}", args.next().unwrap_or_default());
            ExitCode::from(7)
        }
        Some("--http") => on_port(Transport::StreamableHttp, args.next()),
        Some("--sse") => on_port(Transport::Sse, args.next()),
        // Reads, and never answers.
        Some("--mute") => serve(|_, _| ()),
        // Answers, but nothing that is MCP.
        Some("--babble") => serve(|wire, _| wire.send("good day")),
        // Answers the handshake and ends with the first thing after it.
        Some("--brittle") => serve(|wire, message| match message.method.as_deref() {
            Some("initialize" | "notifications/initialized") => tools::handle(wire, message),
            _ => end(9),
        }),
        _ => serve(tools::handle),
    }
}

fn on_port(transport: Transport, port: Option<String>) -> ExitCode {
    match port.and_then(|port| port.parse().ok()) {
        Some(port) => web::serve(transport, port),
        None => ExitCode::FAILURE,
    }
}

fn serve(handle: impl Fn(&Arc<Wire>, &Message<'_>)) -> ExitCode {
    eprintln!("test-server: ready, process {}", std::process::id());
    let wire = Arc::new(Wire::default());
    let mut input = std::io::stdin().lock();
    let mut line = Vec::new();
    loop {
        line.clear();
        match input.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return ExitCode::SUCCESS,
            Ok(_) => {}
        }
        match serde_json::from_slice::<Message<'_>>(&line) {
            Ok(message) => handle(&wire, &message),
            Err(error) => wire.send(&format!(
                r#"{{"jsonrpc":"2.0","id":null,"error":{{"code":-32700,"message":"{}"}}}}"#,
                error.to_string().replace('"', "'")
            )),
        }
    }
}

/// Ends as a crash does: at once, whatever other threads do.
#[expect(clippy::exit, clippy::disallowed_methods, reason = "a crash in the middle of a call is what is asked for")]
fn end(code: i32) {
    std::process::exit(code);
}
