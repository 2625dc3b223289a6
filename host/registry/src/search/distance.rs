//! How far a typed word is from a known one, and a look that spares measuring most of them.

/// Which letters a word has and how many, in nine bytes: words that differ much here are far from each other, so of a hundred
/// thousand only some tens are measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Letters {
    which: u64,
    count: u8,
}

impl Letters {
    pub(super) fn of(word: &str) -> Self {
        let which = word.chars().fold(0, |which, letter| which | 1 << place(letter));
        Self { which, count: u8::try_from(word.chars().count()).unwrap_or(u8::MAX) }
    }

    /// Whether one may be the other after so many slips: each adds, removes or replaces one letter, or swaps two.
    pub(super) fn may_be(self, other: Self, slips: u8) -> bool {
        // A letter that is replaced by another changes two bits at most.
        (self.which ^ other.which).count_ones() <= 2 * u32::from(slips) && self.count.abs_diff(other.count) <= slips
    }
}

/// Two letters may have one place: then a word looks nearer than it is.
fn place(letter: char) -> u32 {
    match letter {
        'a'..='z' => u32::from(letter) - u32::from('a'),
        '0'..='9' => 26 + u32::from(letter) - u32::from('0'),
        _ => 36 + u32::from(letter) % 28,
    }
}

/// Rows of the table, used again for each word.
#[derive(Debug, Default)]
pub(super) struct Rows {
    known: Vec<char>,
    row: Vec<usize>,
    above: Vec<usize>,
    above_that: Vec<usize>,
}

/// Characters to add, remove, replace or swap with their neighbour, when there are at most so many.
pub(super) fn distance(typed: &[char], known: &str, most: u8, rows: &mut Rows) -> Option<usize> {
    let most = usize::from(most);
    let Rows { known: letters, row, above, above_that } = rows;
    letters.clear();
    letters.extend(known.chars());
    if letters.len().abs_diff(typed.len()) > most {
        return None;
    }
    row.clear();
    row.extend(0..=typed.len());
    above_that.clear();
    let mut before = None;
    for (at, c) in letters.iter().enumerate() {
        std::mem::swap(above, above_that);
        std::mem::swap(row, above);
        row.clear();
        row.push(at + 1);
        let mut best = at + 1;
        for (place, t) in typed.iter().enumerate() {
            let of = |row: &[usize], place: usize| row.get(place).copied().unwrap_or(usize::MAX / 2);
            let mut cost = of(above, place) + usize::from(t != c);
            cost = cost.min(of(above, place + 1) + 1).min(of(row, place) + 1);
            let swapped = place > 0 && before == Some(t) && typed.get(place - 1) == Some(c);
            if swapped {
                cost = cost.min(of(above_that, place - 1) + 1);
            }
            row.push(cost);
            best = best.min(cost);
        }
        if best > most {
            return None;
        }
        before = Some(c);
    }
    row.last().copied().filter(|distance| *distance <= most)
}
