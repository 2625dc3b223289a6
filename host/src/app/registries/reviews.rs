//! Reviews in use: requests and decisions, each durable before anybody is told, and what was approved as a registry of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fairlead_core::image::ImageReference;
use fairlead_core::name::{LayerName, RegistryName, TenantName};
use fairlead_core::oci::DigestResolver as _;
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::registry::SourceEntry;
use fairlead_core::tenant::Caller;
use fairlead_registry::approval::ApprovalRule;
use fairlead_registry::copy::Copy;
use fairlead_registry::entry::Entry;
use fairlead_registry::review::{APPROVED, Decision, Review, ReviewError, Reviews, Standing, compare, unpinned};
use fairlead_registry::spec::Hook;

use super::offer::find;
use super::{Registries, not_kept};
use crate::api::types::registry::{AuditedStep, DecideReview, ReviewAudit, ReviewInfo, ReviewList, SubmitReview};
use crate::limits::APPROVAL_PLUGIN_MAX;

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
        let reviews = self.reviews_of(&tenant);
        let rules = self.policy(&tenant).approvals;
        let rule = match reviews.approved_of(&entry.name) {
            Some(before) => self.rule_that_fits(&tenant, &rules, before, &entry).await,
            None => None,
        };
        let id = self.change(&tenant, |reviews| reviews.submit(entry, from, step)).await?;
        if let Some(rule) = rule {
            let by = format!("rule `{}`", rule.name);
            let decision = Decision { to: Standing::Approved, by, reason: String::new(), at: self.clock.now() };
            if let Err(problem) = self.take(&tenant, id, decision).await {
                // It waits for a person instead.
                tracing::warn!(fairlead.tenant = %tenant, review = id, problem.detail, "a rule would approve it, and cannot");
            }
        }
        self.review(&tenant, id)
    }

    /// Decides about a request. An approval pins every image to what its tag names now.
    ///
    /// # Errors
    /// It was decided, or an image cannot be pinned.
    pub(crate) async fn decide(&self, id: u64, request: DecideReview, by: &Caller) -> Result<ReviewInfo, Problem> {
        let DecideReview { tenant, to, reason } = request;
        let decision = Decision { to, by: called(by), reason, at: self.clock.now() };
        self.take(&tenant, id, decision).await?;
        self.review(&tenant, id)
    }

    /// Takes a step of a review.
    async fn take(&self, tenant: &TenantName, id: u64, decision: Decision) -> Result<(), Problem> {
        let review = self.reviews_of(tenant).get(id).cloned().map_err(|error| told(&error))?;
        let pins = if decision.to == Standing::Approved { self.pins(tenant, &review).await? } else { BTreeMap::new() };
        let (standing, by) = (decision.to, decision.by.clone());
        self.change(tenant, |reviews| reviews.decide(id, decision, &pins).map(|_| id)).await?;
        tracing::info!(fairlead.tenant = %tenant, review = id, standing = standing.name(), by,
            entry = format!("{}@{}", review.entry.name, review.entry.version), "a review is decided");
        Ok(())
    }

    /// Asks for what rules would approve, and approves it: new versions of what was approved before. What a rule cannot decide
    /// waits for a person, who asks for it.
    pub(super) async fn approve_by_rules(self: &Arc<Self>, tenant: &TenantName) {
        let rules = self.policy(tenant).approvals;
        if rules.is_empty() {
            return;
        }
        let (view, reviews) = (self.view(tenant).await, self.reviews_of(tenant));
        let names: BTreeSet<&str> = reviews.approved().map(|entry| entry.name.as_str()).collect();
        let newest = names.into_iter().filter_map(|name| view.catalogue.latest(name));
        let asked = newest.filter(|merged| merged.registry.as_str() != APPROVED && !reviews.knows(&merged.entry));
        for merged in asked {
            let Some(before) = reviews.approved_of(&merged.entry.name) else { continue };
            let now = self.clock.now();
            let Some(rule) = self.rule_that_fits(tenant, &rules, before, &merged.entry).await else { continue };
            let by = format!("rule `{}`", rule.name);
            let step = Decision { to: Standing::Requested, by: by.clone(), reason: String::new(), at: now };
            let (entry, from) = ((*merged.entry).clone(), (merged.registry.clone(), merged.layer.clone()));
            let outcome = match self.change(tenant, |reviews| reviews.submit(entry, from, step)).await {
                Ok(id) => {
                    self.take(tenant, id, Decision { to: Standing::Approved, by, reason: String::new(), at: now }).await
                }
                Err(problem) => Err(problem),
            };
            if let Err(problem) = outcome {
                tracing::warn!(fairlead.tenant = %tenant, entry = merged.entry.name, rule = rule.name, problem.detail,
                    "a rule would approve it, and cannot");
            }
        }
    }

    /// The first rule that approves an entry after another.
    async fn rule_that_fits<'a>(
        &self,
        tenant: &TenantName,
        rules: &'a [ApprovalRule],
        before: &Entry,
        after: &Entry,
    ) -> Option<&'a ApprovalRule> {
        for rule in rules.iter().filter(|rule| rule.fits(before, after, self.clock.now())) {
            let Some(plugin) = &rule.plugin else { return Some(rule) };
            match self.passes(tenant, plugin, after).await {
                Ok(true) => return Some(rule),
                Ok(false) => {}
                // A guard that fails lets nobody through.
                Err(reason) => {
                    tracing::warn!(fairlead.tenant = %tenant, rule = rule.name, reason, "a rule cannot decide")
                }
            }
        }
        None
    }

    /// Whether a plugin returns an entry as it is.
    async fn passes(&self, tenant: &TenantName, plugin: &Hook, entry: &Entry) -> Result<bool, String> {
        let name = RegistryName::new(APPROVED).map_err(|error| error.to_string())?;
        let (source, _) = self.hook(tenant, &name, plugin).await.map_err(|problem| problem.detail)?;
        let given = SourceEntry {
            name: entry.name.clone(),
            version: entry.version.clone(),
            status: entry.status,
            document: entry.document.clone(),
            published: entry.published,
            updated: entry.updated,
            is_latest: true,
            labels: entry.labels.clone(),
        };
        let deciding = async {
            let mut session = source.open().await?;
            session.transform(given).await
        };
        let decided = tokio::time::timeout(APPROVAL_PLUGIN_MAX, deciding).await;
        let decided = decided.map_err(|_| format!("no answer within {APPROVAL_PLUGIN_MAX:?}"))?;
        Ok(decided.map_err(|error| error.to_string())?.is_some_and(|kept| kept.document == entry.document))
    }

    /// What was done, by whom and when, in order: every step of every review.
    pub(crate) fn audit(&self, tenant: &TenantName) -> ReviewAudit {
        let reviews = self.reviews_of(tenant);
        let mut steps: Vec<AuditedStep> = reviews
            .iter()
            .flat_map(|review| {
                review.steps.iter().map(|step| AuditedStep {
                    at: step.at,
                    review: review.id,
                    name: review.entry.name.clone(),
                    version: review.entry.version.clone(),
                    registry: review.registry.clone(),
                    to: step.to,
                    by: step.by.clone(),
                    reason: step.reason.clone(),
                })
            })
            .collect();
        steps.sort_by_key(|step| (step.at, step.review));
        ReviewAudit { steps }
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
        let mut stored = self.stored(&state);
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
            let resolved = self.oci.resolve(tenant, &reference).await;
            let resolved = resolved.map_err(|error| unpinned(error.to_string()).hint(error.hint()))?;
            pins.insert(image, resolved.digest);
        }
        Ok(pins)
    }
}

/// Who took a step, as far as anybody knows.
fn called(by: &Caller) -> String {
    let of = by.tenant.as_ref().map_or("the platform", |tenant| tenant.as_str());
    match &by.token {
        None => "owner".to_owned(),
        Some(token) => format!("{} of {of} (token {token})", by.role),
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
