//! What is reconciled: kinds of objects that others belong to.

use fairlead_core::document::API_VERSION;
use kube::core::{ApiResource, DynamicObject};

use super::ours;
use crate::desired::{LABEL_REGISTRY, LABEL_SERVER};

/// A kind of object that others belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// An `MCPServer`.
    Server,
    /// An `MCPRegistry`.
    Registry,
}

impl Subject {
    /// Both of them.
    const ALL: [Self; 2] = [Self::Server, Self::Registry];

    pub(super) const fn kind(self) -> &'static str {
        match self {
            Self::Server => "MCPServer",
            Self::Registry => "MCPRegistry",
        }
    }

    pub(super) fn resource(self) -> ApiResource {
        match self {
            Self::Server => ours(self.kind(), "mcpservers"),
            Self::Registry => ours(self.kind(), "mcpregistries"),
        }
    }

    const fn label(self) -> &'static str {
        match self {
            Self::Server => LABEL_SERVER,
            Self::Registry => LABEL_REGISTRY,
        }
    }

    /// What an object belongs to, and the name of it. Its owner is asked before its label, which anybody may have changed.
    pub(super) fn of(object: &DynamicObject) -> Option<(Self, String)> {
        let owners = object.metadata.owner_references.iter().flatten();
        let owned = owners.filter(|owner| owner.api_version == API_VERSION).find_map(|owner| {
            let subject = Self::ALL.into_iter().find(|subject| subject.kind() == owner.kind)?;
            Some((subject, owner.name.clone()))
        });
        let labels = object.metadata.labels.as_ref();
        let marked = |subject: Self| Some((subject, labels?.get(subject.label())?.clone()));
        owned.or_else(|| Self::ALL.into_iter().find_map(marked))
    }
}
