//! The page of all bounds, read from every `limits.rs` of the host.
//!
//! Read as text, not by the compiler: the page shows the comment, which only the source has. The shape is narrow (a comment,
//! then one constant) and a constant in another shape is an error here, so nothing is left out in silence.

use std::fmt::Write;

use anyhow::{Context, bail};

use crate::workspace;

/// The files, and what their section is called.
const FILES: &[(&str, &str)] = &[
    ("host/core/src/limits.rs", "Everywhere"),
    ("host/proxy/src/limits.rs", "Data plane"),
    ("host/wasm/src/limits.rs", "Plugin host"),
    ("host/control/src/limits.rs", "Supervision"),
    ("host/runtimes/src/limits.rs", "Processes"),
    ("host/dial/src/limits.rs", "Outgoing connections"),
    ("host/oci/src/limits.rs", "OCI registries"),
    ("host/git/src/limits.rs", "Git repositories"),
    ("host/registry/src/limits.rs", "Catalogue"),
    ("host/operator/src/limits.rs", "Kubernetes"),
    ("host/sessions/src/limits.rs", "Sessions in Redis"),
    ("sdk/server-json/src/limits.rs", "Entries of registries"),
    ("host/src/limits.rs", "Daemon and command line"),
];

const HEAD: &str = "# Limits\n\nMade from the source by `cargo xtask docs`; do not edit.\n\nEvery bound of the host, with the \
reason for its number. A plugin's limits can be narrowed or widened per attachment; the others are constants.\n";

/// A constant with its comment.
#[derive(Debug, PartialEq, Eq)]
struct Limit {
    name: String,
    value: String,
    reason: String,
}

/// The page.
pub(crate) fn page() -> anyhow::Result<String> {
    let mut page = HEAD.to_owned();
    for (file, title) in FILES {
        let text = std::fs::read_to_string(workspace::root().join(file)).with_context(|| format!("read {file}"))?;
        let limits = parse(&text).with_context(|| format!("read the limits in {file}"))?;
        write!(page, "\n## {title}\n\n`{file}`\n\n| limit | value | why |\n|---|---|---|\n")?;
        for Limit { name, value, reason } in limits {
            // A link of rustdoc leads nowhere on this page.
            let reason = reason.replace("[`", "`").replace("`]", "`").replace('|', "\\|");
            writeln!(page, "| `{name}` | {value} | {reason} |")?;
        }
    }
    Ok(page)
}

fn parse(text: &str) -> anyhow::Result<Vec<Limit>> {
    let mut limits = Vec::new();
    let mut reason: Vec<&str> = Vec::new();
    // Tests of relations between constants are no constants.
    let lines: Vec<&str> = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).collect();
    let mut rest = lines.into_iter();
    while let Some(line) = rest.next() {
        if let Some(comment) = line.strip_prefix("///") {
            reason.push(comment.trim());
        } else if let Some(constant) =
            line.strip_prefix("pub const ").or_else(|| line.strip_prefix("pub(crate) const "))
        {
            let mut constant = constant.to_owned();
            while !constant.ends_with(';') {
                let Some(more) = rest.next() else { bail!("`{constant}` does not end") };
                constant.push(' ');
                constant.push_str(more.trim());
            }
            let Some((declaration, value)) = constant.trim_end_matches(';').split_once(" = ") else {
                bail!("`{constant}` has no value");
            };
            let name = declaration.split(':').next().unwrap_or_default().to_owned();
            if reason.is_empty() {
                bail!("`{name}` gives no reason");
            }
            limits.push(Limit { value: shown(&name, value), name, reason: reason.join(" ") });
            reason.clear();
        } else if line.trim().is_empty() {
            reason.clear();
        }
    }
    Ok(limits)
}

/// A value as a person reads it; code where it is computed from other limits.
fn shown(name: &str, value: &str) -> String {
    let call = |function: &str| {
        let argument = value.strip_prefix(function)?.strip_prefix('(')?.strip_suffix(')')?;
        product(argument)
    };
    if let Some(seconds) = call("Duration::from_secs") {
        return if seconds >= 120 && seconds % 60 == 0 {
            format!("{} min", seconds / 60)
        } else {
            format!("{seconds} s")
        };
    }
    for (function, unit) in [
        ("Duration::from_millis", "ms"),
        ("Duration::from_micros", "µs"),
        ("Duration::from_mins", "min"),
        ("Duration::from_hours", "h"),
    ] {
        if let Some(number) = call(function) {
            return format!("{number} {unit}");
        }
    }
    match product(value) {
        Some(bytes) if name.contains("BYTES") => in_bytes(bytes),
        Some(number) => grouped(number),
        None => format!("`{value}`"),
    }
}

/// `64 * 1024`, `1_000` or `7`.
fn product(text: &str) -> Option<u64> {
    text.split('*').try_fold(1_u64, |product, factor| product.checked_mul(factor.trim().replace('_', "").parse().ok()?))
}

fn in_bytes(bytes: u64) -> String {
    for (unit, size) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= size && bytes.is_multiple_of(size) {
            return format!("{} {unit}", bytes / size);
        }
    }
    format!("{bytes} bytes")
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Limit, parse, shown};

    #[test]
    fn a_limit_is_its_comment_and_its_constant() {
        let text = "//! Bounds.\n\nuse std::time::Duration;\n\n/// A wait.\n/// Nobody waits longer.\npub const WAIT: Duration =\n    Duration::from_secs(5);\n";
        let limit = Limit { name: "WAIT".into(), value: "5 s".into(), reason: "A wait. Nobody waits longer.".into() };
        assert_eq!(parse(text).unwrap(), [limit]);
        assert!(parse("pub const WAIT: u64 = 1;\n").is_err());
    }

    #[test]
    fn values_read_as_people_write_them() {
        for (name, value, expected) in [
            ("BODY_BYTES_MAX", "4 * 1024 * 1024", "4 MiB"),
            ("KEY_BYTES_MAX", "512", "512 bytes"),
            ("CALLS", "10_000", "10,000"),
            ("AGE", "Duration::from_secs(600)", "10 min"),
            ("TICK", "Duration::from_millis(1)", "1 ms"),
            ("HALF", "OTHER / 2", "`OTHER / 2`"),
        ] {
            assert_eq!(shown(name, value), expected);
        }
    }
}
