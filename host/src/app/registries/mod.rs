//! Registries in use: what there is, when each is read, the last good copy of each, and the catalogue that is made of them.
//!
//! Apart from the rest of the application on purpose, so that it can be run without it. A copy lies in a
//! file of its own that is replaced as a whole, so a crash leaves the old or the new one (ADR 0025); the list of registries is
//! one file, written before anything is done by it.

mod files;
mod git;
mod hooks;
mod native;
mod oci;
mod offer;
mod offers;
mod reviews;
#[cfg(test)]
mod scene;
mod schedule;
mod views;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fairlead_core::clock::Clock;
use fairlead_core::image::ImageReference;
use fairlead_core::name::{AttachmentName, RegistryName, TenantName};
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::registry::RegistrySource;
use fairlead_core::secret::Secrets;
use fairlead_git::GitClient;
use fairlead_oci::OciClient;
use fairlead_registry::copy::Copy;
use fairlead_registry::merge::returns;
use fairlead_registry::review::{APPROVED, Reviews};
use fairlead_registry::spec::{EntrySource, Hook, LayerPolicy, RegistryRecord};
use fairlead_registry::sync::{How, Synced, retry_after, synchronise};
use fairlead_wasm::{AttachError, SourceAttachment};
use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::plugins::Plugins;
use crate::api::types::registry::{CreateRegistry, RefreshRegistry, RegistryInfo};
use crate::limits::{CATALOGUE_LOOKS_AT_ONCE, REGISTRIES_MAX, REGISTRY_INTERVAL_MIN};
use crate::text;
use files::{Files, Stored};
use git::Repository;
use hooks::Transformed;
use native::FileSource;
use oci::Artifact;
pub(crate) use views::{View, Written};

/// All registries of all tenants.
pub(crate) struct Registries {
    plugins: Plugins,
    clock: Arc<dyn Clock>,
    /// Fetches catalogues, and says what tags name, for approvals.
    oci: Arc<OciClient>,
    git: Arc<GitClient>,
    secrets: Arc<dyn Secrets>,
    files: Files,
    /// What this catalogue is called when its entries travel.
    here: String,
    state: RwLock<State>,
    /// Who changes the list of registries has it alone. It is taken after the turn of a registry, never before: whoever has a
    /// turn may want this.
    changing: tokio::sync::Mutex<()>,
    /// Who makes the catalogue of a tenant; the others wait for that one.
    making: Mutex<HashMap<TenantName, Arc<tokio::sync::Mutex<()>>>>,
    /// Who looks through a whole catalogue.
    looking: Arc<Semaphore>,
}

/// What sources are made of.
pub(in crate::app) struct Outside {
    pub(in crate::app) plugins: Plugins,
    pub(in crate::app) oci: Arc<OciClient>,
    pub(in crate::app) git: Arc<GitClient>,
    pub(in crate::app) secrets: Arc<dyn Secrets>,
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
    /// It is being changed or removed: what is read of it now is given up.
    gone: CancellationToken,
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
    pub(in crate::app) fn load(directory: PathBuf, outside: Outside, clock: Arc<dyn Clock>) -> std::io::Result<Self> {
        let files = Files::new(directory);
        let Stored { here, registries, policies, reviews } = files.read_list()?;
        let now = clock.now();
        let known = registries.into_iter().map(|record| {
            let copy = files.read_copy(&record).unwrap_or_default();
            let due = due_at(&record, copy.position.synced, now);
            Known { copy: Arc::new(copy), ..Known::new(record, due) }
        });
        let state = State { known: known.collect(), policies, reviews, ..State::default() };
        let Outside { plugins, oci, git, secrets } = outside;
        let (state, changing, making) = (RwLock::new(state), tokio::sync::Mutex::default(), Mutex::default());
        let looking = Arc::new(Semaphore::new(CATALOGUE_LOOKS_AT_ONCE));
        Ok(Self { plugins, clock, oci, git, secrets, files, here, state, changing, making, looking })
    }

    /// What this catalogue is called when its entries travel.
    pub(crate) fn here(&self) -> &str {
        &self.here
    }

    /// The registries of a tenant, in their order.
    pub(crate) fn list(&self, tenant: &TenantName) -> Vec<RegistryInfo> {
        let state = self.state.read();
        let of = state.known.iter().filter(|known| known.record.tenant == *tenant);
        of.map(|known| known.info(&self.here)).collect()
    }

    /// When that one of a tenant's registries was looked at that was looked at longest ago, and when the last one was read. Neither
    /// goes through any entries, as the rest of what is told of a registry does.
    pub(crate) fn ages(&self, tenant: &TenantName) -> Ages {
        let state = self.state.read();
        let of = || state.known.iter().filter(|known| known.record.tenant == *tenant);
        Ages {
            checked: of().filter_map(Known::checked).min(),
            synced: of().filter_map(|known| known.copy.position.synced).max(),
        }
    }

    /// One registry.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn get(&self, tenant: &TenantName, name: &RegistryName) -> Result<RegistryInfo, Problem> {
        self.with(tenant, name, |known| known.info(&self.here))
    }

    /// Adds a registry and reads it for the first time. One that cannot be read now is there all the same, with the reason.
    ///
    /// # Errors
    /// There is one of this name, or it can never be read as it is written.
    pub(crate) async fn add(self: &Arc<Self>, request: CreateRegistry) -> Result<RegistryInfo, Problem> {
        let record = self.usable(request).await?;
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
            if let Err(error) = self.files.write_list(&self.stored(&state)) {
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

    /// Makes a registry what somebody wants it to be now. What was read of it stays where its source is the same: rules, layer and
    /// interval need no network. What came from another source is none of it.
    ///
    /// # Errors
    /// There is none, or it can never be read as it is written; it is then what it was.
    pub(crate) async fn replace(self: &Arc<Self>, request: CreateRegistry) -> Result<RegistryInfo, Problem> {
        let mut record = self.usable(request).await?;
        let (tenant, name) = (record.tenant.clone(), record.name.clone());
        {
            let (turn, _given_up) = self.give_up_reading(&tenant, &name)?;
            let _turn = turn.lock().await;
            let _changing = self.changing.lock().await;
            let mut state = self.state.write();
            let known = state.known.iter_mut().find(|known| known.is(&tenant, &name));
            let known = known.ok_or_else(|| no_registry(&tenant, &name))?;
            record.created = known.record.created;
            let before = std::mem::replace(&mut known.record, record.clone());
            if let Err(error) = self.files.write_list(&self.stored(&state)) {
                if let Some(known) = state.known.iter_mut().find(|known| known.record == record) {
                    known.record = before;
                }
                return Err(not_kept(&error));
            }
            let stays = before.spec.source == record.spec.source && before.spec.transform == record.spec.transform;
            if let Some(known) = state.known.iter_mut().find(|known| known.record == record && !stays) {
                known.copy = Arc::default();
                self.files.remove_copy(&record);
            }
            state.outdated(&tenant);
        }
        tracing::info!(fairlead.tenant = %tenant, fairlead.registry = %name, "a registry is changed");
        // Its error is part of what is shown.
        let _ = self.refresh(&tenant, &name, How::default()).await;
        self.get(&tenant, &name)
    }

    /// A registry that can be read as it is written. What is wrong with it is told before anything is kept.
    async fn usable(&self, CreateRegistry { tenant, name, spec }: CreateRegistry) -> Result<RegistryRecord, Problem> {
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
        self.source(&record).await?;
        Ok(record)
    }

    /// Forgets a registry and its copy.
    ///
    /// # Errors
    /// There is none.
    pub(crate) async fn remove(&self, tenant: &TenantName, name: &RegistryName) -> Result<(), Problem> {
        let (turn, _given_up) = self.give_up_reading(tenant, name)?;
        let _turn = turn.lock().await;
        let _changing = self.changing.lock().await;
        let record = self.with(tenant, name, |known| known.record.clone())?;
        {
            let mut state = self.state.write();
            let mut stored = self.stored(&state);
            stored.registries.retain(|known| known.tenant != *tenant || known.name != *name);
            self.files.write_list(&stored).map_err(|error| not_kept(&error))?;
            state.known.retain(|known| !known.is(tenant, name));
            state.outdated(tenant);
        }
        self.files.remove_copy(&record);
        tracing::info!(fairlead.tenant = %tenant, fairlead.registry = %name, "a registry is removed");
        Ok(())
    }

    /// Forgets everything of a tenant: registries, layers, reviews. Whoever has its name next finds nothing of it.
    ///
    /// # Errors
    /// It cannot be written down.
    pub(crate) async fn forget(&self, tenant: &TenantName) -> Result<(), Problem> {
        for registry in self.list(tenant) {
            match self.remove(tenant, &registry.name).await {
                Err(problem) if problem.kind != ProblemKind::NotFound => return Err(problem),
                _ => {}
            }
        }
        let _changing = self.changing.lock().await;
        let mut state = self.state.write();
        let mut stored = self.stored(&state);
        let knew = [stored.policies.remove(tenant).is_some(), stored.reviews.remove(tenant).is_some()];
        if knew.contains(&true) {
            self.files.write_list(&stored).map_err(|error| not_kept(&error))?;
        }
        state.policies.remove(tenant);
        state.reviews.remove(tenant);
        state.outdated(tenant);
        self.making.lock().remove(tenant);
        Ok(())
    }

    /// Reads a registry now.
    ///
    /// # Errors
    /// There is none, or it cannot be read; what was there stays.
    pub(crate) async fn refresh_now(
        self: &Arc<Self>,
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
        if let Err(error) = self.files.write_list(&self.stored(&state)) {
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

    async fn refresh(self: &Arc<Self>, tenant: &TenantName, name: &RegistryName, how: How) -> Result<(), Problem> {
        let turn = self.with(tenant, name, |known| Arc::clone(&known.turn))?;
        let _turn = turn.lock().await;
        let (record, before, gone) =
            self.with(tenant, name, |known| (known.record.clone(), Arc::clone(&known.copy), known.gone.clone()))?;
        let now = self.clock.now();
        let synced = match self.source(&record).await {
            Ok((source, origin)) => tokio::select! {
                biased;
                () = gone.cancelled() => {
                    return Err(Problem::new(ProblemKind::NotFound, format!("registry `{name}` was changed or removed meanwhile")));
                }
                read = synchronise(&*source, &origin, Some(&before), now, how) => {
                    read.map_err(|error| Problem::new(ProblemKind::Unavailable, format!("registry `{name}`: {error}")))
                }
            },
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
        let changed = matches!(outcome, Ok(Some(_)));
        self.settle(&record, outcome, now)?;
        if changed {
            self.approve_by_rules(tenant).await;
        }
        Ok(())
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

    /// The source of a registry behind its hooks, and what names all of that.
    async fn source(&self, record: &RegistryRecord) -> Result<(Arc<dyn RegistrySource>, String), Problem> {
        let (source, mut origin) = self.bare_source(record).await?;
        let mut hooks = Vec::new();
        for hook in &record.spec.transform {
            let (made, digest) = self.hook(&record.tenant, &record.name, hook).await?;
            origin = format!("{origin} {digest} {}", hook.config);
            hooks.push(made);
        }
        if hooks.is_empty() {
            return Ok((source, origin));
        }
        Ok((Arc::new(Transformed { source, hooks }), origin))
    }

    /// A plugin as a source of this registry, and its digest.
    async fn hook(
        &self,
        tenant: &TenantName,
        registry: &RegistryName,
        Hook { plugin, config, grants }: &Hook,
    ) -> Result<(Arc<dyn RegistrySource>, String), Problem> {
        // A name that documents pin is one of chains; sources are found where they lie.
        let loaded = self.plugins.load(&BTreeMap::new(), plugin).await?;
        let attachment = SourceAttachment {
            tenant: tenant.clone(),
            name: AttachmentName::new(registry.as_str())
                .map_err(|error| Problem::new(ProblemKind::Invalid, error.to_string()))?,
            config: config.clone(),
            grants: grants.clone(),
        };
        let made = self.plugins.host.source(&loaded, attachment).await.map_err(|error| not_used(&error))?;
        Ok((made, loaded.digest().to_string()))
    }

    async fn bare_source(&self, record: &RegistryRecord) -> Result<(Arc<dyn RegistrySource>, String), Problem> {
        match &record.spec.source {
            source @ EntrySource::File { path } => Ok((Arc::new(FileSource::new(path.clone())), source.origin(""))),
            source @ EntrySource::Plugin { plugin, config, grants } => {
                let plugin = Hook { plugin: plugin.clone(), config: config.clone(), grants: grants.clone() };
                let (made, digest) = self.hook(&record.tenant, &record.name, &plugin).await?;
                Ok((made, source.origin(&digest)))
            }
            source @ EntrySource::Git(wanted) => {
                // Not even kept: it would be shown to whoever may see the registry.
                let authority = wanted.url.split_once("://").map_or("", |(_, rest)| rest).split('/').next();
                if authority.is_some_and(|authority| authority.contains('@')) {
                    let problem =
                        Problem::new(ProblemKind::Invalid, "the address has a login in it, which would be seen");
                    return Err(problem.at("/spec/source/url").hint("give it as a secret, with `--token`"));
                }
                let (client, secrets) = (Arc::clone(&self.git), Arc::clone(&self.secrets));
                let repository =
                    Repository { client, secrets, tenant: record.tenant.clone(), source: (**wanted).clone() };
                Ok((Arc::new(repository), source.origin("")))
            }
            source @ EntrySource::Oci { reference } => {
                ImageReference::new(reference).map_err(|error| {
                    Problem::new(ProblemKind::Invalid, error.to_string()).at("/spec/source/reference")
                })?;
                let (client, tenant) = (Arc::clone(&self.oci), record.tenant.clone());
                let artifact = Artifact { client, tenant, reference: reference.clone() };
                Ok((Arc::new(artifact), source.origin("")))
            }
        }
    }

    /// What is written down of all this.
    fn stored(&self, state: &State) -> Stored {
        Stored {
            here: self.here.clone(),
            registries: state.known.iter().map(|known| known.record.clone()).collect(),
            policies: state.policies.clone(),
            reviews: state.reviews.clone(),
        }
    }

    fn with<T>(&self, tenant: &TenantName, name: &RegistryName, look: impl FnOnce(&Known) -> T) -> Result<T, Problem> {
        let state = self.state.read();
        let known = state.known.iter().find(|known| known.is(tenant, name));
        known.map(look).ok_or_else(|| no_registry(tenant, name))
    }
}

/// How old what registries told is.
pub(crate) struct Ages {
    /// The longest ago that one of them was looked at.
    pub(crate) checked: Option<Timestamp>,
    /// The last time that one of them was read.
    pub(crate) synced: Option<Timestamp>,
}

impl Known {
    fn new(record: RegistryRecord, due: Instant) -> Self {
        let (turn, gone) = (Arc::default(), CancellationToken::new());
        Self { record, copy: Arc::default(), checked: None, error: None, failures: 0, due, turn, gone }
    }

    fn is(&self, tenant: &TenantName, name: &RegistryName) -> bool {
        self.record.tenant == *tenant && self.record.name == *name
    }

    fn checked(&self) -> Option<Timestamp> {
        self.checked.max(self.copy.position.synced)
    }

    fn info(&self, here: &str) -> RegistryInfo {
        let position = &self.copy.position;
        let returned = self.copy.entries.values().filter(|entry| returns(entry, here)).count();
        RegistryInfo {
            name: self.record.name.clone(),
            tenant: self.record.tenant.clone(),
            source: self.record.spec.source.shown(),
            spec: self.record.spec.clone(),
            entries: self.copy.entries.len(),
            synced: position.synced,
            checked: self.checked(),
            error: self.error.clone(),
            failures: self.failures,
            refused: position.refused.iter().map(|refused| format!("{}: {}", refused.entry, refused.reason)).collect(),
            refused_count: position.refused_count,
            returned,
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

fn no_registry(tenant: &TenantName, name: &RegistryName) -> Problem {
    Problem::new(ProblemKind::NotFound, format!("there is no registry `{name}` in tenant `{tenant}`"))
        .hint("`fairlead registry list` shows what there is")
}

fn not_kept(error: &std::io::Error) -> Problem {
    tracing::error!(error = text::chain(error), "registries could not be written down");
    Problem::new(ProblemKind::Internal, format!("it could not be kept: {error}"))
        .hint("check that the disk is not full; the log of the daemon says more")
}
