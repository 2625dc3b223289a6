//! The client: a question to a registry, with whatever it takes to be let in, and the meaning of its answer.
//!
//! Once: a request that is not let in is authorised once and asked again once. A `429` is an answer, and so is everything
//! else that is not success: no request is made up for in another way, because that is how a registry that asks for fewer
//! requests gets more.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fairlead_core::BoxFuture;
use fairlead_core::address::{AddressClass, classify};
use fairlead_core::clock::Clock;
use fairlead_core::dial::{Admission, Dialer, PublicOnly};
use fairlead_core::image::ImageReference;
use fairlead_core::name::TenantName;
use fairlead_core::oci::{Credential, CredentialSource, DigestResolver, RegistryError, Resolved};
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use http::{Method, StatusCode};

use crate::auth::{Action, Challenge, Holder, TokenAnswer, Tokens, basic, form};
use crate::digest::is_digest;
use crate::exchange::{Answer, Line, Question};
use crate::limits::{ANSWER_BYTES_MAX, REASON_BYTES_MAX, RETRY_AFTER_MAX};
use crate::manifest::{INDEX_TYPES, MANIFEST_TYPES};
use crate::registry::{InsecureRegistries, Registry};

/// What a client is made of.
pub struct OciClientConfig {
    /// The way out.
    pub dialer: Arc<dyn Dialer>,
    /// Where registries may be.
    pub admission: Arc<dyn Admission>,
    /// Who shows what to whom.
    pub credentials: Arc<dyn CredentialSource>,
    /// Registries without TLS.
    pub insecure: InsecureRegistries,
    /// What a `Retry-After` with a date is measured by.
    pub clock: Arc<dyn Clock>,
}

/// Talks to registries.
pub struct OciClient {
    config: OciClientConfig,
    tokens: Tokens,
}

/// One conversation: a tenant, a repository, and what is done in it.
pub(crate) struct Visit<'a> {
    client: &'a OciClient,
    pub(crate) registry: Registry,
    holder: Holder,
}

impl OciClient {
    /// A client that knows nobody yet.
    #[must_use]
    pub fn new(config: OciClientConfig) -> Self {
        Self { config, tokens: Tokens::default() }
    }

    pub(crate) async fn visit(
        &self,
        tenant: &TenantName,
        reference: &ImageReference,
        action: Action,
    ) -> Result<Visit<'_>, RegistryError> {
        let registry = Registry::of(reference, &self.config.insecure);
        let credential = self.config.credentials.find(tenant, &registry.name).await?;
        let holder = Holder {
            tenant: tenant.clone(),
            credential,
            registry: registry.name.clone(),
            repository: registry.repository.clone(),
            action,
        };
        Ok(Visit { client: self, registry, holder })
    }
}

impl std::fmt::Debug for OciClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OciClient").field("insecure", &self.config.insecure).finish_non_exhaustive()
    }
}

impl DigestResolver for OciClient {
    fn resolve<'a>(
        &'a self,
        tenant: &'a TenantName,
        reference: &'a ImageReference,
    ) -> BoxFuture<'a, Result<Resolved, RegistryError>> {
        Box::pin(async move {
            let visit = self.visit(tenant, reference, Action::Pull).await?;
            let answer = visit.ask(visit.manifest(Method::HEAD, reference)).await?;
            let answer = visit.expect(answer, reference.as_str()).await?;
            let media_type = answer.header(CONTENT_TYPE.as_str()).unwrap_or_default().to_owned();
            let size = answer.header(CONTENT_LENGTH.as_str()).and_then(|length| length.parse().ok());
            match answer.header("docker-content-digest") {
                Some(digest) if is_digest(digest) => {
                    if reference.digest().is_some_and(|pinned| pinned != digest) {
                        return Err(RegistryError::Tampered { subject: reference.to_string() });
                    }
                    Ok(Resolved { digest: digest.to_owned(), media_type, size })
                }
                Some(_) => Err(visit.line().protocol("a digest that is none")),
                // The header is optional. Only then is content fetched to know its name.
                None => {
                    let pulled = visit.pull_manifest(reference).await?;
                    let size = u64::try_from(pulled.bytes.len()).ok();
                    Ok(Resolved { digest: pulled.digest, media_type: pulled.media_type, size })
                }
            }
        })
    }
}

impl Visit<'_> {
    pub(crate) fn line(&self) -> Line<'_> {
        let OciClientConfig { dialer, admission, .. } = &self.client.config;
        Line { dialer: &**dialer, admission: &**admission, registry: &self.registry.name }
    }

    /// The way to wherever the registry leads to, which it may have chosen to harm us: from a public address to nowhere but
    /// another one.
    fn line_from(&self, peer: std::net::IpAddr) -> Line<'_> {
        let line = self.line();
        if classify(peer) == AddressClass::Public { Line { admission: &PublicOnly, ..line } } else { line }
    }

    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/v2/{}/{rest}", self.registry.repository)
    }

    /// A question about what a reference names, in every form that there is: with less, a registry answers with something
    /// else, or not at all.
    pub(crate) fn manifest(&self, method: Method, reference: &ImageReference) -> Question {
        let name = reference.digest().or(reference.tag()).unwrap_or("latest");
        let question = Question::new(method, &self.registry.endpoint, self.path(&format!("manifests/{name}")));
        INDEX_TYPES.iter().chain(&MANIFEST_TYPES).fold(question, |question, kind| question.with(ACCEPT, kind))
    }

    /// Asks, and is let in if that is possible.
    pub(crate) async fn ask(&self, question: Question) -> Result<Answer, RegistryError> {
        let known = match &self.holder.credential {
            Credential::RegistryToken(token) => Some(format!("Bearer {token}")),
            _ => self.client.tokens.get(&self.holder),
        };
        let first = match &known {
            Some(known) => question.clone().authorised(known),
            None => question.clone(),
        };
        let answer = self.line().ask(first).await?;
        // Some registries say 403 of a token that has ended.
        let shut = answer.head.status == StatusCode::UNAUTHORIZED
            || (answer.head.status == StatusCode::FORBIDDEN && known.is_some());
        if !shut {
            return Ok(answer);
        }
        self.client.tokens.forget(&self.holder);
        let challenge = answer.header("www-authenticate").and_then(Challenge::read);
        let challenge = match (challenge, answer.head.status) {
            (Some(challenge), _) => challenge,
            (None, StatusCode::FORBIDDEN) => match self.line().ask(question.clone()).await? {
                again if again.head.status == StatusCode::UNAUTHORIZED => {
                    match again.header("www-authenticate").and_then(Challenge::read) {
                        Some(challenge) => challenge,
                        None => return Ok(again),
                    }
                }
                again => return Ok(again),
            },
            (None, _) => return Ok(answer),
        };
        let peer = answer.peer.ip();
        match self.authorise(challenge, peer).await? {
            Some(authorisation) => self.line().ask(question.authorised(&authorisation)).await,
            None => Ok(answer),
        }
    }

    /// The text that lets in; `None` when nobody has one.
    async fn authorise(&self, challenge: Challenge, peer: std::net::IpAddr) -> Result<Option<String>, RegistryError> {
        let (realm, service, scope) = match challenge {
            Challenge::Basic => return Ok(basic(&self.holder.credential)),
            Challenge::Bearer { realm, service, scope } => (realm, service, scope),
        };
        let line = self.line_from(peer);
        let (endpoint, path) = line.join(&self.registry.endpoint, "/", &realm)?;
        if self.registry.endpoint.tls && !endpoint.tls {
            return Err(line.protocol("a token service without encryption"));
        }
        let own = format!("repository:{}:{}", self.registry.repository, self.holder.action.words());
        // What we ask for is what we do: a challenge cannot make us ask for another repository.
        let scope = scope
            .filter(|scope| scope.starts_with(&format!("repository:{}:", self.registry.repository)))
            .unwrap_or(own);
        let service = service.unwrap_or_default();
        let question = match &self.holder.credential {
            Credential::IdentityToken(token) => {
                let pairs = [
                    ("grant_type", "refresh_token"),
                    ("service", &service),
                    ("client_id", "fairlead"),
                    ("scope", &scope),
                    ("refresh_token", token),
                ];
                Question::new(Method::POST, &endpoint, path)
                    .carrying("application/x-www-form-urlencoded", Bytes::from(form(&pairs)))
            }
            credential => {
                let joint = if path.contains('?') { '&' } else { '?' };
                let query = form(&[("service", &service), ("scope", &scope)]);
                let question = Question::get(&endpoint, format!("{path}{joint}{query}"));
                match basic(credential) {
                    Some(basic) => question.authorised(&basic),
                    None => question,
                }
            }
        };
        let answer = self.expect(line.ask(question).await?, &realm).await?;
        let answer: TokenAnswer = serde_json::from_slice(&answer.whole(&line, ANSWER_BYTES_MAX).await?)
            .map_err(|_| line.protocol("a token service that gives no token"))?;
        let (token, life) = answer.token().ok_or_else(|| line.protocol("a token service that gives no token"))?;
        let authorisation = format!("Bearer {token}");
        self.client.tokens.keep(&self.holder, &authorisation, life);
        Ok(Some(authorisation))
    }

    /// Success, or what the answer means.
    pub(crate) async fn expect(&self, answer: Answer, subject: &str) -> Result<Answer, RegistryError> {
        let status = answer.head.status;
        if status.is_success() {
            return Ok(answer);
        }
        let registry = self.registry.name.clone();
        let retry_after = answer.header("retry-after").and_then(|text| self.retry_after(text));
        Err(match status {
            StatusCode::TOO_MANY_REQUESTS => RegistryError::RateLimited { registry, retry_after },
            StatusCode::NOT_FOUND => RegistryError::NotFound { reference: subject.to_owned() },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                RegistryError::Denied { registry, reason: answer.reason(&self.line()).await }
            }
            status if status.is_server_error() => {
                RegistryError::Unreachable { registry, reason: answer.reason(&self.line()).await }
            }
            _ => RegistryError::Protocol { registry, reason: answer.reason(&self.line()).await },
        })
    }

    /// Seconds, or a date.
    fn retry_after(&self, text: &str) -> Option<Duration> {
        let wait = match text.trim().parse() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => {
                let until = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp();
                let now = self.client.config.clock.now();
                Duration::try_from(until.duration_since(now)).unwrap_or_default()
            }
        };
        Some(wait.min(RETRY_AFTER_MAX))
    }
}

/// What a registry says of an error (distribution specification, *Error codes*), in one line that can be printed.
pub(crate) fn reason_of(body: &[u8]) -> Option<String> {
    let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    let first = answer.get("errors")?.get(0)?;
    let text = |name: &str| first.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
    let reason = match (text("message"), text("code")) {
        ("", "") => return None,
        ("", code) => code,
        (message, _) => message,
    };
    Some(reason.chars().filter(|character| !character.is_control()).take(REASON_BYTES_MAX).collect())
}
