//! One commit, fetched and walked.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gix::bstr::ByteSlice as _;
use gix::object::Kind;
use gix::progress::Discard;
use gix::remote::Direction;
use gix::remote::fetch::{Shallow, Tags};
use gix_transport::Protocol;
use gix_transport::client::blocking_io::http::Transport;

use crate::limits::{DEPTH_MAX, ENTRIES_MAX, FILES_BYTES_MAX, FILES_MAX, OBJECT_BYTES_MAX};
use crate::line::Line;
use crate::transport::Wire;
use crate::{File, GitError, Read, Revision, Wanted};

/// The name that what is fetched gets here.
const HERE: &str = "refs/fairlead/wanted";

/// Reads what is wanted; on a thread that may wait. What waits for nobody (unpacking, walking) ends when `over` says so.
pub(crate) fn read(wanted: &Wanted, line: Arc<Line>, scratch: &Path, over: &AtomicBool) -> Result<Read, GitError> {
    let kept = |error: &dyn std::fmt::Display| GitError::Scratch(error.to_string());
    std::fs::create_dir_all(scratch).map_err(|error| kept(&error))?;
    let directory = tempfile::TempDir::new_in(scratch).map_err(|error| kept(&error))?;
    let repository = empty(directory.path()).map_err(|error| kept(&error))?;
    let told = |error: gix::Error| if over.load(Ordering::Relaxed) { line.late() } else { line.cause(&error) };
    let theirs = match &wanted.revision {
        Revision::Default => "HEAD".to_owned(),
        Revision::Branch(name) => format!("refs/heads/{name}"),
        Revision::Tag(name) => format!("refs/tags/{name}"),
    };
    let missing = || match &wanted.revision {
        Revision::Default => GitError::NoRevision("branch of its own".to_owned()),
        Revision::Branch(name) => GitError::NoRevision(format!("branch `{name}`")),
        Revision::Tag(name) => GitError::NoRevision(format!("tag `{name}`")),
    };
    let spec = format!("+{theirs}:{HERE}");
    let url = wanted.url.trim_end_matches('/');
    let remote = repository
        .remote_at_without_url_rewrite(url)
        .and_then(|remote| {
            remote.with_fetch_tags(Tags::None).with_refspecs([spec.as_bytes().as_bstr()], Direction::Fetch)
        })
        .map_err(|_| missing())?;
    let address = gix::Url::try_from(url)
        .map_err(|error| GitError::Address { url: wanted.url.clone(), reason: format!("is no address: {error}") })?;
    let transport = Transport::new_http(Wire::new(Arc::clone(&line)), address, Protocol::V2, false);
    let connection = remote.to_connection_with_transport(transport).with_credentials(|_| Ok(None));
    let prepared = connection.prepare_fetch(Discard, gix::remote::ref_map::Options::default()).map_err(told)?;
    let tip = prepared.ref_map().mappings.iter().find_map(|mapping| mapping.remote.as_id().map(ToOwned::to_owned));
    let tip = tip.ok_or_else(missing)?;
    let commit = tip.to_string();
    if wanted.known.as_ref() == Some(&commit) {
        return Ok(Read::Unmodified);
    }
    let shallow = Shallow::DepthAtRemote(NonZeroU32::MIN);
    prepared.with_shallow(shallow).receive(Discard, over).map_err(told)?;
    let tree = repository.find_object(tip).and_then(gix::Object::peel_to_tree).map_err(told)?;
    let mut walk = Walk { line: &line, repository: &repository, over, files: Vec::new(), bytes: 0, entries: 0 };
    match wanted.path.as_deref().map(|path| path.trim_matches('/')).filter(|path| !path.is_empty()) {
        None => walk.directory("", &tree, 0)?,
        Some(path) => {
            let entry = tree.lookup_entry_by_path(path).map_err(told)?;
            let entry = entry.ok_or_else(|| GitError::NoPath(path.to_owned()))?;
            if entry.mode().is_blob() {
                walk.file(path.to_owned(), entry.object_id())?;
            } else if entry.mode().is_tree() {
                let below = repository.find_tree(entry.object_id()).map_err(told)?;
                walk.directory(path, &below, 0)?;
            } else {
                return Err(GitError::NoPath(path.to_owned()));
            }
        }
    }
    Ok(Read::Files { commit, files: walk.files })
}

/// A repository that knows nothing, and nothing of this machine: no configuration, no environment, no hook.
fn empty(directory: &Path) -> gix::Result<gix::Repository> {
    let limit = format!("gitoxide.objects.allocLimit={OBJECT_BYTES_MAX}");
    // One thread unpacks: others are at work on this machine too, and each holds objects of its own.
    let bounds = [limit, "protocol.version=2".to_owned(), "pack.threads=1".to_owned()];
    let options = gix::open::Options::isolated().config_overrides(bounds);
    let kind = gix::create::Kind::Bare;
    let made = gix::ThreadSafeRepository::init_opts(directory, kind, gix::create::Options::default(), options)?;
    Ok(made.to_thread_local())
}

struct Walk<'a> {
    line: &'a Line,
    repository: &'a gix::Repository,
    over: &'a AtomicBool,
    files: Vec<File>,
    bytes: u64,
    entries: usize,
}

impl Walk<'_> {
    /// All files of entries below a directory. What points elsewhere is not followed.
    fn directory(&mut self, path: &str, tree: &gix::Tree<'_>, depth: usize) -> Result<(), GitError> {
        if depth > DEPTH_MAX {
            let limit = u64::try_from(DEPTH_MAX).unwrap_or(u64::MAX);
            return Err(GitError::TooMuch { what: "directories within each other", limit });
        }
        for entry in tree.iter() {
            let entry = entry.map_err(|error| self.line.cause(&error))?;
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                let limit = u64::try_from(ENTRIES_MAX).unwrap_or(u64::MAX);
                return Err(GitError::TooMuch { what: "entries of directories", limit });
            }
            if self.over.load(Ordering::Relaxed) {
                return Err(self.line.late());
            }
            let Ok(name) = entry.filename().to_str() else { continue };
            let below = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
            if entry.mode().is_tree() && !name.starts_with('.') {
                let tree = self.repository.find_tree(entry.object_id()).map_err(|error| self.line.cause(&error))?;
                self.directory(&below, &tree, depth + 1)?;
            } else if entry.mode().is_blob() && has_entries(name) {
                self.file(below, entry.object_id())?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: String, id: gix::ObjectId) -> Result<(), GitError> {
        let header = self.repository.find_header(id).map_err(|error| self.line.cause(&error))?;
        self.bytes = self.bytes.saturating_add(header.size());
        if header.kind() != Kind::Blob || self.bytes > FILES_BYTES_MAX {
            return Err(GitError::TooMuch { what: "bytes of files", limit: FILES_BYTES_MAX });
        }
        if self.files.len() >= FILES_MAX {
            let limit = u64::try_from(FILES_MAX).unwrap_or(u64::MAX);
            return Err(GitError::TooMuch { what: "files", limit });
        }
        let blob = self.repository.find_blob(id).map_err(|error| self.line.cause(&error))?;
        self.files.push(File { path, content: blob.data.clone() });
        Ok(())
    }
}

fn has_entries(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
}

#[cfg(test)]
mod tests {
    use fairlead_core::dial::PublicOnly;
    use fairlead_dial::NetDialer;
    use gix::objs::Tree;
    use gix::objs::tree::{Entry, EntryKind};

    use super::*;

    /// A walk that should have ended long before.
    const LONG: std::time::Duration = std::time::Duration::from_secs(60);

    /// A few objects that are more directories than anybody can walk: each names the one below sixty-four times. `over`: whether
    /// the time for it is.
    async fn walked(over: bool) -> GitError {
        let over = Arc::new(AtomicBool::new(over));
        let told = Arc::clone(&over);
        let mut walking = tokio::task::spawn_blocking(move || walk(&told));
        if let Ok(walked) = tokio::time::timeout(LONG, &mut walking).await {
            return walked.unwrap();
        }
        over.store(true, Ordering::Relaxed);
        panic!("it walked on, until it was told to end: {}", walking.await.unwrap());
    }

    fn walk(over: &AtomicBool) -> GitError {
        let directory = tempfile::tempdir().unwrap();
        let repository = empty(directory.path()).unwrap();
        let mut tree = Tree::empty();
        for _ in 0..DEPTH_MAX {
            let below = repository.write_object(&tree).unwrap().detach();
            let entry = |n| Entry { mode: EntryKind::Tree.into(), filename: format!("d{n:02}").into(), oid: below };
            tree = Tree { entries: (0..64).map(entry).collect() };
        }
        let root = repository.write_object(&tree).unwrap().detach();
        let dialer = Arc::new(NetDialer::new());
        let line = Line::new(dialer, Arc::new(PublicOnly), "https://git.test/x", None).unwrap();
        let mut walk = Walk { line: &line, repository: &repository, over, files: Vec::new(), bytes: 0, entries: 0 };
        walk.directory("", &repository.find_tree(root).unwrap(), 0).unwrap_err()
    }

    #[tokio::test]
    async fn directories_that_are_each_other_many_times_are_not_walked_for_ever() {
        let told = walked(false).await;
        assert!(matches!(told, GitError::TooMuch { what: "entries of directories", .. }), "{told}");
    }

    #[tokio::test]
    async fn a_walk_ends_when_its_time_is_over() {
        let told = walked(true).await;
        assert!(matches!(told, GitError::Unreachable { .. }), "{told}");
    }
}
