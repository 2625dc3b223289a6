//! Headers for the requests to a server that is reached over HTTP.
//!
//! A value is a text, a secret, or what is known of the caller. A secret is opened by name and handed on as a placeholder: the
//! host puts the value in when the request leaves, and this plugin never holds it. Requests that carry no message of MCP (the
//! stream of the server, an answer, the end of a session) get the headers as well, or a server that wants a token would
//! refuse them.

mod config;

use fairlead_plugin::prelude::*;
use fairlead_plugin::{HeaderError, REJECTED, secrets};

pub use crate::config::Config;
use crate::config::{Header, Missing, Value as From};

/// The header injector.
#[derive(Debug)]
pub struct HeaderInject(Config);

impl Middleware for HeaderInject {
    type Config = Config;

    fn manifest() -> Manifest {
        Manifest::new(
            "header-inject",
            env!("CARGO_PKG_VERSION"),
            "adds headers to the requests to a server that is reached over HTTP",
        )
        .interest(Interest::on("*").request())
        .interest(Interest::on("fairlead/*").request())
        .attribute("license", env!("CARGO_PKG_LICENSE"))
    }

    fn validate(config: Config) -> Result<Vec<String>, String> {
        config.check()
    }

    /// Opens every secret once, so that one that is missing or not granted is found when the plugin is attached.
    fn new(config: Config) -> Result<Self, Failure> {
        for header in &config.headers {
            if let From::Secret { secret, template } = &header.value {
                placeholder(secret, template)?;
            }
        }
        Ok(Self(config))
    }

    fn on_request(&mut self, message: &Message<'_>) -> Result<Verdict, Failure> {
        for header in &self.0.headers {
            let Some(value) = value(header, message)? else {
                if header.missing == Missing::Skip {
                    continue;
                }
                return Ok(Verdict::deny(REJECTED, format!("nothing is known for header `{}`", header.name)));
            };
            match message.context().set_upstream_header(&header.name, &value) {
                Ok(()) => {}
                Err(HeaderError::Secret(reason)) => return Err(Failure::Unavailable(reason)),
                Err(error) => {
                    return Err(Failure::Internal(format!("header `{}` was not taken: {error:?}", header.name)));
                }
            }
        }
        Ok(Verdict::next())
    }
}

/// The value of a header for this message; none when the caller does not have what it is made of.
fn value(header: &Header, message: &Message<'_>) -> Result<Option<String>, Failure> {
    let context = message.context();
    Ok(match &header.value {
        From::Text { text } => Some(text.clone()),
        From::Secret { secret, template } => Some(placeholder(secret, template)?),
        From::Identity {} => context.identity(),
        From::Claim { claim } => context.claim(claim).map(|text| match serde_json::from_str(&text) {
            Ok(Value::String(text)) => text,
            _ => text,
        }),
        From::Server {} => Some(context.server()),
    })
}

fn placeholder(secret: &str, template: &str) -> Result<String, Failure> {
    match secrets::open(secret) {
        Ok(open) => Ok(open.as_header(template)),
        Err(secrets::Error::Denied) => Err(Failure::Config(format!(
            "secret `{secret}` is not granted; add to the attachment: \"grants\": [{{\"name\":\"secrets\",\"scope\":[\"{secret}\"]}}]"
        ))),
        Err(secrets::Error::NotFound) => Err(Failure::Config(format!("there is no secret `{secret}`"))),
        Err(secrets::Error::Unavailable(reason) | secrets::Error::Other(reason)) => Err(Failure::Unavailable(reason)),
    }
}

fairlead_plugin::export_middleware!(HeaderInject);
