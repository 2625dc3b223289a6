//! What is newest: a question to an OCI registry that costs nothing there (`HEAD`), asked once for all servers that follow the
//! same reference; and only for a digest that was never seen, one that fetches the manifest.
//!
//! A registry is asked by few at a time. One that wants to be left alone, or does not answer, is left alone by everybody who
//! would show it the same credential; when that time is over one server tries, and the others wait for what comes of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fairlead_core::clock::Clock;
use fairlead_core::digest::Digest;
use fairlead_core::freshness::{
    Candidate, CheckError, ErrorClass, Freshness, Observed, Running, Signal, Subject, Surface, Trigger, Unseen, Version,
};
use fairlead_core::image::ImageReference;
use fairlead_core::name::TenantName;
use fairlead_core::oci::{DigestResolver as _, RegistryError};
use fairlead_oci::{OciClient, PulledManifest};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::limits::{ANSWERS_KEPT, REGISTRY_PAUSE, REGISTRY_REQUESTS_MAX, TAGS_MAX, VERSIONS_MAX};
use crate::text;

/// What was asked, and by whom: an answer to one tenant is none to another.
type Question = (TenantName, String);

/// An answer, while somebody asks for it nobody else does.
type Cell = Arc<tokio::sync::Mutex<Option<(Timestamp, Digest)>>>;

/// Asks OCI registries.
pub(super) struct RegistryDetector {
    registries: Arc<OciClient>,
    clock: Arc<dyn Clock>,
    /// An answer is good for so long.
    interval: Duration,
    answers: Mutex<HashMap<Question, Cell>>,
    rooms: Mutex<HashMap<String, Arc<Semaphore>>>,
    shut: Mutex<HashMap<Question, Timestamp>>,
}

impl RegistryDetector {
    pub(super) fn new(registries: Arc<OciClient>, clock: Arc<dyn Clock>, interval: Duration) -> Self {
        let (answers, rooms, shut) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { registries, clock, interval, answers, rooms, shut }
    }

    /// Looks at what the reference names now; if somebody `chooses` among versions, at those above it too.
    pub(super) async fn observe(
        &self,
        subject: &Subject,
        reference: &ImageReference,
        running: Running,
        known: &Freshness,
        chooses: bool,
    ) -> Result<Observed, Unseen> {
        let tenant = &subject.key.tenant;
        let newest = self.resolve(tenant, reference, known.check.asked).await?;
        let mut candidates = vec![self.known_or_looked_at(tenant, reference, &newest, known).await?];
        if chooses {
            self.add_versions(tenant, reference, known, &mut candidates).await?;
        }
        let runs = |candidate: &&Candidate| running.digests.iter().any(|digest| candidate.is(digest));
        let known_as = candidates.iter().chain(&known.candidates).find(runs).and_then(|known| known.version.clone());
        let running = Running { version: known_as.or(running.version), ..running };
        Ok(Observed { running, newest, candidates })
    }

    async fn known_or_looked_at(
        &self,
        tenant: &TenantName,
        reference: &ImageReference,
        digest: &Digest,
        known: &Freshness,
    ) -> Result<Candidate, Unseen> {
        match known.candidates.iter().find(|candidate| candidate.pin == *digest) {
            Some(candidate) => Ok(candidate.clone()),
            None => self.look_at(tenant, reference, digest, known).await,
        }
    }

    /// Where the followed tag names one version, a policy may choose another: the newest ones above it. A tag of a version is
    /// asked for once, because it is not moved.
    async fn add_versions(
        &self,
        tenant: &TenantName,
        reference: &ImageReference,
        known: &Freshness,
        candidates: &mut Vec<Candidate>,
    ) -> Result<(), Unseen> {
        let Some(followed) = reference.tag().and_then(Version::of_tag) else { return Ok(()) };
        let number = |version: &Version| (version.major, version.minor, version.patch);
        let tags = self.registries.tags(tenant, reference, TAGS_MAX);
        let tags = self.ask(tenant, reference.registry(), tags).await?;
        let mut above: Vec<(Version, String)> = tags
            .into_iter()
            .filter_map(|tag| Some((Version::of_tag(&tag)?, tag)))
            .filter(|(version, _)| number(version) > number(&followed))
            .collect();
        above.sort_by(|(a, _), (b, _)| {
            number(b).cmp(&number(a)).then(a.pre.is_empty().cmp(&b.pre.is_empty()).reverse())
        });
        for (_, tag) in above.into_iter().take(VERSIONS_MAX) {
            if let Some(known) = known.candidates.iter().find(|candidate| candidate.tag.as_ref() == Some(&tag)) {
                candidates.push(known.clone());
                continue;
            }
            let Ok(tagged) = ImageReference::new(&format!("{}:{tag}", reference.repository())) else { continue };
            let digest = self.resolve(tenant, &tagged, None).await?;
            // Two tags of one image are one candidate, by the tag that is followed.
            if candidates.iter().all(|candidate| candidate.pin != digest) {
                candidates.push(self.look_at(tenant, &tagged, &digest, known).await?);
            }
        }
        Ok(())
    }

    async fn resolve(
        &self,
        tenant: &TenantName,
        reference: &ImageReference,
        asked: Option<Trigger>,
    ) -> Result<Digest, Unseen> {
        let cell = self.cell((tenant.clone(), reference.to_string()));
        // Whoever follows the same reference waits here for the answer.
        let mut answer = cell.lock().await;
        let keeps = match asked {
            // A person, or whoever pushed, knows that there is something to see.
            Some(Trigger::Operator | Trigger::Webhook) => Duration::ZERO,
            // Checks come a tenth of the interval early at most; so each reference is asked about once in an interval.
            _ => self.interval.saturating_mul(8) / 10,
        };
        let now = self.clock.now();
        if let Some((at, digest)) = answer.as_ref()
            && now.duration_since(*at) < SignedDuration::try_from(keeps).unwrap_or_default()
        {
            return Ok(digest.clone());
        }
        let resolved = self.ask(tenant, reference.registry(), self.registries.resolve(tenant, reference)).await?;
        let digest =
            Digest::new(&resolved.digest).map_err(|error| self.failed(ErrorClass::RegistryProtocol, &error))?;
        *answer = Some((self.clock.now(), digest.clone()));
        Ok(digest)
    }

    /// A digest that is seen for the first time: whether it is what it says, and has something for this machine.
    async fn look_at(
        &self,
        tenant: &TenantName,
        reference: &ImageReference,
        digest: &Digest,
        known: &Freshness,
    ) -> Result<Candidate, Unseen> {
        let pinned = ImageReference::new(&format!("{}@{digest}", reference.repository()))
            .map_err(|error| self.failed(ErrorClass::RegistryProtocol, &error))?;
        let pulled = self.ask(tenant, reference.registry(), self.registries.pull_manifest(tenant, &pinned)).await?;
        let (platform, mut digests) = equivalents(digest, &pulled);
        // The same image under another index: what runs is what is there, if nothing but the index has changed.
        for other in &known.candidates {
            if other.digests.iter().any(|one| digests.contains(one)) {
                digests.extend(other.digests.iter().filter(|one| !digests.contains(one)).cloned().collect::<Vec<_>>());
            }
        }
        let tag = reference.tag().unwrap_or("latest");
        Ok(Candidate { platform, ..candidate(digest, Some(tag), digests, self.clock.now()) })
    }

    /// Asks, when the registry may be asked.
    async fn ask<T>(
        &self,
        tenant: &TenantName,
        registry: &str,
        asking: impl Future<Output = Result<T, RegistryError>>,
    ) -> Result<T, Unseen> {
        let place = (tenant.clone(), registry.to_owned());
        let room = Arc::clone(
            self.rooms
                .lock()
                .entry(registry.to_owned())
                .or_insert_with(|| Arc::new(Semaphore::new(REGISTRY_REQUESTS_MAX))),
        );
        let _room = room.acquire().await;
        let was_shut = self.enter(&place)?;
        let answer = asking.await;
        let pause = match &answer {
            Err(RegistryError::Unreachable { .. }) => Some(REGISTRY_PAUSE),
            Err(RegistryError::RateLimited { retry_after, .. }) => Some(retry_after.unwrap_or(REGISTRY_PAUSE)),
            _ => None,
        };
        match pause {
            Some(pause) => {
                self.shut.lock().insert(place, later(self.clock.now(), pause));
            }
            None if was_shut => {
                self.shut.lock().remove(&place);
            }
            None => {}
        }
        answer.map_err(|error| {
            let retry_after = match &error {
                RegistryError::RateLimited { retry_after, .. } => *retry_after,
                _ => None,
            };
            Unseen::Failed { error: self.error(class_of(&error), &error), retry_after }
        })
    }

    /// Whether the registry may be asked. When a time of rest is over, the first who comes may, and for all others it goes on
    /// until that one has an answer.
    fn enter(&self, place: &Question) -> Result<bool, Unseen> {
        let now = self.clock.now();
        let mut shut = self.shut.lock();
        match shut.get(place) {
            Some(until) if *until > now => Err(Unseen::Deferred(*until)),
            Some(_) => {
                shut.insert(place.clone(), later(now, REGISTRY_PAUSE));
                Ok(true)
            }
            None => Ok(false),
        }
    }

    fn cell(&self, question: Question) -> Cell {
        let mut answers = self.answers.lock();
        if answers.len() >= ANSWERS_KEPT && !answers.contains_key(&question) {
            // Those that nobody waits for; they are asked again.
            answers.retain(|_, cell| Arc::strong_count(cell) > 1);
        }
        Arc::clone(answers.entry(question).or_default())
    }

    fn failed(&self, class: ErrorClass, error: &(dyn std::error::Error + 'static)) -> Unseen {
        Unseen::Failed { error: self.error(class, error), retry_after: None }
    }

    fn error(&self, class: ErrorClass, error: &(dyn std::error::Error + 'static)) -> CheckError {
        CheckError { class, message: text::chain(error), at: self.clock.now() }
    }
}

/// Something that could run, of which nothing is known yet but what it is.
pub(super) fn candidate(pin: &Digest, tag: Option<&str>, digests: Vec<Digest>, now: Timestamp) -> Candidate {
    Candidate {
        tag: tag.map(str::to_owned),
        same_tag: true,
        version: tag.and_then(Version::of_tag),
        pin: pin.clone(),
        digests,
        first_seen: now,
        last_seen: now,
        pushed: None,
        created_claimed: None,
        platform: Signal::Unknown,
        signature: Signal::Unknown,
        provenance: Signal::Unknown,
        surface: Surface::Unknown,
        missing_settings: Vec::new(),
        failures: 0,
        quarantined_until: None,
        is_last_good: false,
        attributes: std::collections::BTreeMap::new(),
    }
}

/// Every digest that means the same on this machine, and whether there is one for it.
fn equivalents(digest: &Digest, pulled: &PulledManifest) -> (Signal, Vec<Digest>) {
    let mut digests = vec![digest.clone()];
    if !pulled.manifest.is_index() {
        // Only the configuration says for which platform it is; its trial will.
        return (Signal::Unknown, digests);
    }
    let ours = pulled.manifest.manifests.iter().filter(|descriptor| {
        descriptor
            .platform
            .as_ref()
            .is_some_and(|platform| platform.os == "linux" && platform.architecture == architecture())
    });
    digests.extend(ours.filter_map(|descriptor| Digest::new(&descriptor.digest).ok()));
    (if digests.len() > 1 { Signal::Good } else { Signal::Bad }, digests)
}

/// As OCI calls it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn class_of(error: &RegistryError) -> ErrorClass {
    match error {
        RegistryError::Unreachable { .. } => ErrorClass::RegistryUnreachable,
        RegistryError::Denied { .. } | RegistryError::Credentials(_) => ErrorClass::RegistryAuth,
        RegistryError::RateLimited { .. } => ErrorClass::RegistryRateLimited,
        RegistryError::NotFound { .. } => ErrorClass::RegistryNotFound,
        RegistryError::Protocol { .. } | RegistryError::Tampered { .. } | RegistryError::TooLarge { .. } => {
            ErrorClass::RegistryProtocol
        }
    }
}

fn later(time: Timestamp, pause: Duration) -> Timestamp {
    time.checked_add(SignedDuration::try_from(pause).unwrap_or(SignedDuration::MAX)).unwrap_or(Timestamp::MAX)
}
