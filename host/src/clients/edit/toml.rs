//! TOML by tables: a table of a server is a run of whole lines, from its header to the next, and is put in or taken out as
//! one. Servers that are written inline are left to their owner; the check behind it (`edit::checked`) sees to that.

use serde_json::Value;

use super::{Client, EditError, Entry, Shape};

pub(super) fn parse(text: &str) -> Result<Value, EditError> {
    ::toml::from_str(text).map_err(|error| EditError::Syntax(error.message().trim_end().to_owned()))
}

/// New at the end; one that is there is written anew in its place.
pub(super) fn set(client: &Client, text: &str, name: &str, entry: &Entry) -> Result<String, EditError> {
    let ending = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let new = written(client, name, entry, ending);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    if let Some((start, end)) = find(client, &lines, name) {
        let (before, after) = (lines.get(..start).unwrap_or_default(), lines.get(end..).unwrap_or_default());
        return Ok(before.concat() + &new + &after.concat());
    }
    let mut text = text.to_owned();
    if !text.is_empty() {
        if !text.ends_with('\n') {
            text += ending;
        }
        // A table is not pressed against what stands before it.
        if !text.ends_with(&format!("{ending}{ending}")) {
            text += ending;
        }
    }
    Ok(text + &new)
}

pub(super) fn remove(client: &Client, text: &str, name: &str) -> Result<String, EditError> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let (start, end) = find(client, &lines, name).ok_or(EditError::TooExotic)?;
    let (before, after) = (lines.get(..start).unwrap_or_default(), lines.get(end..).unwrap_or_default());
    // The blank line that parted it from what stands before goes with it, unless something follows.
    let is_blank = before.last().is_some_and(|line| line.trim().is_empty());
    let before = if after.is_empty() && is_blank { before.get(..before.len() - 1).unwrap_or_default() } else { before };
    let after = match after.first() {
        Some(line) if line.trim().is_empty() && (is_blank || before.is_empty()) => after.get(1..).unwrap_or_default(),
        _ => after,
    };
    Ok(before.concat() + &after.concat())
}

/// The lines of a server's table, up to the last that is its own: comments before the next table belong to that.
fn find(client: &Client, lines: &[&str], name: &str) -> Option<(usize, usize)> {
    let heads: Vec<usize> =
        lines.iter().enumerate().filter(|(_, line)| line.trim_start().starts_with('[')).map(|(at, _)| at).collect();
    let ends = heads.iter().skip(1).copied().chain([lines.len()]);
    let (start, end) = heads.iter().copied().zip(ends).find(|&(start, end)| {
        let table = lines.get(start..end).unwrap_or_default();
        let Some((head, rest)) = table.split_first() else { return false };
        match client.shape {
            Shape::Map => keys(head, "[", "]").is_some_and(|keys| is_at(client, &keys, Some(name))),
            Shape::List => {
                let is_element = keys(head, "[[", "]]").is_some_and(|keys| is_at(client, &keys, None));
                is_element && rest.iter().any(|line| is_named(line, name))
            }
        }
    })?;
    let own = lines.get(start..end)?.iter().rposition(|line| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#')
    })?;
    Some((start, start + own + 1))
}

/// The keys of a header: `["a", "b"]` for `[a."b"]`.
fn keys(line: &str, open: &str, close: &str) -> Option<Vec<String>> {
    let inside = line.trim().strip_prefix(open)?.split_once(close)?.0;
    // Names of ours have no dots, so a quoted key with one is nobody's.
    Some(inside.split('.').map(|key| key.trim().trim_matches(['"', '\'']).to_owned()).collect())
}

fn is_at(client: &Client, keys: &[String], name: Option<&str>) -> bool {
    let expected = client.at.iter().map(String::as_str).chain(name);
    keys.iter().map(String::as_str).eq(expected)
}

fn is_named(line: &str, name: &str) -> bool {
    ::toml::from_str::<Value>(line).is_ok_and(|value| value.get("name").and_then(Value::as_str) == Some(name))
}

fn written(client: &Client, name: &str, entry: &Entry, ending: &str) -> String {
    let path: Vec<&str> = client.at.iter().map(String::as_str).collect();
    let path = path.join(".");
    let mut text = match client.shape {
        Shape::Map => format!("[{path}.{name}]{ending}"),
        Shape::List => format!("[[{path}]]{ending}"),
    };
    for (key, value) in entry {
        // A basic string of TOML is written as one of JSON; so are numbers and booleans.
        text += &format!("{key} = {value}{ending}");
    }
    text
}
