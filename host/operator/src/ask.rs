//! The door of a person to the updates of servers of a cluster: what is known is read, and what is wanted is asked of whoever leads,
//! with the rights of that person.
//!
//! Read are a server and the record beside it, written is one annotation, on the server as it was read. One request at a time: what
//! somebody else asked is answered first. Who does not get an answer in time takes the question back, and so does who cannot look for
//! one any more: what nobody waits for is not to be carried out hours later.

use std::time::Duration;

use fairlead_core::freshness::{Freshness, Moment, UpdateToggles, UpdateView, view};
use fairlead_core::image::ImageReference;
use fairlead_core::name::{ServerName, TenantName};
use jiff::Timestamp;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::controller::{OperatorError, connect, ours};
use crate::desired::{Names, Resource};
use crate::freshness::{Answer, Answers, Kept, REQUEST, Request, id_of};
use crate::limits::{ASK_CHECK_MAX, ASK_MAX, ASK_POLL, ASK_TAKE_BACK_MAX, ASK_TRIES, ASK_TURN_MAX, CALL_TIMEOUT};

/// Who writes the annotation.
const MANAGER: &str = "fairlead-update";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// There is no cluster.
    #[error(transparent)]
    Cluster(#[from] OperatorError),
    /// There is no such server.
    #[error("there is no server `{name}` in `{namespace}`")]
    NoServer {
        /// Its name.
        name: ServerName,
        /// Where it should be.
        namespace: TenantName,
    },
    /// There is one, and nobody keeps it fresh.
    #[error("nobody looks after the updates of `{name}` in `{namespace}`")]
    NotKept {
        /// Its name.
        name: ServerName,
        /// Where it is.
        namespace: TenantName,
    },
    /// It is no request.
    #[error("that cannot be asked: {0}")]
    Nonsense(String),
    /// Something else was asked before.
    #[error("request `{id}` about `{name}` is not answered yet")]
    Waiting {
        /// Its id.
        id: String,
        /// Of which server.
        name: ServerName,
        /// Where that is.
        namespace: TenantName,
    },
    /// Something else was asked after.
    #[error("somebody else asked something about `{name}` before this was answered; nothing was done")]
    Replaced {
        /// Of which server.
        name: ServerName,
    },
    /// Nobody answers.
    #[error("nobody answered within {} s, and the request was taken back", ASK_MAX.as_secs())]
    Unanswered {
        /// Where.
        namespace: TenantName,
    },
    /// The cluster failed while somebody waited, and nothing is asked any more.
    #[error("request `{id}` about `{name}` was taken back, and no answer to it was seen")]
    Withdrawn {
        /// Its id.
        id: String,
        /// Of which server.
        name: ServerName,
        /// Where that is.
        namespace: TenantName,
        /// How it failed.
        #[source]
        source: Box<AskError>,
    },
    /// The same, and it may be asked still.
    #[error("request `{id}` about `{name}` could not be taken back, and may be carried out yet")]
    Left {
        /// Its id.
        id: String,
        /// Of which server.
        name: ServerName,
        /// Where that is.
        namespace: TenantName,
        /// How it failed.
        #[source]
        source: Box<AskError>,
    },
    /// Others write all the time.
    #[error("`{0}` is being changed all the time")]
    Busy(ServerName),
    /// What is there is no server, or no record.
    #[error("what is known of `{name}` cannot be read")]
    Damaged {
        /// Of which server.
        name: ServerName,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The cluster says no.
    #[error("{what}")]
    Refused {
        /// What was asked of it.
        what: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The cluster says nothing.
    #[error("{what}: the API server does not answer within {}s", CALL_TIMEOUT.as_secs())]
    Silent {
        /// What was asked of it.
        what: String,
    },
}

impl AskError {
    /// What somebody can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let leader = "does an operator lead? `kubectl get leases --all-namespaces` names it, and its log tells more";
        match self {
            Self::NoServer { namespace, .. } => {
                Some(format!("`kubectl get mcpservers --namespace {namespace}` shows what there is"))
            }
            Self::NotKept { name, namespace } => Some(format!(
                "an operator has to run, and the server to follow an image: kubectl describe mcpserver {name} --namespace {namespace}"
            )),
            Self::Waiting { name, namespace, .. } => Some(format!("{leader}; {}", taking_back(name, namespace))),
            Self::Left { name, namespace, .. } => Some(taking_back(name, namespace)),
            Self::Withdrawn { name, namespace, .. } => Some(format!(
                "`fairlead update history {name} --on-cluster {namespace}` shows whether it was carried out before"
            )),
            Self::Unanswered { .. } => Some(leader.to_owned()),
            Self::Replaced { .. } | Self::Busy(_) => Some("ask again".to_owned()),
            Self::Refused { source, .. } if is_forbidden(source) => {
                let see = "to see takes `get` of mcpservers and of the ConfigMap `NAME-freshness`";
                Some(format!("{see}, and `list` of mcpservers where none is named; to decide, `patch` of mcpservers"))
            }
            Self::Cluster(error) => error.hint().map(str::to_owned),
            Self::Nonsense(_) | Self::Damaged { .. } | Self::Refused { .. } | Self::Silent { .. } => None,
        }
    }
}

impl AskError {
    /// Whether the next try may fare better; and, of a write, whether it may have been done all the same.
    fn is_passing(&self) -> bool {
        match self {
            Self::Silent { .. } => true,
            Self::Refused { source, .. } => !is_final(source),
            _ => false,
        }
    }

    /// Whether what was asked may be asked still.
    fn leaves_it(&self) -> bool {
        !matches!(self, Self::Replaced { .. } | Self::Unanswered { .. } | Self::Waiting { .. })
    }
}

/// How a request is taken back by hand.
fn taking_back(name: &ServerName, namespace: &TenantName) -> String {
    format!("to take it back: kubectl annotate mcpserver {name} --namespace {namespace} {REQUEST}-")
}

/// Told what is waited for.
pub type Progress<'a> = &'a dyn Fn(&str);

/// What is known of the updates of a server.
#[derive(Debug, Clone)]
pub struct Looked {
    /// Its name.
    pub name: ServerName,
    /// Where it stands.
    pub view: UpdateView,
    /// All that is known.
    pub record: Freshness,
    /// What was answered to people.
    answers: Answers,
    /// What stands in the annotation.
    text: Option<String>,
    /// The id of the last request that the status tells of.
    told: Option<String>,
    uid: String,
    version: Option<String>,
}

impl Looked {
    /// Whether this is what is asked.
    fn asks(&self, id: &str) -> bool {
        self.text.as_deref().map(id_of).as_deref() == Some(id)
    }

    /// What is asked and not answered.
    fn waiting(&self) -> Option<String> {
        let id = id_of(self.text.as_ref()?);
        // Where somebody took the record away, what the status tells of is not answered again.
        let was_answered = self.answers.is_empty() && self.told.as_ref() == Some(&id);
        (self.answers.to(&id).is_none() && !was_answered).then_some(id)
    }
}

/// The servers of a namespace, as somebody may see them.
pub struct Door {
    client: Client,
    namespace: TenantName,
}

impl Door {
    /// Of the cluster of the kubeconfig.
    ///
    /// # Errors
    /// There is none.
    pub async fn open(namespace: TenantName) -> Result<Self, AskError> {
        Ok(Self { client: connect().await?.client, namespace })
    }

    /// The name that the cluster has for whoever asks, if it says so.
    pub async fn whoami(&self) -> Option<String> {
        let reviews = ApiResource {
            group: "authentication.k8s.io".to_owned(),
            version: "v1".to_owned(),
            api_version: "authentication.k8s.io/v1".to_owned(),
            kind: "SelfSubjectReview".to_owned(),
            plural: "selfsubjectreviews".to_owned(),
        };
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &reviews);
        let question = serde_json::from_value(json!({
            "apiVersion": reviews.api_version, "kind": reviews.kind, "metadata": {},
        }));
        let said = timeout(CALL_TIMEOUT, api.create(&PostParams::default(), &question.ok()?)).await.ok()?.ok()?;
        let name = said.data.pointer("/status/userInfo/username").and_then(Value::as_str)?;
        Some(name.to_owned()).filter(|name| !name.is_empty())
    }

    /// Names of the servers that somebody keeps fresh, in their order.
    ///
    /// # Errors
    /// The cluster does not tell.
    pub async fn names(&self) -> Result<Vec<ServerName>, AskError> {
        let what = format!("list the servers of `{}`", self.namespace);
        let all = call(what, self.servers().list(&ListParams::default())).await?;
        let is_kept = |object: &DynamicObject| object.data.pointer("/status/updates").is_some();
        let names = all.into_iter().filter(is_kept).filter_map(|object| ServerName::new(&object.name_any()).ok());
        let mut names: Vec<ServerName> = names.collect();
        names.sort();
        Ok(names)
    }

    /// What is known of a server now.
    ///
    /// # Errors
    /// There is none, nobody keeps it fresh, or the cluster does not tell.
    pub async fn look(&self, name: &ServerName) -> Result<Looked, AskError> {
        let what = format!("read the server `{name}`");
        let object = call(what, self.servers().get_opt(name.as_str())).await?;
        let object =
            object.ok_or_else(|| AskError::NoServer { name: name.clone(), namespace: self.namespace.clone() })?;
        let damaged = |source| AskError::Damaged { name: name.clone(), source };
        let not_kept = || AskError::NotKept { name: name.clone(), namespace: self.namespace.clone() };
        let said = object.data.pointer("/status/updates").cloned().ok_or_else(not_kept)?;
        let said: UpdateView = serde_json::from_value(said).map_err(damaged)?;
        let names = Names::new(name.as_str(), self.namespace.as_str());
        let records: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), self.namespace.as_str(), &Resource::ConfigMap.api_resource());
        let what = format!("read the ConfigMap `{}`", names.freshness());
        let uid = object.uid().unwrap_or_default();
        let found = call(what, records.get_opt(&names.freshness())).await?;
        // That of an earlier server of this name goes with it.
        let found = found.filter(|found| found.owner_references().iter().any(|owner| owner.uid == uid));
        let kept = found.map_or_else(|| Ok(Kept::default()), |found| Kept::read(found.data.get("data")));
        let kept = kept.map_err(damaged)?;
        let reference = object.data.pointer("/spec/source/reference").and_then(Value::as_str);
        let Kept { record, answers, .. } = match reference.and_then(|reference| ImageReference::new(reference).ok()) {
            Some(reference) => kept.of(reference.as_str()),
            None => kept,
        };
        Ok(Looked {
            name: name.clone(),
            view: shown(said, &record),
            record,
            answers,
            text: object.annotations().get(REQUEST).cloned(),
            told: object.data.pointer("/status/updateRequest/id").and_then(Value::as_str).map(str::to_owned),
            uid,
            version: object.resource_version(),
        })
    }

    /// Asks, and waits for the answer. The id is one that nobody has used; `progress` is told what is waited for.
    ///
    /// # Errors
    /// It cannot be asked, or nobody answers in time.
    pub async fn ask(
        &self,
        name: &ServerName,
        request: &Request,
        progress: Progress<'_>,
    ) -> Result<(Answer, Looked), AskError> {
        Request::read(&request.text()).map_err(AskError::Nonsense)?;
        let begun = Instant::now();
        for tried in 0..ASK_TRIES {
            let looked = match self.turn(name, &request.id, begun, progress).await {
                Ok(looked) => looked,
                // What was tried before may have been done.
                Err(error) if tried > 0 && error.leaves_it() => return self.give_up(name, &request.id, error).await,
                Err(error) => return Err(error),
            };
            let written = match looked.asks(&request.id) {
                // It was done, and only the word of that was lost.
                true => Ok(true),
                false => {
                    let request = Request { uid: Some(looked.uid.clone()), ..request.clone() };
                    self.annotate(&looked, Some(&request.text())).await
                }
            };
            let answered = match written {
                Ok(true) => self.answer(name, &request.id, progress).await,
                Ok(false) => continue,
                // It may be done.
                Err(error) if error.is_passing() => Err(error),
                Err(error) => return Err(error),
            };
            return match answered {
                Err(error) if error.leaves_it() => self.give_up(name, &request.id, error).await,
                answered => answered,
            };
        }
        Err(AskError::Busy(name.clone()))
    }

    /// Waits until a check that was asked for has found something, and the policies were asked about it; not for ever.
    ///
    /// # Errors
    /// The cluster does not tell.
    pub async fn checked(&self, asked: &Answer, looked: Looked, progress: Progress<'_>) -> Result<Looked, AskError> {
        let (begun, mut looked) = (Instant::now(), looked);
        loop {
            let check = &looked.record.check;
            let is_checked = check.last_success.max(check.last_failure).is_some_and(|at| at >= asked.at);
            let is_decided = check.decide.is_none_or(|at| at > Timestamp::now());
            let is_over = begun.elapsed() >= ASK_CHECK_MAX || !looked.view.ineligible.is_empty();
            if (is_checked && is_decided) || is_over {
                return Ok(looked);
            }
            progress(&format!("looking what is newest for {} …", looked.name));
            sleep(ASK_POLL).await;
            let seen = self.look(&looked.name).await;
            match seen {
                Ok(seen) => looked = seen,
                Err(error) if error.is_passing() && begun.elapsed() < ASK_CHECK_MAX => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until nobody waits for another request than this one.
    async fn turn(
        &self,
        name: &ServerName,
        own: &str,
        begun: Instant,
        progress: Progress<'_>,
    ) -> Result<Looked, AskError> {
        loop {
            let looked = self.look(name).await?;
            let Some(id) = looked.waiting().filter(|id| id != own) else { return Ok(looked) };
            if begun.elapsed() >= ASK_TURN_MAX {
                return Err(AskError::Waiting { id, name: name.clone(), namespace: self.namespace.clone() });
            }
            progress(&format!("waiting until request `{id}` about {name} is answered …"));
            sleep(ASK_POLL).await;
        }
    }

    async fn answer(&self, name: &ServerName, id: &str, progress: Progress<'_>) -> Result<(Answer, Looked), AskError> {
        let begun = Instant::now();
        loop {
            progress(&format!("asking the operator about {name} …"));
            let looked = match self.look(name).await {
                Ok(looked) => looked,
                Err(error) if error.is_passing() && begun.elapsed() < ASK_MAX => {
                    sleep(ASK_POLL).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if let Some(answer) = looked.answers.to(id) {
                return Ok((answer.clone(), looked));
            }
            let is_there = looked.asks(id);
            if !is_there && looked.waiting().is_none() {
                // Whoever leads has looked since, and seen the other one only.
                return Err(AskError::Replaced { name: name.clone() });
            }
            if begun.elapsed() >= ASK_MAX && (!is_there || self.annotate(&looked, None).await?) {
                return self.too_late(name, id).await;
            }
            sleep(ASK_POLL).await;
        }
    }

    /// It may have been answered in the moment in which it was taken back.
    async fn too_late(&self, name: &ServerName, id: &str) -> Result<(Answer, Looked), AskError> {
        sleep(ASK_POLL).await;
        let looked = self.look(name).await?;
        match looked.answers.to(id) {
            Some(answer) => Ok((answer.clone(), looked)),
            None => Err(AskError::Unanswered { namespace: self.namespace.clone() }),
        }
    }

    /// Takes back what may be asked still, as well as that goes, and says of it how it went. An answer that came all the same is one.
    async fn give_up(&self, name: &ServerName, id: &str, error: AskError) -> Result<(Answer, Looked), AskError> {
        let begun = Instant::now();
        let is_back = loop {
            match self.take_back(name, id).await {
                Ok(true) => break true,
                Err(error) if !error.is_passing() => break false,
                Ok(false) | Err(_) if begun.elapsed() >= ASK_TAKE_BACK_MAX => break false,
                Ok(false) | Err(_) => sleep(ASK_POLL).await,
            }
        };
        let (id, name, namespace) = (id.to_owned(), name.clone(), self.namespace.clone());
        let source = Box::new(error);
        if !is_back {
            return Err(AskError::Left { id, name, namespace, source });
        }
        match self.too_late(&name, &id).await {
            Ok(answered) => Ok(answered),
            Err(_) => Err(AskError::Withdrawn { id, name, namespace, source }),
        }
    }

    /// Takes a request back that stands, whatever else is known of its server. False: that was changed meanwhile.
    async fn take_back(&self, name: &ServerName, id: &str) -> Result<bool, AskError> {
        let found = call(format!("read the server `{name}`"), self.servers().get_opt(name.as_str())).await?;
        let stands = |object: &DynamicObject| object.annotations().get(REQUEST).is_some_and(|text| id_of(text) == id);
        let Some(object) = found.filter(stands) else { return Ok(true) };
        let version = object.resource_version();
        self.write(name, &object.uid().unwrap_or_default(), version.as_deref(), None).await
    }

    /// Writes the annotation, or takes it away, on what was read. False: that has changed since.
    async fn annotate(&self, looked: &Looked, text: Option<&str>) -> Result<bool, AskError> {
        self.write(&looked.name, &looked.uid, looked.version.as_deref(), text).await
    }

    async fn write(
        &self,
        name: &ServerName,
        uid: &str,
        version: Option<&str>,
        text: Option<&str>,
    ) -> Result<bool, AskError> {
        let patch = Patch::Merge(json!({"metadata": {
            "resourceVersion": version, "uid": uid, "annotations": {REQUEST: text},
        }}));
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let servers = self.servers();
        let written = servers.patch(name.as_str(), &params, &patch);
        match call(format!("write the annotation `{REQUEST}` of `{name}`"), written).await {
            Ok(_) => Ok(true),
            Err(AskError::Refused { source, .. }) if is_conflict(&source) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn servers(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), self.namespace.as_str(), &ours("MCPServer", "mcpservers"))
    }
}

/// What a status said, by the record as it is now: a status is written a moment later.
fn shown(said: UpdateView, record: &Freshness) -> UpdateView {
    let now = Timestamp::now();
    let toggles = UpdateToggles { check: said.check, auto_reinstall: said.auto_reinstall };
    let at = Moment { now, since: now, toggles, against: &said.ineligible, interval: Duration::ZERO, spread: 0 };
    let mut shown = view(record, &at);
    if record.operation.is_none() && shown.running.is_empty() {
        shown.running = said.running;
    }
    shown
}

async fn call<T>(what: String, call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, AskError> {
    match timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(AskError::Refused { what, source: Box::new(source) }),
        Err(_) => Err(AskError::Silent { what }),
    }
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// Whether the cluster has understood, and says no. One that is asked too much, or is in trouble itself, says nothing of what was asked.
fn is_final(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code < 500 && status.code != 429)
}

fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

#[cfg(test)]
mod tests;
