//! The tools, one room for each subject.
//!
//! A tool is a function from a typed input to a typed output; both schemas that a client sees are derived from those types, so
//! they cannot tell another story than the code.

mod encoding;
mod json;
mod samples;
mod text;
mod time;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, Value};

type CallFn = Box<dyn Fn(Value, &mut Progress<'_>) -> Result<Value, String>>;

/// One tool.
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    title: &'static str,
    description: &'static str,
    input_schema: Value,
    output_schema: Value,
    pub(crate) call: CallFn,
}

impl Tool {
    fn new<I, O>(
        name: &'static str,
        title: &'static str,
        description: &'static str,
        run: impl Fn(I, &mut Progress<'_>) -> Result<O, String> + 'static,
    ) -> Self
    where
        I: DeserializeOwned + JsonSchema,
        O: Serialize + JsonSchema,
    {
        let call = move |arguments: Value, progress: &mut Progress<'_>| {
            let input = serde_json::from_value(arguments).map_err(|error| format!("arguments: {error}"))?;
            let output = run(input, progress)?;
            serde_json::to_value(output).map_err(|error| format!("result: {error}"))
        };
        Self {
            name,
            title,
            description,
            input_schema: schemars::schema_for!(I).to_value(),
            output_schema: schemars::schema_for!(O).to_value(),
            call: Box::new(call),
        }
    }

    /// The entry of `tools/list`.
    pub(crate) fn describe(&self) -> Value {
        serde_json::json!({
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": self.input_schema,
            "outputSchema": self.output_schema,
            "annotations": { "readOnlyHint": true, "openWorldHint": false },
        })
    }
}

/// Tells the client how far a call is, if it asked.
pub(crate) struct Progress<'a> {
    token: Option<&'a RawValue>,
    send: &'a mut dyn FnMut(String),
}

impl<'a> Progress<'a> {
    pub(crate) fn new(token: Option<&'a RawValue>, send: &'a mut dyn FnMut(String)) -> Self {
        Self { token, send }
    }

    fn report(&mut self, done: u32, total: u32) {
        let Some(token) = self.token else { return };
        let token = token.get();
        (self.send)(format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{done},"total":{total}}}}}"#
        ));
    }
}

/// All tools, in the order in which they are listed.
pub(crate) fn all() -> Vec<Tool> {
    let rooms = [time::tools(), text::tools(), json::tools(), encoding::tools(), samples::tools()];
    rooms.into_iter().flatten().collect()
}
