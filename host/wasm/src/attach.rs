//! Putting a plugin to use: everything that an operator wrote is checked here, before the first message.
//!
//! Order matters, so that the error is the one that helps: the schema first (it names the place), then what the plugin
//! itself thinks of the configuration, then the grants, and last one instance with all of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fairlead_core::BoxFuture;
use fairlead_core::chain::{glob, names};
use fairlead_core::grant::{self, GrantError, Grants};
use fairlead_core::kv::KvScope;
use fairlead_core::limits::{HOOK_CPU_MAX, HOOK_WALL_MAX, PLUGIN_MEMORY_BYTES_MAX};
use fairlead_core::middleware::{Answer, Call, Fault, Interest, Middleware, Phase};
use fairlead_core::name::TenantName;
use fairlead_core::plugin::{AttachmentSpec, Capability, PluginLimits};
use jsonschema::error::ValidationErrorKind;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::audit::ComponentKind;
use crate::host::PluginHost;
use crate::limits::{
    CONCURRENCY_DEFAULT, CONCURRENCY_MAX, CONFIG_BYTES_MAX, CONFIG_PROBLEMS_MAX, FAULT_TEXT_BYTES_MAX, HOOK_MS_MAX,
    MEMORY_BYTES_MIN, REQUESTS_AT_ONCE,
};
use crate::log_gate::LogGate;
use crate::metrics::Metrics;
use crate::owner::{Counts, Owner};
use crate::placeholders::Placeholders;
use crate::plugin::Plugin;
use crate::pool::{CallLimits, Pool, PoolParts};
use crate::text::bounded;

/// A plugin put into a chain: by whom, and where.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// The tenant whose messages it sees.
    pub tenant: TenantName,
    /// The place of its state: `platform`, `tenant`, or `server/<name>`.
    pub place: String,
    /// What the operator wrote.
    pub spec: AttachmentSpec,
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// RFC 6901 pointer into the configuration; empty: the whole.
    pub pointer: String,
    /// What is wrong there.
    pub reason: String,
}

/// Why a plugin was not attached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// It decides about something else.
    #[error("`{plugin}` is {kind}, and only a middleware can be attached")]
    Kind {
        /// The plugin.
        plugin: String,
        /// What it is.
        kind: String,
    },
    /// It decides about something else than where servers come from.
    #[error("`{plugin}` is {kind}, and not a registry source")]
    NoSource {
        /// The plugin.
        plugin: String,
        /// What it is.
        kind: String,
    },
    /// The configuration misses the schema.
    #[error("configuration of `{plugin}` is wrong {}", told(problems))]
    Config {
        /// The plugin.
        plugin: String,
        /// What and where.
        problems: Vec<ConfigProblem>,
    },
    /// The configuration passes the schema, and the plugin refuses it.
    #[error("`{plugin}` refuses its configuration: {reason}")]
    Refused {
        /// The plugin.
        plugin: String,
        /// Why.
        reason: String,
    },
    /// The plugin wants more than it was given.
    #[error("`{plugin}` needs {}", wanted(missing))]
    Grants {
        /// The plugin.
        plugin: String,
        /// What is missing.
        missing: Vec<Capability>,
    },
    /// A grant is written in a way that grants nothing.
    #[error("`{plugin}`: {error}")]
    Grant {
        /// The plugin.
        plugin: String,
        /// What is wrong with it.
        error: GrantError,
    },
    /// A limit is out of range.
    #[error("limit `{name}` is {given}, possible is {least} to {most}")]
    Limit {
        /// Which.
        name: &'static str,
        /// What was given.
        given: u64,
        /// The least.
        least: u64,
        /// The most.
        most: u64,
    },
    /// It wants to be called for what its manifest does not name.
    #[error("`{plugin}` wants to be called for `{method}`, which its manifest does not name")]
    Interest {
        /// The plugin.
        plugin: String,
        /// The method.
        method: String,
    },
    /// The first instance failed.
    #[error("`{plugin}` {fault}")]
    Instance {
        /// The plugin.
        plugin: String,
        /// How.
        fault: Fault,
    },
}

fn told(problems: &[ConfigProblem]) -> String {
    let place = |problem: &ConfigProblem| match problem.pointer.as_str() {
        "" => format!("at the top: {}", problem.reason),
        pointer => format!("at `{pointer}`: {}", problem.reason),
    };
    problems.iter().map(place).collect::<Vec<_>>().join("; ")
}

fn wanted(missing: &[Capability]) -> String {
    let each = missing.iter().map(|wanted| match wanted.reason.as_str() {
        "" => format!("`{}`", wanted.name),
        reason => format!("`{}` ({reason})", wanted.name),
    });
    format!("{}, which the attachment does not grant", each.collect::<Vec<_>>().join(" and "))
}

impl AttachError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Kind { .. } => Some("attach a component that exports `fairlead:middleware/hooks`".to_owned()),
            Self::NoSource { .. } => Some("name a component that exports `fairlead:registry-source/source`".to_owned()),
            Self::Config { plugin, .. } | Self::Refused { plugin, .. } => {
                Some(format!("`fairlead plugin inspect {plugin}` shows what its configuration looks like"))
            }
            Self::Grants { missing, .. } => {
                let grants: Vec<_> = missing.iter().map(Self::grant).collect();
                Some(format!("add to the attachment: \"grants\": [{}]", grants.join(", ")))
            }
            Self::Grant { .. } | Self::Limit { .. } | Self::Interest { .. } | Self::Instance { .. } => None,
        }
    }

    /// The problems with their places, when it is the configuration that is wrong.
    #[must_use]
    pub fn problems(&self) -> &[ConfigProblem] {
        if let Self::Config { problems, .. } = self { problems } else { &[] }
    }

    fn grant(wanted: &Capability) -> String {
        let mut grant = serde_json::json!({ "name": wanted.name });
        if let (false, Some(fields)) = (wanted.scope.is_empty(), grant.as_object_mut()) {
            fields.insert("scope".to_owned(), wanted.scope.clone().into());
        }
        grant.to_string()
    }
}

/// An attachment in use.
struct Binding {
    interests: Vec<Interest>,
    pool: Arc<Pool>,
}

impl Middleware for Binding {
    fn interests(&self) -> &[Interest] {
        &self.interests
    }

    fn call(&self, call: Call) -> BoxFuture<'_, Result<Answer, Fault>> {
        Box::pin(self.pool.call(call))
    }
}

pub(crate) async fn attach(
    host: &PluginHost,
    plugin: &Arc<Plugin>,
    attachment: Attachment,
) -> Result<(Arc<dyn Middleware>, Arc<Pool>), AttachError> {
    let Attachment { tenant, place, spec } = attachment;
    let manifest = plugin.manifest();
    let name = || manifest.name.clone();
    let Some(prepared) = plugin.prepared() else {
        return Err(AttachError::Kind { plugin: name(), kind: ComponentKind::Plugin(manifest.kind).to_string() });
    };
    let limits = limits(&spec.limits)?;
    let (config, warnings) = check_config(host, plugin, &spec.config).await?;
    for warning in warnings {
        tracing::warn!(fairlead.plugin.name = manifest.name, fairlead.attachment = %spec.name, "{warning}");
    }
    let missing = grant::missing(&manifest.capabilities, &spec.grants);
    if !missing.is_empty() {
        return Err(AttachError::Grants { plugin: name(), missing });
    }
    let grants = Grants::of(&spec.grants).map_err(|error| AttachError::Grant { plugin: name(), error })?;
    let owner = Owner {
        grants,
        requests: Arc::new(Semaphore::new(REQUESTS_AT_ONCE)),
        scope: KvScope { tenant, place, attachment: spec.name },
        plugin: name(),
        services: host.services().clone(),
        gate: LogGate::new(),
        metrics: Metrics::default(),
        counts: Counts::default(),
        placeholders: Placeholders::default(),
        born: Instant::now(),
    };
    let parts = PoolParts {
        engines: Arc::clone(host.engines()),
        slots: Arc::clone(host.slots()),
        plugin: Arc::clone(prepared),
        owner: Arc::new(owner),
        config,
        limits,
        model: spec.instances,
    };
    let (pool, interests) = Pool::open(parts).await.map_err(|fault| AttachError::Instance { plugin: name(), fault })?;
    if let Some(more) =
        interests.iter().find(|interest| !manifest.interests.iter().any(|named| within(interest, named)))
    {
        return Err(AttachError::Interest { plugin: name(), method: more.method.clone() });
    }
    Ok((Arc::new(Binding { interests, pool: Arc::clone(&pool) }), pool))
}

/// Checks a configuration: its text as the plugin gets it, and what the plugin has to remark.
pub(crate) async fn check_config(
    host: &PluginHost,
    plugin: &Plugin,
    config: &Value,
) -> Result<(String, Vec<String>), AttachError> {
    let name = || plugin.manifest().name.clone();
    let empty = Value::Object(serde_json::Map::new());
    let config = if config.is_null() { &empty } else { config };
    let wrong = |problems| AttachError::Config { plugin: name(), problems };
    let errors = plugin.validator().iter_errors(config).take(CONFIG_PROBLEMS_MAX);
    let problems: Vec<_> = errors.map(|error| problem(&error, config)).collect();
    if !problems.is_empty() {
        return Err(wrong(problems));
    }
    let text = config.to_string();
    if text.len() > CONFIG_BYTES_MAX {
        let reason = format!("it has {} bytes, at most {CONFIG_BYTES_MAX} are possible", text.len());
        return Err(wrong(vec![ConfigProblem { pointer: String::new(), reason }]));
    }
    match plugin.described().validate(&host.engines().ticker, &text).await {
        Ok(Ok(warnings)) => Ok((text, warnings)),
        Ok(Err(reason)) => Err(AttachError::Refused { plugin: name(), reason }),
        Err(fault) => Err(AttachError::Instance { plugin: name(), fault: Fault::Trap(fault) }),
    }
}

fn problem(error: &jsonschema::ValidationError<'_>, config: &Value) -> ConfigProblem {
    let pointer = error.instance_path().as_str();
    // Where nothing is allowed, the library names the value and not the field that holds it.
    if let (ValidationErrorKind::FalseSchema, Some(Value::Object(fields))) = (error.kind(), config.pointer(pointer))
        && let Some((field, _)) = fields.iter().find(|(_, value)| *value == error.instance().as_ref())
    {
        let token = field.replace('~', "~0").replace('/', "~1");
        let reason = format!("there is no field `{field}`");
        return ConfigProblem { pointer: format!("{pointer}/{token}"), reason: bounded(reason, FAULT_TEXT_BYTES_MAX) };
    }
    ConfigProblem { pointer: pointer.to_owned(), reason: bounded(error.to_string(), FAULT_TEXT_BYTES_MAX) }
}

/// Whether everything that `interest` covers is covered by `named`.
fn within(interest: &Interest, named: &Interest) -> bool {
    let phases = [Phase::Request, Phase::Response, Phase::Error, Phase::Event];
    names(&named.method, &interest.method)
        && match (&named.target, &interest.target) {
            (None, _) => true,
            (Some(named), Some(target)) => glob(named, target),
            (Some(_), None) => false,
        }
        && phases.into_iter().all(|phase| named.phases.contains(phase) || !interest.phases.contains(phase))
}

fn limits(given: &PluginLimits) -> Result<CallLimits, AttachError> {
    let ranged = |name, given: Option<u64>, default: u64, least: u64, most: u64| match given {
        None => Ok(default),
        Some(given) if (least..=most).contains(&given) => Ok(given),
        Some(given) => Err(AttachError::Limit { name, given, least, most }),
    };
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let memory_bytes = ranged(
        "memoryBytesMax",
        given.memory_bytes_max,
        PLUGIN_MEMORY_BYTES_MAX,
        MEMORY_BYTES_MIN,
        PLUGIN_MEMORY_BYTES_MAX,
    )?;
    let cpu = ranged("cpuMsMax", given.cpu_ms_max.map(u64::from), ms(HOOK_CPU_MAX), 1, HOOK_MS_MAX.into())?;
    // Who computes for longer must be allowed to take as long.
    let wall_default = ms(HOOK_WALL_MAX).max(cpu);
    let wall = ranged("wallMsMax", given.wall_ms_max.map(u64::from), wall_default, 1, HOOK_MS_MAX.into())?;
    let concurrency = ranged(
        "concurrencyMax",
        given.concurrency_max.map(u64::from),
        CONCURRENCY_DEFAULT.into(),
        1,
        CONCURRENCY_MAX.into(),
    )?;
    Ok(CallLimits {
        memory_bytes,
        cpu: Duration::from_millis(cpu),
        wall: Duration::from_millis(wall),
        concurrency: usize::try_from(concurrency).unwrap_or(1),
    })
}

#[cfg(test)]
mod tests {
    use fairlead_core::middleware::Phases;

    use super::*;

    fn interest(method: &str, target: Option<&str>, phases: &[Phase]) -> Interest {
        let phases = phases.iter().fold(Phases::NONE, |phases, phase| phases.with(*phase));
        Interest { method: method.to_owned(), target: target.map(str::to_owned), phases }
    }

    #[test]
    fn a_plugin_may_narrow_its_interests_but_not_widen_them() {
        let both = [Phase::Request, Phase::Response];
        let named = interest("tools/*", None, &both);
        assert!(within(&interest("tools/call", Some("x"), &[Phase::Request]), &named));
        assert!(within(&interest("tools/*", None, &both), &named));
        assert!(!within(&interest("*", None, &both), &named));
        assert!(!within(&interest("tools/call", None, &[Phase::Event]), &named));
        let named = interest("tools/call", Some("gh_*"), &both);
        assert!(within(&interest("tools/call", Some("gh_push"), &both), &named));
        assert!(!within(&interest("tools/call", None, &both), &named));
    }

    #[test]
    fn limits_have_defaults_and_a_range() {
        let default = limits(&PluginLimits::default()).unwrap();
        assert_eq!((default.cpu, default.wall), (HOOK_CPU_MAX, HOOK_WALL_MAX));
        let long = PluginLimits { cpu_ms_max: Some(5_000), ..PluginLimits::default() };
        assert_eq!(limits(&long).unwrap().wall, Duration::from_secs(5));
        let none = PluginLimits { concurrency_max: Some(0), ..PluginLimits::default() };
        assert!(matches!(limits(&none), Err(AttachError::Limit { name: "concurrencyMax", .. })));
    }

    #[test]
    fn the_hint_for_a_missing_grant_can_be_pasted() {
        let missing = vec![
            Capability { name: "kv".to_owned(), scope: vec![], reason: "keeps counts".to_owned() },
            Capability { name: "secrets".to_owned(), scope: vec!["key".to_owned()], reason: String::new() },
        ];
        let error = AttachError::Grants { plugin: "p".to_owned(), missing };
        assert_eq!(
            error.to_string(),
            "`p` needs `kv` (keeps counts) and `secrets`, which the attachment does not grant"
        );
        assert_eq!(
            error.hint().unwrap(),
            r#"add to the attachment: "grants": [{"name":"kv"}, {"name":"secrets","scope":["key"]}]"#
        );
    }
}
