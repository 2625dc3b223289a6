//! A process that is ready before its session: where sessions come one after the other, the next one does not wait for a start.
//!
//! One is started when a session is opened soon after another, so a server with a single client never has one. It has heard
//! nothing and said nothing that anybody saw, so it is any session's as well as a fresh one; who takes it too late takes none.

use std::pin::pin;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Duration, Instant};

use super::open::connect;
use super::pipe::Pipe;
use super::table::Sharing;
use crate::Proxy;
use crate::route::Published;

/// See the module.
#[derive(Default)]
pub(super) struct Spare {
    state: Mutex<State>,
    /// What was being started is there, or will not come.
    started: Notify,
}

#[derive(Default)]
struct State {
    ready: Option<(Instant, Arc<Pipe>)>,
    /// One is being started.
    starting: bool,
    /// When a session was opened last.
    opened: Option<Instant>,
    /// The route is gone: none is kept any more.
    closed: bool,
}

impl Spare {
    /// The process, if it is there and lives.
    pub(super) fn take(&self) -> Option<Arc<Pipe>> {
        let (_, pipe) = self.state.lock().ready.take()?;
        (!pipe.has_ended()).then_some(pipe)
    }

    /// The process that is being started, once it is there; for a session that the limit leaves no other.
    pub(super) async fn take_when_started(&self) -> Option<Arc<Pipe>> {
        let mut started = pin!(self.started.notified());
        started.as_mut().enable();
        if self.state.lock().starting {
            started.await;
        }
        self.take()
    }

    /// Takes note of a session that was opened. Whether a process should be started for the next one.
    fn is_wanted(&self, keep: Duration) -> bool {
        let mut state = self.state.lock();
        let before = state.opened.replace(Instant::now());
        let wanted = !keep.is_zero()
            && !state.closed
            && !state.starting
            && state.ready.is_none()
            && before.is_some_and(|before| before.elapsed() < keep);
        state.starting |= wanted;
        wanted
    }

    fn keep(&self, pipe: Option<Arc<Pipe>>) {
        let mut state = self.state.lock();
        state.starting = false;
        match pipe {
            Some(pipe) if state.closed => pipe.close(),
            pipe => state.ready = pipe.map(|pipe| (Instant::now(), pipe)),
        }
        drop(state);
        self.started.notify_waiters();
    }

    pub(super) fn expire(&self, keep: Duration) {
        let old = self.state.lock().ready.take_if(|(since, pipe)| since.elapsed() >= keep || pipe.has_ended());
        old.inspect(|(_, pipe)| pipe.close());
    }

    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.ready.take().inspect(|(_, pipe)| pipe.close());
    }
}

/// A session was opened: starts a process for the next one, where that is worth it.
pub(super) fn prepare(proxy: &Arc<Proxy>, route: &Arc<Published>) {
    if !route.access.spare().is_wanted(proxy.config.spare_keep) {
        return;
    }
    let (proxy, route) = (Arc::clone(proxy), Arc::downgrade(route));
    let tracker = proxy.tasks.clone();
    tracker.spawn(async move {
        let Some(route) = route.upgrade() else { return };
        // Why there is none is for the next session to find out.
        let pipe = connect(&route, Sharing::None, &proxy).await.ok();
        route.access.spare().keep(pipe);
    });
}

impl Drop for State {
    fn drop(&mut self) {
        self.ready.take().inspect(|(_, pipe)| pipe.close());
    }
}

#[cfg(test)]
mod tests {
    use fairlead_core::workload::StdioConnection;
    use tokio::io::{DuplexStream, duplex};
    use tokio::time::advance;
    use tokio_util::task::TaskTracker;

    use super::*;

    const KEEP: Duration = Duration::from_secs(60);

    /// A process that says nothing, and its side of the pipes.
    fn process() -> (Arc<Pipe>, [DuplexStream; 2]) {
        let (stdin, theirs_in) = duplex(64);
        let (stdout, theirs_out) = duplex(64);
        let connection = StdioConnection { stdin: Box::new(stdin), stdout: Box::new(stdout), lease: Box::new(()) };
        (Pipe::open(connection, Sharing::None, 1 << 20, &TaskTracker::new()), [theirs_in, theirs_out])
    }

    /// Whether it ends when its tasks have had their turns.
    async fn ends(pipe: &Pipe) -> bool {
        for _ in 0..64 {
            tokio::task::yield_now().await;
        }
        pipe.has_ended()
    }

    #[tokio::test(start_paused = true)]
    async fn one_is_wanted_where_sessions_follow_each_other_and_never_two() {
        let spare = Spare::default();
        assert!(!spare.is_wanted(KEEP), "the first session says nothing of a second");
        assert!(spare.is_wanted(KEEP));
        assert!(!spare.is_wanted(KEEP), "one is being started");
        let (pipe, _sides) = process();
        spare.keep(Some(Arc::clone(&pipe)));
        assert!(!spare.is_wanted(KEEP), "one is there");
        assert!(Arc::ptr_eq(&spare.take().unwrap(), &pipe));
        assert!(spare.take().is_none());
        assert!(!spare.is_wanted(Duration::ZERO));
        assert!(spare.is_wanted(KEEP));
        spare.keep(None);
        advance(KEEP).await;
        assert!(!spare.is_wanted(KEEP), "the one before was too long ago");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_nobody_takes_in_its_time_ends() {
        let (spare, (pipe, _sides)) = (Spare::default(), process());
        spare.keep(Some(Arc::clone(&pipe)));
        advance(KEEP - Duration::from_secs(1)).await;
        spare.expire(KEEP);
        assert!(!ends(&pipe).await);
        advance(Duration::from_secs(1)).await;
        spare.expire(KEEP);
        assert!(ends(&pipe).await);
        assert!(spare.take().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_comes_up_when_its_server_is_gone_ends() {
        let (spare, (waiting, _one), (late, _two)) = (Spare::default(), process(), process());
        spare.keep(Some(Arc::clone(&waiting)));
        spare.close();
        spare.keep(Some(Arc::clone(&late)));
        assert!(ends(&waiting).await && ends(&late).await);
        assert!(spare.take().is_none() && !spare.is_wanted(KEEP));
    }
}
