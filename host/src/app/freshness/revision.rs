//! What a server follows, and what exactly is launched of it.
//!
//! A person writes a tag, or a file that is built anew; what is launched is a digest, once it is known. So the two are kept
//! apart: the record of a server is what was written, and a [`Revision`] is made of it for each start.

use std::path::{Path, PathBuf};

use fairlead_core::digest::Digest;
use fairlead_core::freshness::{Deployed, Direction, Freshness};
use fairlead_core::image::{ImageReference, PullPolicy};
use fairlead_core::server::{ServerSpec, Source};
use fairlead_oci::digest_of;

use crate::limits::SERVER_COMPONENT_BYTES_MAX;
use crate::private;

/// What is launched, exactly.
#[derive(Debug, Clone)]
pub(crate) struct Revision {
    /// As it is launched.
    pub(crate) spec: ServerSpec,
    /// What that is; `None`: whatever the reference means to the engine at the launch.
    pub(crate) digest: Option<Digest>,
}

/// What a server follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Followed {
    /// As it was written.
    pub(super) reference: String,
    /// A digest was written: it is fresh by definition.
    pub(super) pinned: bool,
    /// Somebody can be asked what is newest.
    pub(super) resolvable: bool,
}

/// What a source follows.
pub(super) fn followed(source: &Source) -> Followed {
    let of = |reference: String, pinned, resolvable| Followed { reference, pinned, resolvable };
    match source {
        Source::Image(image) => {
            of(image.reference.to_string(), image.reference.digest().is_some(), image.pull != PullPolicy::Never)
        }
        Source::Wasm { path, .. } => of(path.display().to_string(), false, true),
        Source::Package(package) => of(package.package.to_string(), false, false),
        Source::Remote(remote) => of(remote.shown().to_owned(), false, false),
        Source::Command { program, .. } => of(program.clone(), false, false),
    }
}

/// The same source, at a digest; `None` when it has no such thing.
pub(super) fn at(source: &Source, pin: &Digest, shelf: &ComponentShelf) -> Option<Source> {
    match source {
        Source::Image(image) => {
            let mut image = image.clone();
            image.reference = ImageReference::new(&format!("{}@{pin}", image.reference.repository())).ok()?;
            // What has a digest cannot have changed.
            image.pull = image.pull.without_always();
            Some(Source::Image(image))
        }
        Source::Wasm { args, .. } => Some(Source::Wasm { path: shelf.path(pin), args: args.clone() }),
        _ => None,
    }
}

/// What is to be launched when the daemon or a person starts the server: what is deployed, unless that is on trial still.
/// Until a rollout was seen to be well, a start brings back what was well before, and the rollout goes on beside it.
pub(super) fn wanted(deployed: &Deployed, record: &Freshness) -> Option<Digest> {
    match &record.operation {
        Some(operation) if operation.direction == Direction::Back => Some(operation.plan.pin.clone()),
        Some(operation) if deployed.mark.is_some_and(|mark| mark.operation == operation.id) => {
            operation.previous.clone().or_else(|| deployed.pin.clone())
        }
        _ => deployed.pin.clone(),
    }
}

/// Components of servers by digest: a file that its author builds anew is not what runs, and what ran before must be there
/// to go back to.
#[derive(Debug, Clone)]
pub(super) struct ComponentShelf(PathBuf);

impl ComponentShelf {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// Where the component with this digest lies, if it does.
    pub(super) fn path(&self, digest: &Digest) -> PathBuf {
        self.0.join(format!("{}.wasm", digest.as_str().replace(':', "-")))
    }

    /// Keeps what a file has in it now. Blocking.
    pub(super) fn keep(&self, file: &Path) -> std::io::Result<Digest> {
        let length = std::fs::metadata(file)?.len();
        if length > SERVER_COMPONENT_BYTES_MAX {
            let text = format!("it has {length} bytes; at most {SERVER_COMPONENT_BYTES_MAX} are taken");
            return Err(std::io::Error::other(text));
        }
        let bytes = std::fs::read(file)?;
        let digest = Digest::new(&digest_of(&bytes)).map_err(std::io::Error::other)?;
        let path = self.path(&digest);
        if !path.exists() {
            private::make_for(&path)?;
            // Whole or not at all, whoever else keeps the same one now.
            let mut new = tempfile::NamedTempFile::new_in(&self.0)?;
            std::io::Write::write_all(&mut new, &bytes)?;
            new.as_file().sync_all()?;
            new.persist(&path).map_err(|error| error.error)?;
        }
        Ok(digest)
    }
}

#[cfg(test)]
mod tests {
    use fairlead_core::freshness::{Mark, Operation, Phase, Plan, Trigger};
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    fn digest(number: u8) -> Digest {
        Digest::new(&format!("sha256:{number:064}")).unwrap()
    }

    #[test]
    fn what_is_launched_is_a_digest_and_never_a_tag_beside_it() {
        let shelf = ComponentShelf::new("/shelf".into());
        let source = json!({"kind": "image", "reference": "localhost:5000/a/b:latest", "pull": "always"});
        let source: Source = serde_json::from_value(source).unwrap();
        let Some(Source::Image(image)) = at(&source, &digest(1), &shelf) else { panic!() };
        assert_eq!(image.reference.to_string(), format!("localhost:5000/a/b@{}", digest(1)));
        assert_eq!(image.pull, PullPolicy::Missing);
        assert_eq!(
            at(&Source::Command { program: "a".into(), args: vec![], directory: None }, &digest(1), &shelf),
            None
        );
    }

    #[test]
    fn a_start_in_the_middle_of_a_rollout_brings_back_what_was_well() {
        let operation = |direction| Operation {
            id: 4,
            direction,
            phase: Phase::Verifying,
            plan: Plan::to(digest(2)),
            previous: Some(digest(1)),
            base: 0,
            trigger: Trigger::Schedule,
            started: Timestamp::UNIX_EPOCH,
            deadline: None,
            next: None,
            looks: 0,
        };
        let mut record = Freshness::default();
        let mut deployed = Deployed { revision: 1, pin: Some(digest(2)), mark: Some(Mark { operation: 4, fence: 1 }) };
        assert_eq!(wanted(&deployed, &record), Some(digest(2)), "it has ended well");
        record.operation = Some(operation(Direction::Forward));
        assert_eq!(wanted(&deployed, &record), Some(digest(1)), "it is on trial");
        record.operation = Some(operation(Direction::Back));
        assert_eq!(wanted(&deployed, &record), Some(digest(2)), "it is what was well");
        deployed = Deployed { revision: 1, pin: Some(digest(3)), mark: None };
        record.operation = Some(operation(Direction::Forward));
        assert_eq!(wanted(&deployed, &record), Some(digest(3)), "a person was there");
    }

    #[test]
    fn a_component_is_kept_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let (file, shelf) = (directory.path().join("a.wasm"), ComponentShelf::new(directory.path().join("shelf")));
        std::fs::write(&file, "one").unwrap();
        let one = shelf.keep(&file).unwrap();
        std::fs::write(&file, "two").unwrap();
        let two = shelf.keep(&file).unwrap();
        assert_ne!(one, two);
        assert_eq!(std::fs::read(shelf.path(&one)).unwrap(), b"one");
        assert_eq!(std::fs::read(shelf.path(&two)).unwrap(), b"two");
    }
}
