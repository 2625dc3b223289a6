//! The pattern language of the contract: `*` stands for any run of characters, everything else for itself.

/// Whether `text` matches `pattern`.
///
/// Linear in practice and never worse than the product of both lengths: no pattern can make a hook miss its deadline.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where to go back to: the last star, and how much of the text it has swallowed so far.
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            back = Some((p, t));
            p += 1;
        } else if pattern.get(p).is_some() && pattern.get(p) == text.get(t) {
            p += 1;
            t += 1;
        } else if let Some((star, swallowed)) = back {
            back = Some((star, swallowed + 1));
            p = star + 1;
            t = swallowed + 1;
        } else {
            return false;
        }
    }
    pattern.iter().skip(p).all(|byte| *byte == b'*')
}

/// Whether `text` matches any of the patterns.
pub fn matches_any<'a>(patterns: impl IntoIterator<Item = &'a String>, text: &str) -> bool {
    patterns.into_iter().any(|pattern| matches(pattern, text))
}

#[cfg(test)]
mod tests {
    use super::matches;
    use proptest::prelude::*;

    #[test]
    fn a_star_stands_for_any_run_and_nothing_else_is_special() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("*", "", true),
            ("tools/*", "tools/call", true),
            ("tools/*", "prompts/get", false),
            ("*/list", "tools/list", true),
            ("*/list", "tools/listing", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("a.c", "abc", false),
            ("[a]?", "[a]?", true),
            ("**", "x", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} on {text}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab*]{0,8}", text in "[ab]{0,10}") {
            fn definition(pattern: &[u8], text: &[u8]) -> bool {
                match (pattern.split_first(), text.split_first()) {
                    (None, rest) => rest.is_none(),
                    (Some((b'*', more)), rest) =>
                        definition(more, text) || rest.is_some_and(|(_, rest)| definition(pattern, rest)),
                    (Some((p, more)), Some((t, rest))) => p == t && definition(more, rest),
                    (Some(_), None) => false,
                }
            }
            prop_assert_eq!(matches(&pattern, &text), definition(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
