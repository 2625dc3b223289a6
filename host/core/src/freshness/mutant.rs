//! Seven ways to break the protocol on purpose. The model check must find each of them; a check that does not proves nothing.
//!
//! Outside of tests none of them exists: the function is constant and the compiler removes the question.

/// One broken rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// The object is written without looking at its revision and fence.
    NoObjectFence,
    /// The object is written before the intent is stored.
    EffectBeforeIntent,
    /// An operation is called off without sealing the object: a rule of the worker, which the model has.
    #[cfg(test)]
    NoSeal,
    /// A failed check forgets the operation: one column for two axes.
    CheckClobbers,
    /// A tag is applied, not the digest that was decided on: likewise.
    #[cfg(test)]
    ByTag,
    /// The record is written without looking at the fence.
    NoRecordFence,
    /// Disabling a server calls a rollback off.
    CancelsRollback,
}

#[cfg(test)]
thread_local! {
    static ON: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Breaks a rule on this thread, or mends them all.
#[cfg(test)]
pub(crate) fn set(mutant: Option<Mutant>) {
    ON.with(|on| on.set(mutant));
}

/// Whether a rule is broken.
#[cfg(test)]
pub(crate) fn is_on(mutant: Mutant) -> bool {
    ON.with(|on| on.get() == Some(mutant))
}

/// Whether a rule is broken: never.
#[cfg(not(test))]
#[inline]
pub(crate) const fn is_on(_: Mutant) -> bool {
    false
}
