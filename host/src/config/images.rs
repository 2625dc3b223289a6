//! Settings of images: whose word counts for them, and what is done where nobody gives it.

use std::path::PathBuf;

use fairlead_core::signature::ImageVerification;
use fairlead_oci::{PublicKey, TrustedKey};
use serde::Deserialize;

use super::{ConfigError, Lookup, absolute, text, variables};

/// Who vouches for images.
#[derive(Debug, Clone, Default)]
pub(crate) struct Images {
    /// What is done about signatures, unless a server wants more.
    pub(crate) verification: ImageVerification,
    /// Whose word counts.
    pub(crate) keys: Vec<TrustedKey>,
}

/// The table `[images]` of the configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ImagesFile {
    verification: Option<ImageVerification>,
    keys: Vec<KeyFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    repository: String,
    file: PathBuf,
}

impl Images {
    /// The file, with what the environment says over it. A key that cannot be read is no smaller trouble than one that is
    /// missing, and said at once.
    pub(super) fn resolve(file: ImagesFile, lookup: Lookup<'_>) -> Result<Self, ConfigError> {
        let variable = variables::IMAGE_VERIFICATION;
        let refused =
            |name: &str, value: String, reason: String| ConfigError::Value { name: name.to_owned(), value, reason };
        let said = match text(lookup, variable)?.as_deref() {
            None => file.verification,
            Some("disabled") => Some(ImageVerification::Disabled),
            Some("warn") => Some(ImageVerification::Warn),
            Some("enabled") => Some(ImageVerification::Enabled),
            Some(other) => {
                let reason = "it is `enabled`, `warn` or `disabled`".to_owned();
                return Err(refused(variable.name, other.to_owned(), reason));
            }
        };
        let read = |KeyFile { repository, file }: KeyFile| {
            let path = absolute(&file)?;
            let shown = path.display().to_string();
            let text = std::fs::read_to_string(&path)
                .map_err(|error| refused("images.keys.file", shown.clone(), error.to_string()))?;
            let key = PublicKey::from_pem(&text)
                .map_err(|error| refused("images.keys.file", shown.clone(), error.to_string()))?;
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or(shown);
            Ok(TrustedKey { repository, name, key })
        };
        let keys = file.keys.into_iter().map(read).collect::<Result<_, ConfigError>>()?;
        Ok(Self { verification: said.unwrap_or_default(), keys })
    }
}
