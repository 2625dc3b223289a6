//! Who waits for what: the state behind one pipe, without any waiting in it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use fairlead_core::jsonrpc::{Envelope, IdKey, LOG_LEVEL_KEY};

use super::pipe::Inbound;
use crate::lane::Lane;
use crate::limits::{
    IN_FLIGHT_MAX, LANE_BYTES_MAX, LANE_EVENTS_MAX, MODERN_IN_FLIGHT_MAX, QUESTIONS_MAX, SUBSCRIPTIONS_MAX,
};

/// A session's place at a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SeatId(u64);

impl SeatId {
    /// Of requests that belong to no session.
    const NOBODY: Self = Self(0);
}

/// A way to whoever waits.
pub(super) type Inlet = Arc<Lane<Inbound>>;

pub(super) fn inlet() -> Inlet {
    Arc::new(Lane::new(LANE_EVENTS_MAX, LANE_BYTES_MAX))
}

/// Who speaks through a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// One session.
    None,
    /// Several sessions that initialised alike.
    Sessions,
    /// Requests of the modern era, which have no session.
    Requests,
}

/// Why a request was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotEnlisted {
    #[error("a request with this id is under way in this session")]
    Duplicate,
    #[error("too many requests are under way in this session")]
    TooMany,
    #[error("too many requests are under way at this server")]
    Crowded,
    #[error("the server has ended")]
    Ended,
}

/// A request under way.
pub(super) struct Pending {
    pub(super) seat: SeatId,
    pub(super) inlet: Inlet,
    order: u64,
    client_id: IdKey,
    token: Option<IdKey>,
    /// Whether the request itself asked for log messages.
    pub(super) wants_logs: bool,
}

/// A session at this pipe.
pub(super) struct Seat {
    pub(super) standing: Inlet,
    /// Requests under way, oldest first: the id on the wire, and whether it is one that servers ask questions for.
    pub(super) in_flight: BTreeMap<u64, (IdKey, bool)>,
    /// From the client's ids to those on the wire.
    ids: HashMap<IdKey, IdKey>,
    /// Only kept where a process is shared.
    pub(super) subscriptions: HashSet<String>,
}

impl Seat {
    /// The request that a question most likely belongs to.
    pub(super) fn newest(&self) -> Option<&IdKey> {
        let asking = self.in_flight.values().rev().find(|(_, asks)| *asks);
        asking.or_else(|| self.in_flight.values().next_back()).map(|(id, _)| id)
    }
}

/// A question of the server that is being answered.
pub(super) struct Question {
    pub(super) seat: SeatId,
    /// Where it was sent, as long as that request is under way.
    pub(super) asked_in: Option<IdKey>,
    /// JSON text of its id.
    pub(super) id: Bytes,
    /// When it was asked, relative to the others.
    pub(super) order: u64,
}

/// Everything about one pipe.
pub(super) struct Table {
    pub(super) sharing: Sharing,
    next: u64,
    pub(super) pending: HashMap<IdKey, Pending>,
    pub(super) tokens: HashMap<IdKey, IdKey>,
    pub(super) questions: HashMap<IdKey, Question>,
    pub(super) seats: HashMap<SeatId, Seat>,
    pub(super) ended: bool,
}

/// A request that was taken: what to write, and what to remember.
pub(super) struct Enlisted {
    pub(super) wire_id: IdKey,
    pub(super) order: u64,
    pub(super) text: Bytes,
}

/// The first number of a pipe whose ids are numbers: apart from those of any other pipe to the same process. A process that outlives a
/// connection, or has two for a moment, answers what was asked through the one into the other as well.
///
/// 2^20 requests from each of 2^32 beginnings stay below 2^53, up to which every peer gives a number back as it is.
fn beginning() -> u64 {
    let mut bytes = [0; 4];
    // Without random numbers there are no sessions either.
    let _ = getrandom::fill(&mut bytes);
    (u64::from(u32::from_le_bytes(bytes)) << 20) + 1
}

impl Table {
    pub(super) fn new(sharing: Sharing) -> Self {
        Self {
            sharing,
            next: if sharing == Sharing::None { 1 } else { beginning() },
            pending: HashMap::new(),
            tokens: HashMap::new(),
            questions: HashMap::new(),
            seats: HashMap::new(),
            ended: false,
        }
    }

    /// Whether several share the process, so that ids must be renamed.
    pub(super) fn is_shared(&self) -> bool {
        self.sharing != Sharing::None
    }

    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    pub(super) fn sit(&mut self) -> (SeatId, Inlet) {
        let id = SeatId(self.number());
        let standing = inlet();
        if self.ended {
            standing.close();
        }
        let seat = Seat {
            standing: Arc::clone(&standing),
            in_flight: BTreeMap::new(),
            ids: HashMap::new(),
            subscriptions: HashSet::new(),
        };
        self.seats.insert(id, seat);
        (id, standing)
    }

    /// A name for an id or a token on the wire: its own where every peer gives it back as it is and nobody else uses it.
    fn wire_name(&self, raw: &str, number: u64, taken: impl Fn(&IdKey) -> bool) -> Option<(IdKey, Option<String>)> {
        let key = IdKey::of(raw)?;
        if !self.is_shared() && IdKey::is_portable(raw) && !taken(&key) {
            return Some((key, None));
        }
        // In a process of one session, a text that no client would choose keeps clear of the client's own ids.
        let name = if self.is_shared() { number.to_string() } else { format!("\"fairlead:{number}\"") };
        IdKey::of(&name).map(|key| (key, Some(name)))
    }

    pub(super) fn enlist(&mut self, seat: SeatId, message: &Envelope, inlet: &Inlet) -> Result<Enlisted, NotEnlisted> {
        let number = self.number();
        let raw_id = message.id().unwrap_or_default();
        let client_id = IdKey::of(raw_id).ok_or(NotEnlisted::Ended)?;
        let place = self.seats.get(&seat).filter(|_| !self.ended).ok_or(NotEnlisted::Ended)?;
        if place.ids.contains_key(&client_id) {
            return Err(NotEnlisted::Duplicate);
        }
        if place.in_flight.len() >= IN_FLIGHT_MAX {
            return Err(NotEnlisted::TooMany);
        }
        let name = self.wire_name(raw_id, number, |key| self.pending.contains_key(key));
        let (wire_id, id_text) = name.ok_or(NotEnlisted::Ended)?;
        let token = message.progress_token();
        let token = token.and_then(|raw| self.wire_name(raw, number, |key| self.tokens.contains_key(key)));
        let mut rewrite = message.rewrite();
        if let Some(text) = &id_text {
            rewrite = rewrite.id(text);
        }
        if let Some((_, Some(text))) = &token {
            rewrite = rewrite.progress_token(text);
        }
        let text = rewrite.finish();
        let token = token.map(|(key, _)| key);
        if let Some(token) = &token {
            self.tokens.insert(token.clone(), wire_id.clone());
        }
        let wants_logs = false;
        let asks = matches!(message.method(), "tools/call" | "prompts/get" | "resources/read" | "completion/complete");
        if let Some(place) = self.seats.get_mut(&seat) {
            place.in_flight.insert(number, (wire_id.clone(), asks));
            place.ids.insert(client_id.clone(), wire_id.clone());
        }
        let pending = Pending { seat, inlet: Arc::clone(inlet), order: number, client_id, token, wants_logs };
        self.pending.insert(wire_id.clone(), pending);
        Ok(Enlisted { wire_id, order: number, text })
    }

    /// Takes a request of the modern era.
    pub(super) fn enlist_request(&mut self, message: &Envelope, inlet: &Inlet) -> Result<Enlisted, NotEnlisted> {
        if self.ended {
            return Err(NotEnlisted::Ended);
        }
        if self.pending.len() >= MODERN_IN_FLIGHT_MAX {
            return Err(NotEnlisted::Crowded);
        }
        let number = self.number();
        let name = number.to_string();
        let wire_id = IdKey::of(&name).ok_or(NotEnlisted::Ended)?;
        let token = message.progress_token().map(|_| wire_id.clone());
        let mut rewrite = message.rewrite().id(&name);
        if token.is_some() {
            rewrite = rewrite.progress_token(&name);
        }
        let text = rewrite.finish();
        if let Some(token) = &token {
            self.tokens.insert(token.clone(), wire_id.clone());
        }
        let pending = Pending {
            seat: SeatId::NOBODY,
            inlet: Arc::clone(inlet),
            order: number,
            client_id: wire_id.clone(),
            token,
            wants_logs: message.meta(LOG_LEVEL_KEY).is_some(),
        };
        self.pending.insert(wire_id.clone(), pending);
        Ok(Enlisted { wire_id, order: number, text })
    }

    /// Forgets a request; `order` guards against another one that has the same id by now.
    pub(super) fn remove(&mut self, wire_id: &IdKey, order: Option<u64>) -> Option<Pending> {
        if order.is_some_and(|order| self.pending.get(wire_id).is_none_or(|pending| pending.order != order)) {
            return None;
        }
        let pending = self.pending.remove(wire_id)?;
        if let Some(token) = &pending.token {
            self.tokens.remove(token);
        }
        if let Some(seat) = self.seats.get_mut(&pending.seat) {
            seat.in_flight.remove(&pending.order);
            seat.ids.remove(&pending.client_id);
        }
        Some(pending)
    }

    /// The id on the wire of a client's request.
    pub(super) fn wire_id(&self, seat: SeatId, client_id: &IdKey) -> Option<&IdKey> {
        self.seats.get(&seat)?.ids.get(client_id)
    }

    /// Takes note of a question; false when too many are open. With one session, where the note decides nothing but the
    /// way of a withdrawal, the oldest makes room.
    pub(super) fn ask(&mut self, key: IdKey, seat: SeatId, asked_in: Option<IdKey>, id: Bytes) -> bool {
        if self.questions.len() >= QUESTIONS_MAX {
            if self.is_shared() {
                return false;
            }
            let oldest = self.questions.iter().min_by_key(|(_, question)| question.order).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| self.questions.remove(&oldest));
        }
        let order = self.number();
        self.questions.insert(key, Question { seat, asked_in, id, order });
        true
    }

    /// Notes or forgets a subscription. False when the server must not hear of it: others still want the resource.
    pub(super) fn subscription(&mut self, seat: SeatId, uri: &str, wanted: bool) -> bool {
        let others = self.seats.iter().any(|(id, other)| *id != seat && other.subscriptions.contains(uri));
        let Some(place) = self.seats.get_mut(&seat) else { return false };
        if wanted {
            if place.subscriptions.len() < SUBSCRIPTIONS_MAX {
                place.subscriptions.insert(uri.to_owned());
            }
            true
        } else {
            place.subscriptions.remove(uri);
            !others
        }
    }

    /// Ends everything: what was under way, and what stood open.
    pub(super) fn end(&mut self) -> Vec<Inlet> {
        self.ended = true;
        self.tokens.clear();
        self.questions.clear();
        for seat in self.seats.values_mut() {
            seat.standing.close();
            seat.in_flight.clear();
            seat.ids.clear();
        }
        self.pending.drain().map(|(_, pending)| pending.inlet).collect()
    }

    /// A session leaves: its requests under way, and the questions that it will not answer.
    pub(super) fn leave(&mut self, seat: SeatId) -> (Vec<(IdKey, Inlet)>, Vec<Bytes>) {
        let Some(place) = self.seats.remove(&seat) else { return (Vec::new(), Vec::new()) };
        place.standing.close();
        let ids: Vec<IdKey> = place.in_flight.into_values().map(|(id, _)| id).collect();
        let left = ids.into_iter().filter_map(|id| self.remove(&id, None).map(|pending| (id, pending.inlet))).collect();
        let asked = self.questions.extract_if(|_, question| question.seat == seat);
        (left, asked.map(|(_, question)| question.id).collect())
    }
}
