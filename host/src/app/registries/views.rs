//! The catalogue of a tenant, as it is now: made when somebody asks, once for all who ask, and kept until something changes.
//!
//! Making it, looking through all of it and writing all of it out take as long as it is large, and where it is served to others
//! anybody may ask. So each of these is done once or by a few at a time, and never on a thread that serves: servers answer on the
//! same threads.

use std::sync::Arc;

use bytes::Bytes;
use fairlead_core::name::TenantName;
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_registry::copy::Copy;
use fairlead_registry::merge::{Catalogue, Part};
use fairlead_registry::rules::Rules;
use fairlead_registry::search::Index;
use fairlead_registry::spec::RegistryRecord;
use fairlead_server_json::Format;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout};

use super::{Registries, State};
use crate::api::types::registry::ReviewInfo;
use crate::limits::{CATALOGUE_KEEP, CATALOGUE_LOOK_WAIT};

/// The catalogue of one tenant, as it is now.
pub(crate) struct View {
    pub(crate) catalogue: Catalogue,
    pub(crate) index: Index,
    made: Instant,
    /// Says which one this is: an entity tag.
    pub(crate) tag: String,
    upstream: OnceCell<Written>,
    toolhive: OnceCell<Written>,
}

/// A whole catalogue in a format.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    /// As it is.
    pub(crate) plain: Bytes,
    /// Compressed with gzip.
    pub(crate) packed: Bytes,
}

impl View {
    fn new(catalogue: Catalogue, tag: String) -> Self {
        let index = Index::of(&catalogue);
        let (upstream, toolhive) = (OnceCell::new(), OnceCell::new());
        Self { catalogue, index, made: Instant::now(), tag, upstream, toolhive }
    }

    /// Where this is kept in a format, for all who want it so.
    pub(crate) fn written(&self, format: Format) -> &OnceCell<Written> {
        if format == Format::ToolHive { &self.toolhive } else { &self.upstream }
    }
}

impl Registries {
    /// The catalogue of a tenant, as it is now.
    pub(crate) async fn view(self: &Arc<Self>, tenant: &TenantName) -> Arc<View> {
        if let Some(view) = self.kept(tenant) {
            return view;
        }
        let making = Arc::clone(self.making.lock().entry(tenant.clone()).or_default());
        let turn = making.lock_owned().await;
        // Somebody may have made it meanwhile.
        if let Some(view) = self.kept(tenant) {
            return view;
        }
        let (registries, of) = (Arc::clone(self), tenant.clone());
        // A hundred thousand entries take their time, and not from a thread that serves.
        let made = tokio::task::spawn_blocking(move || {
            // It is taken until the work is done: whoever hangs up and asks again begins no other.
            let _turn = turn;
            registries.make_view(&of)
        });
        let made = made.await;
        made.unwrap_or_else(|error| {
            tracing::error!(%error, "the catalogue could not be put together");
            Arc::new(View::new(Catalogue::default(), String::new()))
        })
    }

    /// Looks through a whole catalogue, when it is our turn.
    ///
    /// # Errors
    /// Too many do.
    pub(crate) async fn through<T: Send + 'static>(
        &self,
        view: &Arc<View>,
        look: impl FnOnce(&View) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let busy = || {
            Problem::new(ProblemKind::Unavailable, "too many look through the catalogue just now")
                .hint("try again in a moment")
        };
        let turn = timeout(CATALOGUE_LOOK_WAIT, Arc::clone(&self.looking).acquire_owned()).await;
        let turn = turn.map_err(|_| busy())?.map_err(|_| busy())?;
        let view = Arc::clone(view);
        let looked = tokio::task::spawn_blocking(move || {
            // It is taken until the work is done, also when nobody waits for it any more.
            let _turn = turn;
            look(&view)
        });
        looked.await.map_err(|error| Problem::new(ProblemKind::Internal, format!("looking for it broke off: {error}")))
    }

    fn kept(&self, tenant: &TenantName) -> Option<Arc<View>> {
        let state = self.state.read();
        state.views.get(tenant).filter(|view| view.made.elapsed() < CATALOGUE_KEEP).map(Arc::clone)
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
            here: &self.here,
        });
        let given: Vec<Part<'_>> = approved
            .into_iter()
            .chain(parts.iter().map(|(record, copy)| Part {
                registry: record.name.clone(),
                layer: record.spec.layer.clone(),
                rules: &record.spec.rules,
                copy,
                here: &self.here,
            }))
            .collect();
        let catalogue = Catalogue::merge(&given, &self.policy(tenant).layers, self.clock.now());
        let tag = tag_of(&parts, &self.reviews(tenant).reviews, &catalogue);
        let view = Arc::new(View::new(catalogue, tag));
        let mut state = self.state.write();
        if state.generation == generation {
            state.views.insert(tenant.clone(), Arc::clone(&view));
        }
        view
    }
}

impl State {
    /// Something of a tenant changed: its catalogue is made anew when somebody asks.
    pub(super) fn outdated(&mut self, tenant: &TenantName) {
        self.generation += 1;
        self.views.remove(tenant);
    }
}

/// Copies and reviews say what is in documents; the rest is what became of them: the order of trust decides who wins, and a rule
/// about ages lets other entries in today than yesterday.
fn tag_of(parts: &[(RegistryRecord, Arc<Copy>)], reviews: &[ReviewInfo], catalogue: &Catalogue) -> String {
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
    for merged in catalogue.iter() {
        let entry = &merged.entry;
        let told = (&entry.name, &entry.version, entry.status, &entry.labels, entry.document.len());
        let stands = (&merged.registry, &merged.layer, merged.is_latest, merged.shadowed.len());
        hash.update(serde_json::to_vec(&(told, stands)).unwrap_or_default());
    }
    let hash: [u8; 32] = hash.finalize().into();
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, RecvTimeoutError, Sender, TryRecvError};
    use std::time::Duration;

    use fairlead_core::clock::Clock;
    use fairlead_core::name::{LayerName, RegistryName};
    use fairlead_core::registry::{EntryStatus, SourceEntry};
    use fairlead_registry::entry::Entry;
    use futures_util::FutureExt as _;
    use jiff::Timestamp;
    use parking_lot::Mutex;
    use serde_json::json;

    use super::super::scene;
    use super::*;

    /// A bound for a broken run.
    const SOON: Duration = Duration::from_secs(10);

    /// Tells of each who asks for the time, and keeps them waiting while somebody holds it.
    struct Held {
        asked: Sender<()>,
        gate: Mutex<()>,
    }

    impl Clock for Held {
        fn now(&self) -> Timestamp {
            self.asked.send(()).unwrap();
            drop(self.gate.lock());
            Timestamp::UNIX_EPOCH
        }
    }

    #[tokio::test]
    async fn a_catalogue_that_is_being_made_is_not_begun_again_for_whoever_hangs_up_and_comes_back() {
        let (asked, asks) = mpsc::channel();
        let (home, clock) = (tempfile::tempdir().unwrap(), Arc::new(Held { asked, gate: Mutex::default() }));
        let registries = scene::registries(home.path(), clock.clone());
        let tenant = TenantName::default();
        let again = {
            let _held = clock.gate.lock();
            while asks.try_recv().is_ok() {}
            assert!(registries.view(&tenant).now_or_never().is_none(), "it is being made");
            asks.recv_timeout(SOON).unwrap();
            // Whoever asked has hung up, and the work goes on.
            let mut again = Box::pin(registries.view(&tenant));
            assert!((&mut again).now_or_never().is_none());
            assert_eq!(asks.recv_timeout(SOON / 100), Err(RecvTimeoutError::Timeout), "another one was begun");
            again
        };
        again.await;
        assert_eq!(asks.try_recv(), Err(TryRecvError::Empty), "it was made once");
    }

    fn copy(text: &str) -> Copy {
        let given = SourceEntry {
            name: "a/b".to_owned(),
            version: "1.0.0".to_owned(),
            status: EntryStatus::Active,
            document: json!({"name": "a/b", "version": "1.0.0", "description": text}).to_string(),
            published: Some(Timestamp::UNIX_EPOCH),
            updated: None,
            is_latest: true,
            labels: std::collections::BTreeMap::new(),
        };
        let entry = Entry::admit(given).unwrap();
        Copy { entries: [(("a/b".to_owned(), "1.0.0".to_owned()), Arc::new(entry))].into(), ..Copy::default() }
    }

    #[test]
    fn a_catalogue_in_which_somebody_else_wins_is_another_one_and_so_is_one_after_a_birthday() {
        let copies = [copy("of one"), copy("of other")];
        let rules: Rules = serde_json::from_value(json!({"include": [{"minAgeDays": 10}]})).unwrap();
        let none = Rules::default();
        let tag = |order: [&str; 2], rules: &Rules, now: &str| {
            let layer = |name: &str| LayerName::new(name).unwrap();
            let part = |name: &str, copy| Part {
                registry: RegistryName::new(name).unwrap(),
                layer: layer(name),
                rules,
                copy,
                here: "here",
            };
            let parts = [part("one", &copies[0]), part("other", &copies[1])];
            tag_of(&[], &[], &Catalogue::merge(&parts, &order.map(layer), now.parse().unwrap()))
        };
        let (early, late) = ("1970-01-05T00:00:00Z", "1970-01-20T00:00:00Z");
        let before = tag(["one", "other"], &none, early);
        assert_eq!(before, tag(["one", "other"], &none, late), "nothing changed");
        assert_ne!(before, tag(["other", "one"], &none, early), "the order of trust");
        assert_ne!(tag(["one", "other"], &rules, early), tag(["one", "other"], &rules, late), "the age of an entry");
    }
}
