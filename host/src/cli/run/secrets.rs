//! `--secret NAME[,target=VARIABLE]`: a reference in the environment of the server.

use std::collections::BTreeMap;

use fairlead_core::secret::SecretReference;

use crate::cli::Failure;

/// Before the name of the variable.
const TARGET: &str = ",target=";

/// Puts references into an environment. A variable that is given twice is a mistake.
pub(super) fn add(typed: &[String], env: &mut BTreeMap<String, String>) -> Result<(), Failure> {
    for text in typed {
        let (variable, reference) = parse(text)?;
        if env.contains_key(&variable) {
            return Err(Failure::usage(format!("the environment variable `{variable}` is given twice"))
                .hint("name another with `--secret NAME,target=VARIABLE`"));
        }
        env.insert(variable, reference.to_string());
    }
    Ok(())
}

fn parse(text: &str) -> Result<(String, SecretReference), Failure> {
    let (named, target) = match text.split_once(TARGET) {
        Some((named, target)) => (named, Some(target)),
        None => (text, None),
    };
    let reference = SecretReference::typed(named).map_err(|error| {
        Failure::usage(error.to_string())
            .hint("`--secret` takes a name, never a value: `--secret github-token,target=TOKEN`")
    })?;
    let variable = target.map_or_else(|| variable(&reference), str::to_owned);
    if variable.is_empty() {
        return Err(Failure::usage("`target=` names an environment variable"));
    }
    Ok((variable, reference))
}

/// The last part of the name in capitals, with `_` for what a variable cannot have.
fn variable(reference: &SecretReference) -> String {
    let last = reference.name().as_str().rsplit('/').next().unwrap_or_default();
    let spelled =
        |character: char| if character.is_ascii_alphanumeric() { character.to_ascii_uppercase() } else { '_' };
    last.chars().map(spelled).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(typed: &[&str]) -> Result<BTreeMap<String, String>, Failure> {
        let typed: Vec<String> = typed.iter().map(|&text| text.to_owned()).collect();
        let mut env = [("GIVEN".to_owned(), "x".to_owned())].into();
        add(&typed, &mut env).map(|()| env)
    }

    #[test]
    fn a_secret_becomes_a_reference_in_a_variable() {
        let env = added(&["github-token", "a,target=B", "secret://op/Private/Key,target=C"]).unwrap();
        assert_eq!(env["GITHUB_TOKEN"], "secret://store/github-token");
        assert_eq!(env["B"], "secret://store/a");
        assert_eq!(env["C"], "secret://op/Private/Key");
    }

    #[test]
    fn what_is_no_name_or_comes_twice_is_refused() {
        for typed in [&["-x"][..], &[""], &["a,target="], &["given"], &["a,target=B", "c,target=B"]] {
            assert_eq!(added(typed).unwrap_err().code, crate::cli::failure::USAGE, "{typed:?}");
        }
    }
}
