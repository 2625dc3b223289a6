//! A middleware that is asked about requests and lets every one go on: the floor of every measurement.

use fairlead_plugin::prelude::*;

/// Lets everything go on.
#[derive(Debug)]
pub struct Redact;

/// Nothing to configure.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {}

impl Middleware for Redact {
    type Config = Config;

    fn manifest() -> Manifest {
        Manifest::new("redact", env!("CARGO_PKG_VERSION"), "lets everything go on")
            .interest(Interest::on("*").request())
    }

    fn new(_config: Config) -> Result<Self, Failure> {
        Ok(Self)
    }
}

fairlead_plugin::export_middleware!(Redact);
