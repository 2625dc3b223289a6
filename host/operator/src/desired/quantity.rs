//! Amounts of processors and memory, by their value: `1024Mi`, `1Gi` and `1073741824` are one amount.
//!
//! An API server writes an amount in a form of its own, whatever was applied. Compared as texts, what somebody wrote in another
//! form would differ from what is there for ever, and would be applied again at each look.

use serde_json::Value;

/// Fields that have an amount, or a map of them.
const FIELDS: [&str; 4] = ["limits", "requests", "sizeLimit", "divisor"];

/// A thousand millionth: an API server keeps nothing smaller.
const NANOS: i128 = 10_i128.pow(NANOS_EXPONENT.unsigned_abs());
const NANOS_EXPONENT: i32 = 9;

/// Digits behind the point that are read.
const FRACTION_DIGITS_MAX: usize = 9;

/// Whether a field of this name has amounts.
pub(super) fn has_amounts(field: &str) -> bool {
    FIELDS.contains(&field)
}

/// Whether two values are the same amount.
pub(super) fn is_same(there: &Value, wanted: &Value) -> bool {
    let (there, wanted) = (nanos(there), nanos(wanted));
    there.is_some() && there == wanted
}

fn nanos(value: &Value) -> Option<i128> {
    match value {
        Value::String(text) => read(text),
        Value::Number(number) => read(&number.to_string()),
        _ => None,
    }
}

fn read(text: &str) -> Option<i128> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > FRACTION_DIGITS_MAX || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let parts = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    // `.5` and `5.` are amounts too.
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    digits.checked_mul(unit_of(unit)?)?.checked_div(parts)
}

/// How many thousand millionths a unit has.
fn unit_of(unit: &str) -> Option<i128> {
    const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
    const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let place = |units: &[&str]| units.iter().position(|known| *known == unit).and_then(|at| u32::try_from(at).ok());
    if let Some(at) = place(&DECIMAL) {
        return 1000_i128.checked_pow(at);
    }
    if let Some(at) = place(&BINARY) {
        return 1024_i128.checked_pow(at + 1)?.checked_mul(NANOS);
    }
    // `1e-3` is an amount too, down to the smallest that is kept.
    let exponent: i32 = unit.strip_prefix(['e', 'E'])?.parse().ok()?;
    10_i128.checked_pow(u32::try_from(exponent.checked_add(NANOS_EXPONENT)?).ok()?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_amount_is_the_same_in_whatever_form() {
        for (one, other) in [
            (json!("1024Mi"), json!("1Gi")),
            (json!("1000m"), json!("1")),
            (json!(2), json!("2")),
            (json!("0.5"), json!("500m")),
            (json!(".5"), json!("500m")),
            (json!("1e3"), json!("1k")),
            (json!("1E+3"), json!("1k")),
            (json!("100e-3"), json!("100m")),
            (json!("1e-9"), json!("1n")),
            (json!("1073741824"), json!("1Gi")),
            (json!("1.5Gi"), json!("1536Mi")),
            (json!("100u"), json!("0.1m")),
        ] {
            assert!(is_same(&one, &other) && is_same(&other, &one), "{one} {other}");
        }
        for (one, other) in [
            (json!("1Gi"), json!("1G")),
            (json!("1"), json!("1m")),
            (json!("much"), json!("much")),
            (json!("1e"), json!("1")),
            (json!("1e-10"), json!("1e-10")),
            (json!("1.-5"), json!("1")),
            (json!("9999999999999999999999999999999999Ei"), json!("9999999999999999999999999999999999Ei")),
            (json!(null), json!(null)),
        ] {
            assert!(!is_same(&one, &other), "{one} {other}");
        }
    }
}
