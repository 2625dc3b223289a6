//! The trait of a registry source, and the macro that makes a component of one.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::registry::{Answer, Entry, Features, Request};
use crate::{Failure, Manifest};

/// Yields entries of an MCP registry, page by page.
///
/// One instance for each synchronisation: [`RegistrySource::new`], then pages until there is no next one.
pub trait RegistrySource: Sized + 'static {
    /// The configuration. Its JSON Schema goes into the manifest.
    type Config: DeserializeOwned + JsonSchema;

    /// Name, version and capabilities. Must not call anything of the host.
    fn manifest() -> Manifest;

    /// Builds an instance.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    fn new(config: Self::Config) -> Result<Self, Failure>;

    /// What this source can do under its configuration.
    fn features(&self) -> Features {
        Features::empty()
    }

    /// Checks what a schema cannot say, and warns. The default builds an instance and has no warnings.
    ///
    /// # Errors
    /// The text says which field is wrong and what would be right.
    fn validate(config: Self::Config) -> Result<Vec<String>, String> {
        Self::new(config).map(|_| Vec::new()).map_err(|failure| failure.text().to_owned())
    }

    /// One page. The same request may come again after a failure and must give the same entries.
    ///
    /// # Errors
    /// When the page cannot be had; the host tries again later.
    fn enumerate(&mut self, request: &Request) -> Result<Answer, Failure>;

    /// Keeps, changes or drops one entry of another source.
    ///
    /// # Errors
    /// When the source cannot decide.
    fn transform(&mut self, entry: Entry) -> Result<Option<Entry>, Failure> {
        Ok(Some(entry))
    }
}

/// Makes the component export a [`RegistrySource`]. Once in a crate, at its root.
#[macro_export]
macro_rules! export_registry_source {
    ($plugin:ty) => {
        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code, reason = "the canonical ABI is exported by symbol name")]
        const _: () = {
            type Guest = $crate::__private::RegistrySourceGuest<$plugin>;
            $crate::bindings::exports::fairlead::types::manifest::__export_fairlead_types_manifest_0_1_0_cabi!(
                Guest with_types_in $crate::bindings::exports::fairlead::types::manifest
            );
            $crate::bindings::exports::fairlead::registry_source::source::__export_fairlead_registry_source_source_0_1_0_cabi!(
                Guest with_types_in $crate::bindings::exports::fairlead::registry_source::source
            );
            #[used]
            #[unsafe(link_section = "component-type:fairlead:worlds/registry-source")]
            static WORLD: [u8; $crate::__private::world::REGISTRY_SOURCE.len()] = $crate::__private::world::REGISTRY_SOURCE;
        };
    };
}
