//! Secrets as the API has them: names for everyone who may ask, a value for whoever asks for that one.

use fairlead_core::name::{ServerKey, TenantName};
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::secret::{
    REDACTED, SecretError, SecretName, SecretReference, SecretText, SecretValue, Secrets as _,
};
use fairlead_core::server::{ServerSpec, Source};

use super::App;
use crate::api::types::{RotatedSecrets, SecretInfo, SecretList};
use crate::secrets::KeySource;
use crate::text;

impl App {
    /// The secrets of a tenant in the store, without their values.
    ///
    /// # Errors
    /// The store does not open.
    pub(crate) async fn list_secrets(&self, tenant: TenantName) -> Result<SecretList, Problem> {
        let known = self.secrets.list(tenant.clone()).await?;
        let info = |(name, updated)| {
            let reference = stored(&name)?;
            let used_by = self.users_of(&tenant, &reference);
            Ok(SecretInfo { name, reference, updated, used_by })
        };
        Ok(SecretList { secrets: known.into_iter().map(info).collect::<Result<_, Problem>>()? })
    }

    /// Stores a secret. Servers that use it take the new value when they are launched next.
    ///
    /// # Errors
    /// The store does not take it.
    pub(crate) async fn set_secret(
        &self,
        tenant: TenantName,
        name: SecretName,
        value: SecretValue,
    ) -> Result<SecretInfo, Problem> {
        self.secrets.set(tenant.clone(), name.clone(), value).await?;
        tracing::info!(fairlead.tenant = %tenant, secret = %name, "a secret is set");
        let reference = stored(&name)?;
        let used_by = self.users_of(&tenant, &reference);
        Ok(SecretInfo { name, reference, updated: self.clock.now(), used_by })
    }

    /// The value of a secret, of any provider.
    ///
    /// # Errors
    /// There is none, or it cannot be had.
    pub(crate) async fn reveal_secret(&self, tenant: &TenantName, named: &str) -> Result<SecretValue, Problem> {
        let reference = SecretReference::typed(named);
        let reference = reference.map_err(|error| Problem::new(ProblemKind::BadRequest, error.to_string()))?;
        self.secrets.resolve(tenant, &reference).await.map_err(|error| not_had(&error))
    }

    /// Forgets a secret.
    ///
    /// # Errors
    /// There is none, or a server uses it.
    pub(crate) async fn remove_secret(&self, tenant: TenantName, name: SecretName) -> Result<(), Problem> {
        let reference = stored(&name)?;
        if let Some(user) = self.users_of(&tenant, &reference).first() {
            let detail = format!("server `{user}` uses the secret `{name}`");
            return Err(
                Problem::new(ProblemKind::Conflict, detail).hint(format!("remove it first: `fairlead rm {user}`"))
            );
        }
        if !self.secrets.remove(tenant.clone(), name.clone()).await? {
            return Err(not_had(&SecretError::Absent(reference)));
        }
        tracing::info!(fairlead.tenant = %tenant, secret = %name, "a secret is removed");
        Ok(())
    }

    /// Seals the store under a new key.
    ///
    /// # Errors
    /// The store does not open, or the place takes no key.
    pub(crate) async fn rotate_secrets(
        &self,
        to: Option<KeySource>,
        given: Option<zeroize::Zeroizing<Vec<u8>>>,
    ) -> Result<RotatedSecrets, Problem> {
        let key = self.secrets.rotate(to, given).await?;
        tracing::info!(?key, "the store of secrets is sealed under a new key");
        Ok(RotatedSecrets { key })
    }

    /// Whether every secret that a server names can be had now: said to whoever creates it, not found out by its launch.
    pub(super) async fn check_secrets(&self, key: &ServerKey, spec: &ServerSpec) -> Result<(), Problem> {
        for (pointer, text) in texts(spec) {
            let Ok(text) = SecretText::parse(text) else { continue };
            for reference in text.references() {
                let found = self.secrets.resolve(&key.tenant, reference).await;
                found.map_err(|error| not_had(&error).at(pointer.clone()))?;
            }
        }
        Ok(())
    }

    fn users_of(&self, tenant: &TenantName, reference: &SecretReference) -> Vec<String> {
        let users = self.slots.look_at_all(|managed| {
            let record = &managed.record;
            let uses = record.key.tenant == *tenant && texts(&record.spec).any(|(_, text)| names(text, reference));
            uses.then(|| record.key.name.to_string())
        });
        users.into_iter().flatten().collect()
    }
}

/// Every text of a server in which secrets may be named, with its place.
fn texts(spec: &ServerSpec) -> impl Iterator<Item = (String, &String)> {
    let headers = match &spec.source {
        Source::Remote(remote) => Some(&remote.headers),
        _ => None,
    };
    let place = |place: &str, name: &str| format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"));
    let env = spec.env.iter().map(move |(name, text)| (place("/spec/env", name), text));
    env.chain(headers.into_iter().flatten().map(move |(name, text)| (place("/spec/source/headers", name), text)))
}

/// A server as it is shown: references stay, every other value of its environment and its headers may be a secret.
pub(super) fn redacted(mut spec: ServerSpec) -> ServerSpec {
    let headers = match &mut spec.source {
        Source::Remote(remote) => Some(remote.headers.values_mut()),
        _ => None,
    };
    for value in spec.env.values_mut().chain(headers.into_iter().flatten()) {
        if !SecretText::parse(value).is_ok_and(|text| text.has_secrets()) {
            REDACTED.clone_into(value);
        }
    }
    spec
}

fn names(value: &str, reference: &SecretReference) -> bool {
    SecretText::parse(value).is_ok_and(|text| text.references().any(|named| named == reference))
}

fn stored(name: &SecretName) -> Result<SecretReference, Problem> {
    let reference = SecretReference::typed(name.as_str());
    reference.map_err(|error| Problem::new(ProblemKind::BadRequest, error.to_string()))
}

fn not_had(error: &SecretError) -> Problem {
    let kind = match error {
        SecretError::Absent(_) => ProblemKind::NotFound,
        SecretError::NoProvider(_) | SecretError::Unusable { .. } => ProblemKind::Invalid,
        SecretError::Unavailable(_) => ProblemKind::Unavailable,
    };
    let problem = Problem::new(kind, text::chain(error));
    match error.hint() {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_an_environment_is_names_and_references() {
        let spec = r#"{"source": {"kind": "command", "program": "a"},
            "env": {"A": "hunter2", "B": "secret://store/b", "C": "x ${secret://store/c}", "D": ""}}"#;
        let shown = redacted(serde_json::from_str(spec).unwrap()).env;
        let shown: Vec<_> = shown.values().map(String::as_str).collect();
        assert_eq!(shown, [REDACTED, "secret://store/b", "x ${secret://store/c}", REDACTED]);
    }
}
