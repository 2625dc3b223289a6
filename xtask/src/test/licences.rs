//! Checks every dependency against `deny.toml`: its licence, where it comes from, and whether it is banned.
//!
//! `cargo deny` reads the same file and looks at more (advisories, duplicate versions), but takes longer to build than
//! all our tests take to run. Where it is installed it is asked too; these three questions are answered everywhere.

use std::process::Command;

use anyhow::Context;

use super::{Outcome, Plan, Tally};
use crate::metadata::{Metadata, Package};
use crate::workspace;

#[derive(serde::Deserialize)]
struct DenyFile {
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(serde::Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(serde::Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(serde::Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(serde::Deserialize)]
struct Sources {
    #[serde(rename = "unknown-git")]
    unknown_git: String,
}

/// Asks the three questions, and `cargo deny` where there is one.
pub(crate) fn run(_: &Plan, _: &mut Tally) -> anyhow::Result<Outcome> {
    let path = workspace::root().join("deny.toml");
    let text = std::fs::read_to_string(&path).context("read deny.toml")?;
    let rules: DenyFile = toml::from_str(&text).context("parse deny.toml")?;
    let metadata = Metadata::read(true)?;
    let mut broken: Vec<String> = Vec::new();
    for package in metadata.packages.iter().filter(|package| package.source.is_some()) {
        broken.extend(licence(package, &rules.licenses.allow));
        broken.extend(source(package, &rules.sources));
        broken.extend(ban(package, &rules.bans.deny));
    }
    for rule in &broken {
        anstream::println!("  {rule}");
    }
    if !broken.is_empty() {
        return Ok(Outcome::Failed(format!("{} dependencies break deny.toml", broken.len())));
    }
    let looked_at = metadata.packages.len();
    if !workspace::has("cargo-deny") {
        return Ok(Outcome::Passed(format!("{looked_at} packages; cargo-deny is not installed, so no advisories")));
    }
    workspace::run(Command::new("cargo").current_dir(workspace::root()).args(["deny", "check"]))?;
    Ok(Outcome::Passed(format!("{looked_at} packages, and cargo-deny agrees")))
}

fn licence(package: &Package, allowed: &[String]) -> Option<String> {
    let Package { name, version, .. } = package;
    let Some(text) = &package.license else {
        return Some(format!("{name} {version} names no licence"));
    };
    let allowed: Vec<spdx::Licensee> = allowed.iter().filter_map(|text| spdx::Licensee::parse(text).ok()).collect();
    // Old manifests write `MIT/Apache-2.0`, which SPDX never allowed and everybody understands.
    match spdx::Expression::parse_mode(text, spdx::ParseMode::LAX) {
        Ok(expression) if expression.evaluate(|wanted| allowed.iter().any(|licensee| licensee.satisfies(wanted))) => {
            None
        }
        Ok(_) => Some(format!("{name} {version} has the licence {text}, which deny.toml does not allow")),
        Err(error) => Some(format!("{name} {version}: licence {text}: {error}")),
    }
}

fn source(package: &Package, rules: &Sources) -> Option<String> {
    let source = package.source.as_deref()?;
    let is_git = source.starts_with("git+");
    (is_git && rules.unknown_git == "deny")
        .then(|| format!("{} {} comes from git, not from a registry", package.name, package.version))
}

fn ban(package: &Package, rules: &[Ban]) -> Option<String> {
    let rule = rules.iter().find(|rule| rule.name == package.name)?;
    Some(format!("{} {} is banned: {}", package.name, package.version, rule.reason))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Ban, ban, licence};
    use crate::metadata::Package;

    fn package(license: Option<&str>) -> Package {
        Package {
            id: "x".to_owned(),
            name: "x".to_owned(),
            version: "1.0.0".to_owned(),
            license: license.map(str::to_owned),
            source: Some("registry+x".to_owned()),
            manifest_path: PathBuf::new(),
            dependencies: Vec::new(),
            metadata: None,
        }
    }

    #[test]
    fn one_allowed_alternative_is_enough_and_every_part_of_a_sum_is_needed() {
        let allowed = ["MIT".to_owned(), "Apache-2.0 WITH LLVM-exception".to_owned()];
        for (text, passes) in [
            (Some("MIT OR GPL-3.0-only"), true),
            (Some("MIT/Apache-2.0"), true),
            (Some("Apache-2.0 WITH LLVM-exception"), true),
            (Some("Apache-2.0"), false),
            (Some("MIT AND GPL-3.0-only"), false),
            (Some("nonsense"), false),
            (None, false),
        ] {
            assert_eq!(licence(&package(text), &allowed).is_none(), passes, "{text:?}");
        }
    }

    #[test]
    fn a_banned_crate_is_named_with_the_reason() {
        let rules = [Ban { name: "x".to_owned(), reason: "why".to_owned() }];
        assert_eq!(ban(&package(None), &rules).as_deref(), Some("x 1.0.0 is banned: why"));
        assert!(ban(&package(None), &[]).is_none());
    }
}
