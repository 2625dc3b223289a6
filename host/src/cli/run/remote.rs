//! What was typed about a server that runs elsewhere: its URL, and the flags that only such a server has.

use std::collections::BTreeMap;
use std::path::PathBuf;

use fairlead_core::remote::{ProxyChoice, RemoteSource, RemoteTransport};
use fairlead_core::secret::SecretReference;

use super::{TransportArg, pair};
use crate::cli::Failure;

/// Flags of remote servers.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Remote servers")]
pub(super) struct RemoteArgs {
    /// Header of every request; `${secret://store/NAME}` in the value stands for a secret (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    header: Vec<(String, String)>,
    /// Header whose value is a secret, named as in `fairlead secret`, or a text with `{NAME}` in it: `Bearer {github}`
    /// (repeatable)
    #[arg(long, value_name = "NAME=SECRET", value_parser = pair)]
    header_secret: Vec<(String, String)>,
    /// Certificates in PEM that are trusted besides those of the system
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Forward proxy (`http://host:port`), or `none`; by default what the daemon's environment says
    #[arg(long, value_name = "URL")]
    http_proxy: Option<String>,
}

/// Whether a source is a URL: by how it is written.
pub(super) fn is_meant(source: &str) -> bool {
    source.starts_with("https://") || source.starts_with("http://")
}

impl RemoteArgs {
    /// A flag that was given, for a source that has no use for it.
    pub(super) fn given(&self) -> Option<&'static str> {
        let given = [
            (!self.header.is_empty(), "--header"),
            (!self.header_secret.is_empty(), "--header-secret"),
            (self.ca_file.is_some(), "--ca-file"),
            (self.http_proxy.is_some(), "--http-proxy"),
        ];
        given.into_iter().find_map(|(given, flag)| given.then_some(flag))
    }

    /// The source.
    ///
    /// # Errors
    /// A flag makes no sense for it.
    pub(super) fn source(&self, url: &str, transport: Option<TransportArg>) -> Result<RemoteSource, Failure> {
        let transport = match transport {
            None => RemoteTransport::Auto,
            Some(TransportArg::StreamableHttp) => RemoteTransport::StreamableHttp,
            Some(TransportArg::Sse) => RemoteTransport::Sse,
            Some(TransportArg::Stdio) => {
                return Err(Failure::usage("a server at a URL does not speak stdio")
                    .hint("leave `--transport` out: how it speaks is found out"));
            }
        };
        let mut headers: BTreeMap<String, String> = self.header.iter().cloned().collect();
        for (name, text) in &self.header_secret {
            headers.insert(name.clone(), secret_text(text)?);
        }
        Ok(RemoteSource {
            transport,
            headers,
            ca_file: self.ca_file.as_deref().map(std::path::absolute).transpose()?,
            proxy: match self.http_proxy.as_deref() {
                None => ProxyChoice::Environment,
                Some("none") => ProxyChoice::Direct,
                Some(url) => ProxyChoice::Url { url: url.to_owned() },
            },
            ..RemoteSource::new(url)
        })
    }
}

/// The name of a secret, or a text with one in braces, as it is written down.
fn secret_text(typed: &str) -> Result<String, Failure> {
    let wrong = |error: fairlead_core::secret::SecretReferenceError| {
        Failure::usage(error.to_string()).hint(
            "name a secret (`--header-secret X-Api-Key=weather`), or a text with one (`Authorization=Bearer {github}`)",
        )
    };
    let Some((before, rest)) = typed.split_once('{') else {
        return Ok(SecretReference::typed(typed).map_err(wrong)?.to_string());
    };
    let (name, after) = rest.split_once('}').ok_or_else(|| Failure::usage("a `{` has no `}`"))?;
    let reference = SecretReference::typed(name).map_err(wrong)?;
    Ok(format!("{before}${{{reference}}}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_named_and_never_given() {
        for (typed, written) in [
            ("github", "secret://store/github"),
            ("secret://env/TOKEN", "secret://env/TOKEN"),
            ("Bearer {github}", "Bearer ${secret://store/github}"),
            ("{secret://env/A}:x", "${secret://env/A}:x"),
        ] {
            assert_eq!(secret_text(typed).unwrap(), written, "{typed}");
        }
        for typed in ["", "Bearer {", "Bearer {}", "{ a}"] {
            assert!(secret_text(typed).is_err(), "{typed}");
        }
    }
}
