//! The log sink of the daemon: a queue and a thread behind it.
//!
//! The one who drains a server's pipe must never wait for a disk, so a line is queued or, when the disk cannot keep up,
//! dropped and counted; the log then says how many are missing.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};

use fairlead_core::clock::Clock;
use fairlead_core::logs::{LogLine, LogSink, LogSource};
use fairlead_core::name::ServerKey;
use parking_lot::Mutex;

use super::rotate::{self, RotatingFile};
use crate::limits::{FAILURE_LOG_LINES, LOG_FILES_OPEN_MAX, LOG_IDLE_MAX, LOG_QUEUE_LINES_MAX};

/// Writes `<logs>/<tenant>/<server>.log` and, of what stands before the server, `<server>.proxy.log` beside it. A name of a
/// server has no dot in it, so neither can be that of another.
pub(crate) struct FileSink {
    directory: PathBuf,
    clock: Arc<dyn Clock>,
    queue: Mutex<Option<SyncSender<Item>>>,
    dropped: Arc<AtomicU64>,
    recent: Mutex<HashMap<ServerKey, VecDeque<String>>>,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl std::fmt::Debug for FileSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileSink").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// What the thread is told.
enum Item {
    Line {
        path: PathBuf,
        text: String,
    },
    /// Close the file and remove it with what was put aside.
    Remove(PathBuf),
}

impl FileSink {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(crate) fn new(directory: PathBuf, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let (queue, items) = sync_channel(LOG_QUEUE_LINES_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&dropped);
        let writer = std::thread::Builder::new().name("logs".to_owned()).spawn(move || write_all(&items, &counter))?;
        Ok(Self {
            directory,
            clock,
            queue: Mutex::new(Some(queue)),
            dropped,
            recent: Mutex::default(),
            writer: Mutex::new(Some(writer)),
        })
    }

    /// Where the log of a server lies.
    #[must_use]
    pub(crate) fn path(&self, server: &ServerKey) -> PathBuf {
        path(&self.directory, server)
    }

    /// Where what the data plane and the plugins say about a server lies.
    #[must_use]
    pub(crate) fn path_of_proxy(&self, server: &ServerKey) -> PathBuf {
        self.path(server).with_extension("proxy.log")
    }

    /// The last words of a server, oldest first.
    #[must_use]
    pub(crate) fn recent(&self, server: &ServerKey) -> Vec<String> {
        self.recent.lock().get(server).map(|lines| lines.iter().cloned().collect()).unwrap_or_default()
    }

    /// Forgets the last words of a server; its file stays.
    pub(crate) fn forget(&self, server: &ServerKey) {
        self.recent.lock().remove(server);
    }

    /// Removes the log of a server.
    pub(crate) fn remove(&self, server: &ServerKey) {
        self.forget(server);
        self.send(Item::Remove(self.path(server)));
        self.send(Item::Remove(self.path_of_proxy(server)));
    }

    /// Writes what is queued and ends. Blocking.
    pub(crate) fn close(&self) {
        self.queue.lock().take();
        if let Some(writer) = self.writer.lock().take() {
            // It cannot fail: it has nothing to say, and a panic in it was reported when it happened.
            let _ = writer.join();
        }
    }

    fn send(&self, item: Item) {
        let queue = self.queue.lock();
        if queue.as_ref().is_none_or(|queue| queue.try_send(item).is_err()) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl LogSink for FileSink {
    fn write(&self, line: LogLine<'_>) {
        let mut text = format!("{:.3} ", self.clock.now());
        // Writing to a string cannot fail.
        let _ = match line.source {
            LogSource::Stderr => write!(text, "stderr"),
            LogSource::Stdout => write!(text, "stdout"),
            LogSource::Supervision => write!(text, "fairlead"),
            LogSource::Plugin(name) => write!(text, "plugin:{name}"),
            LogSource::Proxy => write!(text, "proxy"),
        };
        if line.workload > 0 {
            let _ = write!(text, "/{}", line.workload);
        }
        let _ = writeln!(text, " {}", line.text);
        if *line.source == LogSource::Stderr {
            let mut recent = self.recent.lock();
            let lines = recent.entry(line.server.clone()).or_default();
            if lines.len() == FAILURE_LOG_LINES {
                lines.pop_front();
            }
            lines.push_back(line.text.to_owned());
        }
        let path = match line.source {
            LogSource::Plugin(_) | LogSource::Proxy => self.path_of_proxy(line.server),
            LogSource::Stderr | LogSource::Stdout | LogSource::Supervision => self.path(line.server),
        };
        self.send(Item::Line { path, text });
    }
}

fn path(directory: &Path, server: &ServerKey) -> PathBuf {
    directory.join(server.tenant.as_str()).join(format!("{}.log", server.name))
}

fn write_all(items: &Receiver<Item>, dropped: &AtomicU64) {
    let mut files: HashMap<PathBuf, RotatingFile> = HashMap::new();
    loop {
        let item = match items.recv_timeout(LOG_IDLE_MAX) {
            Ok(item) => item,
            Err(RecvTimeoutError::Timeout) => {
                files.clear();
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        match item {
            Item::Line { path, text } => {
                let missing = dropped.swap(0, Ordering::Relaxed);
                if missing > 0 {
                    tracing::warn!(lines = missing, "log lines were dropped: the disk could not keep up");
                }
                if let Err(error) = write_one(&mut files, &path, text.as_bytes()) {
                    files.remove(&path);
                    tracing::warn!(path = %path.display(), %error, "a log line was lost");
                }
            }
            Item::Remove(path) => {
                files.remove(&path);
                if let Err(error) = rotate::remove(&path) {
                    tracing::warn!(path = %path.display(), %error, "remove a log");
                }
            }
        }
    }
}

fn write_one(files: &mut HashMap<PathBuf, RotatingFile>, path: &Path, line: &[u8]) -> io::Result<()> {
    if let Some(file) = files.get_mut(path) {
        return file.write_line(line);
    }
    if files.len() >= LOG_FILES_OPEN_MAX {
        files.clear();
    }
    let mut file = RotatingFile::open(path)?;
    file.write_line(line)?;
    files.insert(path.to_owned(), file);
    Ok(())
}

/// Not the idle time of [`LOG_IDLE_MAX`], which would be a sleep in a test.
#[cfg(test)]
mod tests {
    use fairlead_core::name::{ServerName, TenantName};
    use jiff::Timestamp;

    use super::*;

    struct Frozen;

    impl Clock for Frozen {
        fn now(&self) -> Timestamp {
            Timestamp::from_millisecond(1_800_000_000_123).unwrap()
        }
    }

    fn server() -> ServerKey {
        ServerKey { tenant: TenantName::default(), name: ServerName::new("a").unwrap() }
    }

    fn say(sink: &FileSink, source: LogSource, workload: u64, text: &str) {
        sink.write(LogLine { server: &server(), source: &source, workload, text });
    }

    #[test]
    fn a_line_says_when_who_and_what() {
        let directory = tempfile::tempdir().unwrap();
        let sink = FileSink::new(directory.path().to_owned(), Arc::new(Frozen)).unwrap();
        say(&sink, LogSource::Supervision, 0, "started");
        say(&sink, LogSource::Stderr, 2, "hello");
        sink.close();
        let text = std::fs::read_to_string(directory.path().join("default/a.log")).unwrap();
        insta::assert_snapshot!(text, @r"
        2027-01-15T08:00:00.123Z fairlead started
        2027-01-15T08:00:00.123Z stderr/2 hello
        ");
    }

    #[test]
    fn what_stands_before_a_server_has_a_log_of_its_own_and_goes_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let sink = FileSink::new(directory.path().to_owned(), Arc::new(Frozen)).unwrap();
        say(&sink, LogSource::Stderr, 1, "from the server");
        say(&sink, LogSource::Plugin(fairlead_core::name::AttachmentName::new("guard").unwrap()), 0, "from a plugin");
        say(&sink, LogSource::Proxy, 0, "tools/call: -32603");
        let other = FileSink::new(directory.path().to_owned(), Arc::new(Frozen)).unwrap();
        sink.close();
        let read = |name: &str| std::fs::read_to_string(directory.path().join("default").join(name)).unwrap();
        insta::assert_snapshot!(read("a.proxy.log"), @r"
        2027-01-15T08:00:00.123Z plugin:guard from a plugin
        2027-01-15T08:00:00.123Z proxy tools/call: -32603
        ");
        assert!(read("a.log").ends_with("stderr/1 from the server\n"));
        other.remove(&server());
        other.close();
        assert_eq!(std::fs::read_dir(directory.path().join("default")).unwrap().count(), 0);
    }

    #[test]
    fn the_last_words_are_those_of_the_server_and_few() {
        let directory = tempfile::tempdir().unwrap();
        let sink = FileSink::new(directory.path().to_owned(), Arc::new(Frozen)).unwrap();
        for number in 0..FAILURE_LOG_LINES + 5 {
            say(&sink, LogSource::Stderr, 1, &number.to_string());
            say(&sink, LogSource::Supervision, 1, "ended");
        }
        let recent = sink.recent(&server());
        assert_eq!(recent.len(), FAILURE_LOG_LINES);
        assert_eq!(recent.last().map(String::as_str), Some("14"));
    }

    #[test]
    fn a_removed_log_is_gone_and_a_new_one_begins() {
        let directory = tempfile::tempdir().unwrap();
        let sink = FileSink::new(directory.path().to_owned(), Arc::new(Frozen)).unwrap();
        say(&sink, LogSource::Stderr, 1, "old");
        sink.remove(&server());
        say(&sink, LogSource::Stderr, 1, "new");
        sink.close();
        let text = std::fs::read_to_string(directory.path().join("default/a.log")).unwrap();
        assert!(text.ends_with("new\n") && !text.contains("old"), "{text}");
    }
}
