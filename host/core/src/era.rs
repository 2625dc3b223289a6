//! Which era of MCP a server speaks, and where that is remembered.
//!
//! Up to 2025-11-25 (*legacy*) a client shakes hands and has a session; from 2026-07-28 on (*modern*) each request describes
//! itself. A server speaks one era or both, and a stdio process, once it has been spoken to, only one.

use serde::{Deserialize, Serialize};

/// What a server was found to speak. `None`: nobody has found out yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Eras {
    /// Whether it answers self-describing requests.
    pub modern: Option<bool>,
    /// Whether it answers `initialize`.
    pub legacy: Option<bool>,
}

impl Eras {
    /// Together with what was found later.
    #[must_use]
    pub fn and(self, later: &Self) -> Self {
        Self { modern: later.modern.or(self.modern), legacy: later.legacy.or(self.legacy) }
    }
}

/// Remembers the eras of one server for as long as the server is what it is: whoever keeps it keys it by what would be
/// started. It is a hint. A server that turns out otherwise corrects it, so losing it costs a question and nothing else.
pub trait EraMemory: Send + Sync {
    /// What was found, by this daemon or an earlier one.
    fn recall(&self) -> Eras;
    /// Keeps what was found now. Never waits: whoever calls has a client waiting.
    fn remember(&self, eras: &Eras);
}

/// Remembers as long as it lives.
#[derive(Debug, Default)]
pub struct Forgetful(std::sync::Mutex<Eras>);

impl EraMemory for Forgetful {
    fn recall(&self) -> Eras {
        self.0.lock().map(|eras| eras.clone()).unwrap_or_default()
    }

    fn remember(&self, eras: &Eras) {
        if let Ok(mut known) = self.0.lock() {
            *known = known.clone().and(eras);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_later_counts_and_what_was_not_looked_for_stays() {
        let memory = Forgetful::default();
        memory.remember(&Eras { modern: Some(true), legacy: None });
        memory.remember(&Eras { modern: None, legacy: Some(false) });
        memory.remember(&Eras { modern: Some(false), legacy: None });
        assert_eq!(memory.recall(), Eras { modern: Some(false), legacy: Some(false) });
    }
}
