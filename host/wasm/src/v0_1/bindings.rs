//! What `bindgen!` makes of the WIT, and short names for the parts that are used.
//!
//! Host functions are plain functions: none of them waits, so that a hop pays for no future but its own. Exports are
//! called asynchronously, because a guest that computes for long has to hand the thread back at every tick.

pub(crate) use described::DescribedPre;
pub(crate) use described::exports::fairlead::types::manifest as manifest_export;
pub(crate) use middleware::Middleware;
pub(crate) use middleware::exports::fairlead::middleware::hooks as hooks_export;
pub(crate) use middleware::exports::fairlead::types::manifest::{Interest, Phases};
pub(crate) use middleware::fairlead::host::{clock, kv, log, metrics, secrets};
pub(crate) use middleware::fairlead::middleware::exchange;
pub(crate) use middleware::fairlead::types::types::{self, Attributes, Failure, Level};

#[allow(missing_docs, unreachable_pub, unused_qualifications, dead_code, clippy::all, reason = "generated")]
#[allow(clippy::indexing_slicing, clippy::unreachable, clippy::unwrap_used, clippy::panic, reason = "generated")]
mod middleware {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "fairlead:worlds/middleware",
        imports: {
            "fairlead:middleware/exchange": trappable,
            "fairlead:host/secrets": trappable,
        },
        exports: { default: async },
        with: {
            "fairlead:middleware/exchange.body": crate::v0_1::exchange::Body,
            "fairlead:middleware/exchange.context": crate::v0_1::exchange::Context,
            "fairlead:host/secrets.secret": crate::v0_1::secrets::Secret,
        },
    });
}

/// Every kind of plugin exports its manifest; asking for it must not depend on the kind.
#[allow(missing_docs, unreachable_pub, unused_qualifications, dead_code, clippy::all, reason = "generated")]
#[allow(clippy::indexing_slicing, clippy::unreachable, clippy::unwrap_used, clippy::panic, reason = "generated")]
mod described {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package fairlead:described;
            world described {
                export fairlead:types/manifest@0.1.0;
            }
        ",
        world: "fairlead:described/described",
        exports: { default: async },
    });
}

/// The exports of a registry source. Its imports are those of a middleware with HTTP, and linked as those are.
#[allow(missing_docs, unreachable_pub, unused_qualifications, dead_code, clippy::all, reason = "generated")]
#[allow(clippy::indexing_slicing, clippy::unreachable, clippy::unwrap_used, clippy::panic, reason = "generated")]
pub(crate) mod source {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package fairlead:sourced;
            world sourced {
                export fairlead:registry-source/source@0.1.0;
            }
        ",
        world: "fairlead:sourced/sourced",
        exports: { default: async },
    });
}

/// An update policy: another world, with `log` for all its imports.
#[allow(missing_docs, unreachable_pub, unused_qualifications, dead_code, clippy::all, reason = "generated")]
#[allow(clippy::indexing_slicing, clippy::unreachable, clippy::unwrap_used, clippy::panic, reason = "generated")]
pub(crate) mod policy {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "fairlead:worlds/update-policy",
        exports: { default: async },
    });
}
