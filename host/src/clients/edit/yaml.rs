//! YAML by lines: the block of a top-level key is found by its indentation, and whole lines are put in or taken out.
//!
//! No library keeps every comment and space of YAML as the ones for JSON and TOML do, and the two clients that use it have
//! flat files. What this reads wrongly is caught by the check behind it (`edit::checked`), and refused.

use serde_json::Value;

use super::{Client, EditError, Entry, Shape};

pub(super) fn parse(text: &str) -> Result<Value, EditError> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Value::Null);
    }
    serde_saphyr::from_str(text).map_err(|error| EditError::Syntax(error.to_string()))
}

pub(super) fn set(client: &Client, text: &str, name: &str, entry: &Entry) -> Result<String, EditError> {
    let key = key(client)?;
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    let ending = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let block = Block::find(&lines, key);
    let indent = block.as_ref().and_then(|block| block.indent).unwrap_or(match client.shape {
        Shape::Map => 2,
        Shape::List => 2,
    });
    let new = match client.shape {
        Shape::Map => written_map(name, entry, indent, ending),
        Shape::List => written_list(entry, indent, ending),
    };
    let head = format!("{key}:{ending}");
    match block {
        None => {
            let mut text = text.to_owned();
            if !text.is_empty() && !text.ends_with('\n') {
                text += ending;
            }
            Ok(text + &head + &new)
        }
        Some(Block { head: at, end, is_open, .. }) if !is_open => {
            // `key: {}` or `key: []`: nothing is lost by writing it out, except when there is a comment behind it.
            let line = lines.get(at).copied().unwrap_or_default();
            let value = line.split_once(':').map(|(_, value)| value.trim()).unwrap_or_default();
            if !matches!(value, "{}" | "[]" | "null" | "~") {
                return Err(EditError::TooExotic);
            }
            let both = head + &new;
            lines.splice(at..end, [both.as_str()]);
            Ok(lines.concat())
        }
        Some(Block { end, .. }) => {
            let missing = lines.get(end.saturating_sub(1)).is_some_and(|line| !line.ends_with('\n'));
            let new = if missing { format!("{ending}{}", new.trim_end_matches(['\r', '\n'])) } else { new };
            lines.splice(end..end, [new.as_str()]);
            Ok(lines.concat())
        }
    }
}

pub(super) fn remove(client: &Client, text: &str, name: &str) -> Result<String, EditError> {
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    let block = Block::find(&lines, key(client)?).ok_or(EditError::TooExotic)?;
    let indent = block.indent.ok_or(EditError::TooExotic)?;
    let starts: Vec<usize> = (block.head + 1..block.end)
        .filter(|&at| lines.get(at).is_some_and(|line| is_content(line) && indentation(line) == indent))
        .collect();
    let ends = starts.iter().skip(1).copied().chain([block.end]);
    let (start, end) = starts
        .iter()
        .copied()
        .zip(ends)
        .find(|&(start, end)| {
            let part = lines.get(start..end).unwrap_or_default();
            match client.shape {
                Shape::Map => part.first().is_some_and(|line| key_of(line) == Some(name)),
                Shape::List => part.iter().any(|line| is_named(line, name)),
            }
        })
        .ok_or(EditError::TooExotic)?;
    // Comments and blank lines before the next entry belong to that.
    let part = lines.get(start..end).unwrap_or_default();
    let own = part.iter().rposition(|line| is_content(line)).map_or(0, |last| last + 1);
    lines.drain(start..start + own);
    Ok(lines.concat())
}

/// A top-level key and what stands under it.
struct Block {
    /// Its line.
    head: usize,
    /// The line after its last content.
    end: usize,
    /// Indentation of what stands directly under it.
    indent: Option<usize>,
    /// Nothing stands behind the colon.
    is_open: bool,
}

impl Block {
    fn find(lines: &[&str], key: &str) -> Option<Self> {
        let head = lines.iter().position(|line| indentation(line) == 0 && key_of(line) == Some(key))?;
        let value = lines.get(head)?.split_once(':').map(|(_, value)| value.trim()).unwrap_or_default();
        let is_open = value.is_empty() || value.starts_with('#');
        let mut end = head + 1;
        let mut indent = None;
        for (at, line) in lines.iter().enumerate().skip(head + 1) {
            if !is_content(line) {
                continue;
            }
            // Elements of a list may stand as far out as the key of the list.
            let belongs = indentation(line) > 0 || (is_open && line.starts_with("- "));
            if !belongs {
                break;
            }
            indent.get_or_insert(indentation(line));
            end = at + 1;
        }
        Some(Self { head, end, indent, is_open })
    }
}

fn key(client: &Client) -> Result<&str, EditError> {
    match client.at.as_slice() {
        [key] => Ok(key),
        _ => Err(EditError::TooExotic),
    }
}

fn is_content(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#')
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// `key` of `key: value`, with or without quotes.
fn key_of(line: &str) -> Option<&str> {
    let (key, rest) = line.trim_start().split_once(':')?;
    let is_key = rest.is_empty() || rest.starts_with([' ', '\r', '\n']);
    is_key.then(|| key.trim().trim_matches(['"', '\'']))
}

fn is_named(line: &str, name: &str) -> bool {
    let line = line.trim_start();
    let line = line.strip_prefix("- ").unwrap_or(line);
    key_of(line) == Some("name")
        && line.split_once(':').is_some_and(|(_, value)| {
            let value = value.split(" #").next().unwrap_or_default();
            value.trim().trim_matches(['"', '\'']) == name
        })
}

fn written_map(name: &str, entry: &Entry, indent: usize, ending: &str) -> String {
    let (outer, inner) = (" ".repeat(indent), " ".repeat(2 * indent.max(1)));
    let mut text = format!("{outer}{name}:{ending}");
    for (key, value) in entry {
        text += &format!("{inner}{key}: {}{ending}", scalar(value));
    }
    text
}

fn written_list(entry: &Entry, indent: usize, ending: &str) -> String {
    let outer = " ".repeat(indent);
    let mut text = String::new();
    for (at, (key, value)) in entry.iter().enumerate() {
        let bullet = if at == 0 { "- " } else { "  " };
        text += &format!("{outer}{bullet}{key}: {}{ending}", scalar(value));
    }
    text
}

/// Plain where that is safe, otherwise in JSON's quotes, which are YAML's too.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => {
            let is_plain = text.starts_with(|first: char| first.is_ascii_alphabetic())
                && text.chars().all(|character| character.is_ascii_alphanumeric() || "-_./:".contains(character))
                && !text.ends_with(':')
                && !matches!(
                    text.to_ascii_lowercase().as_str(),
                    "true" | "false" | "null" | "yes" | "no" | "on" | "off"
                );
            if is_plain { text.clone() } else { value.to_string() }
        }
        other => other.to_string(),
    }
}
