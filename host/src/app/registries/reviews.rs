//! Reviews in use: requests and decisions, each durable before anybody is told, and what was approved as a registry of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use fairlead_core::image::ImageReference;
use fairlead_core::name::{LayerName, RegistryName, TenantName};
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::tenant::Caller;
use fairlead_registry::copy::Copy;
use fairlead_registry::review::{APPROVED, Decision, Review, ReviewError, Reviews, Standing, compare, unpinned};

use super::offer::find;
use super::{Registries, not_kept};
use crate::api::types::registry::{DecideReview, ReviewInfo, ReviewList, SubmitReview};

impl Registries {
    /// Asks for an entry to be trusted.
    ///
    /// # Errors
    /// There is no such entry, it is trusted, or it was asked for.
    pub(crate) async fn submit(self: &Arc<Self>, request: SubmitReview, by: &Caller) -> Result<ReviewInfo, Problem> {
        let SubmitReview { tenant, entry, reason } = request;
        let view = self.view(&tenant).await;
        let merged = find(&view.catalogue, &entry)?;
        if merged.registry.as_str() == APPROVED {
            let detail = format!("`{}@{}` is approved already", merged.entry.name, merged.entry.version);
            return Err(Problem::new(ProblemKind::Conflict, detail));
        }
        let step = Decision { to: Standing::Requested, by: called(by), reason, at: self.clock.now() };
        let from = (merged.registry.clone(), merged.layer.clone());
        let entry = (*merged.entry).clone();
        self.change(&tenant, |reviews| reviews.submit(entry, from, step)).await.and_then(|id| self.review(&tenant, id))
    }

    /// Decides about a request. An approval pins every image to what its tag names now.
    ///
    /// # Errors
    /// It was decided, or an image cannot be pinned.
    pub(crate) async fn decide(&self, id: u64, request: DecideReview, by: &Caller) -> Result<ReviewInfo, Problem> {
        let DecideReview { tenant, to, reason } = request;
        let review = self.reviews_of(&tenant).get(id).cloned().map_err(|error| told(&error))?;
        let pins = if to == Standing::Approved { self.pins(&tenant, &review).await? } else { BTreeMap::new() };
        let decision = Decision { to, by: called(by), reason, at: self.clock.now() };
        let standing = decision.to;
        self.change(&tenant, |reviews| reviews.decide(id, decision, &pins).map(|_| id)).await?;
        tracing::info!(fairlead.tenant = %tenant, review = id, standing = standing.name(), by = called(by),
            entry = format!("{}@{}", review.entry.name, review.entry.version), "a review is decided");
        self.review(&tenant, id)
    }

    /// The reviews of a tenant, the newest first.
    pub(crate) fn reviews(&self, tenant: &TenantName) -> ReviewList {
        let reviews = self.reviews_of(tenant);
        let mut list: Vec<ReviewInfo> = reviews.iter().map(|review| shown(&reviews, review, false)).collect();
        list.reverse();
        ReviewList { reviews: list }
    }

    /// One review, with what would change.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn review(&self, tenant: &TenantName, id: u64) -> Result<ReviewInfo, Problem> {
        let reviews = self.reviews_of(tenant);
        let review = reviews.get(id).map_err(|error| told(&error))?;
        Ok(shown(&reviews, review, true))
    }

    /// What was approved, as the copy of a registry.
    pub(super) fn approved(&self, tenant: &TenantName) -> Option<(RegistryName, LayerName, Copy)> {
        let reviews = self.reviews_of(tenant);
        let keyed =
            reviews.approved().map(|entry| ((entry.name.clone(), entry.version.clone()), Arc::new(entry.clone())));
        let copy = Copy { entries: keyed.collect(), ..Copy::default() };
        let name = RegistryName::new(APPROVED).ok()?;
        (!copy.entries.is_empty()).then(|| (name, LayerName::trusted(), copy))
    }

    fn reviews_of(&self, tenant: &TenantName) -> Reviews {
        self.state.read().reviews.get(tenant).cloned().unwrap_or_default()
    }

    /// Changes reviews: on disk first, then for everybody.
    async fn change(
        &self,
        tenant: &TenantName,
        step: impl FnOnce(&mut Reviews) -> Result<u64, ReviewError>,
    ) -> Result<u64, Problem> {
        let _changing = self.changing.lock().await;
        let mut state = self.state.write();
        let mut reviews = state.reviews.get(tenant).cloned().unwrap_or_default();
        let id = step(&mut reviews).map_err(|error| told(&error))?;
        let mut stored = state.stored();
        stored.reviews.insert(tenant.clone(), reviews.clone());
        self.files.write_list(&stored).map_err(|error| not_kept(&error))?;
        state.reviews.insert(tenant.clone(), reviews);
        state.outdated(tenant);
        Ok(id)
    }

    /// What the tags of a review name now.
    async fn pins(&self, tenant: &TenantName, review: &Review) -> Result<BTreeMap<String, String>, Problem> {
        let mut pins = BTreeMap::new();
        for image in unpinned(&review.entry) {
            let unpinned = |reason: String| told(&ReviewError::Unpinned { image: image.clone(), reason });
            let reference = ImageReference::new(&image).map_err(|error| unpinned(error.to_string()))?;
            let resolved = self.resolver.resolve(tenant, &reference).await;
            let resolved = resolved.map_err(|error| unpinned(error.to_string()).hint(error.hint()))?;
            pins.insert(image, resolved.digest);
        }
        Ok(pins)
    }
}

/// Who took a step, as far as anybody knows.
fn called(by: &Caller) -> String {
    match &by.tenant {
        None if by.role == fairlead_core::tenant::Role::Admin => "owner".to_owned(),
        None => format!("{} of the platform", by.role),
        Some(tenant) => format!("{} of {tenant}", by.role),
    }
}

fn told(error: &ReviewError) -> Problem {
    let kind = match error {
        ReviewError::Unknown(_) => ProblemKind::NotFound,
        ReviewError::Decided { .. } | ReviewError::Same(_) | ReviewError::TooMany => ProblemKind::Conflict,
        ReviewError::Reason => ProblemKind::Invalid,
        ReviewError::Unpinned { .. } => ProblemKind::Unavailable,
    };
    Problem::new(kind, error.to_string()).hint("`fairlead registry review` shows what was requested and decided")
}

fn shown(reviews: &Reviews, review: &Review, whole: bool) -> ReviewInfo {
    let before = reviews.approved_before(review);
    ReviewInfo {
        id: review.id,
        name: review.entry.name.clone(),
        version: review.entry.version.clone(),
        registry: review.registry.clone(),
        layer: review.layer.clone(),
        standing: review.standing(),
        steps: review.steps.clone(),
        against: before.map(|before| before.entry.version.clone()),
        differences: if whole { compare(before.map(|before| &before.entry), &review.entry) } else { Vec::new() },
    }
}
