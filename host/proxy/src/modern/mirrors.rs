//! Which arguments of a server's tools are repeated in headers: asked of the server when a call needs it, and kept for a
//! while.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use fairlead_core::BoxFuture;
use fairlead_core::jsonrpc::Envelope;
use fairlead_core::mirror::{Mirror, mirrors_of};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::limits::{MIRROR_PAGES_MAX, MIRRORS_KEEP};

type ByTool = HashMap<Box<str>, Vec<Mirror>>;

/// Asks a server with a `tools/list` of ours.
pub(crate) type List = dyn Fn(Bytes) -> BoxFuture<'static, Option<Envelope>> + Send + Sync;

/// What is known of one server's tools.
#[derive(Default)]
pub(crate) struct Mirrors {
    known: Mutex<Option<(Instant, Arc<ByTool>)>>,
    /// Held while the server is asked, so that many calls at once ask once.
    asking: tokio::sync::Mutex<()>,
}

impl Mirrors {
    /// The mirrors of a tool. `list` asks the server for one page of them.
    pub(crate) async fn of(&self, tool: &str, list: &List) -> Vec<Mirror> {
        if let Some(known) = self.fresh() {
            return known.get(tool).cloned().unwrap_or_default();
        }
        let _asking = self.asking.lock().await;
        if let Some(known) = self.fresh() {
            return known.get(tool).cloned().unwrap_or_default();
        }
        let known = Arc::new(ask(list).await);
        *self.known.lock() = Some((Instant::now(), Arc::clone(&known)));
        known.get(tool).cloned().unwrap_or_default()
    }

    /// The tools have changed, perhaps: the next call asks again.
    pub(crate) fn forget(&self) {
        *self.known.lock() = None;
    }

    fn fresh(&self) -> Option<Arc<ByTool>> {
        let known = self.known.lock();
        known.as_ref().filter(|(since, _)| since.elapsed() < MIRRORS_KEEP).map(|(_, tools)| Arc::clone(tools))
    }
}

/// All pages. A server that does not answer has no mirrors: it will say itself what is wrong with a call.
async fn ask(list: &List) -> ByTool {
    let mut tools = ByTool::new();
    let mut cursor = None;
    for _ in 0..MIRROR_PAGES_MAX {
        let Some(answer) = list(request(cursor.as_deref())).await else { break };
        let Some(result) = answer.result() else { break };
        let result = std::str::from_utf8(&result).unwrap_or_default();
        tools.extend(mirrors_of(result));
        let next = fairlead_core::json::find(result, "/nextCursor").ok().flatten();
        let Some(next) = next.filter(|next| next.starts_with('"') && cursor.as_deref() != Some(*next)) else { break };
        cursor = Some(next.to_owned());
    }
    tools
}

fn request(cursor: Option<&str>) -> Bytes {
    let cursor = cursor.map(|cursor| format!("\"cursor\":{cursor},")).unwrap_or_default();
    super::learn::describing("tools/list", &cursor)
}
