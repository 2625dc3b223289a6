//! Authorisation: what a registry wants to see, where that is to be had, and for whom it was given.
//!
//! A token is kept under the tenant and the credential that it was given for. That is the whole of the isolation between
//! tenants: there is no key under which one could find the token of another, and a token service that fails is an error,
//! never a reason to ask without a name.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fairlead_core::name::TenantName;
use fairlead_core::oci::Credential;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::Instant;

use crate::limits::{TOKEN_LIFE_DEFAULT, TOKEN_LIFE_MAX, TOKEN_MARGIN, TOKENS_MAX};

/// What is done in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    Pull,
    Push,
}

impl Action {
    /// As scopes have it.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "pull,push",
        }
    }
}

/// For whom something was authorised.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Holder {
    pub(crate) tenant: TenantName,
    pub(crate) credential: Credential,
    pub(crate) registry: String,
    pub(crate) repository: String,
    pub(crate) action: Action,
}

/// Texts that authorise, and until when.
#[derive(Default)]
pub(crate) struct Tokens(Mutex<HashMap<Holder, (String, Instant)>>);

impl Tokens {
    pub(crate) fn get(&self, holder: &Holder) -> Option<String> {
        let mut known = self.0.lock();
        let (token, until) = known.get(holder)?;
        if *until > Instant::now() {
            return Some(token.clone());
        }
        known.remove(holder);
        None
    }

    pub(crate) fn keep(&self, holder: &Holder, token: &str, life: Duration) {
        let mut known = self.0.lock();
        if known.len() >= TOKENS_MAX {
            let now = Instant::now();
            known.retain(|_, (_, until)| *until > now);
            if known.len() >= TOKENS_MAX {
                known.clear();
            }
        }
        known.insert(holder.clone(), (token.to_owned(), Instant::now() + life.saturating_sub(TOKEN_MARGIN)));
    }

    pub(crate) fn forget(&self, holder: &Holder) {
        self.0.lock().remove(holder);
    }
}

/// What a registry wants to see (RFC 9110, `WWW-Authenticate`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

impl Challenge {
    /// Reads the first challenge that is understood; a bearer one goes before.
    pub(crate) fn read(header: &str) -> Option<Self> {
        let lower = header.to_ascii_lowercase();
        let at = |scheme: &str| {
            lower.match_indices(scheme).map(|(at, _)| at).find(|at| {
                let before = lower.get(..*at).unwrap_or_default().trim_end();
                before.is_empty() || before.ends_with(',')
            })
        };
        if let Some(begin) = at("bearer ") {
            let parameters = parameters(header.get(begin + "bearer ".len()..)?);
            let get = |name: &str| parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
            return Some(Self::Bearer { realm: get("realm")?, service: get("service"), scope: get("scope") });
        }
        at("basic").map(|_| Self::Basic)
    }
}

/// `name="value", name=value`, up to where the next scheme begins.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim().trim_start_matches(',').trim();
        if name.is_empty() || name.contains(char::is_whitespace) {
            break;
        }
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let end = after.find(',').unwrap_or(after.len());
                let (value, after) = after.split_at_checked(end).unwrap_or((after, ""));
                (value.trim().to_owned(), after)
            }
        };
        found.push((name.to_ascii_lowercase(), value));
        rest = after;
    }
    found
}

/// A quoted string without its first quote, and what follows it.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, text.get(at + 1..).unwrap_or_default()),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

/// `Basic …`, when there is a name and a password.
pub(crate) fn basic(credential: &Credential) -> Option<String> {
    match credential {
        Credential::Password { username, password } => {
            Some(format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))))
        }
        _ => None,
    }
}

/// The answer of a token service.
#[derive(Deserialize)]
pub(crate) struct TokenAnswer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl TokenAnswer {
    /// The token, and how long it lives.
    pub(crate) fn token(self) -> Option<(String, Duration)> {
        let token = if self.token.is_empty() { self.access_token } else { self.token };
        let life = self.expires_in.map_or(TOKEN_LIFE_DEFAULT, Duration::from_secs).min(TOKEN_LIFE_MAX);
        (!token.is_empty()).then_some((token, life))
    }
}

/// What a form or a query holds, encoded.
pub(crate) fn form(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                text.push(char::from(byte));
            } else {
                text.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn a_challenge_is_read_as_registries_write_it() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        let expected =
            bearer("https://auth.docker.io/token", Some("registry.docker.io"), Some("repository:a/b:pull,push"));
        assert_eq!(Challenge::read(hub), Some(expected));
        for (header, expected) in [
            (r#"bearer Realm="r", service=s"#, Some(bearer("r", Some("s"), None))),
            (r#"Basic realm="x", Bearer realm="r""#, Some(bearer("r", None, None))),
            (r#"Basic realm="Registry Realm""#, Some(Challenge::Basic)),
            ("Bearer service=s", None),
            ("Negotiate", None),
            ("", None),
        ] {
            assert_eq!(Challenge::read(header), expected, "{header}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_found_by_its_holder_alone_and_until_it_ends() {
        let tokens = Tokens::default();
        let holder = |tenant: &str, password: &str| Holder {
            tenant: TenantName::new(tenant).unwrap(),
            credential: Credential::Password { username: "u".to_owned(), password: password.to_owned() },
            registry: "r".to_owned(),
            repository: "a".to_owned(),
            action: Action::Pull,
        };
        tokens.keep(&holder("alice", "p"), "t", Duration::from_secs(60));
        assert_eq!(tokens.get(&holder("alice", "p")).as_deref(), Some("t"));
        assert_eq!(tokens.get(&holder("bob", "p")), None);
        assert_eq!(tokens.get(&holder("alice", "other")), None);
        tokio::time::advance(Duration::from_secs(51)).await;
        assert_eq!(tokens.get(&holder("alice", "p")), None);
    }

    #[test]
    fn a_form_holds_nothing_that_ends_it() {
        assert_eq!(form(&[("scope", "repository:a/b:pull"), ("x", "&=")]), "scope=repository%3Aa%2Fb%3Apull&x=%26%3D");
    }

    proptest! {
        #[test]
        fn no_header_breaks_the_reader(header in "\\PC{0,80}") {
            let _ = Challenge::read(&header);
            let _ = Challenge::read(&format!("Bearer {header}"));
        }
    }
}
