//! Text: counting and changing case.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Tool;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Text {
    text: String,
}

#[derive(Serialize, JsonSchema, Debug, PartialEq, Eq)]
struct Statistics {
    /// Length as UTF-8.
    bytes: usize,
    /// Unicode scalar values.
    characters: usize,
    /// Runs of characters without white space.
    words: usize,
    lines: usize,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Case {
    Upper,
    Lower,
    Title,
    Snake,
    Kebab,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ChangeCase {
    text: String,
    to: Case,
}

#[derive(Serialize, JsonSchema)]
struct Changed {
    text: String,
}

fn statistics(text: &str) -> Statistics {
    Statistics {
        bytes: text.len(),
        characters: text.chars().count(),
        words: text.split_whitespace().count(),
        lines: text.lines().count(),
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

fn change_case(text: &str, to: &Case) -> String {
    let joined = |separator| words(text).map(str::to_lowercase).collect::<Vec<_>>().join(separator);
    match to {
        Case::Upper => text.to_uppercase(),
        Case::Lower => text.to_lowercase(),
        Case::Snake => joined("_"),
        Case::Kebab => joined("-"),
        Case::Title => title(text),
    }
}

fn title(text: &str) -> String {
    let mut begins = true;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match begins {
            true => out.extend(c.to_uppercase()),
            false => out.extend(c.to_lowercase()),
        }
        begins = c.is_whitespace();
    }
    out
}

pub(super) fn tools() -> Vec<Tool> {
    vec![
        Tool::new("text_stats", "Count text", "Counts bytes, characters, words and lines.", |input: Text, _| {
            Ok(statistics(&input.text))
        }),
        Tool::new("text_case", "Change case", "Changes the case of a text.", |input: ChangeCase, _| {
            Ok(Changed { text: change_case(&input.text, &input.to) })
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_not_bytes() {
        assert_eq!(statistics("é b\n"), Statistics { bytes: 5, characters: 4, words: 2, lines: 1 });
    }

    #[test]
    fn case_changes_as_named() {
        let changed = |to| change_case("the Quick  fox", &to);
        assert_eq!(changed(Case::Upper), "THE QUICK  FOX");
        assert_eq!(changed(Case::Title), "The Quick  Fox");
        assert_eq!(changed(Case::Snake), "the_quick_fox");
        assert_eq!(changed(Case::Kebab), "the-quick-fox");
        assert_eq!(changed(Case::Lower), "the quick  fox");
    }
}
