//! Holds arguments and results of tools to the schemas that the server itself gives.
//!
//! Many servers trust what a model writes. Here a wrong call ends before it reaches them, with the place and the reason; and
//! a result that is not what the tool promises ends before it reaches a program that relies on it. A tool that nobody has
//! described passes: to say which tools there are is the office of the tool filter.

mod check;
mod config;
mod learnt;
mod schema;

use fairlead_plugin::duplicate_key;
use fairlead_plugin::prelude::*;
use serde_json::value::RawValue;

use crate::check::{Miss, Violation, check};
pub use crate::config::{Answer, Config, Given, Place, UnknownKeywords};
use crate::schema::Schema;

/// The code of a refusal.
const INVALID: i32 = 4220;

/// From this revision on a result says of what type it is.
const TYPED_RESULTS: &str = "2026-07-28";

/// The validator.
#[derive(Debug)]
pub struct Validate(Config);

/// What is read of a call. Not by pointer: that names one of two fields of the same name, and the server may take the other.
#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow, default = "no_arguments")]
    arguments: &'a RawValue,
}

/// What is read of a result.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outcome<'a> {
    #[serde(borrow, default)]
    structured_content: Option<&'a RawValue>,
    #[serde(default)]
    is_error: Value,
    #[serde(default)]
    result_type: Option<String>,
    #[serde(borrow, default)]
    task: Option<&'a RawValue>,
}

fn no_arguments<'a>() -> &'a RawValue {
    serde_json::from_str("{}").unwrap_or(RawValue::NULL)
}

impl Middleware for Validate {
    type Config = Config;

    fn manifest() -> Manifest {
        Manifest::new("validate", env!("CARGO_PKG_VERSION"), "holds arguments and results of tools to their schemas")
            .interest(Interest::on("tools/call").request().response())
            .interest(Interest::on("tools/list").response())
            .interest(Interest::on("notifications/tools/list_changed").event())
            .capability("kv", "keeps the schemas that it has learnt from lists of tools")
            .attribute("license", env!("CARGO_PKG_LICENSE"))
    }

    fn validate(config: Config) -> Result<Vec<String>, String> {
        config.check()
    }

    fn new(config: Config) -> Result<Self, Failure> {
        config.check().map_err(Failure::Config)?;
        Ok(Self(config))
    }

    fn interests(&self) -> Vec<Interest> {
        let mut interests = Vec::new();
        if self.0.looks_at(Place::Arguments) {
            interests.push(Interest::on("tools/call").request());
        }
        if self.0.looks_at(Place::Results) {
            interests.push(Interest::on("tools/call").response());
        }
        if self.0.learn {
            interests.push(Interest::on("tools/list").response());
            interests.push(Interest::on("notifications/tools/list_changed").event());
        }
        interests
    }

    fn on_request(&mut self, message: &Message<'_>) -> Result<Verdict, Failure> {
        let Some(tool) = message.target() else { return Ok(Verdict::next()) };
        let text = message.read();
        let violation = match serde_json::from_str::<Call<'_>>(&text) {
            Ok(call) => self.judge(message, tool, Place::Arguments, call.arguments.get())?,
            Err(_) => Some(Violation { pointer: String::new(), reason: "the call cannot be read".to_owned() }),
        };
        match violation {
            None => Ok(Verdict::next()),
            Some(violation) => Ok(self.refuse(message, tool, &violation)),
        }
    }

    fn on_response(&mut self, message: &Message<'_>) -> Result<Verdict, Failure> {
        if message.method() == "tools/list" {
            learnt::learn(&message.context().server(), &message.read())?;
            return Ok(Verdict::next());
        }
        let Some(tool) = message.target() else { return Ok(Verdict::next()) };
        let text = message.read();
        let outcome: Outcome<'_> = serde_json::from_str(&text)
            .map_err(|error| Failure::upstream(format!("the result cannot be read: {error}")))?;
        let complete = outcome.result_type.as_deref().is_none_or(|kind| kind == "complete");
        // An error, a question and a task promise nothing of what the tool promises.
        if outcome.is_error == Value::Bool(true) || !complete || outcome.task.is_some() {
            return Ok(Verdict::next());
        }
        let violation = match outcome.structured_content {
            Some(content) => self.judge(message, tool, Place::Results, content.get())?,
            None => self.schema(message, tool, Place::Results)?.map(|_| Violation {
                pointer: "/structuredContent".to_owned(),
                reason: "is promised by the tool and missing".to_owned(),
            }),
        };
        Ok(violation.map_or(Verdict::Next, |violation| rejection(tool, Place::Results, &violation).into()))
    }

    fn on_event(&mut self, message: &Message<'_>) -> Result<Verdict, Failure> {
        learnt::forget(&message.context().server())?;
        Ok(Verdict::next())
    }
}

impl Validate {
    /// The schema for a place of a tool; none when there is none. The configuration comes first.
    fn schema(&self, message: &Message<'_>, tool: &str, place: Place) -> Result<Option<Value>, Failure> {
        let given = self.0.tools.get(tool).and_then(|given| match place {
            Place::Arguments => given.input_schema.clone(),
            Place::Results => given.output_schema.clone(),
        });
        if given.is_some() || !self.0.learn {
            return Ok(given);
        }
        let learnt = learnt::find(&message.context().server(), tool)?;
        Ok(learnt.and_then(|learnt| match place {
            Place::Arguments => learnt.input,
            Place::Results => learnt.output,
        }))
    }

    /// How a text misses what the tool promises; none when it does not.
    fn judge(&self, message: &Message<'_>, tool: &str, place: Place, text: &str) -> Result<Option<Violation>, Failure> {
        let base = base(place);
        let at = |pointer: &str, reason: String| Some(Violation { pointer: format!("/{base}{pointer}"), reason });
        let Some(schema) = self.schema(message, tool, place)? else { return Ok(None) };
        let schema = match Schema::new(schema, self.0.lenient()) {
            Ok(schema) => schema,
            Err(unclear) => {
                let reason = format!("cannot be checked: `{}` of the schema {}", unclear.pointer, unclear.reason);
                return Ok(at("", reason));
            }
        };
        // One of the two would be checked, and the server may take the other.
        if let Some(pointer) = duplicate_key(text)? {
            return Ok(at(&pointer, "has a field twice".to_owned()));
        }
        let value: Value = match serde_json::from_str(text) {
            Ok(value) => value,
            Err(_) => {
                return Ok(at("", "cannot be read: it is nested too deeply or has a number out of range".to_owned()));
            }
        };
        match check(&schema, base, &value) {
            Ok(()) => Ok(None),
            Err(Miss::Violation(violation)) => Ok(Some(violation)),
            Err(Miss::Endless) => Ok(at("", "cannot be checked: its schema takes too long".to_owned())),
        }
    }

    fn refuse(&self, message: &Message<'_>, tool: &str, violation: &Violation) -> Verdict {
        let rejection = rejection(tool, Place::Arguments, violation);
        if self.0.answer == Answer::Error {
            return rejection.into();
        }
        let mut result = json!({"content": [{"type": "text", "text": rejection.message}], "isError": true});
        let typed = message.context().protocol_version().is_some_and(|revision| revision.as_str() >= TYPED_RESULTS);
        if let Some(fields) = result.as_object_mut().filter(|_| typed) {
            fields.insert("resultType".to_owned(), json!("complete"));
        }
        Verdict::respond(result)
    }
}

const fn base(place: Place) -> &'static str {
    match place {
        Place::Arguments => "arguments",
        Place::Results => "structuredContent",
    }
}

fn rejection(tool: &str, place: Place, violation: &Violation) -> Rejection {
    let Violation { pointer, reason } = violation;
    metrics::add("rejected", 1, &[("place".to_owned(), base(place).to_owned())]);
    Rejection::new(INVALID, format!("tool `{tool}`: {}", format!("{pointer} {reason}").trim_start()))
        .data(json!({"tool": tool, "pointer": pointer, "reason": reason}))
}

fairlead_plugin::export_middleware!(Validate);
