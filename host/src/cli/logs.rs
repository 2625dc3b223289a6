//! `fairlead logs`.

use std::io::IsTerminal as _;

use bytes::Bytes;

use super::list::form;
use super::{Context, Failure, OneTarget, workload_path};
use crate::client::Client;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: OneTarget,
    /// What the data plane and the plugins of its chain said about the server, instead of what it said itself
    #[arg(long)]
    proxy: bool,
    /// Go on with what comes, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// Begin with so many lines from the end
    #[arg(long, short = 'n', value_name = "LINES")]
    tail: Option<usize>,
}

/// Prints a log.
///
/// # Errors
/// There is no such server, or no daemon.
pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let client = context.daemon_of(&args.target.name).await?;
    let mut path = workload_path(&args.target.key(), "/logs") + &form(&[("follow", &args.follow.to_string())]);
    if args.proxy {
        path += &form(&[("proxy", "true")]);
    }
    if let Some(lines) = args.tail {
        path += &form(&[("tail", &lines.to_string())]);
    }
    print(&client, &path, context).await
}

/// Prints a log until it ends or Ctrl-C.
pub(super) async fn print(client: &Client, path: &str, context: &Context) -> Result<(), Failure> {
    let mut chunks = client.stream(path).await?;
    let terminal = std::io::stdout().is_terminal();
    loop {
        let chunk = tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => return Ok(()),
            chunk = chunks.next() => chunk?,
        };
        match chunk {
            Some(chunk) if terminal => context.output.bytes(&harmless(&chunk))?,
            Some(chunk) => context.output.bytes(&chunk)?,
            None => return Ok(()),
        }
    }
}

/// A server says what it likes; its control characters must not reach the terminal of who reads it.
fn harmless(chunk: &Bytes) -> Vec<u8> {
    chunk
        .iter()
        .map(|byte| if byte.is_ascii_control() && !matches!(byte, b'\n' | b'\t') { b'?' } else { *byte })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_cannot_drive_the_terminal() {
        assert_eq!(harmless(&Bytes::from_static(b"a\x1b[2Jb\tc\r\n")), b"a?[2Jb\tc?\n");
        assert_eq!(harmless(&Bytes::from_static("é".as_bytes())), "é".as_bytes());
    }
}
