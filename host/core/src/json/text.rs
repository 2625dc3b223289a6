//! Strings of JSON: what their escapes stand for.

/// Whether a key, quotes included, is `name`. Escapes count as what they stand for.
pub(crate) fn key_is(raw: &str, name: &str) -> bool {
    let Some(inner) = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return false };
    if inner.contains('\\') { unescape(inner).is_some_and(|key| key == name) } else { inner == name }
}

/// Decodes what stands between the quotes of a string.
pub(crate) fn unescape(inner: &str) -> Option<String> {
    let mut out = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        out.push_str(rest.get(..at)?);
        let code = *rest.as_bytes().get(at + 1)?;
        let mut used = at + 2;
        match code {
            b'"' | b'\\' | b'/' => out.push(char::from(code)),
            b'b' => out.push('\u{8}'),
            b'f' => out.push('\u{c}'),
            b'n' => out.push('\n'),
            b'r' => out.push('\r'),
            b't' => out.push('\t'),
            b'u' => {
                let high = hex(rest.get(used..used + 4)?)?;
                used += 4;
                let pair = (0xD800..0xDC00)
                    .contains(&high)
                    .then(|| rest.get(used..used + 6)?.strip_prefix("\\u").and_then(hex))
                    .flatten()
                    .filter(|low| (0xDC00..0xE000).contains(low));
                let character = match pair {
                    Some(low) => {
                        used += 6;
                        char::from_u32(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))
                    }
                    None => char::from_u32(high),
                };
                out.push(character.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            _ => return None,
        }
        rest = rest.get(used..)?;
    }
    out.push_str(rest);
    Some(out)
}

fn hex(digits: &str) -> Option<u32> {
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}
