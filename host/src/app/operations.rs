//! What is being done now: every change of a server and every build is an operation with an id, which tells how far it is
//! and can be given up.
//!
//! The newest state of an operation is all that is kept of it, in a watch channel: whoever looks late or slowly sees where
//! it stands, and nobody who does not look can hold it up. Operations are not stored. They are about work of this process,
//! and what a crash cuts off is found by the ordinary path of the next start.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use fairlead_core::clock::Clock;
use fairlead_core::name::{ServerKey, ServerName, TenantName};
use fairlead_core::problem::{Problem, ProblemKind};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api::types::{OperationInfo, OperationKind, OperationProgress, OperationState};
use crate::limits::{OPERATIONS_AT_ONCE_MAX, OPERATIONS_KEPT};

/// All operations: those under way, and the last that ended.
pub(crate) struct Operations {
    clock: Arc<dyn Clock>,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    all: BTreeMap<String, Arc<Entry>>,
    /// Ended ones, oldest first.
    ended: VecDeque<String>,
    /// Which one has its turn at a server.
    at_work: BTreeMap<ServerKey, Arc<Entry>>,
}

struct Entry {
    state: watch::Sender<OperationInfo>,
    cancel: CancellationToken,
}

/// What an operation is about, as far as that is known when it begins.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject<'a> {
    /// Something of this machine.
    Machine,
    /// Something of a tenant.
    Tenant(&'a TenantName),
    /// A server.
    Server(&'a ServerKey),
}

impl Subject<'_> {
    fn tenant(&self) -> Option<&TenantName> {
        match self {
            Self::Machine => None,
            Self::Tenant(tenant) => Some(tenant),
            Self::Server(key) => Some(&key.tenant),
        }
    }

    fn server(&self) -> Option<&ServerName> {
        match self {
            Self::Machine | Self::Tenant(_) => None,
            Self::Server(key) => Some(&key.name),
        }
    }
}

/// An operation, as the one who carries it out holds it. Dropped before it is finished, it has broken off.
pub(crate) struct Operation {
    entry: Arc<Entry>,
    operations: Arc<Operations>,
}

impl Operations {
    /// None yet.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { clock, book: Mutex::default() })
    }

    /// Begins one.
    ///
    /// # Errors
    /// Too many of the tenant are under way. Who does not wait for an answer may begin as many as they like, and each waits for its
    /// turn in our memory.
    pub(crate) fn begin(self: &Arc<Self>, kind: OperationKind, subject: Subject<'_>) -> Result<Operation, Problem> {
        let mut random = [0; 8];
        // Without randomness an id may be given twice, and the earlier operation is no longer shown.
        let _ = getrandom::fill(&mut random);
        let id = format!("op-{:016x}", u64::from_ne_bytes(random));
        let info = OperationInfo {
            id: id.clone(),
            kind,
            tenant: subject.tenant().cloned(),
            server: subject.server().cloned(),
            state: OperationState::Running,
            stage: None,
            progress: None,
            began: self.clock.now(),
            ended: None,
            problem: None,
            result: None,
        };
        let entry = Arc::new(Entry { state: watch::channel(info).0, cancel: CancellationToken::new() });
        let mut book = self.book.lock();
        let is_like = |entry: &&Arc<Entry>| {
            let info = entry.state.borrow();
            info.state == OperationState::Running && info.tenant.as_ref() == subject.tenant()
        };
        if book.all.values().filter(is_like).count() >= OPERATIONS_AT_ONCE_MAX {
            let detail = format!("{OPERATIONS_AT_ONCE_MAX} operations are under way, which is the limit");
            return Err(Problem::new(ProblemKind::Unavailable, detail)
                .hint("`fairlead operation list` shows them; wait for some, or cancel them"));
        }
        book.all.insert(id, Arc::clone(&entry));
        drop(book);
        Ok(Operation { entry, operations: Arc::clone(self) })
    }

    /// All that are known, of one tenant if it is said, oldest first.
    pub(crate) fn list(&self, tenant: Option<&TenantName>) -> Vec<OperationInfo> {
        let mut all: Vec<_> = self.book.lock().all.values().map(|entry| entry.state.borrow().clone()).collect();
        all.retain(|info| tenant.is_none_or(|tenant| info.tenant.as_ref() == Some(tenant)));
        all.sort_by(|one, other| (one.began, &one.id).cmp(&(other.began, &other.id)));
        all
    }

    /// One, now and from now on.
    ///
    /// # Errors
    /// There is none, or no longer.
    pub(crate) fn watch(&self, id: &str) -> Result<watch::Receiver<OperationInfo>, Problem> {
        self.find(id).map(|entry| entry.state.subscribe())
    }

    /// Asks one to be given up; it then ends as soon as it can, and what it had begun is taken back.
    ///
    /// # Errors
    /// There is none, it has ended, or its kind cannot be given up half-way.
    pub(crate) fn cancel(&self, id: &str) -> Result<OperationInfo, Problem> {
        let entry = self.find(id)?;
        let info = entry.state.borrow().clone();
        if info.state != OperationState::Running {
            return Err(Problem::new(ProblemKind::Conflict, format!("operation `{id}` has ended already")));
        }
        if !info.kind.can_be_cancelled() {
            let detail =
                format!("operation `{id}` is brought to its end: half of it would be worse than all or nothing");
            return Err(Problem::new(ProblemKind::Conflict, detail));
        }
        entry.cancel.cancel();
        Ok(info)
    }

    /// Gives up what has its turn at a server, if that can be given up. True if there was something.
    pub(super) fn interrupt(&self, key: &ServerKey) -> bool {
        let at_work = self.book.lock().at_work.get(key).cloned();
        let Some(entry) = at_work.filter(|entry| entry.state.borrow().kind.can_be_cancelled()) else { return false };
        entry.cancel.cancel();
        true
    }

    /// Tells how far the one is that has its turn at a server.
    pub(super) fn tell(&self, key: &ServerKey, stage: &str, progress: Option<OperationProgress>) {
        let at_work = self.book.lock().at_work.get(key).cloned();
        if let Some(entry) = at_work {
            entry.tell(stage, progress);
        }
    }

    /// What the one that has its turn at a server is about.
    pub(super) fn stage(&self, key: &ServerKey) -> Option<String> {
        self.book.lock().at_work.get(key)?.state.borrow().stage.clone()
    }

    fn find(&self, id: &str) -> Result<Arc<Entry>, Problem> {
        self.book.lock().all.get(id).cloned().ok_or_else(|| {
            Problem::new(ProblemKind::NotFound, format!("there is no operation `{id}`"))
                .hint("`fairlead operation list` shows those under way and the last that ended")
        })
    }
}

impl Entry {
    fn tell(&self, stage: &str, progress: Option<OperationProgress>) {
        self.state.send_if_modified(|info| {
            let changed = info.stage.as_deref() != Some(stage) || info.progress != progress;
            info.stage = Some(stage.to_owned());
            info.progress = progress;
            changed
        });
    }
}

impl Operation {
    /// Its state, now and from now on.
    pub(crate) fn watch(&self) -> watch::Receiver<OperationInfo> {
        self.entry.state.subscribe()
    }

    /// Cancelled when it shall be given up.
    pub(super) fn cancelled(&self) -> &CancellationToken {
        &self.entry.cancel
    }

    /// What is done now.
    pub(super) fn tell(&self, stage: &str) {
        self.entry.tell(stage, None);
    }

    /// It has its turn at a server; until it ends, progress at that server is its own.
    pub(super) fn at_work(&self, key: &ServerKey) {
        self.entry.state.send_modify(|info| {
            info.tenant = Some(key.tenant.clone());
            info.server = Some(key.name.clone());
        });
        self.operations.book.lock().at_work.insert(key.clone(), Arc::clone(&self.entry));
    }

    /// It is about no server, and progress reaches it under a key that no server has: its own id.
    pub(super) fn without_server(&self) -> Result<ServerKey, Problem> {
        let name = ServerName::new(&self.entry.state.borrow().id);
        let name = name.map_err(|error| Problem::new(ProblemKind::Internal, error.to_string()))?;
        let key = ServerKey { tenant: TenantName::default(), name };
        self.operations.book.lock().at_work.insert(key.clone(), Arc::clone(&self.entry));
        Ok(key)
    }

    /// It has ended.
    pub(crate) fn finish<T: Serialize>(&self, outcome: &Result<T, Problem>) {
        let state = match outcome {
            Ok(_) => OperationState::Succeeded,
            Err(_) if self.entry.cancel.is_cancelled() => OperationState::Cancelled,
            Err(_) => OperationState::Failed,
        };
        let result = outcome.as_ref().ok().and_then(|result| serde_json::to_value(result).ok());
        self.end(state, outcome.as_ref().err().cloned(), result);
    }

    fn end(&self, state: OperationState, problem: Option<Problem>, result: Option<serde_json::Value>) {
        let now = self.operations.clock.now();
        let mut book = self.operations.book.lock();
        let id = self.entry.state.borrow().id.clone();
        book.at_work.retain(|_, entry| !Arc::ptr_eq(entry, &self.entry));
        book.ended.push_back(id);
        if book.ended.len() > OPERATIONS_KEPT
            && let Some(oldest) = book.ended.pop_front()
        {
            book.all.remove(&oldest);
        }
        drop(book);
        self.entry.state.send_modify(|info| {
            info.state = state;
            info.ended = Some(now);
            info.problem = problem.map(Into::into);
            info.result = result;
        });
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if self.entry.state.borrow().state == OperationState::Running {
            let detail = "the operation broke off; the log of the daemon says why";
            self.end(OperationState::Failed, Some(Problem::new(ProblemKind::Internal, detail)), None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Still;

    impl Clock for Still {
        fn now(&self) -> jiff::Timestamp {
            jiff::Timestamp::UNIX_EPOCH
        }
    }

    fn key() -> ServerKey {
        serde_json::from_str(r#"{"tenant":"default","name":"a"}"#).unwrap()
    }

    #[test]
    fn progress_at_a_server_belongs_to_the_operation_whose_turn_it_is() {
        let operations = Operations::new(Arc::new(Still));
        let (one, waiting) = (
            operations.begin(OperationKind::Create, Subject::Machine).unwrap(),
            operations.begin(OperationKind::Stop, Subject::Server(&key())).unwrap(),
        );
        one.at_work(&key());
        operations.tell(&key(), "fetching", Some(OperationProgress { done: 1, total: 2, unit: "bytes".to_owned() }));
        assert_eq!(one.watch().borrow().stage.as_deref(), Some("fetching"));
        assert_eq!(one.watch().borrow().server.as_ref().map(|name| name.as_str()), Some("a"));
        assert_eq!(waiting.watch().borrow().stage, None);
        one.finish(&Ok(()));
        operations.tell(&key(), "late", None);
        assert!(operations.list(None).iter().all(|info| info.stage.as_deref() != Some("late")));
    }

    #[test]
    fn a_tenant_is_told_of_its_own_operations() {
        let operations = Operations::new(Arc::new(Still));
        let (red, blue) = (TenantName::new("red").unwrap(), TenantName::new("blue").unwrap());
        let _of = [Subject::Machine, Subject::Tenant(&red), Subject::Server(&key()), Subject::Tenant(&blue)]
            .map(|subject| operations.begin(OperationKind::Create, subject).unwrap());
        assert_eq!(operations.list(None).len(), 4);
        assert!(operations.list(Some(&red)).iter().map(|info| info.tenant.as_ref()).eq([Some(&red)]));
    }

    #[test]
    fn what_can_be_given_up_is_and_what_has_ended_is_not() {
        let operations = Operations::new(Arc::new(Still));
        let operation = operations.begin(OperationKind::Create, Subject::Server(&key())).unwrap();
        let (id, states) = (operation.watch().borrow().id.clone(), operation.watch());
        assert!(!operations.interrupt(&key()), "it waits for its turn");
        operation.at_work(&key());
        assert!(operations.interrupt(&key()));
        assert!(operation.cancelled().is_cancelled());
        operation.finish::<()>(&Err(Problem::new(ProblemKind::Conflict, "given up")));
        assert_eq!(states.borrow().state, OperationState::Cancelled);
        assert_eq!(operations.cancel(&id).unwrap_err().kind, ProblemKind::Conflict);
        let stop = operations.begin(OperationKind::Stop, Subject::Server(&key())).unwrap();
        let id = stop.watch().borrow().id.clone();
        assert!(operations.cancel(&id).unwrap_err().detail.contains("brought to its end"));
    }

    #[test]
    fn one_that_is_dropped_has_broken_off() {
        let operations = Operations::new(Arc::new(Still));
        let operation = operations.begin(OperationKind::Create, Subject::Server(&key())).unwrap();
        let states = operation.watch();
        operation.at_work(&key());
        drop(operation);
        assert_eq!(states.borrow().state, OperationState::Failed);
        assert!(!operations.interrupt(&key()));
    }

    #[test]
    fn only_so_many_that_ended_are_kept() {
        let operations = Operations::new(Arc::new(Still));
        let running = operations.begin(OperationKind::Create, Subject::Machine).unwrap();
        for _ in 0..OPERATIONS_KEPT + 10 {
            operations.begin(OperationKind::Create, Subject::Machine).unwrap().finish(&Ok(()));
        }
        assert_eq!(operations.list(None).len(), OPERATIONS_KEPT + 1);
        drop(running);
    }

    #[test]
    fn one_tenant_cannot_begin_without_end_and_keeps_nobody_else_from_it() {
        let operations = Operations::new(Arc::new(Still));
        let (red, blue) = (TenantName::new("red").unwrap(), TenantName::new("blue").unwrap());
        let begin = |tenant| operations.begin(OperationKind::Restart, Subject::Tenant(tenant));
        let mut under_way: Vec<_> = (0..OPERATIONS_AT_ONCE_MAX).map(|_| begin(&red).unwrap()).collect();
        assert_eq!(begin(&red).err().map(|problem| problem.kind), Some(ProblemKind::Unavailable));
        assert!(begin(&blue).is_ok());
        under_way.pop();
        assert!(begin(&red).is_ok(), "one has ended");
    }
}
