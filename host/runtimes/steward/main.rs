//! The steward: starts a process for each session inside one container, and carries their pipes over the container's own.
//!
//! It stands in front of a server that speaks stdio, so that a session costs a process and not a container. Nothing but the
//! standard library, so that it is one static file that runs in any image. Usage: `steward PROGRAM [ARGUMENT...]`.
//!
//! Frames go both ways: one byte that says what it is, the number of the session in four bytes, the length in four bytes (both
//! big-endian), and so many bytes. To the steward come `o`pen, `i`nput, `e`nd of input, `w`indow (so many more bytes of output
//! are welcome) and `s`ignal; from it come `o`utput, `l`og (standard error), `x` (the end: `c`ode or `s`ignal and a number) and
//! `w`indow (so many more bytes of input). What is not welcome yet waits in the pipe of its own process, so that nobody who
//! reads slowly holds up another session. When its input ends, so does everything.

use std::collections::HashMap;
use std::io::{self, Read, StdinLock, Stdout, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// One read from the pipe of a process.
const CHUNK_BYTES: usize = 32 * 1024;

/// No frame is longer.
const FRAME_BYTES_MAX: usize = 1024 * 1024;

/// Of a thread that only copies.
const STACK_BYTES: usize = 64 * 1024;

unsafe extern "C" {
    /// The C library's, which the standard library is linked with.
    safe fn kill(process: i32, signal: i32) -> i32;
}

type Out = Arc<Mutex<Stdout>>;

/// What the thread that reads frames knows of a session.
struct Session {
    group: i32,
    input: Sender<Option<Vec<u8>>>,
    windows: [Arc<Window>; 2],
}

/// How many bytes of one output are welcome.
#[derive(Default)]
struct Window {
    bytes: Mutex<usize>,
    changed: Condvar,
}

impl Window {
    fn add(&self, bytes: usize) {
        let mut room = lock(&self.bytes);
        *room = room.saturating_add(bytes);
        self.changed.notify_all();
    }

    /// Waits until something is welcome, and says how much.
    fn wait(&self) -> usize {
        let mut room = lock(&self.bytes);
        while *room == 0 {
            room = self.changed.wait(room).unwrap_or_else(PoisonError::into_inner);
        }
        *room
    }

    fn take(&self, taken: usize) {
        let mut room = lock(&self.bytes);
        *room = room.saturating_sub(taken);
    }
}

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    if words.is_empty() {
        eprintln!("usage: steward PROGRAM [ARGUMENT...]");
        return ExitCode::from(2);
    }
    let out: Out = Arc::new(Mutex::new(io::stdout()));
    let sessions = Arc::new(Mutex::new(HashMap::<u32, Session>::new()));
    let mut frames = io::stdin().lock();
    while let Ok((kind, number, content)) = frame(&mut frames) {
        if kind == b'o' {
            // Held until it is in: a process that ends at once is taken out after that, and not before.
            let mut known = lock(&sessions);
            match begin(&words, number, &out, &sessions) {
                Ok(session) => drop(known.insert(number, session)),
                Err(error) => {
                    drop(known);
                    send(&out, b'l', number, format!("start {:?}: {error}\n", words[0]).as_bytes());
                    send(&out, b'x', number, &end(b'c', 127));
                }
            }
            continue;
        }
        let sessions = lock(&sessions);
        let Some(session) = sessions.get(&number) else { continue };
        match kind {
            b'i' => drop(session.input.send(Some(content))),
            b'e' => drop(session.input.send(None)),
            b'w' => {
                if let [which, bytes @ ..] = &content[..]
                    && let Some(window) = session.windows.get(usize::from(*which))
                {
                    window.add(number_of(bytes) as usize);
                }
            }
            b's' => drop(kill(-session.group, number_of(&content) as i32)),
            _ => {}
        }
    }
    // Nobody is there any more: everything ends with the container.
    for session in lock(&sessions).values() {
        kill(-session.group, 9);
    }
    ExitCode::SUCCESS
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn number_of(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| (number << 8) | u32::from(*byte))
}

fn frame(from: &mut StdinLock<'_>) -> io::Result<(u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    from.read_exact(&mut head)?;
    let length = number_of(&head[5..]) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut content = vec![0; length];
    from.read_exact(&mut content)?;
    Ok((head[0], number_of(&head[1..5]), content))
}

fn send(out: &Out, kind: u8, number: u32, content: &[u8]) {
    let mut head = [kind, 0, 0, 0, 0, 0, 0, 0, 0];
    head[1..5].copy_from_slice(&number.to_be_bytes());
    head[5..].copy_from_slice(&(content.len() as u32).to_be_bytes());
    let mut out = lock(out);
    // Nobody reads: the input ends as well, and then everything does.
    let _ = out.write_all(&head).and_then(|()| out.write_all(content)).and_then(|()| out.flush());
}

fn end(how: u8, number: i32) -> [u8; 5] {
    let mut end = [how, 0, 0, 0, 0];
    end[1..].copy_from_slice(&number.to_be_bytes());
    end
}

/// Starts the process of a session, of a group of its own.
fn begin(
    words: &[std::ffi::OsString],
    number: u32,
    out: &Out,
    sessions: &Arc<Mutex<HashMap<u32, Session>>>,
) -> io::Result<Session> {
    let mut child = Command::new(&words[0])
        .args(&words[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let group = child.id() as i32;
    let windows = [Arc::new(Window::default()), Arc::new(Window::default())];
    let (input, inputs) = mpsc::channel();
    let spawn = |work: Box<dyn FnOnce() + Send>| thread::Builder::new().stack_size(STACK_BYTES).spawn(work);
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let started = (|| {
        let told = Arc::clone(out);
        spawn(Box::new(move || feed(stdin, &inputs, &told, number)))?;
        let (told, window) = (Arc::clone(out), Arc::clone(&windows[0]));
        let output = spawn(Box::new(move || carry(stdout, &told, b'o', number, &window)))?;
        let (told, window) = (Arc::clone(out), Arc::clone(&windows[1]));
        let log = spawn(Box::new(move || carry(stderr, &told, b'l', number, &window)))?;
        Ok((output, log))
    })();
    let (output, log) = match started {
        Ok(started) => started,
        Err(error) => {
            kill(-group, 9);
            let _ = child.wait();
            return Err(error);
        }
    };
    let (told, known) = (Arc::clone(out), Arc::clone(sessions));
    let minding = spawn(Box::new(move || {
        let how = wait(&mut child);
        // What it had started must not outlive it.
        kill(-group, 9);
        // What it wrote last is still wanted, as soon as there is room for it.
        let _ = (output.join(), log.join());
        lock(&known).remove(&number);
        send(&told, b'x', number, &how);
    }));
    if let Err(error) = minding {
        kill(-group, 9);
        return Err(error);
    }
    Ok(Session { group, input, windows })
}

fn wait(child: &mut Child) -> [u8; 5] {
    match child.wait() {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => end(b'c', code),
            (None, Some(signal)) => end(b's', signal),
            (None, None) => end(b'c', -1),
        },
        Err(_) => end(b'c', -1),
    }
}

/// Input of a process, in the order in which it came; what was written makes room for as much.
fn feed(stdin: Option<ChildStdin>, inputs: &Receiver<Option<Vec<u8>>>, out: &Out, number: u32) {
    let Some(mut stdin) = stdin else { return };
    while let Ok(Some(bytes)) = inputs.recv() {
        // A process that reads no more has its reasons; the sender is not held up.
        let _ = stdin.write_all(&bytes);
        send(out, b'w', number, &(bytes.len() as u32).to_be_bytes());
    }
}

fn carry(from: Option<impl Read>, out: &Out, kind: u8, number: u32, window: &Window) {
    let Some(mut from) = from else { return };
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let room = window.wait().min(CHUNK_BYTES);
        match from.read(&mut chunk[..room]) {
            Ok(0) | Err(_) => return,
            Ok(read) => {
                window.take(read);
                send(out, kind, number, &chunk[..read]);
            }
        }
    }
}
