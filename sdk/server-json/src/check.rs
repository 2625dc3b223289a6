//! What is wrong with an entry, and where. An error keeps it out of a catalogue; a warning is what the official registry would
//! refuse and everybody else lives with.

use serde_json::Value;

use crate::document::Document;
use crate::limits::{
    FINDINGS_MAX, SERVER_JSON_BYTES_MAX, SERVER_NAME_BYTES_MAX, SERVER_NAME_BYTES_MIN, SERVER_TEXT_CHARS_MAX,
    SERVER_VERSION_BYTES_MAX,
};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The official registry would refuse it.
    Warning,
    /// It cannot be used.
    Error,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// RFC 6901 pointer into the document; empty: the whole.
    pub pointer: String,
    /// What is wrong there.
    pub reason: String,
}

/// Whether a text can name a server: `namespace/name`.
#[must_use]
pub fn is_server_name(name: &str) -> bool {
    let Some((namespace, rest)) = name.split_once('/') else { return false };
    let within = |text: &str, more: &[u8]| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
    };
    (SERVER_NAME_BYTES_MIN..=SERVER_NAME_BYTES_MAX).contains(&name.len())
        && within(namespace, b".-")
        && within(rest, b"._-")
}

/// Whether a text can be the version of a server: one version, not a range, and not `latest`.
#[must_use]
pub fn is_version(version: &str) -> bool {
    let range = version.starts_with(['^', '~', '>', '<', '=']) || version.contains("||") || version.contains('*');
    !version.is_empty()
        && version.len() <= SERVER_VERSION_BYTES_MAX
        && version != "latest"
        && !range
        && !version.contains(|c: char| c.is_control() || c.is_whitespace() || c == '/')
}

/// What is wrong with a `server.json`, the worst first.
#[must_use]
pub fn check(text: &str) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    if text.len() > SERVER_JSON_BYTES_MAX {
        findings.error("", format!("it has {} bytes, at most {SERVER_JSON_BYTES_MAX} are kept", text.len()));
        return findings.0;
    }
    match serde_json::from_str::<Value>(text) {
        Err(error) => findings.error("", format!("it is no JSON: {error}")),
        Ok(Value::Object(_)) => {
            if let Some(document) = Document::of(text) {
                findings.document(&document);
            }
        }
        Ok(_) => findings.error("", "it is no JSON object"),
    }
    findings.0.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings.0.truncate(FINDINGS_MAX);
    findings.0
}

struct Findings(Vec<Finding>);

impl Findings {
    fn error(&mut self, pointer: &str, reason: impl Into<String>) {
        self.0.push(Finding { severity: Severity::Error, pointer: pointer.to_owned(), reason: reason.into() });
    }

    fn warning(&mut self, pointer: &str, reason: impl Into<String>) {
        self.0.push(Finding { severity: Severity::Warning, pointer: pointer.to_owned(), reason: reason.into() });
    }

    fn document(&mut self, document: &Document) {
        match document.name.as_str() {
            "" => self.error("/name", "is missing"),
            name if !is_server_name(name) => self.error("/name", format!("`{name}` is not `namespace/name`")),
            _ => {}
        }
        match document.version.as_str() {
            "" => self.error("/version", "is missing"),
            version if !is_version(version) => {
                self.error("/version", format!("`{version}` is not one version (a range, `latest`, or with spaces)"));
            }
            _ => {}
        }
        if document.description.is_empty() {
            self.warning("/description", "is missing");
        }
        for (pointer, text) in [("/description", &document.description), ("/title", &document.title)] {
            let length = text.chars().count();
            if length > SERVER_TEXT_CHARS_MAX {
                let reason = format!("has {length} characters, the official schema allows {SERVER_TEXT_CHARS_MAX}");
                self.warning(pointer, reason);
            }
        }
        if document.schema.is_empty() {
            self.warning("/$schema", "is missing");
        }
        if document.packages.is_empty() && document.remotes.is_empty() {
            self.warning("", "it has neither packages nor remotes, so nothing can be run");
        }
        for (at, package) in document.packages.iter().enumerate() {
            let place = format!("/packages/{at}");
            for (field, value) in [("registryType", &package.registry_type), ("identifier", &package.identifier)] {
                if value.is_empty() {
                    self.error(&format!("{place}/{field}"), "is missing");
                }
            }
            if !matches!(package.transport.kind.as_str(), "" | "stdio" | "streamable-http" | "sse") {
                let reason = format!("`{}` is no transport of MCP", package.transport.kind);
                self.warning(&format!("{place}/transport/type"), reason);
            }
        }
        for (at, remote) in document.remotes.iter().enumerate() {
            if !remote.url.starts_with("https://") && !remote.url.starts_with("http://") && !remote.url.starts_with('{')
            {
                self.error(&format!("/remotes/{at}/url"), "is no URL");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_versions_are_those_of_the_official_schema() {
        for name in ["io.github.user/weather", "a/b", "A-1.b/c_d.e"] {
            assert!(is_server_name(name), "{name}");
        }
        for name in ["", "a", "a/", "/b", "a/b/c", "a b/c", "a_b/c", &format!("a/{}", "x".repeat(200))] {
            assert!(!is_server_name(name), "{name}");
        }
        for version in ["1.0.0", "2025-01-02", "v1", "1.0.0-rc.1+5"] {
            assert!(is_version(version), "{version}");
        }
        for version in ["", "latest", "^1.2.3", "~1", ">=1.0", "1.x || 2", "1.*", "a b", "1/2"] {
            assert!(!is_version(version), "{version}");
        }
    }

    #[test]
    fn errors_come_before_warnings_and_say_where() {
        let findings = check(r#"{"version": "latest", "packages": [{"registryType": "npm"}]}"#);
        let errors: Vec<_> = findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
        let places: Vec<_> = errors.iter().map(|finding| finding.pointer.as_str()).collect();
        assert_eq!(places, ["/name", "/version", "/packages/0/identifier"]);
        assert!(findings.is_sorted_by(|one, other| one.severity >= other.severity));
        assert!(check("[]").iter().all(|finding| finding.severity == Severity::Error));
    }
}
