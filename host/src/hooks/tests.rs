//! Against a receiver that listens, and does as it is told.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fairlead_core::BoxFuture;
use fairlead_core::name::ServerName;
use fairlead_core::secret::{SecretError, SecretValue};
use fairlead_dial::NetDialer;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::*;

const PAUSE: Duration = Duration::from_millis(20);
const SECRET: &[u8] = b"a key of the receiver";

struct Known;

impl Secrets for Known {
    fn resolve<'a>(
        &'a self,
        _: &'a TenantName,
        reference: &'a SecretReference,
    ) -> BoxFuture<'a, Result<SecretValue, SecretError>> {
        Box::pin(async move {
            match reference.name().as_str() {
                "hook" => Ok(SecretValue::new(SECRET)),
                _ => Err(SecretError::Absent(reference.clone())),
            }
        })
    }
}

struct Then;

impl Clock for Then {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }
}

/// Answers each post with the next of its statuses, and with the last one for ever.
struct Receiver {
    address: String,
    posts: Arc<Mutex<Vec<String>>>,
    seen: Arc<Notify>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.cancel();
        self.tasks.close();
    }
}

impl Receiver {
    async fn new(statuses: &'static [u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (posts, seen) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (log, notify, end) = (Arc::clone(&posts), Arc::clone(&seen), stop.clone());
        tasks.spawn(async move {
            let count = AtomicUsize::new(0);
            loop {
                let (mut stream, _) = tokio::select! {
                    () = end.cancelled() => return,
                    accepted = listener.accept() => accepted.unwrap(),
                };
                let mut text = Vec::new();
                let mut buffer = [0; 4_096];
                while !is_whole(&text) {
                    let read = stream.read(&mut buffer).await.unwrap();
                    assert!(read > 0, "the post broke off");
                    text.extend_from_slice(&buffer[..read]);
                }
                log.lock().push(String::from_utf8(text).unwrap());
                let at = count.fetch_add(1, Ordering::SeqCst).min(statuses.len() - 1);
                let answer = format!("HTTP/1.1 {} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", statuses[at]);
                stream.write_all(answer.as_bytes()).await.unwrap();
                notify.notify_waiters();
                notify.notify_one();
            }
        });
        Self { address, posts, seen, tasks, stop }
    }

    fn hook(&self, path: &str) -> HookConfig {
        HookConfig {
            url: HookUrl::try_from(format!("http://{}{path}", self.address)).unwrap(),
            secret: SecretReference::typed("hook").unwrap(),
            tenants: Vec::new(),
            only_urgent: false,
        }
    }

    fn posts(&self) -> Vec<String> {
        self.posts.lock().clone()
    }
}

fn is_whole(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
    body.len() >= length.parse().unwrap()
}

fn header<'a>(post: &'a str, name: &str) -> &'a str {
    post.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
}

/// With pauses that nobody has to wait for: 20 ms, 40 ms, 80 ms, and then no more.
fn hooks(hooks: Vec<HookConfig>) -> Arc<Hooks> {
    let mut hooks = Hooks::new(hooks, Arc::new(NetDialer::new()), Arc::new(Known), Arc::new(Then));
    let own = Arc::get_mut(&mut hooks).unwrap();
    own.backoff = Backoff { first: PAUSE, failures_max: 4, ..own.backoff };
    hooks
}

fn key(tenant: &str) -> ServerKey {
    ServerKey { tenant: TenantName::new(tenant).unwrap(), name: ServerName::new("notes").unwrap() }
}

fn message(topic: &str, urgent: bool) -> Message {
    let text = "the update to sha256:1 has failed".to_owned();
    Message { topic: topic.to_owned(), text, urgent, at: Timestamp::from_second(1_799_999_000).unwrap() }
}

/// Tells, and waits until it was taken.
async fn told(hooks: &Arc<Hooks>, key: &ServerKey, message: &Message) {
    let done = Arc::new(Notify::new());
    let then = Arc::clone(&done);
    assert_eq!(hooks.tell(key, message, move || then.notify_one()), Telling::Begun);
    timeout(Duration::from_secs(60), done.notified()).await.expect("nobody took it");
    assert_eq!(hooks.tell(key, message, || {}), Telling::Done);
}

#[tokio::test]
async fn a_message_is_posted_with_a_signature_that_its_receiver_can_check() {
    let receiver = Receiver::new(&[204]).await;
    let hooks = hooks(vec![receiver.hook("/updates?token=t")]);
    told(&hooks, &key("default"), &message("failed:3", true)).await;
    let posts = receiver.posts();
    assert_eq!(posts.len(), 1);
    let (head, body) = posts[0].split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /updates?token=t HTTP/1.1\r\n"), "{head}");
    let (id, time) = (header(head, "webhook-id"), header(head, "webhook-timestamp"));
    let expected = signature::sign(&SecretValue::new(SECRET), id, time.parse().unwrap(), body.as_bytes()).unwrap();
    assert_eq!(header(head, "webhook-signature"), expected);
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!((&body["data"]["server"], &body["data"]["urgent"]), (&"notes".into(), &true.into()));
    assert_eq!(body["data"]["topic"], "failed:3");
    hooks.close().await;
}

#[tokio::test]
async fn a_receiver_that_fails_is_told_again_with_the_same_identity_and_longer_pauses() {
    let receiver = Receiver::new(&[500, 503, 429, 200]).await;
    let hooks = hooks(vec![receiver.hook("/")]);
    let began = tokio::time::Instant::now();
    told(&hooks, &key("default"), &message("a", false)).await;
    let posts = receiver.posts();
    assert_eq!(posts.len(), 4);
    let ids: std::collections::BTreeSet<_> = posts.iter().map(|post| header(post, "webhook-id")).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert!(began.elapsed() >= PAUSE * 7, "it waited {:?}", began.elapsed());
    hooks.close().await;
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_not_told_again_and_one_that_never_answers_is_given_up() {
    let gone = Receiver::new(&[410]).await;
    let hooks_of_gone = hooks(vec![gone.hook("/")]);
    told(&hooks_of_gone, &key("default"), &message("a", false)).await;
    assert_eq!(gone.posts().len(), 1);
    // A port on which nobody listens.
    let nobody = HookConfig { url: HookUrl::try_from("http://127.0.0.1:1/".to_owned()).unwrap(), ..gone.hook("/") };
    let hooks = hooks(vec![nobody]);
    told(&hooks, &key("default"), &message("a", false)).await;
    hooks.close().await;
}

#[tokio::test]
async fn a_receiver_that_hangs_holds_up_nobody_and_a_message_under_way_is_not_posted_twice() {
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let receiver = Receiver::new(&[200]).await;
    let hangs = HookUrl::try_from(format!("http://{}/", deaf.local_addr().unwrap())).unwrap();
    let hooks = hooks(vec![HookConfig { url: hangs, ..receiver.hook("/") }, receiver.hook("/")]);
    for expected in [Telling::Begun, Telling::UnderWay, Telling::UnderWay] {
        assert_eq!(hooks.tell(&key("default"), &message("a", false), || {}), expected);
    }
    timeout(Duration::from_secs(10), receiver.seen.notified()).await.expect("the other is told at once");
    assert_eq!(receiver.posts().len(), 1);
    // A stop does not wait for it: the message stays in its record.
    timeout(Duration::from_secs(5), hooks.close()).await.expect("a stop waits for a receiver that hangs");
}

#[tokio::test]
async fn a_hook_hears_of_its_tenants_and_of_what_it_wants() {
    let receiver = Receiver::new(&[200]).await;
    let of_red = HookConfig { tenants: vec![TenantName::new("red").unwrap()], ..receiver.hook("/red") };
    let urgent = HookConfig { only_urgent: true, ..receiver.hook("/urgent") };
    let hooks = hooks(vec![of_red, urgent]);
    assert_eq!(hooks.tell(&key("blue"), &message("a", false), || {}), Telling::Unwanted);
    told(&hooks, &key("blue"), &message("b", true)).await;
    told(&hooks, &key("red"), &message("c", false)).await;
    let lines: Vec<_> =
        receiver.posts().iter().map(|post| post.lines().next().unwrap_or_default().to_owned()).collect();
    assert_eq!(lines, ["POST /urgent HTTP/1.1", "POST /red HTTP/1.1"]);
    hooks.close().await;
}

#[test]
fn a_receiver_is_told_for_a_day_and_given_up_before_the_second_has_ended() {
    let backoff = hooks(Vec::new()).backoff;
    let backoff = Backoff { first: HOOK_RETRY_FIRST, failures_max: HOOK_TRIES_MAX, ..backoff };
    let whole: Duration = (1..).map_while(|failures| backoff.delay(failures)).sum();
    let hours = whole.as_secs() / 3_600;
    assert!((24..48).contains(&hours), "{hours} hours");
}

#[test]
fn an_address_is_shown_without_what_may_be_secret_and_one_with_a_password_is_refused() {
    let url = |text: &str| HookUrl::try_from(text.to_owned());
    assert_eq!(format!("{:?}", url("https://a.test/x?token=t").unwrap()), "HookUrl(https://a.test:443/x)");
    for wrong in ["a.test", "ftp://a.test/", "https://u:p@a.test/", "https:///x", ""] {
        assert_eq!(url(wrong), Err(HookUrlError), "{wrong}");
    }
}
