//! Where the values of secrets come from, and who may have them.
//!
//! A tenant names secrets of its own only. The store keeps them apart; the environment of the daemon belongs to whoever runs
//! it, and so to tenant `default` alone.

mod environment;

use fairlead_core::BoxFuture;
use fairlead_core::name::TenantName;
use fairlead_core::secret::{SecretError, SecretReference, SecretSource, SecretValue, Secrets};

/// The provider of variables.
const ENVIRONMENT: &str = "env";

/// All providers, behind the ports of the core.
#[derive(Debug, Default)]
pub(crate) struct Providers;

impl Providers {
    async fn find(&self, tenant: &TenantName, reference: &SecretReference) -> Result<SecretValue, SecretError> {
        self.at_once(tenant, reference)?.ok_or_else(|| SecretError::Absent(reference.clone()))
    }

    fn at_once(&self, tenant: &TenantName, reference: &SecretReference) -> Result<Option<SecretValue>, SecretError> {
        let provider = reference.provider();
        if provider.as_str() == ENVIRONMENT && *tenant == TenantName::default() {
            return Ok(environment::find(reference.name(), |name| std::env::var_os(name)));
        }
        Err(SecretError::NoProvider(provider.clone()))
    }
}

impl Secrets for Providers {
    fn resolve<'a>(
        &'a self,
        tenant: &'a TenantName,
        reference: &'a SecretReference,
    ) -> BoxFuture<'a, Result<SecretValue, SecretError>> {
        Box::pin(self.find(tenant, reference))
    }
}

impl SecretSource for Providers {
    fn open(&self, tenant: &TenantName, name: &str) -> Result<Option<SecretValue>, SecretError> {
        let reference = SecretReference::typed(name).map_err(|error| SecretError::Unavailable(error.to_string()))?;
        self.at_once(tenant, &reference)
    }
}
