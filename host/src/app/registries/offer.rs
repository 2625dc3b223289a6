//! What a catalogue offers: entries that are looked for, one that is looked at, one that shall run, and whether it may.

use std::sync::Arc;

use fairlead_core::name::{LayerName, TenantName};
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::registry::ANNOTATION_ENTRY;
use fairlead_core::server::{ServerSpec, Source};
use fairlead_registry::launch::{Launch, LaunchError, launch, questions, way};
use fairlead_registry::limits::{LISTING_DEFAULT, LISTING_MAX};
use fairlead_registry::listing::Query;
use fairlead_registry::merge::{Catalogue, Merged};
use fairlead_registry::spec::LayerPolicy;
use fairlead_registry::sync::is_offered;
use fairlead_server_json::{Format, Item, Listing, Loss, write};

use super::offers::offers;
use super::{Registries, View};
use crate::api::types::registry::{EntryInfo, EntryList, EntryQuery, LaunchPlan, PlanLaunch};

impl Registries {
    /// Entries, ranked when words are looked for, by name otherwise.
    ///
    /// # Errors
    /// Too many look for entries.
    pub(crate) async fn entries(self: &Arc<Self>, query: EntryQuery) -> Result<EntryList, Problem> {
        let tenant = query.tenant.clone();
        let view = self.view(&tenant).await;
        let policy = self.policy(&tenant);
        let limit = query.limit.unwrap_or(LISTING_DEFAULT).clamp(1, LISTING_MAX);
        let wanted = Query {
            cursor: query.cursor,
            limit: Some(limit),
            version: (!query.versions).then(|| "latest".to_owned()),
            include_deleted: query.deleted,
            registry: query.registry,
            layers: query.layer.into_iter().collect(),
            tag: query.tag,
            transport: query.transport,
            package_type: query.package_type,
            labels: pairs(query.labels.as_deref().unwrap_or_default()),
            ..Query::default()
        };
        let search = query.search.filter(|text| !text.trim().is_empty());
        let look = move |view: &View| -> (Vec<EntryInfo>, Option<String>) {
            let Some(text) = search.as_deref() else {
                let page = wanted.page(&view.catalogue);
                return (page.entries.iter().map(|merged| info(merged, &policy)).collect(), page.next);
            };
            let hits = view.index.search(&view.catalogue, text, limit, &|merged| wanted.wants(merged));
            let told = hits.iter().map(|hit| EntryInfo { score: Some(hit.score), ..info(hit.merged, &policy) });
            (told.collect(), None)
        };
        let (entries, next_cursor) = self.through(&view, look).await?;
        let oldest = self.ages(&tenant).checked;
        Ok(EntryList { entries, next_cursor, total: view.catalogue.len(), oldest })
    }

    /// One entry with all that is known of it.
    ///
    /// # Errors
    /// There is none.
    pub(crate) async fn entry(self: &Arc<Self>, tenant: &TenantName, named: &str) -> Result<EntryInfo, Problem> {
        let view = self.view(tenant).await;
        let merged = find(&view.catalogue, named)?;
        let versions = view.catalogue.versions(&merged.entry.name);
        let document = merged.entry.view();
        Ok(EntryInfo {
            server: serde_json::from_str(&merged.entry.document).ok(),
            versions: versions.iter().map(|merged| merged.entry.version.clone()).collect(),
            questions: way(&document, None).map(|way| questions(&document, &way)).unwrap_or_default(),
            ..info(merged, &self.policy(tenant))
        })
    }

    /// What an entry becomes with these answers.
    ///
    /// # Errors
    /// There is no such entry, it may not run, or it offers nothing that can.
    pub(crate) async fn plan(self: &Arc<Self>, request: PlanLaunch) -> Result<LaunchPlan, Problem> {
        let PlanLaunch { tenant, entry, registry, way, answers } = request;
        let view = self.view(&tenant).await;
        let policy = self.policy(&tenant);
        let merged = newest_that_may(&view.catalogue, &policy, find(&view.catalogue, &entry)?, &entry);
        if let Some(registry) = registry.filter(|registry| *registry != merged.registry) {
            let detail =
                format!("`{}` comes from registry `{}`, not from `{registry}`", merged.entry.name, merged.registry);
            return Err(Problem::new(ProblemKind::Conflict, detail)
                .hint("a more trusted registry has the same entry; `fairlead registry entry` shows who has it"));
        }
        permitted(&policy, merged)?;
        let called = format!("{}@{}", merged.entry.name, merged.entry.version);
        match launch(merged, way.as_deref(), &answers) {
            Ok(Launch { name, spec, notes }) => {
                Ok(LaunchPlan { entry: called, name: Some(name), spec: Some(spec), missing: Vec::new(), notes })
            }
            Err(LaunchError::Missing(missing)) => {
                Ok(LaunchPlan { entry: called, name: None, spec: None, missing, notes: Vec::new() })
            }
            Err(error) => Err(Problem::new(ProblemKind::Invalid, format!("`{called}`: {error}"))),
        }
    }

    /// The newest version of every entry, as a file, and what that cannot say.
    ///
    /// # Errors
    /// Too many want all of it.
    pub(crate) async fn export(
        self: &Arc<Self>,
        tenant: &TenantName,
        format: Format,
    ) -> Result<(String, Vec<Loss>), Problem> {
        let view = self.view(tenant).await;
        self.write_out(&view, tenant, format).await
    }

    /// The same, of a catalogue as it was.
    ///
    /// # Errors
    /// As for [`export`](Self::export).
    pub(crate) async fn write_out(
        &self,
        view: &Arc<View>,
        tenant: &TenantName,
        format: Format,
    ) -> Result<(String, Vec<Loss>), Problem> {
        let synced = self.ages(tenant).synced;
        self.through(view, move |view| {
            let latest = view.catalogue.iter().filter(|merged| merged.is_latest && is_offered(&merged.entry));
            let item = |merged: &Merged| Item {
                document: merged.entry.document.clone(),
                // Files say nothing of the standing of an entry; the list of the API does.
                meta: (format == Format::Official).then(|| merged.entry.official(merged.is_latest).to_string()),
            };
            write(format, &Listing::of(latest.map(item).collect(), synced.map(|at| at.to_string())))
        })
        .await
    }

    /// Whether a server may be created, by the layers that its tenant lets run. What the server says of itself is only where to
    /// look: what counts is that the entry is there now, in such a layer, and offers what shall run.
    ///
    /// # Errors
    /// It may not; the hint says how to ask.
    pub(crate) async fn admit(self: &Arc<Self>, tenant: &TenantName, spec: &ServerSpec) -> Result<(), Problem> {
        let policy = self.policy(tenant);
        let Some(layers) = &policy.run else { return Ok(()) };
        let forbidden = |detail: String| {
            let hint = format!(
                "run an entry of {} (`fairlead search`), or ask an admin of the tenant to change what may run",
                told(layers)
            );
            Err(Problem::new(ProblemKind::Forbidden, detail).hint(hint))
        };
        let Some(named) = spec.annotations.get(ANNOTATION_ENTRY) else {
            return forbidden(format!("in tenant `{tenant}` only entries of {} may run", told(layers)));
        };
        let view = self.view(tenant).await;
        let merged = find(&view.catalogue, named)?;
        permitted(&policy, merged)?;
        if !offers(&merged.entry.view(), &spec.source) {
            return forbidden(format!("`{named}` does not offer what shall run"));
        }
        Ok(())
    }

    /// Why what an update brings may not run, by the layers that its tenant lets run; `None`: it may. Nobody names an entry
    /// here, so any that may run will do, if it offers one of these.
    pub(crate) async fn against(self: &Arc<Self>, tenant: &TenantName, ways: &[Source]) -> Option<String> {
        let policy = self.policy(tenant);
        let layers = policy.run.as_ref()?;
        let view = self.view(tenant).await;
        let (by, wanted) = (policy.clone(), ways.to_vec());
        let look = move |view: &View| {
            let mut permitted =
                view.catalogue.iter().filter(|merged| by.may_run(&merged.layer) && is_offered(&merged.entry));
            permitted.any(|merged| {
                let entry = merged.entry.view();
                wanted.iter().any(|way| offers(&entry, way))
            })
        };
        let is_there = match self.through(&view, look).await {
            Ok(is_there) => is_there,
            // Nobody knows that it may.
            Err(problem) => return Some(problem.detail),
        };
        let named = ways.iter().find_map(|way| match way {
            Source::Image(image) => Some(format!("`{}`", image.reference)),
            Source::Package(package) => Some(format!("`{}`", package.package)),
            _ => None,
        });
        (!is_there).then(|| {
            let named = named.unwrap_or_else(|| "it".to_owned());
            format!("in tenant `{tenant}` only entries of {} may run, and none of them offers {named}", told(layers))
        })
    }
}

fn told(layers: &[LayerName]) -> String {
    let names: Vec<String> = layers.iter().map(|layer| format!("`{layer}`")).collect();
    if names.is_empty() { "no layer".to_owned() } else { names.join(", ") }
}

fn permitted(policy: &LayerPolicy, merged: &Merged) -> Result<(), Problem> {
    if !is_offered(&merged.entry) {
        let detail = format!(
            "`{}@{}` was taken back where it was published (registry `{}`)",
            merged.entry.name, merged.entry.version, merged.registry
        );
        let hint = format!("`fairlead registry entry {}` shows which versions there are", merged.entry.name);
        return Err(Problem::new(ProblemKind::Forbidden, detail).hint(hint));
    }
    if policy.may_run(&merged.layer) {
        return Ok(());
    }
    let layers = policy.run.clone().unwrap_or_default();
    let detail = format!(
        "`{}@{}` is in layer `{}` (registry `{}`), and only entries of {} may run",
        merged.entry.name,
        merged.entry.version,
        merged.layer,
        merged.registry,
        told(&layers)
    );
    let hint = format!(
        "ask for it with `fairlead registry submit {}@{} --reason …`; an admin of the tenant decides",
        merged.entry.name, merged.entry.version
    );
    Err(Problem::new(ProblemKind::Forbidden, detail).hint(hint))
}

/// Where no version is asked for, the newest that may run, if the newest of all may not.
fn newest_that_may<'a>(catalogue: &'a Catalogue, policy: &LayerPolicy, found: &'a Merged, named: &str) -> &'a Merged {
    if named.contains('@') || policy.may_run(&found.layer) {
        return found;
    }
    let versions = catalogue.versions(&found.entry.name);
    versions.into_iter().find(|merged| is_offered(&merged.entry) && policy.may_run(&merged.layer)).unwrap_or(found)
}

/// The entry that a text names: `namespace/name`, or the last part where it is unique; with a version behind `@`.
pub(super) fn find<'a>(catalogue: &'a Catalogue, named: &str) -> Result<&'a Merged, Problem> {
    let (name, version) = named.split_once('@').map_or((named, None), |(name, version)| (name, Some(version)));
    let missing = || {
        Problem::new(ProblemKind::NotFound, format!("there is no entry `{named}` in the catalogue"))
            .hint("`fairlead search` looks for one, `fairlead registry list` shows what is read")
    };
    let full = if name.contains('/') {
        name.to_owned()
    } else {
        match catalogue.by_short_name(name).as_slice() {
            [] => return Err(missing()),
            [one] => (*one).to_owned(),
            several => {
                let detail = format!("`{name}` is the end of several names: {}", several.join(", "));
                return Err(Problem::new(ProblemKind::Conflict, detail).hint("give the whole name"));
            }
        }
    };
    let found = match version {
        None | Some("latest") => catalogue.latest(&full),
        Some(version) => catalogue.get(&full, version),
    };
    found.ok_or_else(missing)
}

fn pairs(text: &str) -> std::collections::BTreeMap<String, String> {
    let each = text.split(',').filter(|label| !label.is_empty());
    each.map(|label| label.split_once('=').unwrap_or((label, ""))).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

fn info(merged: &Merged, policy: &LayerPolicy) -> EntryInfo {
    let view = merged.entry.view();
    let owned = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect();
    EntryInfo {
        name: merged.entry.name.clone(),
        version: merged.entry.version.clone(),
        tags: view.tags(),
        transports: owned(view.transports()),
        package_types: owned(view.package_types()),
        title: view.title,
        description: view.description,
        status: merged.entry.status,
        is_latest: merged.is_latest,
        registry: merged.registry.clone(),
        layer: merged.layer.clone(),
        may_run: policy.may_run(&merged.layer),
        labels: merged.entry.labels.clone(),
        published: merged.entry.published,
        updated: merged.entry.updated,
        shadowed: merged.shadowed.clone(),
        score: None,
        server: None,
        versions: Vec::new(),
        questions: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use fairlead_core::name::RegistryName;
    use fairlead_core::registry::{EntryStatus, SourceEntry};
    use fairlead_registry::entry::Entry;

    use super::*;

    #[test]
    fn what_was_taken_back_does_not_run_whatever_may() {
        let merged = |status| {
            let given = SourceEntry {
                name: "a/b".to_owned(),
                version: "1.0.0".to_owned(),
                status,
                document: r#"{"name": "a/b", "version": "1.0.0", "description": "d"}"#.to_owned(),
                published: None,
                updated: None,
                is_latest: true,
                labels: std::collections::BTreeMap::new(),
            };
            Merged {
                entry: Arc::new(Entry::admit(given).unwrap()),
                registry: RegistryName::new("r").unwrap(),
                layer: LayerName::trusted(),
                is_latest: true,
                shadowed: Vec::new(),
            }
        };
        let anything = LayerPolicy::default();
        let trusted = LayerPolicy { run: Some(vec![LayerName::trusted()]), ..LayerPolicy::default() };
        for policy in [&anything, &trusted] {
            assert!(permitted(policy, &merged(EntryStatus::Active)).is_ok());
            assert!(permitted(policy, &merged(EntryStatus::Deprecated)).is_ok());
            let told = permitted(policy, &merged(EntryStatus::Deleted)).unwrap_err();
            assert_eq!(told.kind, ProblemKind::Forbidden, "{}", told.detail);
        }
    }
}
