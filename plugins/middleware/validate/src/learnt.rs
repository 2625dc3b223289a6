//! What lists have said about tools, kept in `kv`, so that every instance knows it and a restart forgets nothing.
//!
//! When a server says that its tools have changed, all that is known of it is void until it is listed again: each entry
//! carries the version of a marker, and the marker is written anew. To refuse a call by a schema that no longer holds
//! would be worse than to let the server judge it.

use std::borrow::Cow;

use fairlead_plugin::prelude::*;
use serde_json::value::RawValue;

/// Tools of one server whose schemas are kept: one page of keys of the contract.
const TOOLS_MAX: u32 = 1_000;

/// Longest pair of schemas that is kept.
const SCHEMAS_BYTES_MAX: usize = 64 * 1024;

/// Longest name of a tool; with that of the server it makes a key, of which the contract allows 512 bytes.
const NAME_BYTES_MAX: usize = 256;

/// The part of a `tools/list` result that is read.
#[derive(Deserialize)]
struct Listing<'a> {
    #[serde(borrow)]
    tools: Vec<Listed<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    input_schema: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output_schema: Option<&'a RawValue>,
}

/// What is kept of a tool.
#[derive(Serialize, Deserialize)]
struct Kept<'a> {
    marker: u64,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
}

/// Schemas of a tool as they were listed.
#[derive(Debug)]
pub(crate) struct Learnt {
    pub(crate) input: Option<Value>,
    pub(crate) output: Option<Value>,
}

/// Takes the schemas of a list. What is too much is not kept, and counted: such a tool is not known.
pub(crate) fn learn(server: &str, list: &str) -> Result<(), Failure> {
    let Ok(listing) = serde_json::from_str::<Listing<'_>>(list) else {
        metrics::add("unreadable_lists", 1, &[]);
        return Ok(());
    };
    let marker = marker(server)?;
    let mut known = None;
    for tool in listing.tools {
        let kept = Kept { marker, input: tool.input_schema, output: tool.output_schema };
        let bytes = serde_json::to_vec(&kept).map_err(|error| Failure::internal(error.to_string()))?;
        if tool.name.len() > NAME_BYTES_MAX || bytes.len() > SCHEMAS_BYTES_MAX {
            metrics::add("not_learnt", 1, &[]);
            continue;
        }
        let key = key(server, &tool.name);
        match kv::get(&key)? {
            Some(entry) if entry.value == bytes => continue,
            Some(_) => {}
            None => {
                let known = match &mut known {
                    Some(known) => known,
                    unknown => unknown.insert(kv::keys(&prefix(server), None, TOOLS_MAX)?.len()),
                };
                if *known >= TOOLS_MAX as usize {
                    metrics::add("not_learnt", 1, &[]);
                    continue;
                }
                *known += 1;
            }
        }
        match kv::set(&key, &bytes, None) {
            Err(kv::Error::Quota(_)) => metrics::add("not_learnt", 1, &[]),
            other => drop(other?),
        }
    }
    Ok(())
}

/// What is known of a tool is void until it is listed again.
pub(crate) fn forget(server: &str) -> Result<(), Failure> {
    kv::set(&format!("mark/{server}"), b"", None)?;
    Ok(())
}

/// The schemas of a tool; none when nothing is known of it.
pub(crate) fn find(server: &str, tool: &str) -> Result<Option<Learnt>, Failure> {
    if tool.len() > NAME_BYTES_MAX {
        return Ok(None);
    }
    let Some(entry) = kv::get(&key(server, tool))? else { return Ok(None) };
    let unreadable = |error: serde_json::Error| Failure::internal(format!("a kept schema cannot be read: {error}"));
    let kept: Kept<'_> = serde_json::from_slice(&entry.value).map_err(unreadable)?;
    if kept.marker != marker(server)? {
        return Ok(None);
    }
    let parse = |raw: Option<&RawValue>| raw.map(|raw| serde_json::from_str(raw.get())).transpose();
    Ok(Some(Learnt { input: parse(kept.input).map_err(unreadable)?, output: parse(kept.output).map_err(unreadable)? }))
}

fn marker(server: &str) -> Result<u64, Failure> {
    Ok(kv::get(&format!("mark/{server}"))?.map_or(0, |entry| entry.version))
}

/// Names of servers have no `/`, so no tool of one is a tool of another.
fn prefix(server: &str) -> String {
    format!("tool/{server}/")
}

fn key(server: &str, tool: &str) -> String {
    format!("{}{tool}", prefix(server))
}
