//! The provider `env`: variables of the daemon that begin with [`PREFIX`], and no others. The rest of its environment was
//! never meant for servers (`AWS_SECRET_ACCESS_KEY` is its user's), so naming a variable must not be enough to get it.

use std::ffi::OsString;

use fairlead_core::secret::{SecretName, SecretValue};
use zeroize::Zeroize as _;

/// How the name of every variable begins that is a secret on purpose.
pub(crate) const PREFIX: &str = "FAIRLEAD_SECRET_";

/// The secret of that name: `github-token` is `FAIRLEAD_SECRET_GITHUB_TOKEN`.
pub(super) fn find(name: &SecretName, lookup: impl Fn(&str) -> Option<OsString>) -> Option<SecretValue> {
    let mut value = lookup(&variable(name))?.into_encoded_bytes();
    let secret = SecretValue::new(&value);
    value.zeroize();
    Some(secret)
}

/// The variable that holds a secret.
pub(super) fn variable(name: &SecretName) -> String {
    let spelled = name.as_str().chars().map(|character| match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' => character.to_ascii_uppercase(),
        _ => '_',
    });
    PREFIX.chars().chain(spelled).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_meant_for_it_is_a_secret() {
        let lookup = |name: &str| match name {
            "FAIRLEAD_SECRET_GITHUB_TOKEN" => Some("t".into()),
            "AWS_SECRET_ACCESS_KEY" => Some("never".into()),
            _ => None,
        };
        let find = |name: &str| find(&SecretName::new(name).unwrap(), lookup);
        assert_eq!(find("github-token").unwrap().reveal(), b"t");
        assert!(find("AWS_SECRET_ACCESS_KEY").is_none());
        assert!(find("gitlab-token").is_none());
    }
}
