//! The plugins of one server, replaced while it runs.

use std::sync::Arc;

use fairlead_core::chain::Chain;
use fairlead_core::name::ServerKey;
use fairlead_core::plugin::AttachmentSpec;
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::server::ServerSpec;
use fairlead_core::store::{ServerRecord, Store as _};

use super::{not_found, not_stored};
use crate::api::types::{ChainLink, ReplacePlugins, Workload};
use crate::app::chain::Builder;
use crate::app::managed::Turn;
use crate::app::{App, check};

impl App {
    /// Replaces the plugins of a server while it runs: the new ones are ready before the old ones go, and no request is lost.
    ///
    /// # Errors
    /// There is none, or a plugin cannot be attached; then everything stays as it was.
    pub(crate) async fn replace_plugins(&self, key: &ServerKey, request: ReplacePlugins) -> Result<Workload, Problem> {
        let turn = self.turn_for_existing(key).await?;
        let record = turn.record().ok_or_else(|| not_found(key))?;
        self.change_plugins(&turn, record, request).await?;
        self.get(key)
    }

    /// The same for somebody who made the new ones of the old ones, if those are still the ones.
    pub(in crate::app) async fn replace_plugins_unless_changed(
        &self,
        key: &ServerKey,
        was: &[AttachmentSpec],
        request: ReplacePlugins,
    ) -> Result<(), Problem> {
        let turn = self.turn_for_existing(key).await?;
        let record = turn.record().ok_or_else(|| not_found(key))?;
        if record.spec.plugins != was {
            let detail = format!("somebody else has changed the chain of `{}` at the same time", key.name);
            return Err(Problem::new(ProblemKind::Conflict, detail).hint("try again"));
        }
        self.change_plugins(&turn, record, request).await
    }

    pub(super) async fn change_plugins(
        &self,
        turn: &Turn,
        mut record: ServerRecord,
        request: ReplacePlugins,
    ) -> Result<(), Problem> {
        record.spec.plugins = request.plugins;
        if let Some(tools) = request.tools {
            record.spec.tools = tools;
        }
        // The body of this request has the plugins at its root.
        let at_root = |mut problem: Problem| {
            problem.pointer = problem.pointer.map(|pointer| pointer.trim_start_matches("/spec").to_owned());
            problem
        };
        check::check(&record.spec).map_err(at_root)?;
        let _gate = self.tenancy.gate.read().await;
        let (chain, links) = self.chain_of(&record.key, &record.spec).await.map_err(at_root)?;
        self.store.put_server(&record).await.map_err(not_stored)?;
        self.proxy.swap_chain(&record.key, chain);
        turn.change(|managed| {
            managed.record = record;
            managed.links = links;
        });
        Ok(())
    }

    /// The chain of a server by the rules of now. Whoever publishes it holds the gate.
    pub(super) async fn chain_of(
        &self,
        key: &ServerKey,
        spec: &ServerSpec,
    ) -> Result<(Arc<Chain>, Vec<ChainLink>), Problem> {
        let rules = self.tenancy.rules();
        Builder::new(&self.plugins, &self.tenancy.bindings, &rules).build(key, spec).await
    }
}

/// What is shown of a chain.
pub(in crate::app) fn links_of(chain: &Chain) -> Vec<ChainLink> {
    let shown = |link: &fairlead_core::chain::Link| ChainLink {
        level: link.level,
        name: link.name.to_string(),
        revision: link.revision.to_string(),
    };
    chain.links().iter().map(shown).collect()
}
