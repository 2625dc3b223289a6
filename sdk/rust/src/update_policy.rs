//! The trait of an update policy, and the macro that makes a component of one.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::policy::{Facts, Verdict};
use crate::{Failure, Manifest};

/// Decides whether, when and how a newer artifact replaces the running one.
///
/// A pure function of facts: the same facts always give the same decision, so that a decision can be replayed. It has no
/// clock and no state; the time is in the facts.
pub trait UpdatePolicy: Sized + 'static {
    /// The configuration. Its JSON Schema goes into the manifest.
    type Config: DeserializeOwned + JsonSchema;

    /// Name and version. Must not call anything of the host.
    fn manifest() -> Manifest;

    /// Checks what a schema cannot say, and warns.
    ///
    /// # Errors
    /// The text says which field is wrong and what would be right.
    fn validate(config: &Self::Config) -> Result<Vec<String>, String> {
        let _ = config;
        Ok(Vec::new())
    }

    /// Decides.
    ///
    /// # Errors
    /// When the policy cannot decide; the host then holds.
    fn decide(facts: &Facts, config: &Self::Config) -> Result<Verdict, Failure>;
}

/// Makes the component export an [`UpdatePolicy`]. Once in a crate, at its root.
#[macro_export]
macro_rules! export_update_policy {
    ($plugin:ty) => {
        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code, reason = "the canonical ABI is exported by symbol name")]
        const _: () = {
            type Guest = $crate::__private::UpdatePolicyGuest<$plugin>;
            $crate::bindings::exports::fairlead::types::manifest::__export_fairlead_types_manifest_0_1_0_cabi!(
                Guest with_types_in $crate::bindings::exports::fairlead::types::manifest
            );
            $crate::bindings::exports::fairlead::update_policy::policy::__export_fairlead_update_policy_policy_0_1_0_cabi!(
                Guest with_types_in $crate::bindings::exports::fairlead::update_policy::policy
            );
            #[used]
            #[unsafe(link_section = "component-type:fairlead:worlds/update-policy")]
            static WORLD: [u8; $crate::__private::world::UPDATE_POLICY.len()] = $crate::__private::world::UPDATE_POLICY;
        };
    };
}
