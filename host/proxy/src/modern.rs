//! Self-describing requests (2026-07-28 and later) to servers that speak over a pipe.
//!
//! There is no session: each POST says which revision it speaks and what its client can do, so one process serves all
//! clients, and what they write is told apart by its ids. A client that hangs up has cancelled, the opposite of what it
//! means in the legacy era, so each request is bound to its connection. What a server wants to know from its client comes as
//! a result and is answered with another request; what it says unasked comes on the stream of a `subscriptions/listen`.
//!
//! Because a pipe has no status line, statuses are made here of what the server answers; and because it has no headers,
//! what they say is compared with the body here.

mod access;
mod delivery;
mod exchange;
pub(crate) mod headers;
mod learn;
mod mirrors;

pub(crate) use access::{ModernAccess, NotReached};
pub(crate) use delivery::Delivery;
pub(crate) use exchange::{post, restored, status_of, subscription_ended};
pub(crate) use learn::{
    ask as pipe_ask, converse, describing, initialize, is_modern_answer, learn_legacy, wants_to_be_asked_again,
};
pub(crate) use mirrors::Mirrors;
