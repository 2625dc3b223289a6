//! Where a message of the server goes that is no answer. One message goes to exactly one stream of a session.

use std::sync::Arc;

use fairlead_core::jsonrpc::{Envelope, IdKey, Kind};

use super::table::{Inlet, Seat, SeatId, Sharing, Table};

/// Where it goes.
pub(super) enum Destination {
    /// To these; more than one only where sessions share a process.
    To(Vec<Inlet>),
    /// To nobody; why, for the log.
    Nobody(&'static str),
    /// A question that no client can be asked; why, for the server.
    Refuse(&'static str),
    /// `ping`, answered here because no client listens.
    Pong,
}

impl Table {
    /// Decides. A question is noted, so that its answer is let through. `listens` says whether a client reads the standing
    /// stream of a seat.
    pub(super) fn route(&mut self, message: &Envelope, listens: impl Fn(SeatId) -> bool) -> Destination {
        if self.sharing == Sharing::Requests {
            return self.route_modern(message);
        }
        if message.kind() == Kind::Request {
            return self.route_question(message, listens);
        }
        match message.method() {
            "notifications/progress" => self.route_progress(message),
            "notifications/cancelled" => self.route_withdrawn(message),
            "notifications/resources/updated" if self.is_shared() => {
                let uri = message.target().unwrap_or_default();
                let concerned = self.seats.values().filter(|seat| seat.subscriptions.contains(uri.as_ref()));
                Destination::To(concerned.map(|seat| Arc::clone(&seat.standing)).collect())
            }
            method if method == "notifications/resources/updated" || method.ends_with("/list_changed") => {
                Destination::To(self.seats.values().map(|seat| Arc::clone(&seat.standing)).collect())
            }
            _ => self.route_remark(),
        }
    }

    /// In the modern era a message belongs to a request or to a subscription, which is a request as well. Log messages name
    /// neither, so they go to the only request that wants some, or to nobody.
    fn route_modern(&self, message: &Envelope) -> Destination {
        if message.kind() == Kind::Request {
            return match message.method() {
                "ping" => Destination::Pong,
                _ => Destination::Refuse("in this revision a server asks through results"),
            };
        }
        let named = match message.method() {
            "notifications/progress" => return self.route_progress(message),
            "notifications/cancelled" => message.cancelled(),
            _ => message.subscription(),
        };
        let pending = match named {
            Some(id) => IdKey::of(id).and_then(|id| self.pending.get(&id)),
            None => {
                let mut wanting = self.pending.values().filter(|pending| pending.wants_logs);
                wanting.next().filter(|_| wanting.next().is_none() && message.method() == "notifications/message")
            }
        };
        match pending {
            Some(pending) => Destination::To(vec![Arc::clone(&pending.inlet)]),
            None => Destination::Nobody("it belongs to no request under way"),
        }
    }

    fn route_progress(&self, message: &Envelope) -> Destination {
        let token = message.progress_of().and_then(IdKey::of);
        let pending = token.and_then(|token| self.tokens.get(&token)).and_then(|id| self.pending.get(id));
        match pending {
            Some(pending) => Destination::To(vec![Arc::clone(&pending.inlet)]),
            None => Destination::Nobody("progress of no request under way"),
        }
    }

    /// The server no longer wants its question answered: told where the question was asked.
    fn route_withdrawn(&mut self, message: &Envelope) -> Destination {
        let question = message.cancelled().and_then(IdKey::of).and_then(|id| self.questions.remove(&id));
        let Some(question) = question else { return Destination::Nobody("cancellation of no open question") };
        let pending = question.asked_in.and_then(|id| self.pending.get(&id));
        let inlet = pending.map(|pending| &pending.inlet);
        match inlet.or_else(|| self.seats.get(&question.seat).map(|seat| &seat.standing)) {
            Some(inlet) => Destination::To(vec![Arc::clone(inlet)]),
            None => Destination::Nobody("the session has ended"),
        }
    }

    /// The one session that a message can belong to: the only one with requests under way, or the only one.
    fn only_seat(&self) -> Option<(SeatId, &Seat)> {
        let mut busy = self.seats.iter().filter(|(_, seat)| !seat.in_flight.is_empty());
        let found = match (busy.next(), busy.next()) {
            (Some(one), None) => Some(one),
            (None, _) if self.seats.len() == 1 => self.seats.iter().next(),
            _ => None,
        };
        found.map(|(id, seat)| (*id, seat))
    }

    fn route_question(&mut self, message: &Envelope, listens: impl Fn(SeatId) -> bool) -> Destination {
        let is_ping = message.method() == "ping";
        if is_ping && self.is_shared() {
            return Destination::Pong;
        }
        let Some((id, seat)) = self.only_seat() else {
            return Destination::Refuse("several clients share this server, and it is not known whom to ask");
        };
        let asked_in = seat.newest().cloned();
        let inlet = match asked_in.as_ref().and_then(|wire_id| self.pending.get(wire_id)) {
            Some(pending) => Arc::clone(&pending.inlet),
            None if is_ping && !listens(id) => return Destination::Pong,
            None => Arc::clone(&seat.standing),
        };
        let (Some(raw), Some(key)) = (message.id_bytes(), message.id().and_then(IdKey::of)) else {
            return Destination::Nobody("a question without id");
        };
        if self.ask(key, id, asked_in, raw) {
            Destination::To(vec![inlet])
        } else {
            Destination::Refuse("too many questions are open")
        }
    }

    /// Log messages and whatever this revision does not know: with the request it must belong to, else on the standing
    /// stream.
    fn route_remark(&self) -> Destination {
        let Some((_, seat)) = self.only_seat() else {
            return Destination::Nobody("it belongs to no single session");
        };
        let mut under_way = seat.in_flight.values();
        let inlet = match (under_way.next(), under_way.next()) {
            (Some((id, _)), None) => self.pending.get(id).map(|pending| &pending.inlet),
            _ => None,
        };
        Destination::To(vec![Arc::clone(inlet.unwrap_or(&seat.standing))])
    }
}
