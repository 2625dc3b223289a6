//! Sessions of one server together in one container: a process each, started by a steward of ours that stands in front.
//!
//! The container is made for the first of them, with everything shut as for any other, and is gone soon after the last. The
//! steward (`steward/main.rs`) is a static file that is mounted read-only; its frames carry the pipes of all processes over the
//! two of the container. Each pipe has a window: so many bytes may be on their way, the rest waits in the process that writes
//! them, so that a client that reads slowly stops its own process and nobody else's.
//!
//! What runs beside the steward is of the same user and may speak in its name. So nothing is believed that would cost this side
//! memory: a container that says more than is welcome, or makes room for more than it was given, is ended.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use fairlead_core::BoxFuture;
use fairlead_core::image::ImageSource;
use fairlead_core::workload::{Exit, Launch, Stdin, Stdout, Usage, Workload, WorkloadHandle};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::images::Image;
use crate::limits::{
    CONTAINER_KILL_WAIT, STEWARD_FRAME_BYTES_MAX, STEWARD_LINGER, STEWARD_SESSIONS_MAX, STEWARD_WINDOW_BYTES,
};
use crate::orders::{self, Owner, due};

/// The program, static; empty where it could not be compiled.
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/steward"));

/// Where it is in a container.
pub(super) const PLACE: &str = "/.fairlead-steward";

const TERMINATE: u32 = 15;
const KILL: u32 = 9;

/// Whether there is one.
pub(super) fn exists() -> bool {
    !PROGRAM.is_empty()
}

/// What a container is told that begins with a steward.
#[derive(Debug, Clone)]
pub(super) struct Aboard {
    /// The program, on this machine.
    pub(super) program: PathBuf,
    /// What it starts for each session.
    pub(super) words: Vec<String>,
}

impl Aboard {
    /// For the sessions of one image. `directory` is where the program is kept.
    pub(super) fn new(directory: &Path, source: &ImageSource, image: &Image) -> io::Result<Self> {
        let own = !source.command.is_empty();
        let begin = if own { &source.command } else { &image.entrypoint };
        // As an engine does: the image's arguments are those of the image's own program.
        let rest = if source.args.is_empty() && !own { &image.arguments } else { &source.args };
        Ok(Self { program: program(directory)?, words: begin.iter().chain(rest).cloned().collect() })
    }
}

/// Puts the program where an engine finds it, once for each version of it.
fn program(directory: &Path) -> io::Result<PathBuf> {
    let digest: String = Sha256::digest(PROGRAM).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let path = directory.join(format!("steward-{digest}"));
    if !path.exists() {
        fs::create_dir_all(directory)?;
        let scratch = directory.join(format!("steward-{digest}.{}", std::process::id()));
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o555).open(&scratch)?;
        io::Write::write_all(&mut file, PROGRAM)?;
        file.set_permissions(fs::Permissions::from_mode(0o555))?;
        fs::rename(&scratch, &path)?;
    }
    Ok(path)
}

// === who has one ===

/// The stewards of a runtime, by what they start.
#[derive(Default)]
pub(super) struct Stewards {
    by_launch: Mutex<HashMap<u64, Arc<Berth>>>,
    seed: RandomState,
    /// Nobody comes any more: a container without sessions is not kept for another.
    pub(super) leaving: CancellationToken,
}

/// The place of one; held while it is being made, so that many sessions at once make one.
type Berth = tokio::sync::Mutex<Weak<Steward>>;

impl Stewards {
    /// The place for what this launch starts.
    pub(super) fn berth(&self, launch: &Launch, source: &ImageSource, image: &Image) -> Arc<Berth> {
        let env: Vec<_> = launch.env.iter().map(|(name, value)| (name, value.as_str())).collect();
        let key = self.seed.hash_one((&launch.server, env, format!("{source:?}"), &image.id));
        let mut berths = self.by_launch.lock();
        berths.retain(|_, berth| {
            Arc::strong_count(berth) > 1 || berth.try_lock().is_ok_and(|one| one.strong_count() > 0)
        });
        Arc::clone(berths.entry(key).or_default())
    }
}

// === Steward ===

/// One, with its container.
pub(super) struct Steward {
    frames: Frames,
    sessions: Mutex<BTreeMap<u32, Arc<Session>>>,
    next: Mutex<u32>,
    /// The container; dropping it ends everything.
    container: Box<dyn WorkloadHandle>,
    over: CancellationToken,
}

/// Frames on their way, each of input with the session whose it is.
type Frames = mpsc::UnboundedSender<(Bytes, Option<Arc<Session>>)>;

/// One process, seen from here.
struct Session {
    number: u32,
    frames: Frames,
    /// Standard output and standard error.
    outputs: [Mutex<Output>; 2],
    input: Mutex<Input>,
    exit: tokio::sync::watch::Sender<Option<Exit>>,
}

/// What came and was not read yet; never more than the window.
#[derive(Default)]
struct Output {
    parts: VecDeque<Bytes>,
    /// So many bytes are welcome.
    room: usize,
    /// Nobody will read what comes.
    abandoned: bool,
    /// Read since the window was told.
    read: usize,
    ended: bool,
    waker: Option<Waker>,
}

struct Input {
    /// So many bytes may be sent.
    room: usize,
    /// So many were given to the container and not yet to its process.
    given: usize,
    closed: bool,
    waker: Option<Waker>,
}

/// What stands before the content of a frame.
const HEAD_BYTES: usize = 9;

/// A frame. The queue of frames has no bound of its own: each of what it holds is bounded by a window.
fn frame(kind: u8, number: u32, content: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEAD_BYTES + content.len());
    frame.put_u8(kind);
    frame.put_u32(number);
    frame.put_u32(u32::try_from(content.len()).unwrap_or(u32::MAX));
    frame.put_slice(content);
    frame.freeze()
}

impl Steward {
    /// Takes over a container that has just started.
    pub(super) fn begin(container: Workload, tasks: &TaskTracker) -> Arc<Self> {
        let Workload { stdin, stdout, stderr, handle, .. } = container;
        let (frames, queue) = mpsc::unbounded_channel();
        let over = CancellationToken::new();
        let steward = Arc::new(Self {
            frames,
            sessions: Mutex::default(),
            next: Mutex::new(0),
            container: handle,
            over: over.clone(),
        });
        tasks.spawn(write(queue, stdin, over.clone()));
        tasks.spawn(read(Arc::downgrade(&steward), stdout, over.clone()));
        tasks.spawn(drain(stderr, over));
        steward
    }

    /// Whether it can start another one.
    pub(super) fn has_room(&self) -> bool {
        !self.over.is_cancelled() && self.sessions.lock().len() < STEWARD_SESSIONS_MAX
    }

    /// Starts a process.
    pub(super) fn start(self: &Arc<Self>, tasks: &TaskTracker, leaving: &CancellationToken) -> Workload {
        let number = {
            let mut next = self.next.lock();
            *next = next.wrapping_add(1);
            *next
        };
        let session = Arc::new(Session {
            number,
            frames: self.frames.clone(),
            outputs: [Mutex::default(), Mutex::default()],
            input: Mutex::new(Input { room: STEWARD_WINDOW_BYTES, given: 0, closed: false, waker: None }),
            exit: tokio::sync::watch::Sender::new(None),
        });
        self.sessions.lock().insert(number, Arc::clone(&session));
        session.send(b'o', &[]);
        for which in [0, 1] {
            session.welcome(which, STEWARD_WINDOW_BYTES);
        }
        let (owner, mut charge) = orders::pair();
        let (steward, minded, leaving) = (Arc::clone(self), Arc::clone(&session), leaving.clone());
        tasks.spawn(async move {
            let mut exit = minded.exit.subscribe();
            let mut kill_at = None;
            let exit = loop {
                tokio::select! {
                    ended = exit.wait_for(Option::is_some) => {
                        break ended.ok().and_then(|exit| exit.clone()).unwrap_or_else(orders::given_up);
                    }
                    order = charge.order() => match order {
                        Some(order) => {
                            kill_at = Some(order);
                            minded.signal(TERMINATE);
                        }
                        // Nobody holds it any more, and nobody will read what it wrote last.
                        None => {
                            minded.signal(KILL);
                            minded.abandon();
                            break orders::given_up();
                        }
                    },
                    () = due(kill_at) => {
                        kill_at = None;
                        minded.signal(KILL);
                    }
                }
            };
            charge.ended(exit);
            // The next session may come at once, and is not to pay for a container.
            tokio::select! {
                () = sleep(STEWARD_LINGER) => {}
                () = leaving.cancelled() => {}
                () = steward.over.cancelled() => {}
            }
            drop(steward);
        });
        let output = |which| Box::new(Reading { session: Arc::clone(&session), which }) as Stdout;
        let (stdout, stderr) = (output(0), output(1));
        let stdin: Stdin = Box::new(Writing(Arc::clone(&session)));
        let handle = Box::new(Handle { owner, session, steward: Arc::downgrade(self) });
        // It cannot outlive this daemon: the steward ends with its input, and everything with it.
        Workload { id: None, stdin, stdout, stderr, handle }
    }

    /// A frame from the container. False when it is none that may come.
    fn take(&self, kind: u8, number: u32, mut content: Bytes) -> bool {
        let Some(session) = self.sessions.lock().get(&number).cloned() else { return true };
        match kind {
            b'o' => session.came(0, content),
            b'l' => session.came(1, content),
            b'w' if content.len() == 4 => session.has_room(usize::try_from(content.get_u32()).unwrap_or(usize::MAX)),
            b'x' if content.len() == 5 => {
                let (how, value) = (content.get_u8(), content.get_i32());
                self.sessions.lock().remove(&number);
                session.ended(if how == b's' { Exit::Signal(value) } else { Exit::Code(value) });
                true
            }
            _ => false,
        }
    }

    /// The container is gone, and all processes with it.
    fn end(&self, exit: &Exit) {
        self.over.cancel();
        let sessions = std::mem::take(&mut *self.sessions.lock());
        for session in sessions.into_values() {
            session.ended(exit.clone());
        }
    }
}

impl Drop for Steward {
    fn drop(&mut self) {
        self.over.cancel();
    }
}

async fn write(
    mut queue: mpsc::UnboundedReceiver<(Bytes, Option<Arc<Session>>)>,
    mut stdin: Stdin,
    over: CancellationToken,
) {
    let writing = async {
        while let Some((frame, session)) = queue.recv().await {
            if let Some(session) = session {
                session.given(frame.len() - HEAD_BYTES);
            }
            if stdin.write_all(&frame).await.is_err() || stdin.flush().await.is_err() {
                return;
            }
        }
    };
    let _ = over.run_until_cancelled(writing).await;
}

async fn drain(mut stderr: Stdout, over: CancellationToken) {
    let mut sink = tokio::io::sink();
    let _ = over.run_until_cancelled(tokio::io::copy(&mut stderr, &mut sink)).await;
}

/// Reads frames until the container ends.
async fn read(steward: Weak<Steward>, mut stdout: Stdout, over: CancellationToken) {
    let reading = async {
        loop {
            let (kind, number) = (stdout.read_u8().await.ok()?, stdout.read_u32().await.ok()?);
            let length = usize::try_from(stdout.read_u32().await.ok()?).ok()?;
            if length > STEWARD_FRAME_BYTES_MAX {
                return None::<()>;
            }
            let mut content = vec![0; length];
            stdout.read_exact(&mut content).await.ok()?;
            if !steward.upgrade()?.take(kind, number, content.into()) {
                tracing::warn!("a container said what no steward says, and is ended");
                return None;
            }
        }
    };
    let _ = over.run_until_cancelled(reading).await;
    let Some(steward) = steward.upgrade() else { return };
    // It has ended, or nothing that it says makes sense any more.
    let exit = steward.container.stop(Duration::ZERO).await;
    steward.end(&exit);
}

// === Session ===

impl Session {
    fn send(&self, kind: u8, content: &[u8]) {
        // The container is gone: whoever waits is told by its end.
        let _ = self.frames.send((frame(kind, self.number, content), None));
    }

    fn signal(&self, signal: u32) {
        self.send(b's', &signal.to_be_bytes());
    }

    /// So many more bytes of an output are welcome.
    fn welcome(&self, which: u8, bytes: usize) {
        if let Some(output) = self.outputs.get(usize::from(which)) {
            let mut output = output.lock();
            output.room = output.room.saturating_add(bytes);
        }
        self.invite(which, bytes);
    }

    fn invite(&self, which: u8, bytes: usize) {
        let mut content = vec![which];
        content.put_u32(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.send(b'w', &content);
    }

    /// What it still writes is not waited for by anybody, and not kept.
    fn abandon(&self) {
        for output in &self.outputs {
            let mut output = output.lock();
            output.abandoned = true;
            output.parts.clear();
        }
        for which in [0, 1] {
            self.welcome(which, usize::MAX);
        }
    }

    /// False when it is more than was welcome.
    fn came(&self, which: usize, content: Bytes) -> bool {
        let Some(output) = self.outputs.get(which) else { return false };
        let mut output = output.lock();
        if output.abandoned || content.is_empty() {
            return true;
        }
        let Some(room) = output.room.checked_sub(content.len()) else { return false };
        output.room = room;
        output.parts.push_back(content);
        output.waker.take().inspect(Waker::wake_by_ref);
        true
    }

    /// So many bytes of input are on their way into the container.
    fn given(&self, bytes: usize) {
        self.input.lock().given += bytes;
    }

    /// So many bytes of input have reached the process. False when there were not so many.
    fn has_room(&self, bytes: usize) -> bool {
        let mut input = self.input.lock();
        let Some(given) = input.given.checked_sub(bytes) else { return false };
        input.given = given;
        input.room = input.room.saturating_add(bytes);
        input.waker.take().inspect(Waker::wake_by_ref);
        true
    }

    fn ended(&self, exit: Exit) {
        for output in &self.outputs {
            let mut output = output.lock();
            output.ended = true;
            output.waker.take().inspect(Waker::wake_by_ref);
        }
        {
            let mut input = self.input.lock();
            input.closed = true;
            input.waker.take().inspect(Waker::wake_by_ref);
        }
        self.exit.send_replace(Some(exit));
    }

    fn close_input(&self) {
        let mut input = self.input.lock();
        if !std::mem::replace(&mut input.closed, true) {
            self.send(b'e', &[]);
        }
    }
}

struct Reading {
    session: Arc<Session>,
    which: u8,
}

impl AsyncRead for Reading {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(output) = self.session.outputs.get(usize::from(self.which)) else { return Poll::Ready(Ok(())) };
        let mut output = output.lock();
        let Some(part) = output.parts.front_mut() else {
            if output.ended {
                return Poll::Ready(Ok(()));
            }
            output.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let taken = part.split_to(part.len().min(buffer.remaining()));
        buffer.put_slice(&taken);
        if part.is_empty() {
            output.parts.pop_front();
        }
        output.read += taken.len();
        // Not for each byte: a quarter of the window is worth a frame.
        if output.read >= STEWARD_WINDOW_BYTES / 4 {
            let read = std::mem::take(&mut output.read);
            output.room = output.room.saturating_add(read);
            self.session.invite(self.which, read);
        }
        Poll::Ready(Ok(()))
    }
}

struct Writing(Arc<Session>);

impl AsyncWrite for Writing {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut input = self.0.input.lock();
        if input.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if input.room == 0 {
            input.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let part = bytes.get(..bytes.len().min(input.room)).unwrap_or(bytes);
        input.room -= part.len();
        let _ = self.0.frames.send((frame(b'i', self.0.number, part), Some(Arc::clone(&self.0))));
        Poll::Ready(Ok(part.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.close_input();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.close_input();
    }
}

/// A process as its owner holds it. Dropping it is the order to kill it now.
struct Handle {
    owner: Owner,
    session: Arc<Session>,
    /// Weak: whoever still holds a process that has ended does not keep the container.
    steward: Weak<Steward>,
}

impl WorkloadHandle for Handle {
    fn wait(&self) -> BoxFuture<'_, Exit> {
        self.owner.wait()
    }

    fn stop(&self, grace: Duration) -> BoxFuture<'_, Exit> {
        self.owner.stop(grace, CONTAINER_KILL_WAIT)
    }

    /// Of the whole container, told by the oldest of its sessions alone.
    fn usage(&self) -> BoxFuture<'_, Option<Usage>> {
        let steward = self.steward.upgrade();
        let oldest = steward.filter(|steward| steward.sessions.lock().keys().next() == Some(&self.session.number));
        Box::pin(async move {
            match oldest {
                Some(steward) => steward.container.usage().await,
                None => Some(Usage::default()),
            }
        })
    }
}

#[cfg(test)]
mod tests;
