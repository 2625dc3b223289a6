//! Grants: what an operator gives to an attachment, as text, as a sentence and as a decision.
//!
//! A plugin asks in its manifest; an operator gives in the attachment; what counts is what was given. Nothing here is ever
//! widened on the way: a scope that cannot be read grants nothing and is refused where it was written, not where it is used.

pub mod http;

use std::net::IpAddr;

use crate::address::{AddressClass, AddressRange, classify};
use crate::plugin::Capability;
use http::HttpRule;

/// State that outlives an instance.
pub const KV: &str = "kv";
/// Secrets that may be used, by name: `github` or `github@api.github.com`.
pub const SECRETS: &str = "secrets";
/// Secrets whose value may be seen, by name.
pub const SECRETS_REVEAL: &str = "secrets-reveal";
/// Hosts that may be called: see [`HttpRule`].
pub const HTTP: &str = "http";
/// Private addresses to which the names of [`HTTP`] may lead: `10.0.0.0/8`, `127.0.0.1`.
pub const HTTP_PRIVATE: &str = "http-private";

/// Every capability that this host knows. A plugin that asks for another one was made for a later host.
pub const CAPABILITIES: [&str; 5] = [KV, SECRETS, SECRETS_REVEAL, HTTP, HTTP_PRIVATE];

/// Why a text grants nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// There is no such capability.
    #[error("there is no capability `{name}`; there are {}", CAPABILITIES.join(", "))]
    Unknown {
        /// What was written.
        name: String,
    },
    /// A scope that cannot be.
    #[error("`{scope}` in the grant of `{name}` {reason}")]
    Scope {
        /// The capability.
        name: String,
        /// The entry.
        scope: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Secrets and addresses are granted one by one.
    #[error("`{name}` is granted for something in particular, as in `{name}={example}`")]
    Unscoped {
        /// The capability.
        name: String,
        /// How one looks.
        example: &'static str,
    },
}

/// Reads what follows `--grant`: `name` or `name=scope,scope`. Whether it can be granted is for [`check`] to say, once it is
/// known what the plugin asks for.
#[must_use]
pub fn parse(text: &str) -> Capability {
    let (name, scope) = text.split_once('=').unwrap_or((text, ""));
    Capability {
        name: name.trim().to_owned(),
        scope: scope.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect(),
        reason: String::new(),
    }
}

/// Whether this can be granted as it is written.
///
/// # Errors
/// The capability is unknown, or an entry of its scope cannot be read.
pub fn check(grant: &Capability) -> Result<(), GrantError> {
    Grants::of(std::slice::from_ref(grant)).map(|_| ())
}

/// What somebody who grants it should read: one line for each thing that becomes possible.
#[must_use]
pub fn sentences(grant: &Capability) -> Vec<String> {
    let each = |write: &dyn Fn(&str) -> String| grant.scope.iter().map(|scope| write(scope)).collect::<Vec<_>>();
    match grant.name.as_str() {
        KV => vec!["keep state of its own".to_owned()],
        SECRETS if grant.scope.is_empty() => vec!["use secrets, which its configuration names".to_owned()],
        SECRETS => each(&|scope| match scope.split_once('@') {
            Some((name, host)) => format!("send the secret `{name}` to {host}, without seeing it"),
            None => format!("send the secret `{scope}` to any host that it may call, without seeing it"),
        }),
        SECRETS_REVEAL if grant.scope.is_empty() => vec!["see secrets, which its configuration names".to_owned()],
        SECRETS_REVEAL => each(&|scope| format!("see the value of the secret `{scope}`")),
        HTTP if grant.scope.is_empty() => vec!["call out over HTTP to hosts that its configuration names".to_owned()],
        HTTP => each(&|scope| {
            scope.parse::<HttpRule>().map_or_else(|_| format!("call out to `{scope}`"), |rule| rule.sentence())
        }),
        HTTP_PRIVATE if grant.scope.is_empty() => vec!["reach private addresses".to_owned()],
        HTTP_PRIVATE => each(&|scope| format!("reach {scope} in the private network")),
        other => vec![format!("use `{other}`")],
    }
}

/// What a plugin asks for, set against what was given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// Asked for and given, with the scope that was given (that of the plugin when none was). Given beside what is asked
    /// for: private addresses, where HTTP is given too.
    pub granted: Vec<Capability>,
    /// Asked for, not given: somebody has to be asked.
    pub open: Vec<Capability>,
    /// Given, not asked for.
    pub unused: Vec<Capability>,
}

/// Sets what is asked for against what is given.
#[must_use]
pub fn settle(asked: &[Capability], given: &[Capability]) -> Settled {
    let mut settled = Settled::default();
    for wanted in asked {
        let scopes: Vec<_> = given.iter().filter(|grant| grant.name == wanted.name).collect();
        if scopes.is_empty() {
            settled.open.push(wanted.clone());
            continue;
        }
        let mut scope: Vec<_> = scopes.iter().flat_map(|grant| grant.scope.iter().cloned()).collect();
        if scope.is_empty() {
            scope.clone_from(&wanted.scope);
        }
        settled.granted.push(Capability { scope, ..wanted.clone() });
    }
    let is_asked = |grant: &&Capability| asked.iter().any(|wanted| wanted.name == grant.name);
    let calls_out = settled.granted.iter().any(|grant| grant.name == HTTP);
    for grant in given.iter().filter(|grant| !is_asked(grant)) {
        if grant.name == HTTP_PRIVATE && calls_out {
            settled.granted.push(grant.clone());
        } else {
            settled.unused.push(grant.clone());
        }
    }
    settled
}

/// What is asked for and not given. A narrower grant is the operator's decision and enough: a host for some methods only, a
/// secret for one host only.
#[must_use]
pub fn missing(asked: &[Capability], given: &[Capability]) -> Vec<Capability> {
    let is_given = |wanted: &&Capability| {
        let mut grants = given.iter().filter(|grant| grant.name == wanted.name).peekable();
        grants.peek().is_some() && {
            let scopes: Vec<_> = grants.flat_map(|grant| &grant.scope).collect();
            wanted.scope.iter().all(|wish| scopes.iter().any(|scope| covers(&wanted.name, scope, wish)))
        }
    };
    asked.iter().filter(|wanted| !is_given(wanted)).cloned().collect()
}

/// Whether a scope that was given has something of one that was asked for.
fn covers(name: &str, given: &str, asked: &str) -> bool {
    match name {
        SECRETS => secret_name(given) == secret_name(asked),
        HTTP => match (given.parse::<HttpRule>(), asked.parse::<HttpRule>()) {
            (Ok(given), Ok(asked)) => given.overlaps(&asked),
            _ => false,
        },
        _ => given == asked,
    }
}

fn secret_name(scope: &str) -> &str {
    scope.split_once('@').map_or(scope, |(name, _)| name)
}

/// What was given, ready to decide.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// Whether there is state.
    pub kv: bool,
    secrets: Vec<SecretGrant>,
    reveal: Vec<String>,
    http: Vec<HttpRule>,
    private: Vec<AddressRange>,
}

/// One secret that may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SecretGrant {
    name: String,
    /// Where it may go; `None`: wherever the attachment may call.
    host: Option<String>,
}

impl Grants {
    /// Reads grants.
    ///
    /// # Errors
    /// The first that cannot be.
    pub fn of(given: &[Capability]) -> Result<Self, GrantError> {
        let mut grants = Self::default();
        for grant in given {
            grants.add(grant)?;
        }
        Ok(grants)
    }

    fn add(&mut self, grant: &Capability) -> Result<(), GrantError> {
        let wrong = |scope: &str, reason: String| GrantError::Scope {
            name: grant.name.clone(),
            scope: scope.to_owned(),
            reason,
        };
        match grant.name.as_str() {
            KV => match grant.scope.first() {
                None => self.kv = true,
                Some(scope) => return Err(wrong(scope, "is one too many: it has no scope".to_owned())),
            },
            // A grant without names opens none, and is no mistake: the configuration of a plugin may need none.
            SECRETS => {
                for scope in &grant.scope {
                    self.secrets.push(SecretGrant::new(scope).map_err(|reason| wrong(scope, reason))?);
                }
            }
            SECRETS_REVEAL => self.reveal.extend(grant.scope.iter().cloned()),
            HTTP => {
                for scope in &grant.scope {
                    let rule = scope.parse::<HttpRule>();
                    self.http.push(rule.map_err(|error| wrong(scope, error.to_string()))?);
                }
            }
            HTTP_PRIVATE if grant.scope.is_empty() => {
                return Err(GrantError::Unscoped { name: grant.name.clone(), example: "10.0.0.0/8" });
            }
            HTTP_PRIVATE => {
                for scope in &grant.scope {
                    self.private.push(private(scope).map_err(|reason| wrong(scope, reason))?);
                }
            }
            _ => return Err(GrantError::Unknown { name: grant.name.clone() }),
        }
        Ok(())
    }

    /// Whether this secret may be used.
    #[must_use]
    pub fn may_open(&self, name: &str) -> bool {
        self.secrets.iter().any(|grant| grant.name == name)
    }

    /// Whether the value of this secret may be seen.
    #[must_use]
    pub fn may_reveal(&self, name: &str) -> bool {
        self.reveal.iter().any(|granted| granted == name)
    }

    /// Whether this secret may be sent to this host; without one, to the server behind the chain, which a secret for one host
    /// alone is not meant for.
    #[must_use]
    pub fn may_send(&self, name: &str, host: Option<&str>) -> bool {
        let fits = |granted: &String| host.is_some_and(|host| granted.eq_ignore_ascii_case(host));
        self.secrets.iter().any(|grant| grant.name == name && grant.host.as_ref().is_none_or(fits))
    }

    /// Whether anything may be called at all.
    #[must_use]
    pub fn calls_out(&self) -> bool {
        !self.http.is_empty()
    }

    /// Whether addresses that are not public may be called: this machine, its network, its metadata service.
    #[must_use]
    pub fn reaches_inside(&self) -> bool {
        !self.private.is_empty() || self.http.iter().any(HttpRule::names_inside)
    }

    /// The rule that allows this request, if there is one.
    #[must_use]
    pub fn http(&self, method: &str, tls: bool, host: &str, port: u16) -> Option<&HttpRule> {
        self.http.iter().find(|rule| rule.allows(method, tls, host, port))
    }

    /// Whether a request that `rule` allows may go to this address. An address that the rule names was granted by being
    /// named; any other one that is not public needs a range. The range must be of its kind: one of a private network does
    /// not give the metadata service that somebody put inside.
    #[must_use]
    pub fn admits(&self, rule: &HttpRule, address: IpAddr) -> bool {
        let class = classify(address);
        class == AddressClass::Public
            || rule.is_address(address)
            || self.private.iter().any(|range| range.contains(address) && range.class() == Some(class))
    }
}

impl SecretGrant {
    fn new(scope: &str) -> Result<Self, String> {
        let (name, host) = scope.split_once('@').map_or((scope, None), |(name, host)| (name, Some(host)));
        if name.is_empty() || host.is_some_and(str::is_empty) {
            return Err("is neither a name nor `name@host`".to_owned());
        }
        Ok(Self { name: name.to_owned(), host: host.map(str::to_owned) })
    }
}

fn private(scope: &str) -> Result<AddressRange, String> {
    let range = scope.parse::<AddressRange>().map_err(|error| error.to_string())?;
    match range.class() {
        Some(AddressClass::Public) => Err("is public, which needs no grant of its own".to_owned()),
        Some(_) => Ok(range),
        None => Err("covers more than one kind of network: name the private blocks one by one".to_owned()),
    }
}

#[cfg(test)]
mod tests;
