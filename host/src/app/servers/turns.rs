//! Turns at a server: one change of it at a time, and what has to be free for it: its name, its port.

use fairlead_core::name::ServerKey;
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::server::{ServerSpec, Source};
use fairlead_core::status::Desired;
use fairlead_core::store::{ServerRecord, Store as _};

use super::{given_up, not_found, not_stored};
use crate::api::types::CreateWorkload;
use crate::app::managed::{Live, Managed, Turn};
use crate::app::operations::Operation;
use crate::app::{App, naming};

impl App {
    /// The turn of an operation at a server that is there; while it waits for it, it can be given up.
    pub(super) async fn turn_of(&self, key: &ServerKey, operation: &Operation) -> Result<Turn, Problem> {
        operation.tell("waiting for its turn");
        let turn = tokio::select! {
            turn = self.turn_for_existing(key) => turn?,
            () = operation.cancelled().cancelled() => return Err(given_up()),
        };
        operation.at_work(key);
        Ok(turn)
    }

    pub(super) async fn turn_for_new(&self, request: &CreateWorkload) -> Result<Turn, Problem> {
        let key = |name| ServerKey { tenant: request.tenant.clone(), name };
        if let Some(name) = &request.name {
            let key = key(name.clone());
            let turn = self.slots.turn(&key).await;
            if turn.record().is_some() {
                return Err(Problem::new(ProblemKind::Conflict, format!("there is a server `{name}` already"))
                    .at("/name")
                    .hint(format!("choose another name with `--name`, or remove it with `fairlead rm {name}`")));
            }
            return Ok(turn);
        }
        // There are more candidates than servers.
        for name in naming::candidates(&request.spec.source) {
            let key = key(name);
            if self.slots.is_taken(&key) {
                continue;
            }
            let turn = self.slots.turn(&key).await;
            if turn.record().is_none() {
                return Ok(turn);
            }
        }
        Err(Problem::new(ProblemKind::Conflict, "no name is free"))
    }

    pub(in crate::app) async fn turn_for_existing(&self, key: &ServerKey) -> Result<Turn, Problem> {
        // Looking first keeps a wrong name from making a place.
        self.slots.look(key, |_| ()).ok_or_else(|| not_found(key))?;
        let turn = self.slots.turn(key).await;
        if turn.record().is_none() {
            return Err(not_found(key));
        }
        Ok(turn)
    }

    /// Stores whether it should run, if that is new.
    pub(super) async fn want(&self, turn: &Turn, desired: Desired) -> Result<ServerRecord, Problem> {
        let mut record = turn.record().ok_or_else(|| not_found(turn.key()))?;
        if record.desired != desired {
            record.desired = desired;
            self.store.put_server(&record).await.map_err(not_stored)?;
            turn.change(|managed| managed.record = record.clone());
        }
        Ok(record)
    }

    /// Two servers cannot listen on one port of this machine; each container has ports of its own.
    pub(in crate::app) fn check_port(&self, key: &ServerKey, spec: &ServerSpec) -> Result<(), Problem> {
        let Some(wanted) = port_of_machine(spec) else { return Ok(()) };
        let holders = self.slots.look_at_all(|managed| {
            let record = &managed.record;
            (port_of_machine(&record.spec) == Some(wanted) && record.key != *key).then(|| record.key.clone())
        });
        match holders.into_iter().flatten().next() {
            None => Ok(()),
            Some(holder) => {
                // What another tenant has is not told.
                let holder =
                    if holder.tenant == key.tenant { format!("server `{holder}`") } else { "another".to_owned() };
                let detail = format!("port {wanted} belongs to {holder}");
                Err(Problem::new(ProblemKind::Conflict, detail)
                    .at("/spec/transport/port")
                    .hint("let the server listen on another port and name that with `--target-port`"))
            }
        }
    }
}

impl Turn {
    pub(in crate::app) fn record(&self) -> Option<ServerRecord> {
        self.slot.managed.lock().as_ref().map(|managed| managed.record.clone())
    }

    pub(in crate::app) fn live(&self) -> Option<Live> {
        self.slot.managed.lock().as_ref().and_then(Managed::live)
    }

    pub(in crate::app) fn change(&self, change: impl FnOnce(&mut Managed)) {
        if let Some(managed) = self.slot.managed.lock().as_mut() {
            change(managed);
        }
    }
}

pub(in crate::app) fn port_of_machine(spec: &ServerSpec) -> Option<u16> {
    match &spec.source {
        Source::Command { .. } | Source::Wasm { .. } => spec.transport.port(),
        Source::Image(_) | Source::Package(_) | Source::Remote(_) => None,
    }
}
