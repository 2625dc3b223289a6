//! The protocol of Redis (RESP2), as far as it is spoken here: commands out, and the four kinds of replies that they have.

use crate::limits::{LINE_BYTES_MAX, VALUE_BYTES_MAX};

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A word: `OK`.
    Status(String),
    /// A refusal, in the words of Redis.
    Error(String),
    /// A number.
    Integer(i64),
    /// A value, or that there is none.
    Value(Option<Vec<u8>>),
}

/// What came is no reply to any command of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what came is no reply of Redis to what it was asked")]
pub struct Nonsense;

const END: &[u8] = b"\r\n";

/// A command.
#[must_use]
pub fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut text = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        text.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        text.extend_from_slice(word);
        text.extend_from_slice(END);
    }
    text
}

/// The reply that `bytes` begin with, and how many of them it takes; `None` while it has not come to its end.
///
/// # Errors
/// It is none, or longer than any that is expected.
pub fn reply(bytes: &[u8]) -> Result<Option<(Reply, usize)>, Nonsense> {
    let Some((line, after)) = line(bytes)? else { return Ok(None) };
    let (kind, text) = line.split_first().ok_or(Nonsense)?;
    let words = || String::from_utf8_lossy(text).into_owned();
    let reply = match kind {
        b'+' => Reply::Status(words()),
        b'-' => Reply::Error(words()),
        b':' => Reply::Integer(number(text)?),
        b'$' => match number(text)? {
            -1 => Reply::Value(None),
            length => return value(bytes, after, length),
        },
        _ => return Err(Nonsense),
    };
    Ok(Some((reply, after)))
}

/// The first line without its end, and where the next one begins.
fn line(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, Nonsense> {
    let seen = bytes.get(..LINE_BYTES_MAX).unwrap_or(bytes);
    match seen.windows(END.len()).position(|two| two == END) {
        Some(at) => Ok(bytes.get(..at).map(|line| (line, at + END.len()))),
        None if seen.len() == LINE_BYTES_MAX => Err(Nonsense),
        None => Ok(None),
    }
}

fn value(bytes: &[u8], from: usize, length: i64) -> Result<Option<(Reply, usize)>, Nonsense> {
    let length = usize::try_from(length).ok().filter(|length| *length <= VALUE_BYTES_MAX).ok_or(Nonsense)?;
    let (to, next) = (from + length, from + length + END.len());
    match (bytes.get(from..to), bytes.get(to..next)) {
        (Some(value), Some(END)) => Ok(Some((Reply::Value(Some(value.to_vec())), next))),
        (_, Some(_)) => Err(Nonsense),
        (_, None) => Ok(None),
    }
}

fn number(text: &[u8]) -> Result<i64, Nonsense> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Nonsense)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(reply: &Reply) -> Vec<u8> {
        match reply {
            Reply::Status(text) => format!("+{text}\r\n").into_bytes(),
            Reply::Error(text) => format!("-{text}\r\n").into_bytes(),
            Reply::Integer(number) => format!(":{number}\r\n").into_bytes(),
            Reply::Value(None) => b"$-1\r\n".to_vec(),
            Reply::Value(Some(value)) => [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat(),
        }
    }

    fn any_reply() -> impl Strategy<Value = Reply> {
        prop_oneof![
            "[ -~]{0,20}".prop_map(Reply::Status),
            "[ -~]{0,20}".prop_map(Reply::Error),
            any::<i64>().prop_map(Reply::Integer),
            proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)).prop_map(Reply::Value),
        ]
    }

    #[test]
    fn a_command_says_how_long_its_words_are() {
        assert_eq!(command(&[b"GET", b"a\r\nb"]), b"*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n");
    }

    #[test]
    fn what_is_no_reply_is_refused_and_nothing_is_waited_for_without_end() {
        for bytes in
            [&b"?\r\n"[..], b"\r\n", b":x\r\n", b"$-2\r\n", b"$99999999999\r\n", b"*1\r\n:1\r\n", b"$1\r\nabc\r\n"]
        {
            assert_eq!(reply(bytes), Err(Nonsense), "{bytes:?}");
        }
        assert_eq!(reply(&vec![b'+'; LINE_BYTES_MAX]), Err(Nonsense));
    }

    proptest! {
        #[test]
        fn however_much_has_come_it_is_the_same_reply_or_none_yet(
            first in any_reply(), more in any_reply(), cut in any::<prop::sample::Index>(),
        ) {
            let (whole, rest) = (written(&first), written(&more));
            let both = [&whole[..], &rest].concat();
            let cut = cut.index(both.len());
            match reply(&both[..cut]).unwrap() {
                None => prop_assert!(cut < whole.len()),
                Some((read, taken)) => {
                    prop_assert_eq!(read, first);
                    prop_assert_eq!(taken, whole.len());
                }
            }
        }
    }
}
