//! Indexes of packages: which versions there are of what a server is built of.
//!
//! A version of a package is published once and never changed (npm, PyPI and the Go proxy see to that), so its name is its
//! identity, and the digest of that name is what is decided upon, deployed and confirmed, as the digest of an image is. An index
//! is asked once for all servers that follow the same package, by few at a time, and left alone when it wants to be.

mod address;
mod go;
mod npm;
mod python;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fairlead_core::clock::Clock;
use fairlead_core::dial::{Anywhere, Dialer};
use fairlead_core::digest::Digest;
use fairlead_core::freshness::{Candidate, ErrorClass, Freshness, Observed, Running, Trigger, Unseen, Version};
use fairlead_core::name::TenantName;
use fairlead_core::oci::RegistryError;
use fairlead_core::package::{LATEST, PackageKind, PackageReference};
use http::StatusCode;
use http::header::{ACCEPT, RETRY_AFTER};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::time::timeout;

pub use address::{IndexCredentials, IndexError, PackageIndex};

use crate::detector::{candidate, is_within, keeps};
use crate::digest::digest_of;
use crate::exchange::{Line, Question};
use crate::limits::{ANSWERS_KEPT, INDEX_ANSWER_BYTES_MAX, REGISTRY_WAIT_MAX, RETRY_AFTER_MAX};
use crate::patience::Patience;
use crate::versions::above;

/// What an index offers of a package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Offer {
    /// What is installed when no version is asked for, or the word that stands for one.
    pub(crate) newest: Option<String>,
    /// All that may be installed.
    pub(crate) versions: Vec<Offered>,
}

/// One version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offered {
    /// As the index writes it.
    pub(crate) version: String,
    /// What policies compare; none: it has another form.
    pub(crate) number: Option<Version>,
    /// When it was published, where the index says so.
    pub(crate) published: Option<Timestamp>,
}

type Cell = Arc<tokio::sync::Mutex<Option<(Timestamp, Arc<Offer>)>>>;

/// Asks indexes of packages.
pub struct PackageDetector {
    dialer: Arc<dyn Dialer>,
    clock: Arc<dyn Clock>,
    /// An answer is good for so long.
    interval: Duration,
    answers: Mutex<HashMap<String, Cell>>,
    patience: Patience,
}

impl std::fmt::Debug for PackageDetector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackageDetector").field("interval", &self.interval).finish_non_exhaustive()
    }
}

/// What is deployed of a package: the digest of its name with its version.
#[must_use]
pub fn package_pin(package: &PackageReference) -> Option<Digest> {
    Digest::new(&digest_of(package.as_str().as_bytes())).ok()
}

/// The version that policies compare.
#[must_use]
pub fn package_version(kind: PackageKind, version: &str) -> Option<Version> {
    match kind {
        PackageKind::Npx | PackageKind::Go => Version::of_tag(version),
        PackageKind::Uvx => python::PythonVersion::parse(version).and_then(|version| version.number()),
    }
}

impl PackageDetector {
    /// Nothing is known yet. `interval`: between two checks of one server.
    #[must_use]
    pub fn new(dialer: Arc<dyn Dialer>, clock: Arc<dyn Clock>, interval: Duration) -> Self {
        let patience = Patience::new(Arc::clone(&clock));
        Self { dialer, clock, interval, answers: Mutex::default(), patience }
    }

    /// Looks at what the package is now; if somebody `chooses` among versions, at those above what runs too. A version that
    /// somebody wrote is what it is, and nobody is asked about it who does not choose.
    ///
    /// # Errors
    /// The index gave no answer that can be used, or is left alone.
    pub async fn observe(
        &self,
        index: &PackageIndex,
        package: &PackageReference,
        running: Running,
        known: &Freshness,
        chooses: bool,
    ) -> Result<Observed, Unseen> {
        let kind = package.kind();
        let written = is_version(kind, package.version()).then(|| package.version().to_owned());
        let offer = match &written {
            Some(_) if !chooses => Arc::default(),
            _ => self.offer(index, package, known.check.asked).await?,
        };
        let newest = written.or_else(|| offer.newest.clone()).ok_or_else(|| {
            let reference = package.to_string();
            self.patience.failed(ErrorClass::RegistryNotFound, &RegistryError::NotFound { reference })
        })?;
        let now = self.clock.now();
        let as_candidate = |version: &str| {
            let pin = package.at(version).ok().as_ref().and_then(package_pin)?;
            let offered = offer.versions.iter().find(|offered| offered.version == version);
            Some(Candidate {
                version: package_version(kind, version),
                pushed: offered.and_then(|offered| offered.published),
                ..candidate(&pin, Some(version), vec![pin.clone()], now)
            })
        };
        let nonsense = || {
            let error =
                RegistryError::Protocol { registry: index.name().to_owned(), reason: "a version that is none".into() };
            self.patience.failed(ErrorClass::RegistryProtocol, &error)
        };
        let newest = as_candidate(&newest).ok_or_else(nonsense)?;
        let pin = newest.pin.clone();
        let mut candidates = vec![newest];
        if let (true, Some(followed)) = (chooses, &running.version) {
            let numbered = offer.versions.iter().filter_map(|one| Some((one.number.clone()?, one.version.as_str())));
            let more = above(followed, numbered).into_iter().filter_map(as_candidate);
            candidates.extend(more.filter(|candidate| candidate.pin != pin));
        }
        Ok(Observed { running, newest: pin, candidates, news: None })
    }

    /// What an index offers, as it was heard not long ago.
    async fn offer(
        &self,
        index: &PackageIndex,
        package: &PackageReference,
        asked: Option<Trigger>,
    ) -> Result<Arc<Offer>, Unseen> {
        let question = format!("{} {}://{}@{}", index.name(), index.kind().scheme(), package.name(), package.version());
        let cell = {
            let mut answers = self.answers.lock();
            if answers.len() >= ANSWERS_KEPT && !answers.contains_key(&question) {
                answers.retain(|_, cell| Arc::strong_count(cell) > 1);
            }
            Arc::clone(answers.entry(question).or_default())
        };
        // Whoever follows the same package waits here for the answer, but not for long.
        let Ok(mut answer) = timeout(REGISTRY_WAIT_MAX, cell.lock()).await else { return Err(self.patience.busy()) };
        if let Some((at, offer)) = answer.as_ref()
            && is_within(self.clock.now(), *at, keeps(self.interval, asked))
        {
            return Ok(Arc::clone(offer));
        }
        // What is shown to an index is the daemon's, not a tenant's.
        let place = (TenantName::default(), index.name().to_owned());
        let asking = async {
            match package.kind() {
                PackageKind::Npx => npm::offer(self, index, package).await,
                PackageKind::Uvx => python::offer(self, index, package).await,
                PackageKind::Go => go::offer(self, index, package).await,
            }
        };
        let offer = Arc::new(self.patience.ask(place, asking).await?);
        *answer = Some((self.clock.now(), Arc::clone(&offer)));
        Ok(offer)
    }

    /// What stands at a path of an index, and of which type it is; `None` when there is nothing.
    async fn get(
        &self,
        index: &PackageIndex,
        path: &str,
        accept: &str,
    ) -> Result<Option<(Option<String>, Vec<u8>)>, RegistryError> {
        let line = Line { dialer: &*self.dialer, admission: &Anywhere, registry: index.name() };
        let question = Question::get(index.endpoint(), format!("{}{path}", index.path())).with(ACCEPT, accept);
        let question = match index.authorisation() {
            Some(shown) => question.authorised(shown),
            None => question,
        };
        let answer = line.ask(question).await?;
        let registry = || index.name().to_owned();
        match answer.head.status {
            StatusCode::OK => {
                let kind = answer.header("content-type").map(str::to_owned);
                let body = answer.whole(&line, INDEX_ANSWER_BYTES_MAX).await?;
                Ok(Some((kind, body.to_vec())))
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
            StatusCode::TOO_MANY_REQUESTS => {
                let seconds = answer.header(RETRY_AFTER.as_str()).and_then(|text| text.parse().ok());
                let retry_after = seconds.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
                Err(RegistryError::RateLimited { registry: registry(), retry_after })
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(RegistryError::Denied { registry: registry(), reason: answer.reason(&line).await })
            }
            status if status.is_server_error() => {
                Err(RegistryError::Unreachable { registry: registry(), reason: status.to_string() })
            }
            status => Err(line.protocol(&status.to_string())),
        }
    }
}

/// Whether a text names one version rather than whatever is newest of something.
fn is_version(kind: PackageKind, text: &str) -> bool {
    text != LATEST
        && match kind {
            PackageKind::Npx | PackageKind::Go => Version::of_tag(text).is_some(),
            PackageKind::Uvx => python::PythonVersion::parse(text).is_some(),
        }
}

fn not_there(package: &PackageReference) -> RegistryError {
    RegistryError::NotFound { reference: package.to_string() }
}
