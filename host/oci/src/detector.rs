//! What is newest: a question to an OCI registry that costs nothing there (`HEAD`), asked once for all servers that follow the
//! same reference; and only for a digest that was never seen, one that fetches the manifest.
//!
//! A registry is asked by few at a time. One that wants to be left alone, or does not answer, is left alone by everybody who
//! would show it the same credential; when that time is over one server tries, and the others wait for what comes of it. Nobody
//! waits long for another's answer: a registry that is slow would otherwise hold up servers whose registry is not.

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
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::client::OciClient;
use crate::limits::{
    ANSWERS_KEPT, REGISTRY_BUSY, REGISTRY_PAUSE, REGISTRY_REQUESTS_MAX, REGISTRY_WAIT_MAX, TAGS_MAX, VERSIONS_MAX,
};
use crate::transfer::PulledManifest;

/// What was asked, and by whom: an answer to one tenant is none to another.
type Question = (TenantName, String);

/// An answer, while somebody asks for it nobody else does.
type Cell = Arc<tokio::sync::Mutex<Option<Answer>>>;

/// What a reference names, and since when that is known.
struct Answer {
    at: Timestamp,
    digest: Digest,
    /// What was found when it was looked at: once for all who follow the reference.
    looked: Option<(Signal, Vec<Digest>)>,
}

/// Asks OCI registries.
pub struct RegistryDetector {
    registries: Arc<OciClient>,
    clock: Arc<dyn Clock>,
    /// An answer is good for so long.
    interval: Duration,
    answers: Mutex<HashMap<Question, Cell>>,
    rooms: Mutex<HashMap<String, Arc<Semaphore>>>,
    shut: Mutex<HashMap<Question, Timestamp>>,
}

impl std::fmt::Debug for RegistryDetector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryDetector").field("interval", &self.interval).finish_non_exhaustive()
    }
}

impl RegistryDetector {
    /// Nothing is known yet. `interval`: between two checks of one server.
    #[must_use]
    pub fn new(registries: Arc<OciClient>, clock: Arc<dyn Clock>, interval: Duration) -> Self {
        let (answers, rooms, shut) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { registries, clock, interval, answers, rooms, shut }
    }

    /// Looks at what the reference names now; if somebody `chooses` among versions, at those above it too.
    /// `known` is what was seen before: what has not changed is not fetched again.
    ///
    /// # Errors
    /// The registry gave no answer that can be used, or is left alone.
    pub async fn observe(
        &self,
        subject: &Subject,
        reference: &ImageReference,
        running: Running,
        known: &Freshness,
        chooses: bool,
    ) -> Result<Observed, Unseen> {
        let tenant = &subject.key.tenant;
        let newest = self.candidate_of(tenant, reference, known.check.asked, known).await?;
        let pin = newest.pin.clone();
        let mut candidates = vec![newest];
        if chooses {
            self.add_versions(tenant, reference, known, &mut candidates).await?;
        }
        let runs = |candidate: &&Candidate| running.digests.iter().any(|digest| candidate.is(digest));
        let known_as = candidates.iter().chain(&known.candidates).find(runs).and_then(|known| known.version.clone());
        let running = Running { version: known_as.or(running.version), ..running };
        Ok(Observed { running, newest: pin, candidates })
    }

    /// What a reference names, and what is known of that.
    async fn candidate_of(
        &self,
        tenant: &TenantName,
        reference: &ImageReference,
        asked: Option<Trigger>,
        known: &Freshness,
    ) -> Result<Candidate, Unseen> {
        let cell = self.cell((tenant.clone(), reference.to_string()));
        // Whoever follows the same reference waits here for the answer, but not for long.
        let Ok(mut answer) = timeout(REGISTRY_WAIT_MAX, cell.lock()).await else { return Err(self.busy()) };
        let digest = self.resolve(&mut answer, tenant, reference, asked).await?;
        match known.candidates.iter().find(|candidate| candidate.pin == digest) {
            Some(candidate) => Ok(candidate.clone()),
            None => self.look_at(&mut answer, tenant, reference, &digest, known).await,
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
            let tagged = self.candidate_of(tenant, &tagged, None, known).await?;
            // Two tags of one image are one candidate, by the tag that is followed.
            if candidates.iter().all(|candidate| candidate.pin != tagged.pin) {
                candidates.push(tagged);
            }
        }
        Ok(())
    }

    async fn resolve(
        &self,
        answer: &mut Option<Answer>,
        tenant: &TenantName,
        reference: &ImageReference,
        asked: Option<Trigger>,
    ) -> Result<Digest, Unseen> {
        let keeps = match asked {
            // A person, or whoever pushed, knows that there is something to see.
            Some(Trigger::Operator | Trigger::Webhook) => Duration::ZERO,
            // Checks come a tenth of the interval early at most; so each reference is asked about once in an interval.
            _ => self.interval.saturating_mul(8) / 10,
        };
        let now = self.clock.now();
        if let Some(known) = answer.as_ref()
            && now.duration_since(known.at) < SignedDuration::try_from(keeps).unwrap_or_default()
        {
            return Ok(known.digest.clone());
        }
        let resolved = self.ask(tenant, reference.registry(), self.registries.resolve(tenant, reference)).await?;
        let digest =
            Digest::new(&resolved.digest).map_err(|error| self.failed(ErrorClass::RegistryProtocol, &error))?;
        let looked = answer.take().filter(|known| known.digest == digest).and_then(|known| known.looked);
        *answer = Some(Answer { at: self.clock.now(), digest: digest.clone(), looked });
        Ok(digest)
    }

    /// A digest that is seen for the first time: whether it is what it says, and has something for this machine.
    async fn look_at(
        &self,
        answer: &mut Option<Answer>,
        tenant: &TenantName,
        reference: &ImageReference,
        digest: &Digest,
        known: &Freshness,
    ) -> Result<Candidate, Unseen> {
        let looked = match answer.as_ref().and_then(|answer| answer.looked.clone()) {
            Some(looked) => looked,
            None => {
                let pinned = ImageReference::new(&format!("{}@{digest}", reference.repository()))
                    .map_err(|error| self.failed(ErrorClass::RegistryProtocol, &error))?;
                let pulling = self.registries.pull_manifest(tenant, &pinned);
                let looked = equivalents(digest, &self.ask(tenant, reference.registry(), pulling).await?);
                if let Some(answer) = answer {
                    answer.looked = Some(looked.clone());
                }
                looked
            }
        };
        let (platform, mut digests) = looked;
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
        let Ok(_room) = timeout(REGISTRY_WAIT_MAX, room.acquire()).await else { return Err(self.busy()) };
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

    /// Others are asking there, and it takes long.
    fn busy(&self) -> Unseen {
        Unseen::Deferred(later(self.clock.now(), REGISTRY_BUSY))
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
        CheckError { class, message: chain(error), at: self.clock.now() }
    }
}

/// Something that could run, of which nothing is known yet but what it is.
#[must_use]
pub fn candidate(pin: &Digest, tag: Option<&str>, digests: Vec<Digest>, now: Timestamp) -> Candidate {
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

/// An error with everything below it.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
