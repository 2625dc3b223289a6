//! What is newest, by kind of source: a question to an OCI registry, to an index of packages, to a file, or to a server elsewhere.
//!
//! A server elsewhere is not updated by us. That it became another (its version, its tools) is noticed at its check and told,
//! because a tool that changes behind everybody's back is how a server that was trusted turns on its users.

use std::path::Path;

use fairlead_core::digest::Digest;
use fairlead_core::freshness::{
    Candidate, CheckError, ErrorClass, Freshness as Record, Observed, Plan, Running, Subject, Trial, Unseen,
};
use fairlead_core::image::ImageSource;
use fairlead_core::package::{PackageKind, PackageSource};
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::server::Source;
use fairlead_oci::{IndexCredentials, PackageIndex, candidate};
use fairlead_proxy::Route;
use jiff::Timestamp;

use super::elsewhere;
use super::policies;
use super::roller;
use crate::app::App;
use crate::app::managed::Managed;
use crate::config::{Build, UpdateDetector};
use crate::limits::CANDIDATE_ANSWER_MAX;
use crate::text;

/// Looks.
pub(super) async fn look(app: &App, subject: &Subject, running: Running, known: &Record) -> Result<Observed, Unseen> {
    let source = app.slots.look(&subject.key, |managed| managed.record.spec.source.clone());
    match source {
        Some(Source::Image(image)) if app.freshness.by == UpdateDetector::Probe => {
            probe(app, subject, &image, running).await
        }
        Some(Source::Image(image)) => {
            let chooses = policies::is_any(app, subject);
            app.freshness.detector.observe(subject, &image.reference, running, known, chooses).await
        }
        Some(Source::Package(package)) => of_package(app, subject, &package, running, known).await,
        Some(Source::Wasm { path, .. }) => {
            let (shelf, file) = (app.freshness.shelf.clone(), path.clone());
            let kept = tokio::task::spawn_blocking(move || shelf.keep(&file)).await;
            let kept = kept.unwrap_or_else(|error| Err(std::io::Error::other(error)));
            let unread =
                |error: std::io::Error| failed(app, ErrorClass::Other, format!("read `{}`: {error}", path.display()));
            let newest = kept.map_err(unread)?;
            let candidates = vec![candidate(&newest, None, vec![newest.clone()], app.clock.now())];
            Ok(Observed { running, newest, candidates, news: None })
        }
        Some(Source::Remote(_)) => of_remote(app, subject, running, known).await,
        Some(Source::Command { .. }) | None => {
            Err(failed(app, ErrorClass::LocalImage, "nobody can be asked what is newest".to_owned()))
        }
    }
}

/// The seed's way: whatever an engine makes of the tag now is started with the server's own settings, and only what starts is
/// marked. It is removed whatever happens.
async fn probe(app: &App, subject: &Subject, image: &ImageSource, running: Running) -> Result<Observed, Unseen> {
    let unresolved = |problem: Problem| {
        let class = match problem.kind {
            ProblemKind::Forbidden => ErrorClass::RegistryAuth,
            ProblemKind::Invalid => ErrorClass::RegistryNotFound,
            ProblemKind::Unavailable => ErrorClass::RegistryUnreachable,
            _ => ErrorClass::ProbeDenied,
        };
        failed(app, class, problem.detail)
    };
    let newest = app.containers.resolve(&subject.key, image).await.map_err(unresolved)?;
    let newest = newest
        .ok_or_else(|| failed(app, ErrorClass::LocalImage, "the engine names no digest of this image".to_owned()))?;
    let plan = Plan::to(newest.clone());
    match roller::trial(app, subject, &plan).await {
        Trial::Passed(surface) => {
            let seen = candidate(&newest, image.reference.tag(), vec![newest.clone()], app.clock.now());
            let candidates = vec![Candidate { surface, ..seen }];
            Ok(Observed { running, newest, candidates, news: None })
        }
        Trial::Failed(why) => Err(failed(app, ErrorClass::ProbeFailed, why)),
        Trial::PutOff(why) => Err(failed(app, ErrorClass::ProbeDenied, why)),
    }
}

async fn of_package(
    app: &App,
    subject: &Subject,
    source: &PackageSource,
    running: Running,
    known: &Record,
) -> Result<Observed, Unseen> {
    let kind = source.package.kind();
    let index = index(app, kind).await.map_err(|why| failed(app, ErrorClass::LocalImage, why))?;
    let chooses = policies::is_any(app, subject);
    let seen = app.freshness.packages.observe(&index, &source.package, running, known, chooses).await?;
    // What may be decided upon can be launched: its digest leads back to its version.
    let (shelf, package) = (app.freshness.shelf.clone(), source.package.clone());
    let versions: Vec<String> = seen.candidates.iter().filter_map(|candidate| candidate.tag.clone()).collect();
    let noted = tokio::task::spawn_blocking(move || {
        versions
            .iter()
            .filter_map(|version| package.at(version).ok())
            .try_for_each(|named| shelf.note(&named).map(drop))
    });
    let noted = noted.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    noted.map_err(|error| failed(app, ErrorClass::Other, format!("keep the name of a version: {error}")))?;
    Ok(seen)
}

/// The index that a build would take the package from.
async fn index(app: &App, kind: PackageKind) -> Result<PackageIndex, String> {
    let build = &app.freshness.build;
    let set = match kind {
        PackageKind::Npx => &build.npm_registry,
        PackageKind::Uvx => &build.python_index,
        PackageKind::Go => &build.go_proxy,
    };
    let address = match set {
        Some(address) => address.clone(),
        None => app.containers.package_index(kind).await.map_err(|problem| {
            format!("the index of {}:// packages is not known: {}; `[build]` names one", kind.scheme(), problem.detail)
        })?,
    };
    let credentials = credentials(build).await.map_err(|error| format!("read the credentials of indexes: {error}"))?;
    PackageIndex::new(kind, &address, &credentials).map_err(|error| error.to_string())
}

/// Read each time: a token that was renewed is used.
async fn credentials(build: &Build) -> std::io::Result<IndexCredentials> {
    Ok(IndexCredentials { npmrc: read(build.npmrc.as_deref()).await?, netrc: read(build.netrc.as_deref()).await? })
}

async fn read(path: Option<&Path>) -> std::io::Result<String> {
    match path {
        Some(path) => tokio::fs::read_to_string(path).await,
        None => Ok(String::new()),
    }
}

async fn of_remote(app: &App, subject: &Subject, running: Running, known: &Record) -> Result<Observed, Unseen> {
    let found = app.slots.look(&subject.key, |managed| (managed.record.clone(), managed.live()));
    let Some((record, Some(live))) = found else {
        return Err(failed(app, ErrorClass::Other, "it is not there".to_owned()));
    };
    let remote = app.remote(&record.key, &record.spec).await;
    let remote = remote.map_err(|problem| failed(app, ErrorClass::Other, problem.detail))?;
    let route = app.route(&record, &record.spec, &live.supervisor, roller::no_chain());
    let examined = app.proxy.examine(Route { remote, ..route }, CANDIDATE_ANSWER_MAX).await;
    let examined = examined.map_err(|error| failed(app, ErrorClass::RegistryUnreachable, text::chain(&error)))?;
    elsewhere::observed(&examined, running, known, app.clock.now())
        .ok_or_else(|| failed(app, ErrorClass::Other, "what it says has no digest".to_owned()))
}

fn failed(app: &App, class: ErrorClass, message: String) -> Unseen {
    let at: Timestamp = app.clock.now();
    Unseen::Failed { error: CheckError { class, message, at }, retry_after: None }
}

/// The digest of what runs, as far as an engine or a supervisor has told it, and its version where it has one.
pub(super) fn running_digest(app: &App, managed: &Managed) -> Option<Digest> {
    let launched = managed.live().and_then(|live| live.digest);
    let source = &managed.record.spec.source;
    launched.or_else(|| app.containers.digest(&managed.record.key, source)).or_else(|| match source {
        // It was stored before its version was known, and launched since.
        Source::Package(package) => {
            let version = app.containers.package_version(&managed.record.key)?;
            fairlead_oci::package_pin(&package.package.at(&version).ok()?)
        }
        _ => None,
    })
}
