//! A stdio server inside the test, with tools that do what the tests need.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use fairlead_core::BoxFuture;
use fairlead_core::workload::{StdioConnection, Unavailable, Upstream};
use parking_lot::Mutex;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex};
use tokio::sync::{Notify, oneshot};
use tokio_util::task::TaskTracker;

/// What a pipe holds: small, so that both sides must take turns.
const PIPE_BYTES: usize = 4 * 1024;

/// A server that can be opened any number of times.
pub(crate) struct FakeServer {
    pub(crate) opened: AtomicUsize,
    pub(crate) closed: Arc<AtomicUsize>,
    pub(crate) unavailable: Mutex<Option<Unavailable>>,
    /// Answers self-describing requests; and nothing else.
    pub(crate) modern: Arc<AtomicBool>,
    pub(crate) only_modern: Arc<AtomicBool>,
    /// The revision that it speaks, whatever it is asked for.
    pub(crate) speaks: Arc<Mutex<Option<&'static str>>>,
    /// Does not come up before `release`; and how many wait for it.
    pub(crate) stuck: AtomicBool,
    pub(crate) coming: AtomicUsize,
    /// There is no other process beside the one.
    pub(crate) sole: AtomicBool,
    /// Lines that the server got, over all processes.
    pub(crate) lines: Arc<Mutex<Vec<String>>>,
    /// Lets `hold` calls go on.
    pub(crate) release: Arc<Notify>,
    /// All processes, in the order of their start.
    processes: Mutex<Vec<Arc<Peer>>>,
    tasks: TaskTracker,
}

struct Lease(Arc<AtomicUsize>);

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl FakeServer {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            opened: AtomicUsize::new(0),
            closed: Arc::default(),
            unavailable: Mutex::new(None),
            modern: Arc::default(),
            only_modern: Arc::default(),
            speaks: Arc::default(),
            stuck: AtomicBool::default(),
            coming: AtomicUsize::default(),
            sole: AtomicBool::new(false),
            lines: Arc::default(),
            release: Arc::default(),
            processes: Mutex::default(),
            tasks: TaskTracker::new(),
        })
    }

    pub(crate) fn got(&self, part: &str) -> Vec<String> {
        self.lines.lock().iter().filter(|line| line.contains(part)).cloned().collect()
    }

    /// Ends a process by itself.
    pub(crate) fn end_process(&self, number: usize) {
        let peer = Arc::clone(&self.processes.lock()[number]);
        self.tasks.spawn(async move { drop(peer.out.lock().await.take()) });
    }

    fn open(&self) -> StdioConnection {
        let number = self.opened.fetch_add(1, Ordering::SeqCst);
        let (stdin, theirs_in) = duplex(PIPE_BYTES);
        let (stdout, theirs_out) = duplex(PIPE_BYTES);
        let peer = Arc::new(Peer {
            number,
            out: tokio::sync::Mutex::new(Some(theirs_out)),
            questions: Mutex::default(),
            cancelled: Mutex::default(),
            asked: AtomicUsize::new(0),
            modern: Arc::clone(&self.modern),
            only_modern: Arc::clone(&self.only_modern),
            speaks: Arc::clone(&self.speaks),
            listening: Mutex::default(),
            release: Arc::clone(&self.release),
            tasks: self.tasks.clone(),
        });
        let lines = Arc::clone(&self.lines);
        self.processes.lock().push(Arc::clone(&peer));
        self.tasks.spawn(peer.run(theirs_in, lines));
        StdioConnection {
            stdin: Box::new(stdin),
            stdout: Box::new(stdout),
            lease: Box::new(Lease(Arc::clone(&self.closed))),
        }
    }
}

impl Upstream for FakeServer {
    fn open_stdio(&self) -> BoxFuture<'_, Result<StdioConnection, Unavailable>> {
        Box::pin(async {
            if self.stuck.load(Ordering::SeqCst) {
                let release = self.release.notified();
                self.coming.fetch_add(1, Ordering::SeqCst);
                release.await;
            }
            match self.unavailable.lock().clone() {
                Some(error) => Err(error),
                None => Ok(self.open()),
            }
        })
    }

    fn is_sole(&self) -> bool {
        self.sole.load(Ordering::SeqCst)
    }

    fn http_endpoint(&self) -> BoxFuture<'_, Result<String, Unavailable>> {
        Box::pin(async { Err(Unavailable::Failed("speaks stdio".to_owned())) })
    }
}

/// One process of the server.
pub(crate) struct Peer {
    number: usize,
    out: tokio::sync::Mutex<Option<DuplexStream>>,
    questions: Mutex<Vec<(String, oneshot::Sender<String>)>>,
    cancelled: Mutex<Vec<String>>,
    asked: AtomicUsize,
    modern: Arc<AtomicBool>,
    only_modern: Arc<AtomicBool>,
    speaks: Arc<Mutex<Option<&'static str>>>,
    /// Ids of subscriptions.
    listening: Mutex<Vec<String>>,
    release: Arc<Notify>,
    tasks: TaskTracker,
}

#[derive(serde::Deserialize)]
struct Incoming<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<String>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

impl Peer {
    async fn run(self: Arc<Self>, stdin: DuplexStream, seen: Arc<Mutex<Vec<String>>>) {
        let mut lines = BufReader::new(stdin).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            seen.lock().push(line.clone());
            self.tasks.spawn(Arc::clone(&self).take(line));
        }
        self.out.lock().await.take();
    }

    /// Writes one line.
    async fn say(&self, line: &str) {
        if let Some(out) = self.out.lock().await.as_mut() {
            let _ = out.write_all(format!("{line}\n").as_bytes()).await;
        }
    }

    async fn take(self: Arc<Self>, line: String) {
        let message: Incoming<'_> = serde_json::from_str(&line).unwrap();
        let id = message.id.map(|id| id.get().to_owned());
        let params: Value = message.params.map_or(json!({}), |params| serde_json::from_str(params.get()).unwrap());
        match (message.method.as_deref(), id) {
            (Some("server/discover"), Some(id)) if self.modern.load(Ordering::SeqCst) => {
                let said = r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true}}}"#;
                self.reply(&id, said).await;
            }
            (Some("initialize"), Some(id)) if self.only_modern.load(Ordering::SeqCst) => {
                self.error(&id, -32022, "not this era").await;
            }
            (Some("subscriptions/listen"), Some(id)) => {
                self.say(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"notifications":{{}},"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}}}"#)).await;
                self.listening.lock().push(id);
            }
            (Some("no/such"), Some(id)) => self.error(&id, -32601, "no such method").await,
            (Some("initialize"), Some(id)) => {
                let asked = params["protocolVersion"].as_str().unwrap_or_default();
                let version = self.speaks.lock().unwrap_or(asked);
                if version == "0000-00-00" {
                    return self
                        .say(&format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32602,"message":"no"}}}}"#))
                        .await;
                }
                self.say("a line that is no message").await;
                self.reply(&id, &format!(
                    r#"{{"protocolVersion":"{version}","capabilities":{{"tools":{{"listChanged":true}},"logging":{{}}}},"serverInfo":{{"name":"fake","version":"{}"}}}}"#,
                    self.number
                )).await;
            }
            (Some("tools/call"), Some(id)) => self.tool(&id, &params, message.params.unwrap().get()).await,
            (Some(_), Some(id)) => self.reply(&id, "{}").await,
            (Some("notifications/cancelled"), None) => self.cancelled.lock().push(params["requestId"].to_string()),
            (Some(_), None) => {}
            (None, Some(id)) => {
                let mut questions = self.questions.lock();
                if let Some(at) = questions.iter().position(|(asked, _)| *asked == id) {
                    let _ = questions.remove(at).1.send(line);
                }
            }
            (None, None) => {}
        }
    }

    async fn reply(&self, id: &str, result: &str) {
        self.say(&format!(r#"{{"result":{result},"jsonrpc":"2.0","id":{id}}}"#)).await;
    }

    async fn error(&self, id: &str, code: i64, message: &str) {
        let error = json!({"code": code, "message": message});
        self.say(&format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#)).await;
    }

    async fn content(&self, id: &str, text: &str) {
        self.reply(id, &json!({"content": [{"type": "text", "text": text}]}).to_string()).await;
    }

    /// Asks the client and waits for its answer.
    async fn ask(&self, method: &str) -> String {
        let id = self.asked.fetch_add(1, Ordering::SeqCst).to_string();
        let (sender, answer) = oneshot::channel();
        self.questions.lock().push((id.clone(), sender));
        self.say(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{}}}}"#)).await;
        answer.await.unwrap_or_default()
    }

    async fn tool(&self, id: &str, params: &Value, raw: &str) {
        let arguments = &params["arguments"];
        let text = |name: &str| arguments[name].as_str().unwrap_or_default().to_owned();
        match params["name"].as_str().unwrap_or_default() {
            "echo" => {
                let arguments = fairlead_core::json::find(raw, "/arguments").unwrap().unwrap_or("null");
                self.reply(id, &format!(r#"{{"content":[],"structuredContent":{arguments}}}"#)).await;
            }
            "big" => {
                let bytes = usize::try_from(arguments["bytes"].as_u64().unwrap()).unwrap();
                self.content(id, &"x".repeat(bytes)).await;
            }
            "steps" => {
                let token = fairlead_core::json::find(raw, "/_meta/progressToken").unwrap().unwrap();
                for step in 1..=arguments["steps"].as_u64().unwrap() {
                    self.say(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{step}}}}}"#)).await;
                }
                if arguments["hold"] == true {
                    self.release.notified().await;
                }
                self.content(id, "done").await;
            }
            "ask" => {
                let answer = self.ask(&text("method")).await;
                self.content(id, &answer).await;
            }
            "ask later" => {
                self.content(id, "soon").await;
                let answer = self.ask(&text("method")).await;
                self.say(
                    &json!({"jsonrpc": "2.0", "method": "notifications/heard", "params": {"answer": answer}})
                        .to_string(),
                )
                .await;
            }
            "say" => {
                self.say(&arguments["line"].to_string()).await;
                self.content(id, "said").await;
            }
            "say after" => {
                self.content(id, "said").await;
                self.say(&arguments["line"].to_string()).await;
            }
            "hold" => {
                self.release.notified().await;
                self.content(id, "released").await;
            }
            "cancelled" => {
                let cancelled = self.cancelled.lock().join(" ");
                self.content(id, &cancelled).await;
            }
            "changed" => {
                let listening = self.listening.lock().clone();
                for id in listening {
                    self.say(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}}}"#)).await;
                }
                self.content(id, "told").await;
            }
            "wants" => match params["inputResponses"]["who"]["content"]["name"].as_str() {
                Some(name) => {
                    let text = format!("{name}, {}", params["requestState"].as_str().unwrap_or_default());
                    self.content(id, &text).await;
                }
                None => {
                    let question = json!({"method": "elicitation/create", "params": {"message": "who?"}});
                    let wants = json!({"resultType": "input_required", "inputRequests": {"who": question}, "requestState": "with the state"});
                    self.reply(id, &wants.to_string()).await;
                }
            },
            "number" => self.content(id, &self.number.to_string()).await,
            "crash" => drop(self.out.lock().await.take()),
            other => {
                self.say(&format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32602,"message":"unknown tool {other}"}}}}"#
                ))
                .await;
            }
        }
    }
}
