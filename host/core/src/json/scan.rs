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

pub(super) type Scan<T> = Result<T, SyntaxError>;

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
    pub(super) at: usize,
    /// Containers that are open around the position and that the caller walks itself.
    pub(super) outer: usize,
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

    pub(super) fn error<T>(&self, kind: SyntaxErrorKind) -> Scan<T> {
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

    pub(super) fn expect(&mut self, byte: u8) -> Scan<()> {
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
    pub(super) fn key(&mut self) -> Scan<Range<usize>> {
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

#[cfg(test)]
mod tests;
