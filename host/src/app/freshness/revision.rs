//! What a server follows, and what exactly is launched of it.
//!
//! A person writes a tag, a package, or a file that is built anew; what is launched is a digest, once it is known. So the two are kept
//! apart: the record of a server is what was written, and a [`Revision`] is made of it for each start.

use fairlead_core::digest::Digest;
use fairlead_core::freshness::{Deployed, Direction, Freshness};
use fairlead_core::image::{ImageReference, PullPolicy};
use fairlead_core::server::{ServerSpec, Source};

use super::shelf::RevisionShelf;

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
        Source::Package(package) => of(package.package.to_string(), false, package.pull != PullPolicy::Never),
        // Nobody here can update it; that it became another is noticed.
        Source::Remote(remote) => of(remote.shown().to_owned(), false, true),
        Source::Command { program, .. } => of(program.clone(), false, false),
    }
}

/// The same source, at a digest; `None` when it has no such thing.
pub(super) fn at(source: &Source, pin: &Digest, shelf: &RevisionShelf) -> Option<Source> {
    match source {
        Source::Image(image) => {
            let mut image = image.clone();
            image.reference = ImageReference::new(&format!("{}@{pin}", image.reference.repository())).ok()?;
            // What has a digest cannot have changed.
            image.pull = image.pull.without_always();
            Some(Source::Image(image))
        }
        Source::Wasm { args, .. } => Some(Source::Wasm { path: shelf.component(pin), args: args.clone() }),
        Source::Package(package) => {
            let named = shelf.package(pin)?;
            let ours = (named.kind(), named.name()) == (package.package.kind(), package.package.name());
            let mut package = ours.then(|| package.clone())?;
            package.resolved = Some(named.version().to_owned());
            // What has a version cannot have changed.
            package.pull = package.pull.without_always();
            Some(Source::Package(package))
        }
        Source::Remote(_) | Source::Command { .. } => None,
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
        let shelf = RevisionShelf::new("/shelf".into());
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
    fn a_version_of_a_package_is_launched_and_never_that_of_another() {
        let directory = tempfile::tempdir().unwrap();
        let shelf = RevisionShelf::new(directory.path().to_owned());
        let source: Source =
            serde_json::from_value(json!({"kind": "package", "package": "npx://a", "resolved": "1.0.0"})).unwrap();
        let pin = |text: &str| shelf.note(&fairlead_core::package::PackageReference::new(text).unwrap()).unwrap();
        let Some(Source::Package(package)) = at(&source, &pin("npx://a@1.1.0"), &shelf) else { panic!() };
        assert_eq!((package.version(), package.package.as_str()), ("1.1.0", "npx://a"));
        assert_eq!(at(&source, &pin("npx://b@1.1.0"), &shelf), None);
        assert_eq!(at(&source, &pin("uvx://a@1.1.0"), &shelf), None);
        assert_eq!(at(&source, &digest(1), &shelf), None, "nobody knows what that is");
    }
}
