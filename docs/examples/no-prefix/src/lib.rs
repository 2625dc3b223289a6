//! The plugin of the README and of `docs/guides/writing-a-middleware.md`. `cargo xtask test` checks that both show it as it
//! is here.

use fairlead_plugin::prelude::*;

/// Refuses tools whose name starts with a prefix.
pub struct NoPrefix(Config);

/// What an operator configures.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Tools that start with this are refused.
    prefix: String,
}

impl Middleware for NoPrefix {
    type Config = Config;

    fn manifest() -> Manifest {
        Manifest::new("no-prefix", "0.1.0", "refuses tools by prefix").interest(Interest::on("tools/call").request())
    }

    fn new(config: Config) -> Result<Self, Failure> {
        Ok(Self(config))
    }

    fn on_request(&mut self, message: &Message<'_>) -> Result<Verdict, Failure> {
        match message.target() {
            Some(tool) if tool.starts_with(&self.0.prefix) => {
                Ok(Verdict::deny(4030, format!("`{tool}` is not allowed")))
            }
            _ => Ok(Verdict::next()),
        }
    }
}

fairlead_plugin::export_middleware!(NoPrefix);

#[cfg(test)]
mod tests {
    use fairlead_plugin::testing::Harness;

    use super::*;

    #[test]
    fn tools_with_the_prefix_are_refused_and_others_pass() {
        let mut plugin = Harness::<NoPrefix>::new(json!({ "prefix": "env_" }));
        plugin.request("tools/call", json!({ "name": "env_list" })).expect_reject(4030);
        plugin.request("tools/call", json!({ "name": "uuid" })).expect_next();
    }

    #[test]
    fn a_misspelt_setting_is_refused() {
        assert!(Harness::<NoPrefix>::try_new(json!({ "prefixes": "env_" })).is_err());
    }
}
