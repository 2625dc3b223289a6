//! Waiting for an operation of the daemon: what it does is shown while it does it, and Ctrl-C gives it up in order.

use fairlead_core::problem::Problem;
use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::failure::INTERRUPTED;
use super::output::Output;
use super::{Context, Failure};
use crate::api::types::{OperationInfo, OperationState};
use crate::client::{Chunks, Client, ClientError};

/// Begins an operation and follows it to its end.
///
/// # Errors
/// It fails, or was given up.
pub(super) async fn carry_out<T: DeserializeOwned>(
    client: &Client,
    (method, path): (Method, &str),
    body: Option<&impl Serialize>,
    (shown, context): (&str, &Context),
) -> Result<T, Failure> {
    let began = client.begin(method, path, body).await?;
    let output = &context.output;
    output.progress(&format!("{shown} …"));
    let ended = follow(client, &began, shown, output).await;
    output.progress_done();
    let ended = ended?;
    match ended.state {
        OperationState::Cancelled => Err(Failure { code: INTERRUPTED, ..Failure::new(format!("{shown}: given up")) }),
        OperationState::Succeeded => {
            let result = ended.result.unwrap_or_default();
            serde_json::from_value(result).map_err(|error| ClientError::Nonsense(error.to_string()).into())
        }
        OperationState::Running | OperationState::Failed => match ended.problem {
            Some(problem) => Err(Problem::from(problem).into()),
            None => Err(ClientError::Nonsense("an operation without an end".to_owned()).into()),
        },
    }
}

async fn follow(
    client: &Client,
    began: &OperationInfo,
    shown: &str,
    output: &Output,
) -> Result<OperationInfo, ClientError> {
    let path = format!("/api/v1beta/operations/{}", began.id);
    let mut events = Events { chunks: client.stream(&format!("{path}/events")).await?, rest: Vec::new() };
    let mut latest = began.clone();
    let mut asked = false;
    loop {
        let event = tokio::select! {
            biased;
            // The first asks the daemon; whoever presses it again does not want to wait for that either.
            _ = tokio::signal::ctrl_c() => {
                if asked {
                    return Ok(OperationInfo { state: OperationState::Cancelled, ..latest });
                }
                asked = true;
                output.progress(&format!("{shown}: giving up …"));
                // It may have ended meanwhile, or be of a kind that is brought to its end: its events tell.
                let _ = client.post::<OperationInfo>(&format!("{path}/cancel"), None::<&()>).await;
                continue;
            }
            event = events.next() => event?,
        };
        let Some(event) = event else {
            return Err(ClientError::Nonsense("the daemon went away in the middle of it".to_owned()));
        };
        if event.state != OperationState::Running {
            return Ok(event);
        }
        if !asked {
            output.progress(&format!("{shown} … {}", stage(&event)));
        }
        latest = event;
    }
}

/// What an operation does, on one line.
pub(super) fn stage(operation: &OperationInfo) -> String {
    let stage = operation.stage.clone().unwrap_or_default();
    match &operation.progress {
        Some(progress) if progress.unit == "bytes" && progress.total > 0 => {
            let mega = |bytes: u64| bytes.div_ceil(1_000_000);
            format!("{stage}: {} of {} MB", mega(progress.done), mega(progress.total))
        }
        Some(progress) if progress.total > 0 => format!("[{}/{}] {stage}", progress.done, progress.total),
        _ => stage,
    }
}

/// Server-sent events, as far as the daemon uses them: one line of data each.
struct Events {
    chunks: Chunks,
    rest: Vec<u8>,
}

impl Events {
    async fn next(&mut self) -> Result<Option<OperationInfo>, ClientError> {
        loop {
            while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                if let Some(data) = line.strip_prefix(b"data: ") {
                    let info = serde_json::from_slice(data);
                    return info.map(Some).map_err(|error| ClientError::Nonsense(error.to_string()));
                }
            }
            match self.chunks.next().await? {
                Some(chunk) => self.rest.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}
