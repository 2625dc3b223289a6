//! Asks the registries of namespaces for the entries that servers name, beside all looks: no look waits for it.
//!
//! What they say is kept in memory ([`Book`]), and those servers are named to the queue of which something else is to be said. A
//! registry server is reached as `kubectl port-forward` does it, because an operator may run where no Service leads. It is shown a
//! token of the operator's own account, made for that registry alone, and none where it takes none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fairlead_core::BoxFuture;
use fairlead_core::registry::ANNOTATION_ENTRY;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use kube::core::DynamicObject;
use kube::runtime::reflector::ObjectRef;
use kube::{Client, ResourceExt as _};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::act::within;
use super::cache::Cache;
use super::reconcile::{Context, read_registry};
use super::subject::Subject;
use crate::approval::ask::{Parties, Talk};
use crate::approval::book::{Book, Heard, RegistryKey, Round, Stand};
use crate::approval::way::{Way, ready_since, way};
use crate::approval::{Answer, Answers, EntryName, Lease, Reach, Reached};
use crate::forward::{Forwarded, Trouble};
use crate::limits::{FORWARD_END_MAX, REGISTRY_CALL_MAX, REGISTRY_ROUND_MAX, REGISTRY_TICK, REGISTRY_TOKEN_SECS};
use crate::registry::audience;

/// What is known of entries, and the means to ask.
pub(super) struct Approver {
    book: Mutex<Book>,
    reach: Arc<dyn Reach>,
    client: Client,
}

/// How a service account is called as a user.
const ACCOUNT: &str = "system:serviceaccount:";

impl Approver {
    pub(super) fn new(client: Client, reach: Option<Arc<dyn Reach>>) -> Self {
        let reach = reach.unwrap_or_else(|| Arc::new(Forwards(client.clone())));
        Self { book: Mutex::default(), reach, client }
    }

    /// What the registries of a namespace say of the entry that a server names.
    pub(super) fn answers(&self, cache: &Cache, server: &DynamicObject) -> Answers {
        let Some((namespace, entry)) = named(server) else { return Answers::new() };
        let here = cache.registries.state_filter(|registry| {
            registry.metadata.namespace.as_deref() == Some(&namespace) && is_staying(registry)
        });
        let names = here.iter().map(|registry| registry.name_any()).collect();
        self.book.lock().answers(&namespace, names, &entry)
    }

    /// Asks for as long as it is polled.
    pub(super) async fn work(&self, context: &Context) {
        let mut rounds = FuturesUnordered::new();
        let mut tick = interval(REGISTRY_TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    let changed = self.book.lock().expect(wanted(context.cache()), Instant::now());
                    let is_concerned = |namespace: &str, _: &EntryName| changed.contains(namespace);
                    look_again(context, is_concerned).await;
                }
                Some((round, heard)) = rounds.next(), if !rounds.is_empty() => {
                    let round: Round = round;
                    let changed = self.book.lock().learn(&round, heard, Instant::now());
                    let its = &round.registry.namespace;
                    let is_concerned = |namespace: &str, entry: &EntryName| namespace == its && changed.contains(entry);
                    look_again(context, is_concerned).await;
                }
            }
            let due = self.book.lock().due(Instant::now());
            rounds.extend(due.into_iter().map(|round| async move {
                let heard = self.round(context, &round).await;
                (round, heard)
            }));
        }
    }

    /// One conversation with a registry, about all that is to be asked of it.
    async fn round(&self, context: &Context, round: &Round) -> Vec<Heard> {
        let RegistryKey { namespace, name } = &round.registry;
        let mut heard = Vec::new();
        let asking = async {
            let (way, parties) = self.prepare(context, &round.registry).await?;
            let mut talk: Option<Talk> = None;
            for entry in &round.entries {
                let talking = match talk.take().filter(|talk| !talk.is_over()) {
                    Some(talk) => talk,
                    None => self.begin(namespace, &way, parties.clone()).await?,
                };
                let answer = talk.insert(talking).ask(entry).await?;
                let is_unsure = answer == Answer::Missing && way.is_new;
                let answer = if is_unsure {
                    Err("it has just started, and perhaps not read all".to_owned())
                } else {
                    Ok(answer)
                };
                heard.push((entry.clone(), answer));
            }
            Ok::<(), String>(())
        };
        let ended = timeout(REGISTRY_ROUND_MAX, asking).await;
        // What a round that took its time did not come to is asked in the next one.
        if let Ok(Err(why)) = ended {
            tracing::debug!(namespace, registry = name, why, "a registry says nothing");
            let silent = round.entries.iter().skip(heard.len()).map(|entry| (entry.clone(), Err(why.clone())));
            heard.extend(silent.collect::<Vec<_>>());
        }
        heard
    }

    async fn prepare(&self, context: &Context, registry: &RegistryKey) -> Result<(Way, Parties), String> {
        let RegistryKey { namespace, name } = registry;
        let resource = Subject::Registry.resource();
        let object = context.cache().registries.get(&ObjectRef::new_with(name, resource).within(namespace));
        let object = object.ok_or("it is gone")?;
        let pods = context.cache().registry_pods();
        let pods = pods.get(registry).map(Vec::as_slice).unwrap_or_default();
        let way = way(&read_registry(&object), pods, Timestamp::now())?;
        let token = match &way.audience {
            Some(audience) => Some(self.token(audience).await?),
            None => None,
        };
        let parties = Parties { host: audience(namespace, name), token, read: context.registries.read };
        Ok((way, parties))
    }

    async fn begin(&self, namespace: &str, way: &Way, parties: Parties) -> Result<Talk, String> {
        let reaching = self.reach.reach(namespace, &way.pod, way.port);
        let late = |_| "its pod is not reached".to_owned();
        let reached = timeout(REGISTRY_CALL_MAX, reaching).await.map_err(late)??;
        Talk::begin(reached, parties).await
    }

    /// A token of the account that this operator is, good for one registry. Whoever is no account has none to give.
    async fn token(&self, audience: &str) -> Result<String, String> {
        let (namespace, name) = self.account().await?;
        let spec = TokenRequestSpec {
            audiences: vec![audience.to_owned()],
            expiration_seconds: Some(REGISTRY_TOKEN_SECS),
            bound_object_ref: None,
        };
        let wanted = TokenRequest { spec, ..TokenRequest::default() };
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &namespace);
        let params = PostParams::default();
        let what = format!("make a token of the account `{namespace}/{name}`");
        let made = within(what, accounts.create_token_request(&name, &params, &wanted)).await.map_err(|error| {
            tracing::warn!(%error, source = ?std::error::Error::source(&error), "registries that take tokens cannot be asked");
            format!("the cluster gives the operator no token: its account `{namespace}/{name}` may not make one")
        })?;
        made.status.map(|status| status.token).ok_or_else(|| "the cluster gives the operator no token".to_owned())
    }

    /// The service account that this operator is: its namespace and name.
    async fn account(&self) -> Result<(String, String), String> {
        let reviews: Api<SelfSubjectReview> = Api::all(self.client.clone());
        let review = SelfSubjectReview { metadata: Default::default(), status: None };
        let asked =
            within("ask who this operator is".to_owned(), reviews.create(&PostParams::default(), &review)).await;
        let answered = asked.map_err(|error| {
            tracing::warn!(%error, source = ?std::error::Error::source(&error), "the cluster does not tell who this operator is");
            "the cluster does not tell who this operator is".to_owned()
        })?;
        let user =
            answered.status.and_then(|status| status.user_info).and_then(|user| user.username).unwrap_or_default();
        let account = user.strip_prefix(ACCOUNT).and_then(|account| account.split_once(':'));
        account.map(|(namespace, name)| (namespace.to_owned(), name.to_owned())).ok_or_else(|| {
            format!("this operator is `{user}` and no service account, so that it has no token for a registry that takes one")
        })
    }
}

/// What is to be known: registries by what is named in their namespaces.
fn wanted(cache: &Cache) -> BTreeMap<RegistryKey, (Stand, BTreeSet<EntryName>)> {
    let mut entries: BTreeMap<String, BTreeSet<EntryName>> = BTreeMap::new();
    for (namespace, entry) in cache.servers.state().iter().filter_map(|server| named(server)) {
        entries.entry(namespace).or_default().insert(entry);
    }
    if entries.is_empty() {
        return BTreeMap::new();
    }
    let pods = cache.registry_pods();
    let registries = cache.registries.state_filter(is_staying).into_iter();
    let wanted = registries.filter_map(|registry| {
        let key = RegistryKey { namespace: registry.namespace()?, name: registry.name_any() };
        let named = entries.get(&key.namespace)?.clone();
        let ready = pods.get(&key).into_iter().flatten().filter(|pod| ready_since(pod).is_some());
        let mut pods: Vec<String> = ready.map(|pod| pod.name_any()).collect();
        pods.sort();
        let generation = registry.metadata.generation.unwrap_or_default();
        Some((key, (Stand { uid: registry.uid().unwrap_or_default(), generation, pods }, named)))
    });
    wanted.collect()
}

fn is_staying(object: &DynamicObject) -> bool {
    object.metadata.deletion_timestamp.is_none()
}

/// The namespace of a server that stays, and the entry that it names.
fn named(server: &DynamicObject) -> Option<(String, EntryName)> {
    let entry = EntryName::read(server.annotations().get(ANNOTATION_ENTRY)?)?;
    Some((server.namespace()?, entry)).filter(|_| is_staying(server))
}

/// Names servers to the queue, by their namespaces and entries.
async fn look_again(context: &Context, are_concerned: impl Fn(&str, &EntryName) -> bool) {
    let is_concerned =
        |server: &DynamicObject| named(server).is_some_and(|(namespace, entry)| are_concerned(&namespace, &entry));
    context.cache().look_again(is_concerned).await;
}

/// The way of the cluster: through the API server.
#[derive(Clone)]
struct Forwards(Client);

impl std::fmt::Debug for Forwards {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Forwards").finish()
    }
}

impl Reach for Forwards {
    fn reach<'a>(&'a self, namespace: &'a str, pod: &'a str, port: u16) -> BoxFuture<'a, Result<Reached, String>> {
        Box::pin(async move {
            let none = |_| "this machine gives no port to reach its pod".to_owned();
            let forwarded = Forwarded::open(self.0.clone(), namespace, pod, port).await.map_err(none)?;
            let connecting = timeout(REGISTRY_CALL_MAX, TcpStream::connect(forwarded.address()));
            let late = || "its pod is not reached".to_owned();
            let stream = connecting.await.map_err(|_| late())?.map_err(|_| late())?;
            Ok(Reached { stream, lease: Box::new(forwarded) })
        })
    }
}

impl Lease for Forwarded {
    fn trouble(&self) -> BoxFuture<'_, Option<String>> {
        Box::pin(async {
            // It is known a moment after the connection ended.
            sleep(FORWARD_END_MAX).await;
            let trouble = Self::trouble(self)?;
            tracing::debug!(%trouble, "the port of a registry is not forwarded");
            Some(match trouble {
                Trouble::Cluster(_) => "the cluster does not forward its port".to_owned(),
                Trouble::Pod(_) => "nobody listens at the port of its pod".to_owned(),
            })
        })
    }
}
