//! The test kit: a plugin runs natively, in a plain `cargo test`, with fakes in place of the host.
//!
//! A [`Harness`] holds one configured instance and the state of its fakes: kv, clock, log, metrics, secrets. Messages go
//! in, an [`Outcome`] comes out, with assertions that say what was expected and what came. A panic is how a test fails;
//! this module panics for no other reason and exists on native targets only.
//!
//! It follows the contract where a plugin can tell: a message that the plugin asked not to see is not given to it,
//! patches are applied in order, an exchange keeps its attributes, `kv` is refused unless the manifest asks for it.

#![allow(clippy::panic, reason = "a failed expectation fails the test")]

mod context;
pub mod facts;
pub(crate) mod fakes;
pub mod http;
mod outcome;
mod patch;

use std::time::Duration;

use serde_json::Value;

pub use self::fakes::{LogRecord, MetricRecord};
pub use self::outcome::{Case, Expect, Outcome};

use crate::guest::{parse, schema};
use crate::{Failure, Head, Interest, Message, Middleware, Phases, Rejection, Verdict};

/// What the wrappers of `exchange` see natively.
pub(crate) mod exchange {
    pub(crate) use super::context::{Body, Context};
}

/// What the wrappers of `fairlead:host` see natively.
pub(crate) mod host {
    pub(crate) use super::fakes::{clock, kv, log, metrics, secrets};
}

/// A middleware under test.
#[derive(Debug)]
pub struct Harness<P> {
    plugin: P,
    interests: Vec<Interest>,
    context: context::Context,
    fakes: fakes::Fakes,
}

impl<P: Middleware> Harness<P> {
    /// An instance with this configuration.
    ///
    /// # Panics
    /// When the plugin refuses the configuration.
    #[must_use]
    pub fn new(config: Value) -> Self {
        Self::try_new(config).unwrap_or_else(|failure| panic!("configuration was refused: {failure:?}"))
    }

    /// An instance with this configuration, or why it was refused.
    ///
    /// # Errors
    /// What `validate` or `new` of the plugin returns.
    pub fn try_new(config: Value) -> Result<Self, Failure> {
        Self::with_secrets(config, &[])
    }

    /// The same, with secrets (name and value) that are granted and can be opened from the beginning.
    ///
    /// # Errors
    /// What `validate` or `new` of the plugin returns.
    pub fn with_secrets(config: Value, secrets: &[(&str, &str)]) -> Result<Self, Failure> {
        let mut fakes = fakes::Fakes::new(&P::manifest());
        fakes.give_secrets(secrets);
        let text = config.to_string();
        let plugin = fakes.lend(|| {
            P::validate(parse(&text).map_err(Failure::Config)?).map_err(Failure::Config)?;
            P::new(parse(&text).map_err(Failure::Config)?)
        })?;
        let interests = plugin.interests();
        Ok(Self { plugin, interests, context: context::Context::default(), fakes })
    }

    /// The JSON Schema of the configuration, as the manifest will carry it.
    ///
    /// # Panics
    /// When it is no JSON, which would be a bug of the SDK.
    #[must_use]
    pub fn config_schema() -> Value {
        serde_json::from_str(&schema::<P::Config>()).unwrap_or_else(|error| panic!("schema is no JSON: {error}"))
    }

    /// A second instance over the same kv, as the host makes them when the first is busy or was thrown away.
    ///
    /// # Panics
    /// When the plugin refuses the configuration.
    #[must_use]
    pub fn restart(self, config: Value) -> Self {
        let mut next = Self::new(config);
        next.fakes = self.fakes;
        next.context = self.context;
        next
    }

    // --- surroundings ---

    /// The session of the messages that follow.
    pub fn session(&mut self, session: Option<&str>) -> &mut Self {
        self.context.session = session.map(str::to_owned);
        self
    }

    /// Who sends the messages that follow.
    pub fn identity(&mut self, subject: Option<&str>) -> &mut Self {
        self.context.set_caller(subject);
        self
    }

    /// The server of the messages that follow.
    pub fn server(&mut self, name: &str) -> &mut Self {
        name.clone_into(&mut self.context.server);
        self
    }

    /// A header of the requests that follow.
    pub fn header(&mut self, name: &str, value: &str) -> &mut Self {
        self.context.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Makes a secret available.
    pub fn secret(&mut self, name: &str, value: &str) -> &mut Self {
        self.fakes.secrets.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Lets time pass.
    pub fn advance(&mut self, by: Duration) -> &mut Self {
        self.fakes.advance(by);
        self
    }

    /// Makes each call of `kv` fail from now on, or work again.
    pub fn break_kv(&mut self, broken: bool) -> &mut Self {
        self.fakes.kv_broken = broken;
        self
    }

    /// Makes the next `times` calls of `compare_and_set` lose the race against somebody else.
    pub fn contend(&mut self, times: u32) -> &mut Self {
        self.fakes.contention = times;
        self
    }

    /// The log records so far.
    #[must_use]
    pub fn logs(&self) -> &[LogRecord] {
        &self.fakes.logs
    }

    /// The metrics so far.
    #[must_use]
    pub fn metrics(&self) -> &[MetricRecord] {
        &self.fakes.metrics
    }

    /// The value of a key, whatever its expiry.
    #[must_use]
    pub fn stored(&self, key: &str) -> Option<Vec<u8>> {
        self.fakes.stored(key)
    }

    /// An attribute of the exchange.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<String> {
        self.context.attribute(name)
    }

    /// A header that the plugin has set for the server in this exchange, by lower-case name, with its secrets in it.
    #[must_use]
    pub fn upstream_header(&self, name: &str) -> Option<String> {
        let value = self.context.upstream_header(name)?;
        Some(
            self.fakes
                .secrets
                .iter()
                .fold(value, |text, (name, secret)| text.replace(&fakes::placeholder(name), secret)),
        )
    }

    // --- messages ---

    /// A request; begins a new exchange.
    pub fn request(&mut self, method: &str, params: Value) -> Outcome {
        self.context.begin();
        let target = target_of(method, &params);
        self.ask(Phases::REQUEST, method, target.as_deref(), Some(params.to_string()), P::on_request)
    }

    /// A request whose `params` are this text, byte for byte; begins a new exchange.
    pub fn request_text(&mut self, method: &str, target: Option<&str>, params: &str) -> Outcome {
        self.context.begin();
        self.ask(Phases::REQUEST, method, target, Some(params.to_owned()), P::on_request)
    }

    /// The result of a request.
    pub fn response(&mut self, method: &str, target: Option<&str>, result: Value) -> Outcome {
        self.ask(Phases::RESPONSE, method, target, Some(result.to_string()), P::on_response)
    }

    /// The result of a request as this text, byte for byte.
    pub fn response_text(&mut self, method: &str, target: Option<&str>, result: &str) -> Outcome {
        self.ask(Phases::RESPONSE, method, target, Some(result.to_owned()), P::on_response)
    }

    /// The error of a request.
    pub fn error(&mut self, method: &str, target: Option<&str>, error: &Rejection) -> Outcome {
        self.ask(Phases::ERROR, method, target, None, |plugin, message| plugin.on_error(message, error))
    }

    /// A message that the server sends on a stream.
    pub fn event(&mut self, method: &str, params: Value) -> Outcome {
        self.ask(Phases::EVENT, method, None, Some(params.to_string()), P::on_event)
    }

    /// Runs a table of cases, each a request of its own, and names the first that does not hold.
    ///
    /// # Panics
    /// When a case does not hold.
    pub fn check(&mut self, cases: impl IntoIterator<Item = Case>) {
        for case in cases {
            let outcome = self.request(&case.method, case.params.clone());
            outcome.check(&case.name, &case.expect);
        }
    }

    fn ask(
        &mut self,
        phase: Phases,
        method: &str,
        target: Option<&str>,
        payload: Option<String>,
        hook: impl FnOnce(&mut P, &Message<'_>) -> Result<Verdict, Failure>,
    ) -> Outcome {
        if !self.interests.iter().any(|interest| interest.covers(phase, method, target)) {
            return Outcome::not_called(method, payload);
        }
        let size = payload.as_ref().map_or(0, |text| text.len() as u64);
        let head = Head { method: method.to_owned(), target: target.map(str::to_owned), size };
        let body = payload.clone().map(context::Body::new);
        let (plugin, context) = (&mut self.plugin, &self.context);
        let result = self.fakes.lend(|| hook(plugin, &Message::new(&head, context, body.as_ref())));
        Outcome::called(method, payload, result)
    }
}

/// The target of a request, as the host reads it.
fn target_of(method: &str, params: &Value) -> Option<String> {
    let field = match method {
        "tools/call" | "prompts/get" => "name",
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => "uri",
        _ => return None,
    };
    params.get(field).and_then(Value::as_str).map(str::to_owned)
}
