//! What a container says that is believed to be a steward, and what is not believed.

use tokio::io::{DuplexStream, duplex};
use tokio::sync::watch;
use tokio::time::timeout;

use super::*;

/// A container that ends when it is told to.
struct Told(watch::Sender<bool>);

impl WorkloadHandle for Told {
    fn wait(&self) -> BoxFuture<'_, Exit> {
        Box::pin(async {
            let _ = self.0.subscribe().wait_for(|ended| *ended).await;
            Exit::Signal(9)
        })
    }

    fn stop(&self, _: Duration) -> BoxFuture<'_, Exit> {
        self.0.send_replace(true);
        self.wait()
    }
}

/// A session of a container whose side a test plays.
async fn session(tasks: &TaskTracker) -> (Arc<Steward>, Workload, DuplexStream, DuplexStream) {
    let (stdin, theirs_in) = duplex(STEWARD_WINDOW_BYTES * 4);
    let (stdout, theirs_out) = duplex(STEWARD_WINDOW_BYTES * 4);
    let container = Workload {
        id: None,
        stdin: Box::new(stdin),
        stdout: Box::new(stdout),
        stderr: Box::new(tokio::io::empty()),
        handle: Box::new(Told(watch::Sender::new(false))),
    };
    let steward = Steward::begin(container, tasks);
    let session = steward.start(tasks, &CancellationToken::new());
    (steward, session, theirs_in, theirs_out)
}

/// How it ended; nothing while it goes on.
async fn end(session: &Workload) -> Option<Exit> {
    timeout(Duration::from_secs(60), session.handle.wait()).await.ok()
}

async fn says(out: &mut DuplexStream, kind: u8, content: &[u8]) {
    out.write_all(&frame(kind, 1, content)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_container_that_says_more_than_is_welcome_is_ended() {
    for which in [b'o', b'l'] {
        let tasks = TaskTracker::new();
        let (_steward, session, _in, mut out) = session(&tasks).await;
        says(&mut out, which, &vec![b'x'; STEWARD_WINDOW_BYTES]).await;
        says(&mut out, which, b"").await;
        sleep(Duration::from_secs(1)).await;
        assert!(futures_util::FutureExt::now_or_never(session.handle.wait()).is_none(), "so much is welcome");
        says(&mut out, which, b"x").await;
        assert_eq!(end(&session).await, Some(Exit::Signal(9)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_container_that_makes_room_for_what_it_was_not_given_is_ended() {
    let tasks = TaskTracker::new();
    let (_steward, mut session, _in, mut out) = session(&tasks).await;
    session.stdin.write_all(b"four").await.unwrap();
    sleep(Duration::from_secs(1)).await;
    says(&mut out, b'w', &4_u32.to_be_bytes()).await;
    sleep(Duration::from_secs(1)).await;
    assert!(futures_util::FutureExt::now_or_never(session.handle.wait()).is_none(), "it was given so much");
    says(&mut out, b'w', &1_u32.to_be_bytes()).await;
    assert_eq!(end(&session).await, Some(Exit::Signal(9)));
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_ends_the_container_and_its_sessions() {
    let tasks = TaskTracker::new();
    let (steward, session, _in, mut out) = session(&tasks).await;
    says(&mut out, b'?', b"").await;
    assert_eq!(end(&session).await, Some(Exit::Signal(9)));
    assert!(!steward.has_room());
}

#[tokio::test(start_paused = true)]
async fn what_a_session_writes_that_was_given_up_is_not_kept() {
    let tasks = TaskTracker::new();
    let (steward, session, _in, mut out) = session(&tasks).await;
    let minded = steward.sessions.lock().get(&1).cloned().unwrap();
    drop(session);
    sleep(Duration::from_secs(1)).await;
    for _ in 0..4 {
        says(&mut out, b'o', &vec![b'x'; STEWARD_WINDOW_BYTES]).await;
        sleep(Duration::from_millis(10)).await;
    }
    assert!(minded.outputs[0].lock().parts.is_empty());
    assert!(steward.has_room(), "it is no offence");
}
