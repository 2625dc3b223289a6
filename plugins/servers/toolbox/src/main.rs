//! An MCP server that is nothing but a Wasm component: no files, no network, only what it is called with.
//!
//! It speaks JSON-RPC over standard input and output, one message a line, and works on one request at a time: a component
//! has one thread. It is real enough to be useful and small enough to be read, which is why the demo guards it.

mod protocol;
mod tools;

use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use protocol::Server;

fn main() -> ExitCode {
    match serve(io::stdin().lock(), io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The client has gone: there is nobody left to answer.
            let _ = writeln!(io::stderr(), "toolbox: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Answers line by line until the input ends.
fn serve(mut input: impl BufRead, mut output: impl Write) -> io::Result<()> {
    let server = Server::new();
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        let mut failed = None;
        server.answer(line.trim_ascii(), &mut |message| {
            if failed.is_none() {
                failed = output
                    .write_all(message.as_bytes())
                    .and_then(|()| output.write_all(b"\n"))
                    .and_then(|()| output.flush())
                    .err();
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        line.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_ends_with_its_input() {
        let input = concat!(
            r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#,
            "\n",
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            "\n\n",
            r#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#,
            "\r\n",
        );
        let mut output = Vec::new();
        serve(input.as_bytes(), &mut output).unwrap();
        let lines: Vec<_> = std::str::from_utf8(&output).unwrap().lines().collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains(r#""protocolVersion":"2025-06-18""#));
        assert_eq!(lines[1], r#"{"jsonrpc":"2.0","id":"a","result":{}}"#);
    }
}
