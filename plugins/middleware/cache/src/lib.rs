//! Answers idempotent reads from memory, for as long as the server allows and only to those whom it allows.
//!
//! A cache must never be worse than none: what is not surely the same is asked again, and a store that cannot be used is no
//! fault, the server answers instead. What the server says of a result (`ttlMs`, `cacheScope`) is obeyed; for what says
//! nothing, the configuration speaks.

mod config;
mod key;
mod store;

use fairlead_plugin::prelude::*;
use serde_json::value::RawValue;

pub use crate::config::{Config, Method, Scope};
use crate::store::Family;

/// The cache.
#[derive(Debug)]
pub struct Cache(Config);

/// What the way in leaves for the way back.
#[derive(Serialize, Deserialize)]
struct Pending {
    private: Option<String>,
    public: String,
    marks: Vec<u64>,
    asked_ms: u64,
}

/// What is read of a result; none of it, and nothing else, is changed but `ttlMs`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    #[serde(borrow, default)]
    ttl_ms: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cache_scope: Option<&'a RawValue>,
    #[serde(borrow, default)]
    result_type: Option<&'a RawValue>,
    #[serde(borrow, default)]
    is_error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    task: Option<&'a RawValue>,
}

/// Where the keys of a request wait for its answer.
const PENDING: &str = "fairlead.cache";

/// What the server sends when a result is no longer true.
const EVENTS: [&str; 4] = [
    "notifications/tools/list_changed",
    "notifications/prompts/list_changed",
    "notifications/resources/list_changed",
    "notifications/resources/updated",
];

impl Middleware for Cache {
    type Config = Config;

    fn manifest() -> Manifest {
        let manifest = Manifest::new("cache", env!("CARGO_PKG_VERSION"), "answers idempotent reads from memory")
            .capability("kv", "keeps the results")
            .attribute("license", env!("CARGO_PKG_LICENSE"));
        let methods = ["tools/list", "resources/list", "resources/read", "prompts/list", "prompts/get", "tools/call"];
        let manifest = methods
            .iter()
            .fold(manifest, |manifest, method| manifest.interest(Interest::on(*method).request().response()));
        EVENTS.iter().fold(manifest, |manifest, event| manifest.interest(Interest::on(*event).event()))
    }

    fn validate(config: Config) -> Result<Vec<String>, String> {
        config.check()
    }

    fn new(config: Config) -> Result<Self, Failure> {
        config.check().map_err(Failure::Config)?;
        Ok(Self(config))
    }

    fn interests(&self) -> Vec<Interest> {
        let methods = self.0.methods.iter().map(|method| Interest::on(method.word()).request().response());
        let tools = self.0.tools.iter();
        let tools = tools.map(|pattern| Interest::on("tools/call").target(pattern.as_str()).request().response());
        let events = EVENTS.iter().map(|event| Interest::on(*event).event());
        methods.chain(tools).chain(events).collect()
    }

    fn on_request(&mut self, message: &Message<'_>) -> Result<Verdict, Failure> {
        let context = message.context();
        if context.request_id().is_none() || !self.0.covers(message.method(), message.target()) {
            return Ok(Verdict::next());
        }
        // The same cache further out is at it already, and this one would only keep everything twice.
        if context.attribute(PENDING).is_some() {
            return Ok(Verdict::next());
        }
        let Some(keys) = key::of(message) else { return Ok(Verdict::next()) };
        let now_ms = clock::now_ms();
        let Some(marks) = usable(store::marks(&context.server(), message.method())) else {
            return Ok(Verdict::next());
        };
        for key in keys.private.iter().chain([&keys.public]) {
            let found = usable(store::find(key, self.0.entries, &marks, now_ms)).flatten();
            if let Some(found) = found {
                count("hits", message);
                return Ok(Verdict::Respond(with_time_left(found.result, found.left_ms)));
            }
        }
        count("misses", message);
        let pending = Pending { private: keys.private, public: keys.public, marks, asked_ms: now_ms };
        if let Ok(text) = serde_json::to_string(&pending) {
            context.set_attribute(PENDING, &text);
        }
        Ok(Verdict::next())
    }

    fn on_response(&mut self, message: &Message<'_>) -> Result<Verdict, Failure> {
        let pending = message.context().attribute(PENDING).and_then(|text| serde_json::from_str::<Pending>(&text).ok());
        if let Some(pending) = pending
            && self.0.covers(message.method(), message.target())
            && message.size() <= u64::from(self.0.entry_bytes)
        {
            self.keep(&message.read(), pending);
        }
        Ok(Verdict::next())
    }

    fn on_event(&mut self, message: &Message<'_>) -> Result<Verdict, Failure> {
        if let Some(family) = Family::of_event(message.method()) {
            // Here a store that does not answer is a fault: without the marker, what is stale would be served as true.
            store::mark(&message.context().server(), family, self.ttl_ms_max())?;
        }
        Ok(Verdict::next())
    }
}

impl Cache {
    fn ttl_ms_max(&self) -> u64 {
        u64::from(self.0.ttl_secs_max) * 1_000
    }

    /// Keeps a result, if it and the configuration allow it.
    fn keep(&self, text: &str, pending: Pending) {
        // A derived struct would also take an array, element by field.
        if !text.trim_start().starts_with('{') {
            return;
        }
        let Ok(head) = serde_json::from_str::<Head<'_>>(text) else { return };
        let complete = head.result_type.is_none_or(|kind| kind.get() == "\"complete\"");
        let error = head.is_error.is_some_and(|error| error.get() != "false");
        if !complete || error || head.task.is_some() {
            return;
        }
        let ttl_ms = match head.ttl_ms {
            Some(said) => said.get().parse::<u64>().unwrap_or(0),
            None => u64::from(self.0.ttl_secs) * 1_000,
        };
        let key = match head.cache_scope.map(RawValue::get) {
            Some("\"public\"") => Some(pending.public),
            Some("\"private\"") => pending.private,
            Some(_) => None,
            None if self.0.scope == Scope::Public => Some(pending.public),
            None => pending.private,
        };
        let Some(key) = key.filter(|_| ttl_ms > 0) else { return };
        let Ok(result) = serde_json::from_str::<&RawValue>(text) else { return };
        // From the time of the request on, which is the latest at which the result is known to have been true.
        let expires_ms = pending.asked_ms.saturating_add(ttl_ms.min(self.ttl_ms_max()));
        usable(store::keep(&key, self.0.entries, pending.marks, result, expires_ms));
    }
}

/// A result as it is now: a client that keeps it in turn must not do so for longer than the server allowed. All other bytes
/// stay.
fn with_time_left(mut result: String, left_ms: u64) -> String {
    let span = serde_json::from_str::<Head<'_>>(&result).ok().and_then(|head| head.ttl_ms).and_then(|ttl| {
        let start = ttl.get().as_ptr().addr().checked_sub(result.as_ptr().addr())?;
        let said = ttl.get().parse::<u64>().ok()?;
        (said > left_ms).then(|| start..start + ttl.get().len())
    });
    if let Some(span) = span.filter(|span| result.get(span.clone()).is_some()) {
        result.replace_range(span, &left_ms.to_string());
    }
    result
}

/// What the store gave, or nothing: the server can be asked instead.
fn usable<T>(result: Result<T, kv::Error>) -> Option<T> {
    if result.is_err() {
        metrics::add("store_errors", 1, &[]);
    }
    result.ok()
}

fn count(what: &str, message: &Message<'_>) {
    metrics::add(what, 1, &[("method".to_owned(), message.method().to_owned())]);
}

fairlead_plugin::export_middleware!(Cache);
