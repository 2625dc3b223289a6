//! What lies in `kv`: slots with results, and markers that make results stale.
//!
//! Slots are addressed by the hash of the key, so that their number is fixed: a new result takes the place of the one that
//! lay there, and nothing has to be counted, listed or swept. A slot holds its whole key, so a stranger is never taken for
//! the result that was asked for.
//!
//! A marker says since when results of a family are stale. A result remembers the versions of its markers at the time of
//! the *request*; what was asked before a change and comes back after it is stale from the start. Versions only grow, and
//! a marker outlives every result that was asked before it, so that its end revives none.

use fairlead_plugin::prelude::*;
use serde_json::value::RawValue;

/// What can become stale together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Tools,
    Prompts,
    Resources,
    /// Contents of resources. Not by URI: an update may name a part of what was read.
    Contents,
}

impl Family {
    const fn word(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Contents => "contents",
        }
    }

    /// What makes the answer to a method stale.
    pub(crate) fn of_method(method: &str) -> &'static [Self] {
        match method {
            "resources/read" => &[Self::Resources, Self::Contents],
            "resources/list" => &[Self::Resources],
            "prompts/list" | "prompts/get" => &[Self::Prompts],
            _ => &[Self::Tools],
        }
    }

    /// What a message of the server makes stale.
    pub(crate) fn of_event(method: &str) -> Option<Self> {
        Some(match method {
            "notifications/tools/list_changed" => Self::Tools,
            "notifications/prompts/list_changed" => Self::Prompts,
            "notifications/resources/list_changed" => Self::Resources,
            "notifications/resources/updated" => Self::Contents,
            _ => return None,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct Slot<'a> {
    key: &'a str,
    marks: Vec<u64>,
    expires_ms: u64,
    #[serde(borrow)]
    result: &'a RawValue,
}

/// A result that was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) result: String,
    pub(crate) left_ms: u64,
}

/// Versions of the markers that concern a method, now.
pub(crate) fn marks(server: &str, method: &str) -> Result<Vec<u64>, kv::Error> {
    let version =
        |family: &Family| kv::get(&marker(server, *family)).map(|entry| entry.map_or(0, |entry| entry.version));
    Family::of_method(method).iter().map(version).collect()
}

/// Makes all results of a family stale.
pub(crate) fn mark(server: &str, family: Family, ttl_ms_max: u64) -> Result<(), kv::Error> {
    kv::set(&marker(server, family), b"", Some(ttl_ms_max.saturating_mul(2))).map(|_| ())
}

/// The result under a key, unless it is stale.
pub(crate) fn find(key: &str, slots: u32, marks: &[u64], now_ms: u64) -> Result<Option<Found>, kv::Error> {
    let Some(entry) = kv::get(&slot(key, slots))? else { return Ok(None) };
    let Ok(slot) = serde_json::from_slice::<Slot<'_>>(&entry.value) else { return Ok(None) };
    if slot.key != key || slot.marks != marks || slot.expires_ms <= now_ms {
        return Ok(None);
    }
    Ok(Some(Found { result: slot.result.get().to_owned(), left_ms: slot.expires_ms - now_ms }))
}

/// Keeps a result until `expires_ms`.
pub(crate) fn keep(
    key: &str,
    slots: u32,
    marks: Vec<u64>,
    result: &RawValue,
    expires_ms: u64,
) -> Result<(), kv::Error> {
    let ttl_ms = expires_ms.saturating_sub(clock::now_ms());
    let bytes = serde_json::to_vec(&Slot { key, marks, expires_ms, result });
    match bytes {
        Ok(bytes) if ttl_ms > 0 => kv::set(&slot(key, slots), &bytes, Some(ttl_ms)).map(|_| ()),
        _ => Ok(()),
    }
}

fn slot(key: &str, slots: u32) -> String {
    // The first 32 bits of a hash are as good as any.
    let bits = key.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or_default();
    format!("slot/{}", bits % slots.max(1))
}

fn marker(server: &str, family: Family) -> String {
    format!("mark/{}/{server}", family.word())
}
