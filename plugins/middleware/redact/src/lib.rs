//! Replaces what looks like a secret: in the arguments of a call, in what comes back, in what a server streams.
//!
//! Only string values are touched, each by a patch of its own, so that every other byte stays as it was sent. What cannot be
//! read is a failure and never passes. Where an object has the same field twice a patch would change one of the two and a
//! reader may take the other; then the whole payload is written anew.

mod builtin;
mod config;
mod find;

use fairlead_plugin::prelude::*;
use fairlead_plugin::{REJECTED, duplicate_key, pattern, visit_strings};

pub use crate::builtin::{Builtin, Scanner};
pub use crate::config::{Action, Config, Custom, Place};
use crate::find::{Counts, Finder};

/// Methods whose requests carry text of the client, and the field that holds it.
const ARGUMENTS: [(&str, &str); 4] = [
    ("tools/call", "/arguments"),
    ("prompts/get", "/arguments"),
    ("completion/complete", "/argument"),
    ("resources/read", ANSWERS),
];

/// What a client of the newest revision brings to its request when the server has asked for it; text of the client as well.
const ANSWERS: &str = "/inputResponses";

/// Methods whose results carry text of the server.
const RESULTS: [&str; 5] = ["tools/call", "prompts/get", "resources/read", "completion/complete", "tasks/result"];

/// Fields of the protocol that both sides must find as they wrote them.
const PROTOCOL: [&str; 3] = ["/_meta", "/progressToken", "/nextCursor"];

/// The redactor.
#[derive(Debug)]
pub struct Redact {
    config: Config,
    finder: Finder,
}

impl Middleware for Redact {
    type Config = Config;

    fn manifest() -> Manifest {
        let manifest = Manifest::new(
            "redact",
            env!("CARGO_PKG_VERSION"),
            "replaces what looks like a secret in arguments, results and events",
        )
        .interest(Interest::on("*").event())
        .attribute("license", env!("CARGO_PKG_LICENSE"));
        let manifest =
            ARGUMENTS.iter().fold(manifest, |manifest, (method, _)| manifest.interest(Interest::on(*method).request()));
        RESULTS.iter().fold(manifest, |manifest, method| manifest.interest(Interest::on(*method).response().error()))
    }

    fn validate(config: Config) -> Result<Vec<String>, String> {
        Finder::new(&config)?;
        Ok(config.warnings())
    }

    fn new(config: Config) -> Result<Self, Failure> {
        let finder = Finder::new(&config).map_err(Failure::Config)?;
        Ok(Self { config, finder })
    }

    fn interests(&self) -> Vec<Interest> {
        let wanted = |interest: &Interest| {
            let place = [
                (Place::Arguments, fairlead_plugin::Phases::REQUEST),
                (Place::Results, fairlead_plugin::Phases::RESPONSE),
                (Place::Events, fairlead_plugin::Phases::EVENT),
            ];
            place.iter().any(|(place, phase)| self.config.looks_at(*place) && interest.phases.contains(*phase))
        };
        Self::manifest().interests.into_iter().filter(wanted).collect()
    }

    fn on_request(&mut self, message: &Message<'_>) -> Result<Verdict, Failure> {
        let field = ARGUMENTS.iter().find(|(method, _)| *method == message.method());
        let Some((_, field)) = field.filter(|_| self.is_meant(message)) else { return Ok(Verdict::next()) };
        // The name of a tool is no place for a secret, and to replace it would call another tool.
        self.judge(message, |pointer| under(pointer, field) || under(pointer, ANSWERS))
    }

    fn on_response(&mut self, message: &Message<'_>) -> Result<Verdict, Failure> {
        if !self.is_meant(message) {
            return Ok(Verdict::next());
        }
        self.judge(message, |pointer| !PROTOCOL.iter().any(|field| under(pointer, field)))
    }

    fn on_error(&mut self, message: &Message<'_>, error: &Rejection) -> Result<Verdict, Failure> {
        if !self.is_meant(message) {
            return Ok(Verdict::next());
        }
        let mut counts = Counts::new();
        let text = self.finder.redact(None, &error.message, &mut counts);
        let data = match error.data.as_deref() {
            Some(data) => self.rewritten(data, &mut counts)?,
            None => None,
        };
        if text.is_none() && data.is_none() {
            return Ok(Verdict::next());
        }
        count(&counts);
        // An error is an error whether it is refused or not; what it must not do is to carry the secret.
        Ok(Rejection {
            message: text.unwrap_or_else(|| error.message.clone()),
            data: data.or_else(|| error.data.clone()),
            ..error.clone()
        }
        .into())
    }

    fn on_event(&mut self, message: &Message<'_>) -> Result<Verdict, Failure> {
        self.judge(message, |pointer| !PROTOCOL.iter().any(|field| under(pointer, field)))
    }
}

impl Redact {
    fn is_meant(&self, message: &Message<'_>) -> bool {
        self.config.targets.is_empty()
            || message.target().is_none_or(|target| pattern::matches_any(&self.config.targets, target))
    }

    fn judge(&self, message: &Message<'_>, meant: impl Fn(&str) -> bool) -> Result<Verdict, Failure> {
        let text = message.read();
        let mut counts = Counts::new();
        let mut patch = Verdict::patch();
        visit_strings(&text, |pointer, value| {
            if meant(pointer)
                && let Some(redacted) = self.finder.redact(field_of(pointer).as_deref(), value, &mut counts)
            {
                patch = std::mem::take(&mut patch).set(pointer, redacted);
            }
        })?;
        if patch.is_empty() {
            return Ok(Verdict::next());
        }
        count(&counts);
        if self.config.action == Action::Reject {
            return Ok(refusal(&counts));
        }
        if duplicate_key(&text)?.is_some() {
            let mut value: Value = serde_json::from_str(&text)
                .map_err(|error| Failure::internal(format!("payload cannot be written anew: {error}")))?;
            self.rewrite(&mut value, &mut String::new(), &meant, &mut Counts::new());
            return Ok(Verdict::replace(value));
        }
        Ok(patch.into())
    }

    /// The JSON text with every find replaced; none when there is none.
    fn rewritten<'a>(&'a self, json: &str, counts: &mut Counts<'a>) -> Result<Option<String>, Failure> {
        let mut value: Value = serde_json::from_str(json)
            .map_err(|error| Failure::internal(format!("data of an error cannot be read: {error}")))?;
        let before = counts.values().sum::<u64>();
        self.rewrite(&mut value, &mut String::new(), &|_| true, counts);
        Ok((counts.values().sum::<u64>() > before).then(|| value.to_string()))
    }

    fn rewrite<'a>(
        &'a self,
        value: &mut Value,
        pointer: &mut String,
        meant: &impl Fn(&str) -> bool,
        counts: &mut Counts<'a>,
    ) {
        let length = pointer.len();
        let mut child = |token: &str, value: &mut Value| {
            pointer.push('/');
            pointer.push_str(&token.replace('~', "~0").replace('/', "~1"));
            self.rewrite(value, pointer, meant, counts);
            pointer.truncate(length);
        };
        match value {
            Value::Object(fields) => fields.iter_mut().for_each(|(name, value)| child(name, value)),
            Value::Array(items) => items.iter_mut().enumerate().for_each(|(at, value)| child(&at.to_string(), value)),
            Value::String(text) if meant(pointer) => {
                if let Some(redacted) = self.finder.redact(field_of(pointer).as_deref(), text, counts) {
                    *text = redacted;
                }
            }
            _ => {}
        }
    }
}

/// Whether a pointer is a field or lies below it.
fn under(pointer: &str, field: &str) -> bool {
    pointer.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The name of the field in which a value stands.
fn field_of(pointer: &str) -> Option<std::borrow::Cow<'_, str>> {
    let (_, token) = pointer.rsplit_once('/')?;
    Some(if token.contains('~') { token.replace("~1", "/").replace("~0", "~").into() } else { token.into() })
}

fn count(counts: &Counts<'_>) {
    for (name, count) in counts {
        metrics::add("found", *count, &[("pattern".to_owned(), name.to_string())]);
    }
}

fn refusal(counts: &Counts<'_>) -> Verdict {
    let names: Vec<&str> = counts.keys().map(AsRef::as_ref).collect();
    Rejection::new(REJECTED, format!("contains what looks like a secret ({})", names.join(", ")))
        .data(json!({ "patterns": names }))
        .into()
}

fairlead_plugin::export_middleware!(Redact);
