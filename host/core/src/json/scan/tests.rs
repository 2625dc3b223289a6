//! Laws of the scanner.

use proptest::prelude::*;

use super::*;
use crate::json::items::Items;

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
