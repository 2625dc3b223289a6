//! OCI registries: what a reference names now, and content that is what its digest says; and indexes of packages, as far as
//! they say which versions there are.
//!
//! One client for plugins and for the freshness of images. It follows the distribution specification and trusts no answer:
//! what a `HEAD` says is a hint, content is hashed as it comes in, a token lives under the credential that it was given for,
//! and a registry that asks to be left alone is not asked again in another way.
//!
//! Why not a library: see `docs/adr` (*Registry client*).

mod auth;
mod client;
mod credentials;
mod detector;
mod digest;
mod exchange;
mod index;
pub mod limits;
mod manifest;
mod patience;
mod registry;
mod signature;
mod transfer;
mod versions;

pub use client::{OciClient, OciClientConfig};
pub use credentials::DockerCredentials;
pub use detector::{RegistryDetector, candidate};
pub use digest::{Hasher, digest_of, is_digest};
pub use index::{IndexCredentials, IndexError, PackageDetector, PackageIndex, package_pin, package_version};
pub use manifest::{Descriptor, INDEX_TYPES, MANIFEST_TYPES, Manifest, Platform, media_types};
pub use registry::{InsecureRegistries, Registry};
pub use signature::{KeyError, PublicKey, Signatures, TrustedKey};
pub use transfer::{Progress, PulledManifest};
