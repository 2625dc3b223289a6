//! Walking through one object or array, item by item, on raw text.

use std::ops::Range;

use super::scan::{Scan, Scanner, SyntaxErrorKind};
use crate::limits::JSON_DEPTH_MAX;

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
