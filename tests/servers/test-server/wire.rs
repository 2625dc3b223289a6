//! Lines out, and the requests that wait for an answer.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc::UnboundedSender;

/// A JSON-RPC message whose parts stay the bytes that were sent.
#[derive(Deserialize)]
pub(crate) struct Message<'a> {
    #[serde(borrow)]
    pub(crate) id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) params: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) result: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) error: Option<&'a RawValue>,
}

/// The way out, shared by all calls, and what the server remembers.
#[derive(Default)]
pub(crate) struct Wire {
    /// Standard output, unless something else is there.
    out: Option<UnboundedSender<String>>,
    next_id: AtomicU64,
    /// Our requests, by id.
    asked: Mutex<HashMap<String, Sender<String>>>,
    /// Calls that listen for their cancellation, by id.
    running: Mutex<HashMap<String, Sender<()>>>,
    /// Ids (JSON text) of the cancellations that arrived.
    pub(crate) cancelled: Mutex<Vec<String>>,
    /// What `logging/setLevel` set: state that belongs to one session.
    pub(crate) level: Mutex<String>,
}

impl Wire {
    /// One that leads elsewhere than to standard output.
    pub(crate) fn to(out: UnboundedSender<String>) -> Self {
        Self { out: Some(out), ..Self::default() }
    }

    /// Writes one message.
    pub(crate) fn send(&self, message: &str) {
        if let Some(out) = &self.out {
            // Who asked may have gone.
            let _ = out.send(message.to_owned());
            return;
        }
        let mut output = std::io::stdout().lock();
        // A client that has gone is seen at the end of stdin.
        let _ = output.write_all(message.as_bytes());
        let _ = output.write_all(b"\n");
        let _ = output.flush();
    }

    /// Answers with a result (JSON text).
    pub(crate) fn result(&self, id: &str, result: &str) {
        self.send(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#));
    }

    /// Answers with an error.
    pub(crate) fn error(&self, id: &str, code: i64, message: &str) {
        let message = serde_json::Value::from(message);
        self.send(&format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{message}}}}}"#));
    }

    /// Sends a request of our own; the answer (JSON text of result or error) comes through the channel.
    pub(crate) fn ask(&self, method: &str, params: &str) -> Receiver<String> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed).to_string();
        let (sender, receiver) = channel();
        lock(&self.asked).insert(id.clone(), sender);
        let method = serde_json::Value::from(method);
        self.send(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":{method},"params":{params}}}"#));
        receiver
    }

    /// Takes the answer to a request of ours.
    pub(crate) fn answered(&self, id: &str, answer: &str) {
        match lock(&self.asked).remove(id) {
            Some(waiting) => drop(waiting.send(answer.to_owned())),
            None => eprintln!("test-server: an answer to {id}, which was not asked"),
        }
    }

    /// Announces a call that can be cancelled; something comes through the channel when it is.
    pub(crate) fn start(&self, id: &str) -> Receiver<()> {
        let (sender, receiver) = channel();
        lock(&self.running).insert(id.to_owned(), sender);
        receiver
    }

    /// The call has ended. False if it was cancelled before, so that no answer is due.
    pub(crate) fn finish(&self, id: &str) -> bool {
        lock(&self.running).remove(id).is_some()
    }

    /// Cancels a call.
    pub(crate) fn cancel(&self, id: &str) {
        lock(&self.cancelled).push(id.to_owned());
        if let Some(running) = lock(&self.running).remove(id) {
            let _ = running.send(());
        }
    }
}

/// A lock that a panic elsewhere does not spoil.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
