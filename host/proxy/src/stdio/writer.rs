//! The half of a pipe that writes: one message per line, small ones together.

use bytes::{Bytes, BytesMut};
use fairlead_core::fault;
use fairlead_core::workload::Stdin;
use memchr::memchr2;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::limits::{OUTGOING_MESSAGES_MAX, WRITE_COALESCE_BYTES};

/// A message on one line. Line breaks stand only between the tokens of a JSON text, where a space means the same.
pub(crate) fn on_one_line(text: Bytes) -> Bytes {
    if memchr2(b'\n', b'\r', &text).is_none() {
        return text;
    }
    let space = |byte: &u8| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte };
    text.iter().map(space).collect::<Vec<u8>>().into()
}

/// Writes until the pipe is closed or the server no longer reads.
pub(super) async fn write(mut stdin: Stdin, mut queue: mpsc::Receiver<Bytes>, closing: CancellationToken) {
    let mut messages = Vec::with_capacity(OUTGOING_MESSAGES_MAX);
    let mut buffer = BytesMut::new();
    // However this task ends, nobody goes on to write into a pipe that nobody empties.
    let _closing = closing.clone().drop_guard();
    loop {
        tokio::select! {
            biased;
            count = queue.recv_many(&mut messages, OUTGOING_MESSAGES_MAX) => if count == 0 { break },
            () = closing.cancelled() => break,
        }
        fault::point("pipe-write");
        let written = async {
            for message in messages.drain(..) {
                if message.len() > WRITE_COALESCE_BYTES {
                    stdin.write_all_buf(&mut buffer).await?;
                    stdin.write_all(&message).await?;
                } else {
                    buffer.extend_from_slice(&message);
                }
                buffer.extend_from_slice(b"\n");
                if buffer.len() > WRITE_COALESCE_BYTES {
                    stdin.write_all_buf(&mut buffer).await?;
                }
            }
            stdin.write_all_buf(&mut buffer).await?;
            stdin.flush().await
        };
        let written = tokio::select! {
            // What was said before the end is written, where that takes no waiting.
            biased;
            written = written => written,
            () = closing.cancelled() => break,
        };
        if let Err(error) = written {
            tracing::debug!(%error, "the server no longer reads");
            closing.cancel();
            break;
        }
    }
    // Dropping it closes the pipe, which tells the server to end.
    drop(stdin);
}
