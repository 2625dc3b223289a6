//! Secrets of a pod: files that the cluster puts there, and changes when a Secret changes.

use std::io::{ErrorKind, Read as _};
use std::path::{Component, Path, PathBuf};

use fairlead_core::BoxFuture;
use fairlead_core::name::TenantName;
use fairlead_core::secret::{
    KUBERNETES, STORE, STORE_KEY, SecretError, SecretReference, SecretSource, SecretValue, Secrets,
};
use zeroize::Zeroizing;

use crate::limits::POD_SECRET_BYTES_MAX;

/// Finds secrets below a directory.
#[derive(Debug, Clone)]
pub(super) struct PodSecrets {
    directory: Option<PathBuf>,
}

impl PodSecrets {
    pub(super) fn below(directory: Option<PathBuf>) -> Self {
        Self { directory }
    }

    fn find(&self, reference: &SecretReference) -> Result<SecretValue, SecretError> {
        let name = reference.name().as_str();
        let (object, key) = match reference.provider().as_str() {
            STORE => Some((name, STORE_KEY)),
            KUBERNETES => name.split_once('/'),
            _ => return Err(SecretError::NoProvider(reference.provider().clone())),
        }
        .filter(|(object, key)| is_plain(object) && is_plain(key))
        .ok_or_else(|| SecretError::Absent(reference.clone()))?;
        let directory = self.directory.as_ref().ok_or_else(|| SecretError::Absent(reference.clone()))?;
        let mut value = Zeroizing::new(Vec::new());
        let read = std::fs::File::open(directory.join(object).join(key))
            .and_then(|file| file.take(POD_SECRET_BYTES_MAX).read_to_end(&mut value));
        match read {
            Ok(_) => Ok(SecretValue::new(&value)),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(SecretError::Absent(reference.clone())),
            Err(error) => Err(SecretError::Unavailable(error.to_string())),
        }
    }
}

/// Whether a text is the name of something in a directory, and of nothing elsewhere.
fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name)
}

impl Secrets for PodSecrets {
    fn resolve<'a>(
        &'a self,
        _: &'a TenantName,
        reference: &'a SecretReference,
    ) -> BoxFuture<'a, Result<SecretValue, SecretError>> {
        let (secrets, reference) = (self.clone(), reference.clone());
        Box::pin(async move {
            let found = tokio::task::spawn_blocking(move || secrets.find(&reference)).await;
            found.unwrap_or_else(|error| Err(SecretError::Unavailable(format!("the search broke off: {error}"))))
        })
    }
}

impl SecretSource for PodSecrets {
    /// A file of a pod is in memory: the cluster keeps it in a `tmpfs`.
    fn open(&self, _: &TenantName, name: &str) -> Result<Option<SecretValue>, SecretError> {
        let reference = SecretReference::typed(name).map_err(|error| SecretError::Unavailable(error.to_string()))?;
        match self.find(&reference) {
            Err(SecretError::Absent(_)) => Ok(None),
            found => found.map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_a_file_of_its_own_directory_and_no_other() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join("secrets/upstream")).unwrap();
        std::fs::write(home.path().join("secrets/upstream/token"), "t").unwrap();
        std::fs::write(home.path().join("outside"), "never").unwrap();
        let secrets = PodSecrets::below(Some(home.path().join("secrets")));
        let find = |text: &str| secrets.find(&text.parse().unwrap());
        assert_eq!(find("secret://kubernetes/upstream/token").unwrap().reveal(), b"t");
        for outside in ["kubernetes/../outside", "kubernetes/upstream/../../outside", "kubernetes/x", "store/token"] {
            let error = find(&format!("secret://{outside}")).unwrap_err();
            assert!(matches!(error, SecretError::Absent(_)), "{outside}: {error}");
        }
        assert!(matches!(find("secret://env/PATH"), Err(SecretError::NoProvider(_))));
        let none = PodSecrets::below(None);
        assert_eq!(none.open(&TenantName::default(), "token").unwrap(), None);
    }
}
