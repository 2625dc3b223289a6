//! The doorkeeper in Rust: blocks tools, limits callers, masks arguments, withholds large results. It exists in four
//! languages with one table of cases, `../cases.json`.

use fairlead_plugin::prelude::*;

const BLOCKED: i32 = 4030;
const NAMELESS: i32 = 4000;
const TOO_MANY: i32 = 4290;
const MINUTE_MS: u64 = 60_000;
const BY: &str = "doorkeeper.by";

/// The middleware.
pub struct Doorkeeper(Config);

/// What an operator configures. What is absent is not guarded.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// Tools that nobody may call; `*` at the end stands for any rest.
    #[serde(default)]
    blocked: Vec<String>,
    /// Places of texts that the server must not see, as JSON pointers.
    #[serde(default)]
    mask: Vec<String>,
    /// Calls of one caller in a minute.
    #[schemars(range(min = 1))]
    per_minute: Option<i64>,
    /// Largest result that a client gets.
    max_result_bytes: Option<u64>,
    /// Header that says who calls, where nothing else does.
    trust_header: Option<String>,
}

impl Middleware for Doorkeeper {
    type Config = Config;

    fn manifest() -> Manifest {
        Manifest::new("doorkeeper", "0.1.0", "blocks tools, limits callers, masks arguments, withholds large results")
            .interest(Interest::on("tools/call").request().response().error())
            .interest(Interest::on("notifications/message").event())
            .capability("kv", "counts the calls of each caller")
    }

    fn new(config: Config) -> Result<Self, Failure> {
        if config.blocked.iter().any(String::is_empty) {
            return Err(Failure::config("`blocked` has an empty pattern, which blocks nothing"));
        }
        match config.mask.iter().find(|pointer| !pointer.starts_with('/')) {
            Some(pointer) => Err(Failure::config(format!("`{pointer}` in `mask` is no JSON pointer"))),
            None => Ok(Self(config)),
        }
    }

    fn validate(config: Config) -> Result<Vec<String>, String> {
        let idle = config.blocked.is_empty()
            && config.mask.is_empty()
            && config.per_minute.is_none()
            && config.max_result_bytes.is_none();
        Self::new(config).map_err(|failure| failure.text().to_owned())?;
        Ok(idle.then(|| "nothing is guarded".to_owned()).into_iter().collect())
    }

    fn on_request(&mut self, message: &Message<'_>) -> Result<Verdict, Failure> {
        let Some(tool) = message.target() else { return Ok(Verdict::deny(NAMELESS, "the call names no tool")) };
        let who = self.who(message);
        if self.0.blocked.iter().any(|pattern| matches(pattern, tool)) {
            let data = json!({"tool": tool, "tenant": message.context().tenant()});
            return Ok(Rejection::new(BLOCKED, format!("`{tool}` is blocked")).data(data).into());
        }
        if let Some(most) = self.0.per_minute
            && kv::increment(&format!("calls/{who}"), 1, Some(MINUTE_MS))? > most
        {
            return Ok(Rejection::new(TOO_MANY, format!("too many calls by {who}")).retry_after_ms(MINUTE_MS).into());
        }
        if tool == "ping" {
            return Ok(Verdict::respond(json!({"content": [{"type": "text", "text": "pong"}]})));
        }
        if let Some(other) = message.text("/arguments/redirect") {
            return Ok(Verdict::replace(json!({"name": other, "arguments": {}})));
        }
        message.context().set_attribute(BY, &who);
        let mut patch = Verdict::patch();
        for pointer in &self.0.mask {
            if message.text(pointer).is_some() {
                patch = patch.set(pointer.as_str(), "***");
            }
        }
        if message.body().is_some_and(|body| body.pointer("/arguments/drop").is_some()) {
            patch = patch.remove("/arguments/drop");
        }
        Ok(patch.into())
    }

    fn on_response(&mut self, message: &Message<'_>) -> Result<Verdict, Failure> {
        if self.0.max_result_bytes.is_some_and(|most| message.size() > most) {
            let text = format!("{} bytes were withheld", message.size());
            let content = json!([{"type": "text", "text": text}]);
            return Ok(Verdict::replace(json!({"content": content, "isError": true})));
        }
        let failed = message.body().and_then(|body| body.pointer("/isError")).is_some_and(|text| text == "true");
        Ok(match message.context().attribute(BY) {
            Some(who) if failed => Verdict::patch().set("/by", who).into(),
            _ => Verdict::next(),
        })
    }

    fn on_error(&mut self, _: &Message<'_>, error: &Rejection) -> Result<Verdict, Failure> {
        Ok(match error.code {
            -32601 => {
                let mut other = Rejection::new(4040, "there is no such tool");
                other.data.clone_from(&error.data);
                other.into()
            }
            5001 => Verdict::respond(json!({"content": [], "isError": true})),
            _ => Verdict::next(),
        })
    }

    fn on_event(&mut self, message: &Message<'_>) -> Result<Verdict, Failure> {
        if message.text("/level").as_deref() == Some("debug") {
            return Ok(Verdict::deny(1, "debug is not for clients"));
        }
        let is_secret = message.text("/data").is_some_and(|data| data.starts_with("secret:"));
        Ok(if is_secret { Verdict::patch().set("/data", "***").into() } else { Verdict::next() })
    }
}

impl Doorkeeper {
    fn who(&self, message: &Message<'_>) -> String {
        let context = message.context();
        if let Some(known) = context.identity() {
            return known;
        }
        match self.0.trust_header.as_ref().and_then(|header| context.header(header)) {
            Some(named) => {
                context.set_identity(&named, &vec![("via".to_owned(), "\"header\"".to_owned())]);
                named
            }
            None => "anonymous".to_owned(),
        }
    }
}

fn matches(pattern: &str, tool: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => tool.starts_with(start),
        None => tool == pattern,
    }
}

fairlead_plugin::export_middleware!(Doorkeeper);
