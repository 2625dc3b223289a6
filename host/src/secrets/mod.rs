//! Where the values of secrets come from, and who may have them.
//!
//! A tenant names secrets of its own only. The store keeps them apart; the environment of the daemon and the programs of its
//! user belong to whoever runs it, and so to tenant `default`, unless the configuration gives a program to others.

mod command;
mod environment;
mod key;
mod program;
mod sealed;
mod vault;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use fairlead_core::BoxFuture;
use fairlead_core::clock::Clock;
use fairlead_core::name::{ProviderName, TenantName};
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::secret::{STORE, SecretError, SecretName, SecretReference, SecretSource, SecretValue, Secrets};
use jiff::Timestamp;
use zeroize::Zeroizing;

pub(crate) use command::CommandProvider;
pub(crate) use key::KeySource;

use crate::config::Settings;
use command::Answers;
use key::Keys;
use vault::{Vault, VaultError};

/// The provider of variables.
pub(crate) const ENVIRONMENT: &str = "env";

/// All providers, behind the ports of the core.
#[derive(Clone)]
pub(crate) struct Providers {
    shared: Arc<Shared>,
}

struct Shared {
    vault: Vault,
    commands: BTreeMap<ProviderName, CommandProvider>,
    answers: Answers,
}

impl fmt::Debug for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Providers").finish_non_exhaustive()
    }
}

impl Providers {
    /// Reads nothing yet.
    pub(crate) fn new(settings: &Settings, clock: Arc<dyn Clock>) -> Self {
        let keys = Keys { file: settings.directories.secrets_key(), lookup: Box::new(|name| std::env::var_os(name)) };
        Self {
            shared: Arc::new(Shared {
                vault: Vault::new(settings.directories.secrets(), keys, clock),
                commands: settings.secret_providers.clone(),
                answers: Answers::default(),
            }),
        }
    }

    /// Names of a tenant's secrets in the store, and when they were set.
    ///
    /// # Errors
    /// The store does not open.
    pub(crate) async fn list(&self, tenant: TenantName) -> Result<BTreeMap<SecretName, Timestamp>, Problem> {
        self.with_vault(move |vault| vault.list(&tenant)).await
    }

    /// Stores a secret, durably.
    ///
    /// # Errors
    /// The store does not open or cannot be written; what was there is still there.
    pub(crate) async fn set(&self, tenant: TenantName, name: SecretName, value: SecretValue) -> Result<(), Problem> {
        self.with_vault(move |vault| vault.set(&tenant, &name, value)).await
    }

    /// Forgets a secret. True if there was one.
    ///
    /// # Errors
    /// As for [`set`](Self::set).
    pub(crate) async fn remove(&self, tenant: TenantName, name: SecretName) -> Result<bool, Problem> {
        self.with_vault(move |vault| vault.remove(&tenant, &name)).await
    }

    /// Seals the store anew under a new key, and tells where that is.
    ///
    /// # Errors
    /// The store does not open, or the place takes no key; the old key is then still good.
    pub(crate) async fn rotate(
        &self,
        to: Option<KeySource>,
        given: Option<Zeroizing<Vec<u8>>>,
    ) -> Result<KeySource, Problem> {
        self.with_vault(move |vault| vault.rotate(to, given)).await
    }

    async fn with_vault<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Vault) -> Result<T, VaultError> + Send + 'static,
    ) -> Result<T, Problem> {
        let shared = Arc::clone(&self.shared);
        let done = tokio::task::spawn_blocking(move || work(&shared.vault)).await;
        let broke_off = |error| Problem::new(ProblemKind::Internal, format!("the store of secrets broke off: {error}"));
        done.map_err(broke_off)?.map_err(|error| problem(&error))
    }
}

impl Shared {
    fn command(&self, tenant: &TenantName, provider: &ProviderName) -> Result<&CommandProvider, SecretError> {
        let command = self.commands.get(provider).filter(|command| command.tenants.contains(tenant));
        command.ok_or_else(|| SecretError::NoProvider(provider.clone()))
    }

    /// From memory, or nearly: nothing is waited for but the disk.
    fn at_once(&self, tenant: &TenantName, reference: &SecretReference) -> Result<Option<SecretValue>, SecretError> {
        match reference.provider().as_str() {
            STORE => self.vault.find(tenant, reference.name()).map_err(|error| unavailable(&error)),
            ENVIRONMENT if *tenant == TenantName::default() => {
                Ok(environment::find(reference.name(), |name| std::env::var_os(name)))
            }
            _ => Ok(self.answers.get(self.command(tenant, reference.provider())?, reference)),
        }
    }

    /// Blocking: a program may have to be run.
    fn find(&self, tenant: &TenantName, reference: &SecretReference) -> Result<SecretValue, SecretError> {
        if let Some(value) = self.at_once(tenant, reference)? {
            return Ok(value);
        }
        match reference.provider().as_str() {
            STORE | ENVIRONMENT => Err(SecretError::Absent(reference.clone())),
            _ => self.command(tenant, reference.provider())?.ask(&self.answers, reference),
        }
    }
}

impl Secrets for Providers {
    fn resolve<'a>(
        &'a self,
        tenant: &'a TenantName,
        reference: &'a SecretReference,
    ) -> BoxFuture<'a, Result<SecretValue, SecretError>> {
        let (shared, tenant, wanted) = (Arc::clone(&self.shared), tenant.clone(), reference.clone());
        Box::pin(async move {
            let found = tokio::task::spawn_blocking(move || shared.find(&tenant, &wanted)).await;
            found.unwrap_or_else(|error| Err(SecretError::Unavailable(format!("the search broke off: {error}"))))
        })
    }
}

impl SecretSource for Providers {
    /// A secret of a program is there once it was resolved, for as long as its answer is remembered.
    fn open(&self, tenant: &TenantName, name: &str) -> Result<Option<SecretValue>, SecretError> {
        let reference = SecretReference::typed(name).map_err(|error| SecretError::Unavailable(error.to_string()))?;
        self.shared.at_once(tenant, &reference)
    }
}

/// For whoever asked for a value: what is wrong and what to do about it, in one text, because a launch has no other.
fn unavailable(error: &VaultError) -> SecretError {
    let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
    SecretError::Unavailable(format!("{}{hint}", crate::text::chain(error)))
}

fn problem(error: &VaultError) -> Problem {
    let kind = if matches!(error, VaultError::Limit(_)) { ProblemKind::Invalid } else { ProblemKind::Unavailable };
    let problem = Problem::new(kind, crate::text::chain(error));
    match error.hint() {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}
