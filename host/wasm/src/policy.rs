//! Update policies in use: a plugin and its configuration behind core's port.
//!
//! Whatever goes wrong becomes a hold that says so. The engine never learns whether a policy is Wasm.

use std::fmt::Write as _;
use std::sync::Arc;

use fairlead_core::BoxFuture;
use fairlead_core::freshness::{Facts, UpdatePolicy, Verdict};
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::attach::{AttachError, check_config};
use crate::host::PluginHost;
use crate::limits::TIME_ZONES_MAX;
use crate::plugin::Plugin;

/// A policy with its configuration.
struct Configured {
    host: Arc<PluginHost>,
    plugin: Arc<Plugin>,
    config: String,
    /// Those that the configuration names, with their rules.
    zones: Vec<(String, TimeZone)>,
}

impl UpdatePolicy for Configured {
    fn decide<'a>(&'a self, facts: &'a Facts) -> BoxFuture<'a, Verdict> {
        Box::pin(async {
            let name = &self.plugin.manifest().name;
            let Some(policy) = self.plugin.policy() else {
                return Verdict::policy_error(format!("`{name}` is no update policy"));
            };
            let mut facts = facts.clone();
            let offset = |zone: &TimeZone| zone.to_offset(facts.now).seconds() / 60;
            let offsets = self.zones.iter().map(|(name, zone)| (name.clone(), offset(zone))).collect();
            facts.zone_offsets = offsets;
            match policy.decide(&self.host.engines().ticker, name, &facts, &self.config).await {
                Ok(verdict) => verdict,
                Err(error) => {
                    tracing::warn!(fairlead.plugin.name = name, error, "an update policy is broken");
                    Verdict::policy_error(format!("policy `{name}`: {error}"))
                }
            }
        })
    }
}

/// Checks a configuration and makes a policy of the plugin.
pub(crate) async fn policy(
    host: &Arc<PluginHost>,
    plugin: &Arc<Plugin>,
    config: &Value,
) -> Result<Arc<dyn UpdatePolicy>, AttachError> {
    let name = || plugin.manifest().name.clone();
    if plugin.policy().is_none() {
        let mut kind = String::new();
        // Writing into a string cannot fail.
        let _ = write!(kind, "{:?}", plugin.manifest().kind);
        return Err(AttachError::Kind { plugin: name(), kind });
    }
    let (text, warnings) = check_config(host, plugin, config).await?;
    for warning in warnings {
        tracing::warn!(fairlead.plugin.name = plugin.manifest().name, "{warning}");
    }
    let named = config.get("time-zones").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let mut zones = Vec::new();
    for zone in named.take(TIME_ZONES_MAX) {
        let known = TimeZone::get(zone).map_err(|error| AttachError::Refused {
            plugin: name(),
            reason: format!("time-zones: `{zone}` is no time zone that this machine knows ({error})"),
        })?;
        zones.push((zone.to_owned(), known));
    }
    Ok(Arc::new(Configured { host: Arc::clone(host), plugin: Arc::clone(plugin), config: text, zones }))
}
