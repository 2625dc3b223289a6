//! Registries in use: what there is, when each is read, the last good copy of each, and the catalogue that is made of them.
//!
//! Apart from the rest of the application on purpose, so that it can be run without it. A copy lies in a
//! file of its own that is replaced as a whole, so a crash leaves the old or the new one (ADR 0025); the list of registries is
//! one file, written before anything is done by it.

mod files;
mod native;
mod offer;
mod offers;
mod reviews;
mod schedule;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fairlead_core::clock::Clock;
use fairlead_core::name::{AttachmentName, RegistryName, TenantName};
use fairlead_core::oci::DigestResolver;
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::registry::RegistrySource;
use fairlead_registry::copy::Copy;
use fairlead_registry::merge::{Catalogue, Part};
use fairlead_registry::review::{APPROVED, Reviews};
use fairlead_registry::rules::Rules;
use fairlead_registry::search::Index;
use fairlead_registry::spec::{EntrySource, LayerPolicy, RegistryRecord};
use fairlead_registry::sync::{How, Synced, retry_after, synchronise};
use fairlead_wasm::{AttachError, SourceAttachment};
use jiff::Timestamp;
use parking_lot::RwLock;
use tokio::time::Instant;

use super::plugins::Plugins;
use crate::api::types::registry::{CreateRegistry, RefreshRegistry, RegistryInfo, ReviewInfo};
use crate::limits::{CATALOGUE_KEEP, REGISTRIES_MAX, REGISTRY_INTERVAL_MIN};
use crate::text;
use files::{Files, Stored};
use native::FileSource;

/// All registries of all tenants.
pub(crate) struct Registries {
    plugins: Plugins,
    clock: Arc<dyn Clock>,
    /// Says what tags name, for approvals.
    resolver: Arc<dyn DigestResolver>,
    files: Files,
    state: RwLock<State>,
    /// Who changes the list of registries has it alone.
    changing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    /// In the order in which they were added: of two in the same layer the first wins.
    known: Vec<Known>,
    policies: BTreeMap<TenantName, LayerPolicy>,
    reviews: BTreeMap<TenantName, Reviews>,
    views: HashMap<TenantName, Arc<View>>,
    /// Counts changes: a view is kept only if nothing changed while it was made.
    generation: u64,
}

/// One registry.
struct Known {
    record: RegistryRecord,
    copy: Arc<Copy>,
    checked: Option<Timestamp>,
    error: Option<String>,
    failures: u32,
    due: Instant,
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// The catalogue of one tenant, as it is now.
pub(crate) struct View {
    pub(crate) catalogue: Catalogue,
    pub(crate) index: Index,
    made: Instant,
    /// Says which one this is: an entity tag.
    pub(crate) tag: String,
}

impl std::fmt::Debug for Registries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registries").finish_non_exhaustive()
    }
}

impl Registries {
    /// Reads what is stored. A copy that cannot be read is left out and told: the next synchronisation makes another.
    ///
    /// # Errors
    /// The list of registries cannot be read: it is never taken for empty.
    pub(in crate::app) fn load(
        directory: PathBuf,
        plugins: Plugins,
        resolver: Arc<dyn DigestResolver>,
        clock: Arc<dyn Clock>,
    ) -> std::io::Result<Self> {
        let files = Files::new(directory);
        let Stored { registries, policies, reviews } = files.read_list()?;
        let now = clock.now();
        let known = registries.into_iter().map(|record| {
            let copy = files.read_copy(&record).unwrap_or_default();
            let due = due_at(&record, copy.position.synced, now);
            Known { copy: Arc::new(copy), ..Known::new(record, due) }
        });
        let state = State { known: known.collect(), policies, reviews, ..State::default() };
        Ok(Self { plugins, clock, resolver, files, state: RwLock::new(state), changing: tokio::sync::Mutex::default() })
    }

    /// The registries of a tenant, in their order.
    pub(crate) fn list(&self, tenant: &TenantName) -> Vec<RegistryInfo> {
        let state = self.state.read();
        state.known.iter().filter(|known| known.record.tenant == *tenant).map(Known::info).collect()
    }

    /// One registry.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn get(&self, tenant: &TenantName, name: &RegistryName) -> Result<RegistryInfo, Problem> {
        self.with(tenant, name, Known::info)
    }

    /// Adds a registry and reads it for the first time. One that cannot be read now is there all the same, with the reason.
    ///
    /// # Errors
    /// There is one of this name, or it can never be read as it is written.
    pub(crate) async fn add(&self, request: CreateRegistry) -> Result<RegistryInfo, Problem> {
        let CreateRegistry { tenant, name, spec } = request;
        if name.as_str() == APPROVED {
            let detail = format!("`{APPROVED}` is what reviews approve; give the registry another name");
            return Err(Problem::new(ProblemKind::Invalid, detail).at("/name"));
        }
        if spec.interval_secs < REGISTRY_INTERVAL_MIN.as_secs() {
            let least = REGISTRY_INTERVAL_MIN.as_secs();
            let detail = format!("`intervalSecs` is {}, at least {least} is possible", spec.interval_secs);
            return Err(Problem::new(ProblemKind::Invalid, detail).at("/spec/intervalSecs"));
        }
        let record = RegistryRecord { tenant, name, spec, created: self.clock.now() };
        // What is wrong with its configuration or its grants is told before anything is kept.
        self.source(&record).await?;
        {
            let _changing = self.changing.lock().await;
            let mut state = self.state.write();
            let of_tenant = || state.known.iter().filter(|known| known.record.tenant == record.tenant);
            if of_tenant().any(|known| known.record.name == record.name) {
                let detail = format!("there is a registry `{}` already", record.name);
                let hint = format!("choose another name, or remove it with `fairlead registry remove {}`", record.name);
                return Err(Problem::new(ProblemKind::Conflict, detail).at("/name").hint(hint));
            }
            if of_tenant().count() >= REGISTRIES_MAX {
                let detail = format!("there are {REGISTRIES_MAX} registries, which is the limit");
                return Err(Problem::new(ProblemKind::Conflict, detail));
            }
            state
                .known
                .push(Known::new(record.clone(), Instant::now() + Duration::from_secs(record.spec.interval_secs)));
            if let Err(error) = self.files.write_list(&state.stored()) {
                state.known.pop();
                return Err(not_kept(&error));
            }
            state.outdated(&record.tenant);
        }
        tracing::info!(fairlead.tenant = %record.tenant, fairlead.registry = %record.name, "a registry is added");
        // Its error is part of what is shown.
        let _ = self.refresh(&record.tenant, &record.name, How::default()).await;
        self.get(&record.tenant, &record.name)
    }

    /// Forgets a registry and its copy.
    ///
    /// # Errors
    /// There is none.
    pub(crate) async fn remove(&self, tenant: &TenantName, name: &RegistryName) -> Result<(), Problem> {
        let _changing = self.changing.lock().await;
        let turn = self.with(tenant, name, |known| Arc::clone(&known.turn))?;
        let _turn = turn.lock().await;
        let record = self.with(tenant, name, |known| known.record.clone())?;
        {
            let mut state = self.state.write();
            let kept = |known: &Known| known.record.tenant != *tenant || known.record.name != *name;
            let mut stored = state.stored();
            stored.registries.retain(|known| known.tenant != *tenant || known.name != *name);
            self.files.write_list(&stored).map_err(|error| not_kept(&error))?;
            state.known.retain(kept);
            state.outdated(tenant);
        }
        self.files.remove_copy(&record);
        tracing::info!(fairlead.tenant = %tenant, fairlead.registry = %name, "a registry is removed");
        Ok(())
    }

    /// Reads a registry now.
    ///
    /// # Errors
    /// There is none, or it cannot be read; what was there stays.
    pub(crate) async fn refresh_now(
        &self,
        name: &RegistryName,
        request: RefreshRegistry,
    ) -> Result<RegistryInfo, Problem> {
        let RefreshRegistry { tenant, whole, accept_empty } = request;
        self.refresh(&tenant, name, How { whole, accept_empty }).await?;
        self.get(&tenant, name)
    }

    /// Which layers a tenant has, and which may run.
    pub(crate) fn policy(&self, tenant: &TenantName) -> LayerPolicy {
        self.state.read().policies.get(tenant).cloned().unwrap_or_default()
    }

    /// Says which layers a tenant has, and which may run.
    ///
    /// # Errors
    /// A layer that may run is none, or it cannot be kept.
    pub(crate) async fn set_policy(&self, tenant: &TenantName, policy: LayerPolicy) -> Result<LayerPolicy, Problem> {
        if let Some(unknown) = policy.run.iter().flatten().find(|layer| !policy.layers.contains(layer)) {
            let detail = format!("`{unknown}` may run and is no layer");
            return Err(Problem::new(ProblemKind::Invalid, detail)
                .at("/run")
                .hint("`fairlead registry layers` shows what there is; `--order` adds one"));
        }
        let _changing = self.changing.lock().await;
        let mut state = self.state.write();
        let before = state.policies.insert(tenant.clone(), policy.clone());
        if let Err(error) = self.files.write_list(&state.stored()) {
            match before {
                Some(before) => drop(state.policies.insert(tenant.clone(), before)),
                None => drop(state.policies.remove(tenant)),
            }
            return Err(not_kept(&error));
        }
        state.outdated(tenant);
        tracing::info!(fairlead.tenant = %tenant, layers = ?policy.layers, run = ?policy.run, "layers of trust are set");
        Ok(policy)
    }

    /// The catalogue of a tenant, as it is now.
    pub(crate) async fn view(self: &Arc<Self>, tenant: &TenantName) -> Arc<View> {
        if let Some(view) = self.state.read().views.get(tenant)
            && view.made.elapsed() < CATALOGUE_KEEP
        {
            return Arc::clone(view);
        }
        let (registries, of) = (Arc::clone(self), tenant.clone());
        // A hundred thousand entries take their time, and not from a thread that serves.
        let made = tokio::task::spawn_blocking(move || registries.make_view(&of)).await;
        made.unwrap_or_else(|error| {
            tracing::error!(%error, "the catalogue could not be put together");
            Arc::new(View {
                catalogue: Catalogue::default(),
                index: Index::default(),
                made: Instant::now(),
                tag: String::new(),
            })
        })
    }

    fn make_view(&self, tenant: &TenantName) -> Arc<View> {
        let (parts, generation): (Vec<(RegistryRecord, Arc<Copy>)>, u64) = {
            let state = self.state.read();
            let of = state.known.iter().filter(|known| known.record.tenant == *tenant);
            (of.map(|known| (known.record.clone(), Arc::clone(&known.copy))).collect(), state.generation)
        };
        let (none, approved) = (Rules::default(), self.approved(tenant));
        let approved = approved.as_ref().map(|(registry, layer, copy)| Part {
            registry: registry.clone(),
            layer: layer.clone(),
            rules: &none,
            copy,
        });
        let given: Vec<Part<'_>> = approved
            .into_iter()
            .chain(parts.iter().map(|(record, copy)| Part {
                registry: record.name.clone(),
                layer: record.spec.layer.clone(),
                rules: &record.spec.rules,
                copy,
            }))
            .collect();
        let catalogue = Catalogue::merge(&given, &self.policy(tenant).layers, self.clock.now());
        let index = Index::of(&catalogue);
        let tag = tag_of(&parts, &self.reviews(tenant).reviews);
        let view = Arc::new(View { catalogue, index, made: Instant::now(), tag });
        let mut state = self.state.write();
        if state.generation == generation {
            state.views.insert(tenant.clone(), Arc::clone(&view));
        }
        view
    }

    async fn refresh(&self, tenant: &TenantName, name: &RegistryName, how: How) -> Result<(), Problem> {
        let turn = self.with(tenant, name, |known| Arc::clone(&known.turn))?;
        let _turn = turn.lock().await;
        let (record, before) = self.with(tenant, name, |known| (known.record.clone(), Arc::clone(&known.copy)))?;
        let now = self.clock.now();
        let synced = match self.source(&record).await {
            Ok((source, origin)) => synchronise(&*source, &origin, Some(&before), now, how)
                .await
                .map_err(|error| Problem::new(ProblemKind::Unavailable, format!("registry `{name}`: {error}"))),
            Err(problem) => Err(problem),
        };
        let outcome = match synced {
            Ok(Synced::Unmodified) => Ok(None),
            Ok(Synced::Copy(copy, tally)) => {
                let copy = Arc::new(*copy);
                match self.files.write_copy(&record, Arc::clone(&copy)).await {
                    Ok(()) => {
                        tracing::info!(fairlead.tenant = %tenant, fairlead.registry = %name, entries = copy.entries.len(),
                            changed = tally.changed, removed = tally.removed, "a registry was read");
                        Ok(Some(copy))
                    }
                    Err(error) => Err(not_kept(&error)),
                }
            }
            Err(problem) => Err(problem),
        };
        self.settle(&record, outcome, now)
    }

    /// Writes down how a synchronisation went.
    fn settle(
        &self,
        record: &RegistryRecord,
        outcome: Result<Option<Arc<Copy>>, Problem>,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let mut state = self.state.write();
        let Some(known) = state.known.iter_mut().find(|known| known.record == *record) else { return Ok(()) };
        let interval = Duration::from_secs(record.spec.interval_secs);
        match outcome {
            Ok(copy) => {
                known.checked = Some(now);
                (known.error, known.failures) = (None, 0);
                known.due = Instant::now() + interval;
                if let Some(copy) = copy {
                    known.copy = copy;
                    state.outdated(&record.tenant);
                }
                Ok(())
            }
            Err(problem) => {
                known.failures = known.failures.saturating_add(1);
                known.due = Instant::now() + retry_after(known.failures, interval);
                known.error = Some(problem.detail.clone());
                tracing::warn!(fairlead.tenant = %record.tenant, fairlead.registry = %record.name, problem.detail,
                    failures = known.failures, "a registry could not be read; its last copy stays");
                Err(problem)
            }
        }
    }

    /// The source of a registry, and what names it.
    async fn source(&self, record: &RegistryRecord) -> Result<(Arc<dyn RegistrySource>, String), Problem> {
        match &record.spec.source {
            source @ EntrySource::File { path } => Ok((Arc::new(FileSource::new(path.clone())), source.origin(""))),
            source @ EntrySource::Plugin { plugin, config, grants } => {
                // A name that documents pin is one of chains; sources are found where they lie.
                let loaded = self.plugins.load(&BTreeMap::new(), plugin).await?;
                let attachment = SourceAttachment {
                    tenant: record.tenant.clone(),
                    name: AttachmentName::new(record.name.as_str())
                        .map_err(|error| Problem::new(ProblemKind::Invalid, error.to_string()))?,
                    config: config.clone(),
                    grants: grants.clone(),
                };
                let made = self.plugins.host.source(&loaded, attachment).await;
                let made = made.map_err(|error| not_used(&error))?;
                Ok((made, source.origin(&loaded.digest().to_string())))
            }
        }
    }

    fn with<T>(&self, tenant: &TenantName, name: &RegistryName, look: impl FnOnce(&Known) -> T) -> Result<T, Problem> {
        let state = self.state.read();
        let known = state.known.iter().find(|known| known.record.tenant == *tenant && known.record.name == *name);
        known.map(look).ok_or_else(|| {
            Problem::new(ProblemKind::NotFound, format!("there is no registry `{name}` in tenant `{tenant}`"))
                .hint("`fairlead registry list` shows what there is")
        })
    }
}

impl State {
    /// Something of a tenant changed: its catalogue is made anew when somebody asks.
    fn outdated(&mut self, tenant: &TenantName) {
        self.generation += 1;
        self.views.remove(tenant);
    }

    fn stored(&self) -> Stored {
        Stored {
            registries: self.known.iter().map(|known| known.record.clone()).collect(),
            policies: self.policies.clone(),
            reviews: self.reviews.clone(),
        }
    }
}

impl Known {
    fn new(record: RegistryRecord, due: Instant) -> Self {
        Self { record, copy: Arc::default(), checked: None, error: None, failures: 0, due, turn: Arc::default() }
    }

    fn info(&self) -> RegistryInfo {
        let position = &self.copy.position;
        RegistryInfo {
            name: self.record.name.clone(),
            tenant: self.record.tenant.clone(),
            source: self.record.spec.source.shown(),
            spec: self.record.spec.clone(),
            entries: self.copy.entries.len(),
            synced: position.synced,
            checked: self.checked.max(position.synced),
            error: self.error.clone(),
            failures: self.failures,
            refused: position.refused.iter().map(|refused| format!("{}: {}", refused.entry, refused.reason)).collect(),
            refused_count: position.refused_count,
            created: self.record.created,
        }
    }
}

/// When a registry is read next, after a start.
fn due_at(record: &RegistryRecord, synced: Option<Timestamp>, now: Timestamp) -> Instant {
    let interval = Duration::from_secs(record.spec.interval_secs);
    let age = synced.map(|synced| Duration::try_from(now.duration_since(synced)).unwrap_or_default());
    Instant::now() + age.map_or(Duration::ZERO, |age| interval.saturating_sub(age))
}

fn not_used(error: &AttachError) -> Problem {
    let (kind, place) = match error {
        AttachError::Grants { .. } => (ProblemKind::Forbidden, "/spec/source/grants"),
        AttachError::Grant { .. } => (ProblemKind::Invalid, "/spec/source/grants"),
        AttachError::Config { .. } | AttachError::Refused { .. } => (ProblemKind::Invalid, "/spec/source/config"),
        _ => (ProblemKind::Invalid, "/spec/source/plugin"),
    };
    let problem = Problem::new(kind, text::chain(error)).at(place);
    match error.hint() {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

/// Copies and rules make a catalogue what it is.
fn tag_of(parts: &[(RegistryRecord, Arc<Copy>)], reviews: &[ReviewInfo]) -> String {
    use sha2::{Digest as _, Sha256};
    let mut hash = Sha256::new();
    for (record, copy) in parts {
        let position = &copy.position;
        let told = (&record.name, &record.spec, &position.synced, copy.entries.len());
        hash.update(serde_json::to_vec(&told).unwrap_or_default());
    }
    for review in reviews {
        hash.update(format!("{} {}\n", review.id, review.standing.name()));
    }
    let hash: [u8; 32] = hash.finalize().into();
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn not_kept(error: &std::io::Error) -> Problem {
    tracing::error!(error = text::chain(error), "registries could not be written down");
    Problem::new(ProblemKind::Internal, format!("it could not be kept: {error}"))
        .hint("check that the disk is not full; the log of the daemon says more")
}
