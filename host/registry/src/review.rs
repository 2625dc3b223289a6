//! Reviews: an entry that nobody vouches for is requested, looked at, and taken into the trusted layer as it was then.
//!
//! What is approved is a content and not a name: the document that was requested, images pinned to what their tags named when
//! it was decided. A new version, or the same version with another content, is another request. Each step is written down with
//! who took it and why, and a step is taken once: of two reviewers the second is told that it was decided.

use std::collections::BTreeMap;

use fairlead_core::document::{Difference, differences};
use fairlead_core::name::{LayerName, RegistryName};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::entry::Entry;
use crate::limits::{REASON_BYTES_MAX, REVIEWS_OPEN_MAX};
use crate::rules::bare;

/// The registry that holds what was approved. No other can have this name.
pub const APPROVED: &str = "approved";

/// Where a review stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Somebody asked; nobody decided.
    Requested,
    /// It is in the trusted layer.
    Approved,
    /// It is not.
    Denied,
    /// It was, and is not any more.
    Revoked,
}

impl Standing {
    /// The same word as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Revoked => "revoked",
        }
    }
}

/// One step: who took it, when, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Where the review stood then.
    pub to: Standing,
    /// Who.
    pub by: String,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// A request, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Review {
    /// Its number.
    pub id: u64,
    /// The entry, as it was when it was requested; once approved, as it was approved.
    pub entry: Entry,
    /// Where it came from.
    pub registry: RegistryName,
    /// How far that was trusted.
    pub layer: LayerName,
    /// What was done, the first first. Never empty.
    pub steps: Vec<Step>,
}

/// Who decides, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What.
    pub to: Standing,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// Why a step is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReviewError {
    /// There is no such review.
    #[error("there is no review {0}")]
    Unknown(u64),
    /// It stands where this step does not begin.
    #[error("review {id} is {} already, by {by}", .standing.name())]
    Decided {
        /// Which.
        id: u64,
        /// Where it stands.
        standing: Standing,
        /// Who took the last step.
        by: String,
    },
    /// Somebody asked for the same before.
    #[error("the same content was requested before: review {0}")]
    Same(u64),
    /// Too many wait.
    #[error("there are {REVIEWS_OPEN_MAX} requests that nobody has decided")]
    TooMany,
    /// The reason is too long.
    #[error("a reason has at most {REASON_BYTES_MAX} bytes")]
    Reason,
    /// An image could not be pinned.
    #[error("`{image}` is not pinned: {reason}")]
    Unpinned {
        /// The image.
        image: String,
        /// Why not.
        reason: String,
    },
}

impl Review {
    /// Where it stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.steps.last().map_or(Standing::Requested, |step| step.to)
    }
}

/// All reviews of one tenant, by number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reviews(BTreeMap<u64, Review>);

impl Reviews {
    /// All of them, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Review> {
        self.0.values()
    }

    /// One.
    ///
    /// # Errors
    /// There is none of this number.
    pub fn get(&self, id: u64) -> Result<&Review, ReviewError> {
        self.0.get(&id).ok_or(ReviewError::Unknown(id))
    }

    /// What was approved and not revoked: of one name and version, what was approved last.
    pub fn approved(&self) -> impl Iterator<Item = &Entry> {
        let standing: BTreeMap<(&str, &str), &Entry> = self
            .0
            .values()
            .filter(|review| review.standing() == Standing::Approved)
            .map(|review| (review.entry.key(), &review.entry))
            .collect();
        standing.into_values()
    }

    /// What was approved of this name, other than this review: what it is held against.
    #[must_use]
    pub fn approved_before(&self, review: &Review) -> Option<&Review> {
        let others = self.0.values().filter(|other| other.id != review.id && other.entry.name == review.entry.name);
        others.filter(|other| other.standing() == Standing::Approved).max_by_key(|other| other.id)
    }

    /// The entry that was approved last of a name.
    #[must_use]
    pub fn approved_of(&self, name: &str) -> Option<&Entry> {
        let of = self.0.values().filter(|review| review.entry.name == name && review.standing() == Standing::Approved);
        of.max_by_key(|review| review.id).map(|review| &review.entry)
    }

    /// Whether somebody asked for this content, whatever became of it: a rule does not ask again for what a person denied.
    #[must_use]
    pub fn knows(&self, entry: &Entry) -> bool {
        self.0.values().any(|review| review.entry.key() == entry.key())
    }

    /// Asks for an entry; the number of the review.
    ///
    /// # Errors
    /// The same was asked for before and stands, or too much waits.
    pub fn submit(&mut self, entry: Entry, from: (RegistryName, LayerName), by: Decision) -> Result<u64, ReviewError> {
        check(&by.reason)?;
        let open = |review: &&Review| matches!(review.standing(), Standing::Requested | Standing::Approved);
        let fingerprint = entry.fingerprint();
        let same = self
            .0
            .values()
            .filter(open)
            .find(|review| review.entry.key() == entry.key() && (review.entry.fingerprint() == fingerprint));
        if let Some(same) = same {
            return Err(ReviewError::Same(same.id));
        }
        if self.0.values().filter(|review| review.standing() == Standing::Requested).count() >= REVIEWS_OPEN_MAX {
            return Err(ReviewError::TooMany);
        }
        let id = self.0.last_key_value().map_or(1, |(last, _)| last + 1);
        let (registry, layer) = from;
        let steps = vec![Step { to: Standing::Requested, by: by.by, reason: by.reason, at: by.at }];
        self.0.insert(id, Review { id, entry, registry, layer, steps });
        Ok(id)
    }

    /// Takes a step. `pins` are digests by image, for an approval.
    ///
    /// # Errors
    /// There is no such review, or it was decided already.
    pub fn decide(
        &mut self,
        id: u64,
        decision: Decision,
        pins: &BTreeMap<String, String>,
    ) -> Result<&Review, ReviewError> {
        check(&decision.reason)?;
        let review = self.0.get_mut(&id).ok_or(ReviewError::Unknown(id))?;
        let standing = review.standing();
        let possible = match decision.to {
            Standing::Approved | Standing::Denied => standing == Standing::Requested,
            Standing::Revoked => standing == Standing::Approved,
            Standing::Requested => false,
        };
        if !possible {
            let by = review.steps.last().map(|step| step.by.clone()).unwrap_or_default();
            return Err(ReviewError::Decided { id, standing, by });
        }
        if decision.to == Standing::Approved {
            pin(&mut review.entry, pins);
        }
        review.steps.push(Step { to: decision.to, by: decision.by, reason: decision.reason, at: decision.at });
        Ok(review)
    }
}

fn check(reason: &str) -> Result<(), ReviewError> {
    if reason.len() > REASON_BYTES_MAX { Err(ReviewError::Reason) } else { Ok(()) }
}

/// Images of an entry that a tag names, which may name something else tomorrow.
#[must_use]
pub fn unpinned(entry: &Entry) -> Vec<String> {
    let images = entry.view().packages.into_iter().filter(|package| package.registry_type == "oci");
    images.map(|package| package.identifier).filter(|image| !image.contains("@sha256:")).collect()
}

fn pin(entry: &mut Entry, pins: &BTreeMap<String, String>) {
    let Ok(mut document) = serde_json::from_str::<Value>(&entry.document) else { return };
    let mut changed = false;
    for package in document.get_mut("packages").and_then(Value::as_array_mut).into_iter().flatten() {
        let digest =
            package.get("identifier").and_then(Value::as_str).and_then(|image| Some((image, pins.get(image)?)));
        let Some(pinned) = digest.map(|(image, digest)| format!("{}@{digest}", bare(image))) else { continue };
        if let Some(fields) = package.as_object_mut() {
            fields.insert("identifier".to_owned(), json!(pinned));
            changed = true;
        }
    }
    if changed {
        entry.document = document.to_string();
    }
}

/// What differs between an entry and the one that was approved before it; without one, everything is new.
#[must_use]
pub fn compare(before: Option<&Entry>, after: &Entry) -> Vec<Difference> {
    let value = |entry: &Entry| serde_json::from_str(&entry.document).unwrap_or(Value::Null);
    match before {
        Some(before) => differences(&value(before), &value(after)),
        None => differences(&json!({}), &value(after)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::entry::sample;

    fn step(to: Standing, by: &str) -> Decision {
        Decision { to, by: by.to_owned(), reason: "because".to_owned(), at: Timestamp::UNIX_EPOCH }
    }

    fn from() -> (RegistryName, LayerName) {
        (RegistryName::new("r").unwrap(), LayerName::community())
    }

    fn with_image(name: &str, version: &str, image: &str) -> Entry {
        let mut entry = sample(name, version);
        let package = json!({"registryType": "oci", "identifier": image});
        entry.document = json!({"name": name, "version": version, "packages": [package]}).to_string();
        entry
    }

    #[test]
    fn of_two_reviewers_one_decides_and_the_other_is_told() {
        let mut reviews = Reviews::default();
        let id = reviews.submit(sample("a/b", "1"), from(), step(Standing::Requested, "u")).unwrap();
        reviews.decide(id, step(Standing::Denied, "one"), &BTreeMap::new()).unwrap();
        let second = reviews.decide(id, step(Standing::Approved, "two"), &BTreeMap::new()).unwrap_err();
        assert_eq!(second, ReviewError::Decided { id, standing: Standing::Denied, by: "one".to_owned() });
        assert_eq!(reviews.approved().count(), 0);
    }

    #[test]
    fn what_is_approved_is_the_content_with_its_images_pinned() {
        let mut reviews = Reviews::default();
        let entry = with_image("a/b", "1", "h.test:5000/x:1");
        assert_eq!(unpinned(&entry), ["h.test:5000/x:1"]);
        let id = reviews.submit(entry.clone(), from(), step(Standing::Requested, "u")).unwrap();
        assert_eq!(reviews.submit(entry, from(), step(Standing::Requested, "v")), Err(ReviewError::Same(id)));
        let pins = [("h.test:5000/x:1".to_owned(), "sha256:00".to_owned())].into();
        reviews.decide(id, step(Standing::Approved, "a"), &pins).unwrap();
        let approved = reviews.approved().next().unwrap();
        assert_eq!(approved.view().packages[0].identifier, "h.test:5000/x@sha256:00");
        assert!(unpinned(approved).is_empty());

        // The same version with another content is another request, held against what was approved.
        let other = with_image("a/b", "2", "h.test:5000/x:2");
        let id = reviews.submit(other, from(), step(Standing::Requested, "u")).unwrap();
        let review = reviews.get(id).unwrap();
        let before = reviews.approved_before(review).map(|before| &before.entry);
        let places: Vec<_> = compare(before, &review.entry).into_iter().map(|it| it.pointer).collect();
        assert_eq!(places, ["/packages/0/identifier", "/version"]);
    }

    proptest! {
        #[test]
        fn whatever_is_tried_a_review_walks_only_where_steps_lead(tries in proptest::collection::vec((1_u64..4, 0_usize..4), 0..24)) {
            let all = [Standing::Requested, Standing::Approved, Standing::Denied, Standing::Revoked];
            let mut reviews = Reviews::default();
            for name in ["a/a", "a/b", "a/c"] {
                reviews.submit(sample(name, "1"), from(), step(Standing::Requested, "u")).unwrap();
            }
            for (id, to) in tries {
                let _ = reviews.decide(id, step(all[to], "x"), &BTreeMap::new());
            }
            for review in reviews.iter() {
                let walked: Vec<_> = review.steps.iter().map(|step| step.to).collect();
                let possible: [&[Standing]; 4] = [
                    &[Standing::Requested],
                    &[Standing::Requested, Standing::Denied],
                    &[Standing::Requested, Standing::Approved],
                    &[Standing::Requested, Standing::Approved, Standing::Revoked],
                ];
                prop_assert!(possible.contains(&walked.as_slice()), "{:?}", walked);
            }
            let approved = reviews.iter().filter(|review| review.standing() == Standing::Approved).count();
            prop_assert_eq!(reviews.approved().count(), approved);
        }
    }
}
