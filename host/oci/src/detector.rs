//! What is newest: a question to an OCI registry that costs nothing there (`HEAD`), asked once for all servers that follow the
//! same reference; and only for a digest that was never seen, one that fetches the manifest.
//!
//! Tags are listed now and then only: what they name is asked for at each check, which costs nothing, and a list is a request
//! that some registries count and all find dear. When somebody may be asked at all, `patience` says.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fairlead_core::clock::Clock;
use fairlead_core::digest::Digest;
use fairlead_core::freshness::{
    Candidate, ErrorClass, Freshness, Observed, Running, Signal, Subject, Surface, Trigger, Unseen, Version,
};
use fairlead_core::image::ImageReference;
use fairlead_core::name::TenantName;
use fairlead_core::oci::{DigestResolver as _, RegistryError};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::time::timeout;

use crate::client::OciClient;
use crate::limits::{ANSWERS_KEPT, REGISTRY_WAIT_MAX, TAGS_EVERY, TAGS_MAX};
use crate::patience::Patience;
use crate::transfer::PulledManifest;
use crate::versions::above;

/// What was asked, and by whom: an answer to one tenant is none to another.
type Question = (TenantName, String);

/// An answer, while somebody asks for it nobody else does.
type Cell<T> = Arc<tokio::sync::Mutex<Option<T>>>;

/// Answers to questions.
type Cells<T> = Mutex<HashMap<Question, Cell<T>>>;

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
    answers: Cells<Answer>,
    /// Tags of repositories, and when they were read.
    tags: Cells<(Timestamp, Vec<String>)>,
    patience: Patience,
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
        let patience = Patience::new(Arc::clone(&clock));
        Self { registries, clock, interval, answers: Mutex::default(), tags: Mutex::default(), patience }
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
        Ok(Observed { running, newest: pin, candidates, news: None })
    }

    /// What a reference names, and what is known of that.
    async fn candidate_of(
        &self,
        tenant: &TenantName,
        reference: &ImageReference,
        asked: Option<Trigger>,
        known: &Freshness,
    ) -> Result<Candidate, Unseen> {
        let cell = cell(&self.answers, (tenant.clone(), reference.to_string()));
        // Whoever follows the same reference waits here for the answer, but not for long.
        let Ok(mut answer) = timeout(REGISTRY_WAIT_MAX, cell.lock()).await else { return Err(self.patience.busy()) };
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
        let tags = self.tags_of(tenant, reference, known.check.asked).await?;
        let versions = tags.into_iter().filter_map(|tag| Some((Version::of_tag(&tag)?, tag)));
        for tag in above(&followed, versions) {
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

    /// The tags of a repository, as they were read within the last so many checks, or now if somebody knows that there is
    /// something to see.
    async fn tags_of(
        &self,
        tenant: &TenantName,
        reference: &ImageReference,
        asked: Option<Trigger>,
    ) -> Result<Vec<String>, Unseen> {
        let cell = cell(&self.tags, (tenant.clone(), reference.repository()));
        let Ok(mut listed) = timeout(REGISTRY_WAIT_MAX, cell.lock()).await else { return Err(self.patience.busy()) };
        let keeps = if is_pressing(asked) { Duration::ZERO } else { self.interval.saturating_mul(TAGS_EVERY) };
        if let Some((at, tags)) = listed.as_ref()
            && is_within(self.clock.now(), *at, keeps)
        {
            return Ok(tags.clone());
        }
        let tags = self.registries.tags(tenant, reference, TAGS_MAX);
        let tags = self.ask(tenant, reference.registry(), tags).await?;
        *listed = Some((self.clock.now(), tags.clone()));
        Ok(tags)
    }

    async fn resolve(
        &self,
        answer: &mut Option<Answer>,
        tenant: &TenantName,
        reference: &ImageReference,
        asked: Option<Trigger>,
    ) -> Result<Digest, Unseen> {
        let keeps = keeps(self.interval, asked);
        if let Some(known) = answer.as_ref()
            && is_within(self.clock.now(), known.at, keeps)
        {
            return Ok(known.digest.clone());
        }
        let resolved = self.ask(tenant, reference.registry(), self.registries.resolve(tenant, reference)).await?;
        let digest = Digest::new(&resolved.digest)
            .map_err(|error| self.patience.failed(ErrorClass::RegistryProtocol, &error))?;
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
                    .map_err(|error| self.patience.failed(ErrorClass::RegistryProtocol, &error))?;
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

    async fn ask<T>(
        &self,
        tenant: &TenantName,
        registry: &str,
        asking: impl Future<Output = Result<T, RegistryError>>,
    ) -> Result<T, Unseen> {
        self.patience.ask((tenant.clone(), registry.to_owned()), asking).await
    }
}

/// Where the answer to a question is, or will be.
fn cell<T>(cells: &Cells<T>, question: Question) -> Cell<T> {
    let mut cells = cells.lock();
    if cells.len() >= ANSWERS_KEPT && !cells.contains_key(&question) {
        // Those that nobody waits for; they are asked again.
        cells.retain(|_, cell| Arc::strong_count(cell) > 1);
    }
    Arc::clone(cells.entry(question).or_default())
}

/// How long an answer is good for.
pub(crate) fn keeps(interval: Duration, asked: Option<Trigger>) -> Duration {
    // Checks come a tenth of the interval early at most; so each reference is asked about once in an interval.
    if is_pressing(asked) { Duration::ZERO } else { interval.saturating_mul(8) / 10 }
}

/// A person, or whoever pushed, knows that there is something to see.
fn is_pressing(asked: Option<Trigger>) -> bool {
    matches!(asked, Some(Trigger::Operator | Trigger::Webhook))
}

/// Whether something that is good for so long still is.
pub(crate) fn is_within(now: Timestamp, since: Timestamp, keeps: Duration) -> bool {
    now.duration_since(since) < SignedDuration::try_from(keeps).unwrap_or(SignedDuration::MAX)
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
