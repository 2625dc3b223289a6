//! `fairlead:types/manifest`: what a plugin says of itself, and what it thinks of a configuration.
//!
//! Asked of an instance of its own in which every import of the contract traps, so that the answer depends on nothing but
//! the plugin. What comes back is checked before anybody believes it: names become labels, schemas become validators.

use fairlead_core::grant::CAPABILITIES;
use fairlead_core::middleware::{Interest, Phase, Phases};
use fairlead_core::name::AttachmentName;
use fairlead_core::plugin::{Capability, Manifest, PluginKind};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, ResourceTable, ResourceType};
use wasmtime::{Engine, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use fairlead_core::limits::{CONFIGURE_MAX, PLUGIN_MEMORY_BYTES_MAX};

use super::bindings::{DescribedPre, Interest as WitInterest, Phases as WitPhases, manifest_export as wit};
use crate::bounds::{self, Bounds};
use crate::fault;
use crate::limits::{
    CONFIG_WARNINGS_MAX, FAULT_TEXT_BYTES_MAX, HANDLES_MAX, INTERESTS_MAX, MANIFEST_ENTRIES_MAX,
    MANIFEST_TEXT_BYTES_MAX, PATTERN_BYTES_MAX, SCHEMA_BYTES_MAX,
};
use crate::outgoing::Nobody;
use crate::text::bounded;
use crate::ticker::Ticker;

/// A plugin that can be asked for its manifest.
pub(crate) struct Described {
    engine: Engine,
    pre: DescribedPre<Alone>,
}

/// Why there is no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The plugin cannot be instantiated, or did not answer.
    #[error("the plugin could not be asked: {0}")]
    Asked(String),
    /// It says something that cannot be.
    #[error("`{field}` of the manifest {reason}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

/// Data of the store of an instance that gets nothing.
struct Alone {
    bounds: Bounds,
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    nobody: Nobody,
}

impl WasiView for Alone {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Alone {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.nobody }
    }
}

impl Described {
    pub(crate) fn new(engine: &Engine, component: &Component, wants_wasi: bool) -> wasmtime::Result<Self> {
        let mut linker = Linker::new(engine);
        if wants_wasi {
            wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
            wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
        }
        forbid_contract(&mut linker, component)?;
        Ok(Self { engine: engine.clone(), pre: DescribedPre::new(linker.instantiate_pre(component)?)? })
    }

    /// Asks for the manifest and checks it.
    pub(crate) async fn describe(&self, ticker: &Ticker) -> Result<Manifest, ManifestError> {
        let mut store = self.store();
        let asked = ticker.during(async {
            let plugin = self.pre.instantiate_async(&mut store).await?;
            plugin.fairlead_types_manifest().call_describe(&mut store).await
        });
        let manifest = match tokio::time::timeout(CONFIGURE_MAX, asked).await {
            Ok(Ok(manifest)) => manifest,
            Ok(Err(error)) => return Err(ManifestError::Asked(fault::text(&error))),
            Err(_) => return Err(ManifestError::Asked(format!("no answer within {CONFIGURE_MAX:?}"))),
        };
        checked(manifest)
    }

    /// Asks what the plugin thinks of a configuration: warnings, or what is wrong with it. The outer error is a fault.
    pub(crate) async fn validate(&self, ticker: &Ticker, config: &str) -> Result<Result<Vec<String>, String>, String> {
        let mut store = self.store();
        let asked = ticker.during(async {
            let plugin = self.pre.instantiate_async(&mut store).await?;
            plugin.fairlead_types_manifest().call_validate_config(&mut store, config).await
        });
        match tokio::time::timeout(CONFIGURE_MAX, asked).await {
            Ok(Ok(Ok(warnings))) => {
                let warnings = warnings.into_iter().take(CONFIG_WARNINGS_MAX);
                Ok(Ok(warnings.map(|warning| bounded(warning, FAULT_TEXT_BYTES_MAX)).collect()))
            }
            Ok(Ok(Err(reason))) => Ok(Err(bounded(reason, FAULT_TEXT_BYTES_MAX))),
            Ok(Err(error)) => Err(fault::text(&error)),
            Err(_) => Err(format!("no answer within {CONFIGURE_MAX:?}")),
        }
    }

    fn store(&self) -> Store<Alone> {
        let bounds = Bounds::new(CONFIGURE_MAX, CONFIGURE_MAX, PLUGIN_MEMORY_BYTES_MAX);
        let alone = Alone {
            bounds,
            table: bounds::handles(HANDLES_MAX),
            wasi: WasiCtxBuilder::new().build(),
            http: WasiHttpCtx::new(),
            nobody: Nobody,
        };
        let mut store = Store::new(&self.engine, alone);
        Bounds::enforce(&mut store, |alone: &mut Alone| &mut alone.bounds);
        store
    }
}

/// Offers every function of the contract that the component imports, each of which traps. wasmtime has a function for
/// this, but that one takes a WASI of an earlier patch version for unknown.
fn forbid_contract(linker: &mut Linker<Alone>, component: &Component) -> wasmtime::Result<()> {
    let engine = linker.engine().clone();
    let ty = component.component_type();
    for (interface, import) in ty.imports(&engine).filter(|(name, _)| name.starts_with("fairlead:")) {
        let ComponentItem::ComponentInstance(items) = import.ty else { continue };
        let mut instance = linker.instance(interface)?;
        for (name, item) in items.exports(&engine) {
            match item.ty {
                ComponentItem::ComponentFunc(_) => {
                    let called = format!("`{interface}#{name}` was called by `describe` or `validate-config`");
                    instance.func_new(name, move |_, _, _, _| Err(wasmtime::Error::msg(called.clone())))?;
                }
                ComponentItem::Resource(_) => {
                    instance.resource(name, ResourceType::host::<()>(), |_, _| Ok(()))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn checked(manifest: wit::PluginManifest) -> Result<Manifest, ManifestError> {
    let wrong = |field, reason: String| Err(ManifestError::Field { field, reason });
    if let Err(error) = AttachmentName::new(&manifest.name) {
        return wrong("name", format!("is not a name: {error}"));
    }
    if !is_semver(&manifest.version) {
        return wrong("version", format!("is `{}`, which is not a semantic version", bounded(manifest.version, 64)));
    }
    if manifest.config_schema.len() > SCHEMA_BYTES_MAX {
        return wrong("config-schema", format!("has more than {SCHEMA_BYTES_MAX} bytes"));
    }
    let config_schema = match serde_json::from_str(&manifest.config_schema) {
        Ok(schema) => schema,
        Err(error) => return wrong("config-schema", format!("is not JSON: {error}")),
    };
    if let Some(unknown) = manifest.capabilities.iter().find(|wanted| !CAPABILITIES.contains(&wanted.name.as_str())) {
        let name = bounded(unknown.name.clone(), 64);
        return wrong("capabilities", format!("names `{name}`, which this host does not know"));
    }
    let interests = match interests(manifest.interests) {
        Ok(interests) => interests,
        Err(reason) => return wrong("interests", reason),
    };
    let text = |text| bounded(text, MANIFEST_TEXT_BYTES_MAX);
    let capabilities = manifest.capabilities.into_iter().take(MANIFEST_ENTRIES_MAX).map(|wanted| Capability {
        name: wanted.name,
        scope: wanted.scope.into_iter().take(MANIFEST_ENTRIES_MAX).map(text).collect(),
        reason: text(wanted.reason),
    });
    let attributes = manifest.attributes.into_iter().take(MANIFEST_ENTRIES_MAX);
    Ok(Manifest {
        name: manifest.name,
        version: manifest.version,
        kind: match manifest.kind {
            wit::Kind::Middleware => PluginKind::Middleware,
            wit::Kind::RegistrySource => PluginKind::RegistrySource,
            wit::Kind::UpdatePolicy => PluginKind::UpdatePolicy,
        },
        description: text(manifest.description),
        config_schema,
        interests,
        capabilities: capabilities.collect(),
        attributes: attributes.map(|(name, value)| (text(name), text(value))).collect(),
    })
}

/// `1.2.3`, perhaps with `-pre` and `+build`: enough to order releases by eye and to catch what is none.
fn is_semver(version: &str) -> bool {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let parts: Vec<_> = core.split('.').collect();
    version.len() <= 128
        && parts.len() == 3
        && parts.iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A phase as flag, for both bindings of the interface.
macro_rules! phases {
    ($flags:ty, $given:expr) => {{
        let given = $given;
        [
            (<$flags>::REQUEST, Phase::Request),
            (<$flags>::RESPONSE, Phase::Response),
            (<$flags>::ERROR, Phase::Error),
            (<$flags>::EVENT, Phase::Event),
        ]
        .into_iter()
        .filter(|(flag, _)| given.contains(*flag))
        .fold(Phases::NONE, |phases, (_, phase)| phases.with(phase))
    }};
}

fn interests(given: Vec<wit::Interest>) -> Result<Vec<Interest>, String> {
    let given = given.into_iter().map(|interest| Interest {
        method: interest.method,
        target: interest.target,
        phases: phases!(wit::Phases, interest.phases),
    });
    sane(given.collect())
}

/// Interests as `configure` returns them.
pub(super) fn configured(given: Vec<WitInterest>) -> Result<Vec<Interest>, String> {
    let given = given.into_iter().map(|interest| Interest {
        method: interest.method,
        target: interest.target,
        phases: phases!(WitPhases, interest.phases),
    });
    sane(given.collect())
}

fn sane(interests: Vec<Interest>) -> Result<Vec<Interest>, String> {
    if interests.len() > INTERESTS_MAX {
        return Err(format!("has more than {INTERESTS_MAX} entries"));
    }
    for interest in &interests {
        let target = interest.target.as_deref().unwrap_or("*");
        if interest.method.is_empty() || interest.method.len().max(target.len()) > PATTERN_BYTES_MAX {
            return Err(format!("has a pattern that is empty or longer than {PATTERN_BYTES_MAX} bytes"));
        }
    }
    Ok(interests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_three_numbers() {
        for version in ["1.2.3", "0.1.0-rc.1", "1.0.0+build"] {
            assert!(is_semver(version), "{version}");
        }
        for version in ["", "1", "1.2", "1.2.x", "v1.2.3", "1..3"] {
            assert!(!is_semver(version), "{version}");
        }
    }

    #[test]
    fn an_empty_pattern_is_refused() {
        let interest = |method: &str| Interest { method: method.to_owned(), target: None, phases: Phases::NONE };
        assert!(sane(vec![interest("tools/call")]).is_ok());
        assert!(sane(vec![interest("")]).is_err());
        assert!(sane(vec![interest(&"x".repeat(600))]).is_err());
    }
}
