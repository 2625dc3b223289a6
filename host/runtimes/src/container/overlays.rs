//! What is laid over a mounted directory, so that a server does not see what an ignore file names.
//!
//! Looked for at each launch and not while the server runs: a file that appears later is seen. An empty, read-only directory
//! goes over a directory, the null device over a file, which is what engines themselves do to what they hide. Both exist
//! wherever the engine runs, also in a virtual machine that does not see our files.
//!
//! Where anything stays unknown (a directory that cannot be read, more entries than can be looked at), nothing is launched: a
//! server that sees a key although a file says that it must not is worse than one that does not start.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bollard::models::{Mount as EngineMount, MountTmpfsOptions, MountType};
use fairlead_core::ignore::Ignore;
use fairlead_core::permission::Mount;

use super::error::ContainerError;
use crate::limits::{IGNORE_ENTRIES_MAX, IGNORE_FILE_BYTES_MAX, OVERLAYS_MAX};

/// Names of ignore files, in the root of a mount: ours, and ToolHive's.
const NAMES: [&str; 2] = [".thvignore", ".fairleadignore"];

/// One thing that is laid over a mount.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Overlay {
    /// An empty directory.
    Directory(String),
    /// An empty file.
    File(String),
    /// The file itself, which the server may write around but not into: it could unhide at the next launch what it wants.
    ReadOnly { source: PathBuf, target: String },
}

/// What hides files, before the ignore files of the mounts are read.
pub(super) fn global(file: Option<&Path>) -> Result<Ignore, ContainerError> {
    let mut ignore = Ignore::default();
    if let Some(file) = file {
        read(&mut ignore, file)?;
    }
    Ok(ignore)
}

/// What is laid over these mounts. Blocking: it looks at every entry of a mount for which something is hidden.
pub(super) fn over(mounts: &[Mount], global: &Ignore) -> Result<Vec<Overlay>, ContainerError> {
    let mut overlays = BTreeSet::new();
    let mut entries_left = IGNORE_ENTRIES_MAX;
    for mount in mounts.iter().filter(|mount| mount.source.is_dir()) {
        let mut ignore = global.clone();
        for name in NAMES {
            let file = mount.source.join(name);
            let is_there = read(&mut ignore, &file)?;
            if is_there && mount.writable {
                let source = file.canonicalize().map_err(|error| refused(&file, error.to_string()))?;
                overlays.insert(Overlay::ReadOnly { source, target: at(mount, Path::new(name))? });
            }
        }
        if !ignore.is_empty() {
            let mut walk = Walk { mount, ignore: &ignore, entries_left: &mut entries_left, overlays: &mut overlays };
            walk.directory(Path::new(""))?;
        }
    }
    Ok(overlays.into_iter().collect())
}

impl Overlay {
    /// As the engine is told.
    pub(super) fn mount(&self) -> EngineMount {
        match self {
            Self::Directory(target) => EngineMount {
                typ: Some(MountType::TMPFS),
                target: Some(target.clone()),
                read_only: Some(true),
                // A few bytes: nothing is ever in it. Who may list it sees that it is empty.
                tmpfs_options: Some(MountTmpfsOptions {
                    size_bytes: Some(4096),
                    mode: Some(0o555),
                    ..Default::default()
                }),
                ..EngineMount::default()
            },
            Self::File(target) => bound("/dev/null".to_owned(), target),
            Self::ReadOnly { source, target } => bound(source.display().to_string(), target),
        }
    }
}

fn bound(source: String, target: &str) -> EngineMount {
    EngineMount {
        typ: Some(MountType::BIND),
        source: Some(source),
        target: Some(target.to_owned()),
        read_only: Some(true),
        ..EngineMount::default()
    }
}

/// Adds what a file says; false when there is none.
fn read(ignore: &mut Ignore, file: &Path) -> Result<bool, ContainerError> {
    match fs::metadata(file) {
        Ok(metadata) if metadata.len() > IGNORE_FILE_BYTES_MAX => {
            return Err(refused(file, format!("it has more than {IGNORE_FILE_BYTES_MAX} bytes")));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(refused(file, error.to_string())),
    }
    let text = fs::read_to_string(file).map_err(|error| refused(file, error.to_string()))?;
    ignore.add(&text).map_err(|error| refused(file, error.to_string()))?;
    Ok(true)
}

/// Where something below the root of a mount is in the container.
fn at(mount: &Mount, below: &Path) -> Result<String, ContainerError> {
    let place = Path::new(&mount.target).join(below);
    // An engine is told in JSON, which has only text.
    place.to_str().map(str::to_owned).ok_or_else(|| refused(&place, "its name is no text".to_owned()))
}

fn refused(path: &Path, reason: String) -> ContainerError {
    ContainerError::Ignore { path: path.display().to_string(), reason }
}

/// A walk through one mount.
struct Walk<'a> {
    mount: &'a Mount,
    ignore: &'a Ignore,
    entries_left: &'a mut usize,
    overlays: &'a mut BTreeSet<Overlay>,
}

impl Walk<'_> {
    fn directory(&mut self, below: &Path) -> Result<(), ContainerError> {
        let place = self.mount.source.join(below);
        let unread = |error: io::Error| refused(&place, error.to_string());
        for entry in fs::read_dir(&place).map_err(unread)? {
            let entry = entry.map_err(unread)?;
            *self.entries_left = self.entries_left.checked_sub(1).ok_or_else(|| {
                refused(
                    &self.mount.source,
                    format!("there are more than {IGNORE_ENTRIES_MAX} files and directories in it"),
                )
            })?;
            let below = below.join(entry.file_name());
            let kind = entry.file_type().map_err(unread)?;
            // What is no text is no name in an ignore file either, but for its stars.
            if self.ignore.hides(&below.to_string_lossy(), kind.is_dir()) {
                self.hide(&below, kind.is_symlink())?;
            } else if kind.is_dir() {
                self.directory(&below)?;
            }
        }
        Ok(())
    }

    /// A link is hidden by what it leads to, when that lies in the same mount: an overlay over a link goes there.
    fn hide(&mut self, below: &Path, is_link: bool) -> Result<(), ContainerError> {
        let mut below = below.to_owned();
        if is_link {
            let Ok(real) = self.mount.source.join(&below).canonicalize() else { return Ok(()) };
            // What it leads to outside is not in the container, or there by another mount, which has patterns of its own.
            let Ok(inside) = real.strip_prefix(&self.mount.source) else { return Ok(()) };
            if inside.as_os_str().is_empty() {
                return Err(refused(&self.mount.source.join(&below), "it leads to the whole mount".to_owned()));
            }
            inside.clone_into(&mut below);
        }
        let target = at(self.mount, &below)?;
        let is_directory = self.mount.source.join(&below).is_dir();
        self.overlays.insert(if is_directory { Overlay::Directory(target) } else { Overlay::File(target) });
        if self.overlays.len() > OVERLAYS_MAX {
            let reason = format!("more than {OVERLAYS_MAX} files and directories in it would be hidden");
            return Err(refused(&self.mount.source, reason));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(source: &Path, writable: bool) -> Mount {
        Mount { source: source.canonicalize().unwrap(), target: "/srv".to_owned(), writable }
    }

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        directory
    }

    fn hidden(root: &Path, global: &Ignore) -> Vec<Overlay> {
        over(&[mount(root, false)], global).unwrap()
    }

    fn file(target: &str) -> Overlay {
        Overlay::File(target.to_owned())
    }

    fn directory(target: &str) -> Overlay {
        Overlay::Directory(target.to_owned())
    }

    #[test]
    fn what_an_ignore_file_names_is_overlaid_once_and_nothing_else() {
        let root = tree(&[
            (".fairleadignore", ".env\nsecrets/\n*.key\n!public.key\n"),
            (".env", "x"),
            ("a/.env", "x"),
            ("a/public.key", "x"),
            ("a/private.key", "x"),
            ("secrets/deep/x.key", "x"),
            ("code.rs", "x"),
        ]);
        let expected = [directory("/srv/secrets"), file("/srv/.env"), file("/srv/a/.env"), file("/srv/a/private.key")];
        assert_eq!(hidden(root.path(), &Ignore::default()), expected);
    }

    #[test]
    fn the_one_for_all_goes_first_then_that_of_toolhive_then_ours() {
        let root = tree(&[(".thvignore", "!b\nc\n"), (".fairleadignore", "!c\n"), ("a", ""), ("b", ""), ("c", "")]);
        let mut global = Ignore::default();
        global.add("a\nb\n").unwrap();
        assert_eq!(hidden(root.path(), &global), [file("/srv/a")]);
    }

    #[test]
    fn a_server_that_may_write_cannot_write_what_hides() {
        let root = tree(&[(".fairleadignore", ".env\n"), (".env", "x")]);
        let overlays = over(&[mount(root.path(), true)], &Ignore::default()).unwrap();
        let source = root.path().join(".fairleadignore").canonicalize().unwrap();
        assert_eq!(
            overlays,
            [file("/srv/.env"), Overlay::ReadOnly { source, target: "/srv/.fairleadignore".to_owned() }]
        );
    }

    #[test]
    fn a_link_is_hidden_where_it_leads() {
        let root = tree(&[(".fairleadignore", ".env\nout\nnowhere\n"), ("real/env", "x")]);
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, root.path().join(name)).unwrap();
        link("real/env", ".env");
        link("/etc/hosts", "out");
        link("gone", "nowhere");
        assert_eq!(hidden(root.path(), &Ignore::default()), [file("/srv/real/env")]);
    }

    #[test]
    fn what_cannot_be_looked_at_is_refused() {
        let root = tree(&[(".fairleadignore", "x*\n")]);
        for number in 0..=OVERLAYS_MAX {
            fs::write(root.path().join(format!("x{number}")), "").unwrap();
        }
        let error = over(&[mount(root.path(), false)], &Ignore::default()).unwrap_err();
        assert!(error.to_string().contains("would be hidden"), "{error}");
        let root = tree(&[(".fairleadignore", "\u{0}".repeat(10_000).as_str())]);
        assert!(over(&[mount(root.path(), false)], &Ignore::default()).unwrap_err().to_string().contains("line 1"));
    }

    #[test]
    fn a_mount_for_which_nothing_is_hidden_is_not_walked() {
        let root = tree(&[(".fairleadignore", "# nothing\n!x\n"), ("x", "")]);
        assert_eq!(hidden(root.path(), &Ignore::default()), []);
        assert_eq!(global(Some(Path::new("/no/such/file"))).unwrap(), Ignore::default());
    }
}
