//! What an operation does to the object that it found: decided on values, so that no interleaving has a rule of its own.

use super::mutant::{Mutant, is_on};
use super::record::{Deployed, Fence, Mark, Operation, Phase};

/// The next move of whoever puts an operation in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Move {
    /// Somebody with a younger lease was here: stop, silently.
    Yield,
    /// It is in place already: an earlier holder wrote it and did not live to say so.
    Adopt,
    /// A person or another tool changed the object: theirs stands.
    Supersede,
    /// Write this, if the object still has the revision that was read.
    Write(Deployed),
    /// Write this, which changes nothing but the revision and the fence: whoever still means to write the operation fails
    /// from now on, so that it can be called off in truth.
    Seal(Deployed),
}

/// Decides about an operation that is being applied. `called_off`: the server was disabled or is to be removed.
#[must_use]
pub fn apply(operation: &Operation, fence: Fence, found: &Deployed, called_off: bool) -> Move {
    debug_assert!(operation.phase == Phase::Applying || is_on(Mutant::EffectBeforeIntent));
    if let Some(mark) = found.mark {
        if mark.fence > fence && !is_on(Mutant::NoObjectFence) {
            return Move::Yield;
        }
        if mark.operation == operation.id && found.pin.as_ref() == Some(&operation.plan.pin) {
            return Move::Adopt;
        }
    } else if found.revision != operation.base && !is_on(Mutant::NoObjectFence) {
        return Move::Supersede;
    }
    let revision = found.revision + 1;
    if called_off && operation.direction == super::Direction::Forward {
        // The mark names no operation that could be adopted: numbers begin at one.
        return Move::Seal(Deployed { revision, pin: found.pin.clone(), mark: Some(Mark { operation: 0, fence }) });
    }
    let mark = Some(Mark { operation: operation.id, fence });
    Move::Write(Deployed { revision, pin: Some(operation.plan.pin.clone()), mark })
}
