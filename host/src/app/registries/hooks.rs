//! Plugins that decide about entries of other sources: each page passes them before anything of it is kept.
//!
//! A hook that fails fails the synchronisation, and the last copy stays: an entry that a guard did not see is not let in.

use std::sync::Arc;

use fairlead_core::BoxFuture;
use fairlead_core::registry::{
    PageRequest, RegistrySource, SourceAnswer, SourceEntry, SourceError, SourceFeatures, SourceSession,
};

/// A source behind hooks.
pub(super) struct Transformed {
    pub(super) source: Arc<dyn RegistrySource>,
    pub(super) hooks: Vec<Arc<dyn RegistrySource>>,
}

impl RegistrySource for Transformed {
    fn open(&self) -> BoxFuture<'_, Result<Box<dyn SourceSession>, SourceError>> {
        Box::pin(async {
            let session = self.source.open().await?;
            let mut hooks = Vec::new();
            for hook in &self.hooks {
                hooks.push(hook.open().await?);
            }
            Ok(Box::new(Passing { session, hooks }) as Box<dyn SourceSession>)
        })
    }
}

struct Passing {
    session: Box<dyn SourceSession>,
    hooks: Vec<Box<dyn SourceSession>>,
}

impl SourceSession for Passing {
    fn features(&self) -> SourceFeatures {
        self.session.features()
    }

    fn enumerate<'a>(&'a mut self, request: &'a PageRequest) -> BoxFuture<'a, Result<SourceAnswer, SourceError>> {
        Box::pin(async move {
            let answer = self.session.enumerate(request).await?;
            let SourceAnswer::Page(mut page) = answer else { return Ok(answer) };
            let mut kept = Vec::with_capacity(page.entries.len());
            for entry in page.entries {
                let (name, version) = (entry.name.clone(), entry.version.clone());
                match self.transform(entry).await? {
                    Some(entry) => kept.push(entry),
                    // It may have been there before.
                    None => page.removed.push((name, Some(version))),
                }
            }
            page.entries = kept;
            Ok(SourceAnswer::Page(page))
        })
    }

    fn transform(&mut self, entry: SourceEntry) -> BoxFuture<'_, Result<Option<SourceEntry>, SourceError>> {
        Box::pin(async move {
            let mut entry = entry;
            for hook in &mut self.hooks {
                match hook.transform(entry).await? {
                    Some(passed) => entry = passed,
                    None => return Ok(None),
                }
            }
            Ok(Some(entry))
        })
    }
}
