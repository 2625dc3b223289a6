//! One pass over JSON text: checks the grammar and tells where things are.
//!
//! Iterative, with one bit for each open container, so that nesting costs no stack and is bounded by a number rather than
//! by luck. Strings are skipped eight bytes at a time, because nearly all bytes of a large message are inside one.

use std::fmt;
use std::ops::Range;

use crate::limits::JSON_DEPTH_MAX;

/// Why a text is no JSON, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyntaxError {
    /// Byte offset.
    pub offset: usize,
    /// What is wrong there.
    pub kind: SyntaxErrorKind,
}

/// What can be wrong with JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyntaxErrorKind {
    /// The text ends in the middle of a value.
    UnexpectedEnd,
    /// A byte that cannot stand here.
    UnexpectedByte,
    /// A control character inside a string.
    ControlCharacter,
    /// An escape sequence that does not exist.
    BadEscape,
    /// A number that JSON cannot write like this.
    BadNumber,
    /// Something after the end of the value.
    TrailingText,
    /// Nested too deeply.
    TooDeep,
}

impl fmt::Display for SyntaxErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnexpectedEnd => "the text ends too early",
            Self::UnexpectedByte => "unexpected character",
            Self::ControlCharacter => "control character in a string",
            Self::BadEscape => "unknown escape sequence",
            Self::BadNumber => "malformed number",
            Self::TrailingText => "text after the end of the value",
            Self::TooDeep => "nested too deeply",
        })
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.kind, self.offset)
    }
}

impl std::error::Error for SyntaxError {}

type Scan<T> = Result<T, SyntaxError>;

/// The open containers of one value: a bit each, set for objects.
struct Nesting {
    bits: [u64; JSON_DEPTH_MAX / 64],
    depth: usize,
}

impl Nesting {
    fn push(&mut self, object: bool) -> bool {
        let Some(word) = self.bits.get_mut(self.depth / 64) else { return false };
        let bit = 1 << (self.depth % 64);
        if object {
            *word |= bit;
        } else {
            *word &= !bit;
        }
        self.depth += 1;
        true
    }

    /// Whether the innermost open container is an object; `None` when none is open.
    fn top(&self) -> Option<bool> {
        let at = self.depth.checked_sub(1)?;
        self.bits.get(at / 64).map(|word| word & (1 << (at % 64)) != 0)
    }
}

/// A position in JSON text.
#[derive(Clone)]
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Containers that are open around the position and that the caller walks itself.
    outer: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { bytes: text.as_bytes(), at: 0, outer: 0 }
    }

    /// A scanner that stands at `at` inside `outer` open containers.
    pub(crate) fn inside(text: &'a str, at: usize, outer: usize) -> Self {
        Self { bytes: text.as_bytes(), at, outer }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn error<T>(&self, kind: SyntaxErrorKind) -> Scan<T> {
        let kind = if self.at >= self.bytes.len() && kind == SyntaxErrorKind::UnexpectedByte {
            SyntaxErrorKind::UnexpectedEnd
        } else {
            kind
        };
        Err(SyntaxError { offset: self.at.min(self.bytes.len()), kind })
    }

    pub(crate) fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Scan<()> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            self.error(SyntaxErrorKind::UnexpectedByte)
        }
    }

    /// Fails unless only white space is left.
    pub(crate) fn end(&mut self) -> Scan<()> {
        self.space();
        if self.at == self.bytes.len() { Ok(()) } else { self.error(SyntaxErrorKind::TrailingText) }
    }

    /// Skips white space and one value, and says where the value is.
    pub(crate) fn value(&mut self) -> Scan<Range<usize>> {
        self.space();
        let start = self.at;
        if !matches!(self.peek(), Some(b'{' | b'[')) {
            self.scalar()?;
            return Ok(start..self.at);
        }
        let mut nesting = Nesting { bits: [0; JSON_DEPTH_MAX / 64], depth: 0 };
        'value: loop {
            self.space();
            match self.peek() {
                Some(open @ (b'{' | b'[')) => {
                    if self.outer + nesting.depth >= JSON_DEPTH_MAX || !nesting.push(open == b'{') {
                        return self.error(SyntaxErrorKind::TooDeep);
                    }
                    self.at += 1;
                    self.space();
                    match (open, self.peek()) {
                        (b'{', Some(b'}')) | (b'[', Some(b']')) => {}
                        (b'{', _) => {
                            self.key()?;
                            continue 'value;
                        }
                        _ => continue 'value,
                    }
                }
                _ => self.scalar()?,
            }
            // A value has ended, or an empty container is about to.
            loop {
                let Some(object) = nesting.top() else { return Ok(start..self.at) };
                self.space();
                match (object, self.peek()) {
                    (true, Some(b'}')) | (false, Some(b']')) => {
                        self.at += 1;
                        nesting.depth -= 1;
                    }
                    (true, Some(b',')) => {
                        self.at += 1;
                        self.space();
                        self.key()?;
                        continue 'value;
                    }
                    (false, Some(b',')) => {
                        self.at += 1;
                        continue 'value;
                    }
                    _ => return self.error(SyntaxErrorKind::UnexpectedByte),
                }
            }
        }
    }

    /// A key and its colon.
    fn key(&mut self) -> Scan<Range<usize>> {
        let key = self.string()?;
        self.space();
        self.expect(b':')?;
        Ok(key)
    }

    fn scalar(&mut self) -> Scan<()> {
        match self.peek() {
            Some(b'"') => self.string().map(|_| ()),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            _ => self.error(SyntaxErrorKind::UnexpectedByte),
        }
    }

    fn literal(&mut self, word: &'static [u8]) -> Scan<()> {
        for byte in word {
            self.expect(*byte)?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Scan<()> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return self.error(SyntaxErrorKind::BadNumber);
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Scan<()> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
            if matches!(self.peek(), Some(b'0'..=b'9')) {
                return self.error(SyntaxErrorKind::BadNumber);
            }
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// A string; the range includes its quotes.
    fn string(&mut self) -> Scan<Range<usize>> {
        let start = self.at;
        self.expect(b'"')?;
        loop {
            self.skip_plain();
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(start..self.at);
                }
                Some(b'\\') => self.escape()?,
                Some(0..=0x1f) => return self.error(SyntaxErrorKind::ControlCharacter),
                Some(_) => self.at += 1,
                None => return self.error(SyntaxErrorKind::UnexpectedEnd),
            }
        }
    }

    /// Goes on, eight bytes at a time, to the next quote, backslash or control character, or to fewer than eight bytes
    /// before the end.
    fn skip_plain(&mut self) {
        const ONES: u64 = u64::MAX / 255;
        const HIGH: u64 = ONES * 0x80;
        let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
        while let Some(chunk) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            let word = u64::from_le_bytes(*chunk);
            let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
            let special = control | zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\')));
            if special != 0 {
                self.at += special.trailing_zeros() as usize / 8;
                return;
            }
            self.at += 8;
        }
    }

    fn escape(&mut self) -> Scan<()> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    match self.peek() {
                        Some(byte) if byte.is_ascii_hexdigit() => self.at += 1,
                        None => return self.error(SyntaxErrorKind::UnexpectedEnd),
                        Some(_) => return self.error(SyntaxErrorKind::BadEscape),
                    }
                }
                Ok(())
            }
            None => self.error(SyntaxErrorKind::UnexpectedEnd),
            Some(_) => self.error(SyntaxErrorKind::BadEscape),
        }
    }
}

/// Checks a whole text and says where its value is, without the white space around it.
pub(crate) fn document(text: &str) -> Scan<Range<usize>> {
    let mut scanner = Scanner::new(text);
    let value = scanner.value()?;
    scanner.end()?;
    Ok(value)
}

/// A member of an object or, without a key, an element of an array. The key includes its quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) key: Option<Range<usize>>,
    pub(crate) value: Range<usize>,
}

impl Item {
    /// Where it begins, key included.
    pub(crate) fn start(&self) -> usize {
        self.key.as_ref().map_or(self.value.start, |key| key.start)
    }
}

/// Walks through one container, item by item.
#[derive(Clone)]
pub(crate) struct Items<'a> {
    scanner: Scanner<'a>,
    object: bool,
    first: bool,
}

impl<'a> Items<'a> {
    /// Enters the container that the scanner stands before; `None` when a scalar stands there.
    pub(crate) fn enter(mut scanner: Scanner<'a>) -> Scan<Option<Self>> {
        scanner.space();
        let object = match scanner.peek() {
            Some(b'{') => true,
            Some(b'[') => false,
            _ => return Ok(None),
        };
        if scanner.outer >= JSON_DEPTH_MAX {
            return scanner.error(SyntaxErrorKind::TooDeep);
        }
        scanner.at += 1;
        scanner.outer += 1;
        Ok(Some(Self { scanner, object, first: true }))
    }

    pub(crate) fn is_object(&self) -> bool {
        self.object
    }

    /// Goes to the next item and stands before its value; the key is returned. `None` at the end of the container.
    pub(crate) fn step(&mut self) -> Scan<Option<Option<Range<usize>>>> {
        let scanner = &mut self.scanner;
        let close = if self.object { b'}' } else { b']' };
        scanner.space();
        if scanner.peek() == Some(close) {
            scanner.at += 1;
            scanner.outer -= 1;
            return Ok(None);
        }
        if !self.first {
            scanner.expect(b',')?;
            scanner.space();
        }
        self.first = false;
        let key = if self.object { Some(scanner.key()?) } else { None };
        scanner.space();
        Ok(Some(key))
    }

    /// The value after [`Self::step`].
    pub(crate) fn value(&mut self) -> Scan<Range<usize>> {
        self.scanner.value()
    }

    /// Enters the container after [`Self::step`]; go on with [`Self::resume`] when it is done.
    pub(crate) fn descend(&self) -> Scan<Option<Items<'a>>> {
        Items::enter(self.scanner.clone())
    }

    /// Goes on behind a container that was entered and walked to its end.
    pub(crate) fn resume(&mut self, inner: &Items<'a>) {
        self.scanner.at = inner.scanner.at;
    }

    /// The next item as a whole.
    pub(crate) fn next_item(&mut self) -> Scan<Option<Item>> {
        match self.step()? {
            Some(key) => Ok(Some(Item { key, value: self.value()? })),
            None => Ok(None),
        }
    }

    pub(crate) fn at(&self) -> usize {
        self.scanner.at()
    }

    /// The scanner behind the container, once [`Self::step`] has said that it ended.
    pub(crate) fn leave(self) -> Scanner<'a> {
        self.scanner
    }
}

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_scanner_says_what_is_wrong_and_where() {
        use SyntaxErrorKind as Kind;
        for (text, offset, kind) in [
            ("", 0, Kind::UnexpectedEnd),
            ("[1,]", 3, Kind::UnexpectedByte),
            ("{\"a\":1,}", 7, Kind::UnexpectedByte),
            ("{\"a\" 1}", 5, Kind::UnexpectedByte),
            ("01", 1, Kind::BadNumber),
            ("-", 1, Kind::BadNumber),
            ("1.e", 2, Kind::BadNumber),
            ("nul", 3, Kind::UnexpectedEnd),
            ("\"a\u{1}\"", 2, Kind::ControlCharacter),
            ("\"\\x\"", 2, Kind::BadEscape),
            ("\"\\u12g4\"", 5, Kind::BadEscape),
            ("\"abcdefgh", 9, Kind::UnexpectedEnd),
            ("1 1", 2, Kind::TrailingText),
            ("[}", 1, Kind::UnexpectedByte),
        ] {
            assert_eq!(document(text), Err(SyntaxError { offset, kind }), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded_by_a_number() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(document(&nested(JSON_DEPTH_MAX)).is_ok());
        let error = document(&nested(JSON_DEPTH_MAX + 1)).unwrap_err();
        assert_eq!(error, SyntaxError { offset: JSON_DEPTH_MAX, kind: SyntaxErrorKind::TooDeep });
        assert!(document(&"[{\"a\":".repeat(1_000_000)).is_err());
    }

    #[test]
    fn walking_counts_towards_the_depth() {
        let text = format!("[{}{}]", "[".repeat(JSON_DEPTH_MAX - 1), "]".repeat(JSON_DEPTH_MAX - 1));
        let mut items = Items::enter(Scanner::new(&text)).unwrap().unwrap();
        assert!(items.next_item().unwrap().is_some());
        let text = format!("[{text}]");
        let mut items = Items::enter(Scanner::new(&text)).unwrap().unwrap();
        assert_eq!(items.next_item().unwrap_err().kind, SyntaxErrorKind::TooDeep);
    }

    fn jsonish() -> impl Strategy<Value = String> {
        prop::collection::vec(
            prop::sample::select(vec![
                "{",
                "}",
                "[",
                "]",
                ",",
                ":",
                "\"",
                "\\",
                "\"a\"",
                "\"b\":",
                "1",
                "-",
                "0",
                "1.5",
                "e",
                "+3",
                "true",
                "fals",
                "null",
                " ",
                "\n",
                "\\u00e9",
                "\\ud83d",
                "\\n",
                "é",
                "\u{2028}",
                "\u{1}",
                "abcdefghij",
                "[]",
                "{}",
            ]),
            0..24,
        )
        .prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn it_accepts_exactly_what_serde_json_accepts(text in prop_oneof![jsonish(), ".{0,40}"]) {
            let reference = serde_json::from_str::<&serde_json::value::RawValue>(&text);
            match (document(&text), reference) {
                (Ok(range), Ok(raw)) => prop_assert_eq!(text.get(range), Some(raw.get())),
                (ours, theirs) => prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{} {:?}", text, ours),
            }
        }

        #[test]
        fn decoding_gives_what_serde_json_gives(text in any::<String>(), escape in any::<bool>()) {
            let mut raw = serde_json::to_string(&text).unwrap();
            if escape {
                let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
                raw = format!("\"{units}\"");
            }
            prop_assert_eq!(crate::json::decode_string(&raw).unwrap(), text);
        }
    }
}
