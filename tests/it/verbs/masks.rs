//! What differs from run to run, by the name that stands for it in a snapshot.

/// The masks of one machine.
#[derive(Default)]
pub(super) struct Masks {
    exact: Vec<(String, &'static str)>,
}

impl Masks {
    /// This text is shown as that.
    pub(super) fn exactly(&mut self, text: &str, shown: &'static str) {
        if !text.is_empty() {
            self.exact.push((text.to_owned(), shown));
        }
    }

    /// Masks a whole output.
    pub(super) fn apply(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (exact, shown) in &self.exact {
            text = text.replace(exact, shown);
        }
        text = text.replace(env!("CARGO_PKG_VERSION"), "[VERSION]");
        for (find, shown) in SHAPES {
            text = shaped(&text, *find, shown);
        }
        // The widths of columns follow what was masked.
        text.lines().map(|line| one_column_gap(line) + "\n").collect()
    }
}

/// Finds something at the beginning of a text, and says how long it is.
type Find = fn(&str) -> Option<usize>;

const SHAPES: &[(Find, &str)] = &[
    (time, "[TIME]"),
    (digest, "sha256:[DIGEST]"),
    (address, "[ADDRESS]"),
    (token, "[TOKEN]"),
    (operation, "[OPERATION]"),
    (process, "process [PID]"),
    (micros, "\"micros\": [DURATION]"),
    (duration, "[DURATION]"),
];

/// `2026-11-21T16:02:50.7Z`
fn time(text: &str) -> Option<usize> {
    const SHAPE: &str = "0000-00-00T00:00:00";
    let fits = text.len() > SHAPE.len()
        && text.bytes().zip(SHAPE.bytes()).all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            other => byte == other,
        });
    let rest = fits.then(|| text.split_at(SHAPE.len()).1)?;
    let fraction = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    rest.as_bytes().get(fraction).filter(|byte| **byte == b'Z').map(|_| SHAPE.len() + fraction + 1)
}

/// `sha256:` and hexadecimal digits, shortened or not.
fn digest(text: &str) -> Option<usize> {
    let rest = text.strip_prefix("sha256:")?;
    let length = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
    (length >= 8).then_some("sha256:".len() + length)
}

/// A port of this machine that is another one in each run.
fn address(text: &str) -> Option<usize> {
    let rest = text.strip_prefix("127.0.0.1:")?;
    let length = rest.bytes().take_while(u8::is_ascii_digit).count();
    (length >= 4).then_some("127.0.0.1:".len() + length)
}

/// `flt_` and what nobody sees again.
fn token(text: &str) -> Option<usize> {
    let rest = text.strip_prefix("flt_")?;
    let length = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
    (length > 0).then_some("flt_".len() + length)
}

/// Eight or more hexadecimal digits by themselves, some of them letters.
fn operation(text: &str) -> Option<usize> {
    let length = text.bytes().take_while(u8::is_ascii_hexdigit).count();
    let word = text.get(..length)?;
    let is_mixed =
        word.bytes().any(|byte| byte.is_ascii_digit()) && word.bytes().any(|byte| byte.is_ascii_alphabetic());
    let ends = !text.get(length..)?.starts_with(|next: char| next.is_alphanumeric());
    (length >= 8 && is_mixed && ends).then_some(length)
}

/// `process 4711`
fn process(text: &str) -> Option<usize> {
    let length = text.strip_prefix("process ")?.bytes().take_while(u8::is_ascii_digit).count();
    (length > 0).then_some("process ".len() + length)
}

/// `"micros": 156.051`
fn micros(text: &str) -> Option<usize> {
    let number = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    let length = text.strip_prefix("\"micros\": ")?.bytes().take_while(number).count();
    (length > 0).then_some("\"micros\": ".len() + length)
}

/// `3 s`, `0.4 ms`: what something took, or how old it is.
fn duration(text: &str) -> Option<usize> {
    let number = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (digits, rest) = text.split_at(number);
    if !digits.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let unit = rest.trim_start_matches(' ');
    let space = rest.len() - unit.len();
    let length = ["ms", "µs", "us", "ns", "s", "min"].iter().find(|name| {
        unit.strip_prefix(**name).is_some_and(|after| !after.starts_with(|next: char| next.is_alphanumeric()))
    })?;
    (space <= 1).then_some(number + space + length.len())
}

/// Replaces what is found where a word begins.
fn shaped(text: &str, find: Find, shown: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = ' ';
    while let Some(next) = rest.chars().next() {
        let begins = !before.is_alphanumeric() && before != '.' && before != '_';
        if let Some(length) = find(rest).filter(|_| begins) {
            masked += shown;
            rest = rest.split_at(length).1;
            before = ']';
            continue;
        }
        masked.push(next);
        before = next;
        rest = rest.split_at(next.len_utf8()).1;
    }
    masked
}

/// Two spaces between columns, however wide they are.
fn one_column_gap(line: &str) -> String {
    let indent = line.len() - line.trim_start().len();
    let (indent, rest) = line.split_at(indent);
    let columns: Vec<&str> = rest.split("  ").map(str::trim).filter(|column| !column.is_empty()).collect();
    format!("{indent}{}", columns.join("  "))
}

#[test]
fn what_varies_is_masked_and_nothing_else() {
    let mut masks = Masks::default();
    masks.exactly("/tmp/fl-1", "[HOME]");
    let text =
        "one  running    127.0.0.1:4711  3 s\nat 2026-11-21T16:02:50.7Z in /tmp/fl-1/state, 8 KiB, 12 MB, 3 servers\n";
    assert_eq!(
        masks.apply(text),
        "one  running  [ADDRESS]  [DURATION]\nat [TIME] in [HOME]/state, 8 KiB, 12 MB, 3 servers\n"
    );
}
