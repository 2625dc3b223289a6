//! What people ask about updates, as whoever keeps servers fresh hears of it and answers.
//!
//! An answer is stored in the write that carries out what was asked, on the record as it was read: so there is no moment in which
//! one is there without the other, and whoever was paused in between finds that the record has become another.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use fairlead_core::freshness::Freshness;
use fairlead_core::name::ServerKey;
use fairlead_core::store::StoreError;
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::core::DynamicObject;

use super::fleet::Fleet;
use crate::desired::{Names, Server};
use crate::freshness::{Answer, Kept, Outcome, REQUEST, Request, RequestStanding, id_of, image};

/// Something that is asked and not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    text: String,
    /// What it is; or why it cannot be answered with more than that.
    pub request: Result<Request, String>,
}

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It is stored, and what was asked is done.
    Yes,
    /// Somebody else has written since: to be considered again.
    Conflict,
    /// It is not asked any more, or was answered.
    Not,
}

impl Fleet {
    /// What is asked of a server and not answered, as far as the watches tell; the API server is not asked.
    #[must_use]
    pub fn asked(&self, key: &ServerKey) -> Option<Asked> {
        let (object, server) = self.server(key).filter(|(_, server)| !server.deleting)?;
        let text = object.annotations().get(REQUEST)?.clone();
        let names = Names::new(key.name.as_str(), key.tenant.as_str());
        let kept = self.context.cache().kept(&names, &server.uid).unwrap_or_default();
        let request = match kept.answers.standing(&text) {
            RequestStanding::Answered => return None,
            // Somebody took the record away.
            RequestStanding::New if kept.answers.is_empty() && is_said(&server, &text) => return None,
            RequestStanding::Used => Err("its `id` was used before, for something else".to_owned()),
            RequestStanding::New if image(&server).is_none() => {
                Err("the server follows no image that could be updated".to_owned())
            }
            RequestStanding::New => Request::read(&text).and_then(|request| match &request.uid {
                Some(uid) if *uid != server.uid => Err("it was asked of an earlier server of this name".to_owned()),
                _ => Ok(request),
            }),
        };
        Some(Asked { text, request })
    }

    /// Stores an answer, and in the same write what the record becomes by it, if it still is the one of that revision.
    ///
    /// # Errors
    /// The API server does not take it, or what is there cannot be read.
    pub async fn answer(
        &self,
        key: &ServerKey,
        asked: &Asked,
        next: Option<(u64, Freshness)>,
        outcome: Outcome,
    ) -> Result<Stored, StoreError> {
        let Some((object, server)) = self.server(key).filter(|(_, server)| !server.deleting) else {
            return Ok(Stored::Not);
        };
        // Whoever asked may have taken it back meanwhile, or asks something else by now.
        if object.annotations().get(REQUEST) != Some(&asked.text) {
            return Ok(Stored::Not);
        }
        if image(&server).is_none() {
            // Nothing is kept of such a server.
            self.tell(&object, asked, &outcome).await;
            return Ok(Stored::Not);
        }
        // What is remembered may be of an earlier server of this name, or of another reference.
        let seen = match self.known(key).await?.filter(|seen| seen.uid == server.uid) {
            Some(seen) => seen,
            None => self.look(key).await?,
        };
        match seen.kept.answers.standing(&asked.text) {
            RequestStanding::Answered => return Ok(Stored::Not),
            // It looked new to whoever considered it.
            RequestStanding::Used if asked.request.is_ok() => return Ok(Stored::Conflict),
            RequestStanding::Used | RequestStanding::New => {}
        }
        let record = match next {
            Some((revision, _)) if seen.kept.record.revision != revision => return Ok(Stored::Conflict),
            Some((_, next)) => next,
            None => seen.kept.record.clone(),
        };
        let answers = seen.kept.answers.with(Answer::new(&asked.text, outcome.clone(), Timestamp::now()));
        let kept = Kept { record, answers, ..seen.kept.clone() };
        if !self.write(key, seen, kept).await? {
            return Ok(Stored::Conflict);
        }
        self.tell(&object, asked, &outcome).await;
        Ok(Stored::Yes)
    }

    /// Tells in an Event what came of it: whoever wrote the annotation by hand looks there.
    async fn tell(&self, object: &DynamicObject, asked: &Asked, outcome: &Outcome) {
        let by = asked.request.as_ref().ok().and_then(|request| request.by.as_ref());
        let by = by.map(|by| format!(" of {by}")).unwrap_or_default();
        let id = id_of(&asked.text);
        let (is_warning, reason, note) = match outcome {
            Outcome::Refused { problem } => {
                (true, "UpdateRequestRefused", format!("request `{id}`{by} is refused: {}", problem.detail))
            }
            Outcome::Planned { .. } => return,
            Outcome::Done | Outcome::Other => (false, "UpdateRequestDone", format!("request `{id}`{by} is done")),
        };
        let (teller, tally) = (&self.context.teller, &self.context.hands.tally);
        if !teller.note(object, is_warning, reason, &note, tally).await {
            tracing::debug!(server = object.name_any(), note, "an event was not written");
        }
    }
}

/// Whether the status says that it was answered.
fn is_said(server: &Server, text: &str) -> bool {
    server.status.update_request.as_ref().is_some_and(|said| said.id == id_of(text))
}

/// Tells one request of a server from another, without keeping it.
pub(super) fn trace(object: &DynamicObject) -> Option<u64> {
    let text = object.annotations().get(REQUEST)?;
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    Some(hasher.finish())
}
