//! The trait of a middleware, and the macro that makes a component of one.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::{Failure, Interest, Manifest, Message, Rejection, Verdict};

/// Decides what a request, a response or a streamed event may do.
///
/// Lifecycle: [`Middleware::new`] once on each instance, then hooks, one at a time. An instance serves one attachment of
/// one tenant and may be thrown away between any two calls.
///
/// Each hook that is not written lets the message go on.
pub trait Middleware: Sized + 'static {
    /// The configuration. Its JSON Schema goes into the manifest, doc comments as descriptions; the host checks against it
    /// before the plugin sees anything. `#[serde(deny_unknown_fields)]` turns a misspelt field into an error.
    type Config: DeserializeOwned + JsonSchema;

    /// Name, version, interests and capabilities. Must not call anything of the host.
    fn manifest() -> Manifest;

    /// Builds an instance.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    fn new(config: Self::Config) -> Result<Self, Failure>;

    /// What this instance wants to be called for: the interests of the manifest or fewer.
    fn interests(&self) -> Vec<Interest> {
        Self::manifest().interests
    }

    /// Checks what a schema cannot say, and warns. The default builds an instance and has no warnings.
    ///
    /// # Errors
    /// The text says which field is wrong and what would be right.
    fn validate(config: Self::Config) -> Result<Vec<String>, String> {
        Self::new(config).map(|_| Vec::new()).map_err(|failure| failure.text().to_owned())
    }

    /// A request or notification on its way to the server.
    ///
    /// # Errors
    /// When the plugin cannot decide: a fault, answered by the host with the failure mode.
    fn on_request(&mut self, message: &Message<'_>) -> Result<Verdict, Failure> {
        let _ = message;
        Ok(Verdict::Next)
    }

    /// A result on its way back.
    ///
    /// # Errors
    /// When the plugin cannot decide.
    fn on_response(&mut self, message: &Message<'_>) -> Result<Verdict, Failure> {
        let _ = message;
        Ok(Verdict::Next)
    }

    /// A JSON-RPC error on its way back. The message has no body.
    ///
    /// # Errors
    /// When the plugin cannot decide.
    fn on_error(&mut self, message: &Message<'_>, error: &Rejection) -> Result<Verdict, Failure> {
        let _ = (message, error);
        Ok(Verdict::Next)
    }

    /// A message that the server sent on a stream.
    ///
    /// # Errors
    /// When the plugin cannot decide.
    fn on_event(&mut self, message: &Message<'_>) -> Result<Verdict, Failure> {
        let _ = message;
        Ok(Verdict::Next)
    }
}

/// Makes the component export a [`Middleware`]. Once in a crate, at its root. On other targets than Wasm it does nothing,
/// so that the same crate is tested natively.
#[macro_export]
macro_rules! export_middleware {
    ($plugin:ty) => {
        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code, reason = "the canonical ABI is exported by symbol name")]
        const _: () = {
            type Guest = $crate::__private::MiddlewareGuest<$plugin>;
            $crate::bindings::exports::fairlead::types::manifest::__export_fairlead_types_manifest_0_1_0_cabi!(
                Guest with_types_in $crate::bindings::exports::fairlead::types::manifest
            );
            $crate::bindings::exports::fairlead::middleware::hooks::__export_fairlead_middleware_hooks_0_1_0_cabi!(
                Guest with_types_in $crate::bindings::exports::fairlead::middleware::hooks
            );
            #[used]
            #[unsafe(link_section = "component-type:fairlead:worlds/middleware")]
            static WORLD: [u8; $crate::__private::world::MIDDLEWARE.len()] = $crate::__private::world::MIDDLEWARE;
        };
    };
}
