//! The container engines of this machine: looked for, asked, and remembered while they answer.
//!
//! Several at once is the ordinary case (Podman for one project, Docker Desktop for another), so nothing here picks "the"
//! engine. A server keeps the *address* of its own; the order of the search decides only where a new server goes. A peer
//! that picked one for the whole machine took every workload of the other for lost.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::join_all;
use parking_lot::Mutex;
use serde::Serialize;

use super::candidates::{Address, Candidate, candidates};
use super::engine::{Engine, Facts};
use super::error::{ContainerError, quoted};
use super::surroundings::Surroundings;

/// All engines of this machine.
#[derive(Debug)]
pub struct Engines {
    surroundings: Surroundings,
    /// Those that answered and have not failed since, in the order of the search.
    answering: Mutex<Vec<Arc<Engine>>>,
}

/// One place where an engine was looked for.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tried {
    /// What an engine there is called.
    pub name: String,
    /// What led there: a variable, or `usual place`.
    pub found_by: String,
    /// Where.
    pub address: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of looking for an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Outcome {
    /// It answers.
    Answering(Facts),
    /// There is no socket.
    Absent,
    /// Something is there and does not answer as an engine does.
    Failing {
        /// What it did instead.
        reason: String,
    },
    /// An address that Fairlead cannot use.
    Unsupported,
}

impl Outcome {
    pub(super) fn is_absent(&self) -> bool {
        *self == Self::Absent
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answering(facts) => write!(f, "{} {} answers", facts.product, facts.version),
            Self::Absent => f.write_str("no socket"),
            Self::Failing { reason } => f.write_str(reason),
            Self::Unsupported => f.write_str("only Unix sockets of this machine are supported"),
        }
    }
}

impl Engines {
    /// The engines that these surroundings lead to. Nothing is asked yet.
    #[must_use]
    pub fn new(surroundings: Surroundings) -> Self {
        Self { surroundings, answering: Mutex::default() }
    }

    /// Looks everywhere, now, and tells what was found where. What answers is remembered.
    pub async fn look(&self) -> Vec<Tried> {
        let candidates = candidates(&self.surroundings);
        let probes = candidates.iter().cloned().map(|candidate| self.probe(candidate));
        let (tried, engines): (Vec<_>, Vec<_>) = join_all(probes).await.into_iter().unzip();
        self.remember(engines.into_iter().flatten().collect(), &candidates);
        tried
    }

    /// Those that answered last time, in the order of preference.
    #[must_use]
    pub fn answering(&self) -> Vec<Arc<Engine>> {
        self.answering.lock().clone()
    }

    /// The engine of this name or address; without one, the first that answers.
    ///
    /// # Errors
    /// It does not answer, or none does.
    pub async fn find(&self, wanted: Option<&str>) -> Result<Arc<Engine>, ContainerError> {
        if let Some(engine) = self.known(wanted) {
            return Ok(engine);
        }
        let tried = self.look().await;
        if let Some(engine) = self.known(wanted) {
            return Ok(engine);
        }
        let Some(wanted) = wanted else { return Err(ContainerError::NoEngine { tried }) };
        // A server may be on an engine that today's environment does not lead to.
        match Address::parse(wanted) {
            Address::Socket(socket) => self.connect(socket).await,
            Address::Unsupported(wanted) => Err(ContainerError::NoSuchEngine { wanted, tried }),
        }
    }

    /// Takes an engine that failed out of memory, so that it is looked for anew.
    pub(super) fn forget(&self, engine: &Arc<Engine>) {
        self.answering.lock().retain(|known| !Arc::ptr_eq(known, engine));
    }

    /// Every socket that leads to an engine, or will when one is started: nothing that holds one is ever mounted.
    pub(super) fn sockets(&self) -> Vec<PathBuf> {
        let candidates = candidates(&self.surroundings).into_iter();
        let sockets = candidates.filter_map(|candidate| match candidate.address {
            Address::Socket(socket) => Some(self.surroundings.real(&socket).unwrap_or(socket)),
            Address::Unsupported(_) => None,
        });
        sockets.chain(self.answering.lock().iter().map(|engine| engine.socket().to_owned())).collect()
    }

    fn known(&self, wanted: Option<&str>) -> Option<Arc<Engine>> {
        let answering = self.answering.lock();
        let is =
            |engine: &&Arc<Engine>| wanted.is_none_or(|wanted| engine.name() == wanted || engine.address() == wanted);
        answering.iter().find(is).cloned()
    }

    async fn connect(&self, socket: PathBuf) -> Result<Arc<Engine>, ContainerError> {
        let engine = Arc::new(Engine::connect(&format!("unix://{}", socket.display()), &socket).await?);
        self.answering.lock().push(Arc::clone(&engine));
        Ok(engine)
    }

    /// Puts what was found in the place of what was known, and keeps the connections that are there already. An engine that
    /// was not looked for, because only a server knew of it, stays.
    fn remember(&self, found: Vec<Engine>, looked_for: &[Candidate]) {
        let mut answering = self.answering.lock();
        let mut old = std::mem::take(&mut *answering);
        for engine in found {
            let known = old.iter().position(|known| known.socket() == engine.socket());
            answering.push(known.map_or_else(|| Arc::new(engine), |known| old.remove(known)));
        }
        let was_looked_for =
            |engine: &Engine| looked_for.iter().any(|candidate| candidate.address.to_string() == engine.address());
        answering.extend(old.into_iter().filter(|engine| !was_looked_for(engine)));
    }

    async fn probe(&self, candidate: Candidate) -> (Tried, Option<Engine>) {
        let Candidate { name, found_by, address } = candidate;
        let (outcome, engine) = match &address {
            Address::Unsupported(_) => (Outcome::Unsupported, None),
            Address::Socket(socket) if self.surroundings.real(socket).is_none() => (Outcome::Absent, None),
            Address::Socket(socket) => match Engine::connect(&name, socket).await {
                Ok(engine) => (Outcome::Answering(engine.facts().clone()), Some(engine)),
                Err(error) => (Outcome::Failing { reason: chain(&error) }, None),
            },
        };
        (Tried { name, found_by, address: address.to_string(), outcome }, engine)
    }
}

/// An error with its causes, on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    quoted(&text)
}
