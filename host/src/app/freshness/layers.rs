//! Layers of trust, held against what an update brings: what may not be created may not come as an update either.
//!
//! A tenant that lets only entries of some layers run means everything that runs, however it came there. A policy that follows
//! versions, and a person who names a digest, would otherwise take a server to what nobody has approved. What ran here before
//! was admitted then, so nothing stands in the way of going back.

use fairlead_core::freshness::{Candidate, Decision, Facts, HoldReason, Subject, Verdict};
use fairlead_core::image::ImageReference;
use fairlead_core::name::ServerKey;
use fairlead_core::package::PackageReference;
use fairlead_core::server::Source;

use crate::app::App;

/// Makes a hold of an update to what may not run.
pub(super) async fn restrict(app: &App, subject: &Subject, facts: &Facts, verdict: Verdict) -> Verdict {
    let pin = match &verdict.decision {
        Decision::Update(plan) => plan.pin.clone(),
        Decision::Notify { pin, .. } => pin.clone(),
        _ => return verdict,
    };
    let runs = |candidate: &&Candidate| facts.running.digests.iter().any(|digest| candidate.is(digest));
    // What runs is no update, and what was not offered is refused by whoever asked.
    let Some(candidate) = facts.candidates.iter().find(|known| known.pin == pin).filter(|known| !runs(known)) else {
        return verdict;
    };
    match against(app, &subject.key, candidate).await {
        None => verdict,
        Some(detail) => {
            let decision = Decision::Hold { reason: HoldReason::OutOfRange, detail, pin: Some(pin), until: None };
            Verdict { decision, trace: verdict.trace }
        }
    }
}

/// Why a candidate may not run; `None`: it may.
pub(super) async fn against(app: &App, key: &ServerKey, candidate: &Candidate) -> Option<String> {
    let source = app.slots.look(key, |managed| managed.record.spec.source.clone())?;
    app.catalogue.against(&key.tenant, &ways(&source, candidate)).await
}

/// As what an entry may offer a candidate: by its version, by its digest, or, while it is what the followed tag names, by that.
fn ways(source: &Source, candidate: &Candidate) -> Vec<Source> {
    let tag = candidate.tag.as_deref();
    let mut ways = if candidate.same_tag { vec![source.clone()] } else { Vec::new() };
    match source {
        Source::Image(image) => {
            let repository = image.reference.repository();
            let named = [
                tag.map(|tag| format!("{repository}:{tag}")),
                Some(format!("{repository}@{}", candidate.pin)),
                tag.map(|tag| format!("{repository}:{tag}@{}", candidate.pin)),
            ];
            let references = named.into_iter().flatten().filter_map(|text| ImageReference::new(&text).ok());
            ways.extend(references.map(|reference| {
                let mut image = image.clone();
                image.reference = reference;
                Source::Image(image)
            }));
        }
        Source::Package(package) => {
            let named = tag.map(|version| package.package.at(version));
            ways.extend(named.and_then(Result::ok).map(|named: PackageReference| {
                let mut package = package.clone();
                package.package = named;
                Source::Package(package)
            }));
        }
        // What is a file here is offered by no entry, and what runs elsewhere is not updated by us.
        Source::Wasm { .. } | Source::Command { .. } | Source::Remote(_) => {}
    }
    ways
}

#[cfg(test)]
mod tests {
    use fairlead_core::digest::Digest;
    use fairlead_oci::candidate;
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    fn named(source: serde_json::Value, tag: &str, same_tag: bool) -> Vec<String> {
        let source: Source = serde_json::from_value(source).unwrap();
        let pin = Digest::new(&format!("sha256:{:064}", 7)).unwrap();
        let candidate = Candidate { same_tag, ..candidate(&pin, Some(tag), vec![pin.clone()], Timestamp::UNIX_EPOCH) };
        let shown = |source: &Source| match source {
            Source::Image(image) => image.reference.to_string(),
            Source::Package(package) => package.package.to_string(),
            _ => "another".to_owned(),
        };
        ways(&source, &candidate).iter().map(shown).collect()
    }

    #[test]
    fn a_candidate_is_offered_by_version_or_digest_and_by_the_followed_name_only_while_that_names_it() {
        let digest = format!("sha256:{:064}", 7);
        let image = json!({"kind": "image", "reference": "h.test/a/b:1.0.0"});
        let other = named(image.clone(), "1.1.0", false);
        let at = |tag: &str| format!("h.test/a/b{tag}@{digest}");
        assert_eq!(other, ["h.test/a/b:1.1.0".to_owned(), at(""), at(":1.1.0")]);
        let same = named(image, "1.0.0", true);
        assert_eq!(same.first().map(String::as_str), Some("h.test/a/b:1.0.0"));
        assert!(same.contains(&at("")));
        let package = json!({"kind": "package", "package": "npx://@a/b"});
        assert_eq!(named(package.clone(), "2.0.0", true), ["npx://@a/b", "npx://@a/b@2.0.0"]);
        assert_eq!(named(package, "2.0.0", false), ["npx://@a/b@2.0.0"]);
        let file = json!({"kind": "wasm", "path": "/a.wasm"});
        assert_eq!(named(file, "x", false), Vec::<String>::new());
    }
}
