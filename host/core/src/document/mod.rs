//! Documents: the declarative form of everything, shaped like Kubernetes objects (`apiVersion`, `kind`, `metadata`, `spec`,
//! `status`), so that what `fairlead apply -f` takes is what becomes a custom resource.
//!
//! A document is read from a JSON value, whatever it was written in, into the same nouns that flags and requests become. The
//! namespace of an object is its tenant. `status` and what a cluster adds to `metadata` are ignored where they are read, so
//! that what was printed can be applied again; anything else that is not known is refused with its place, for a misspelt
//! field would otherwise be a guard that silently does nothing.

mod attachment;
mod difference;
mod plan;
mod read;
mod schema;

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::cluster::ClusterSpec;
use crate::name::{AttachmentName, PluginName, ServerKey, TenantName};
use crate::plugin::AttachmentSpec;
use crate::policy::{Owner, PolicyKey, PolicyRecord, Selector};
use crate::server::{ServerSpec, Source};
use crate::store::{PluginRecord, PluginSpec, ServerRecord};
use crate::tenant::{PLATFORM_NAMESPACE, TenantRecord, TenantSpec};

pub use attachment::{AttachmentLevel, PluginAttachmentSpec};
pub use difference::{Difference, differences};
pub use plan::{Action, Step, plan};
pub use read::{DocumentError, closest, read};
pub use schema::{schemas, spec_schema};

/// Group and version of every document.
pub const API_VERSION: &str = "fairlead.dev/v1alpha1";

/// What a document describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DocumentKind {
    /// A tenant.
    Tenant,
    /// A plugin that goes by a name.
    Plugin,
    /// A plugin in the chain of the platform or of a tenant.
    PluginAttachment,
    /// A server.
    #[serde(rename = "MCPServer")]
    McpServer,
}

impl DocumentKind {
    /// All of them, in the order in which they are applied.
    pub const ALL: [Self; 4] = [Self::Tenant, Self::Plugin, Self::PluginAttachment, Self::McpServer];

    /// The word in `kind`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "Tenant",
            Self::Plugin => "Plugin",
            Self::PluginAttachment => "PluginAttachment",
            Self::McpServer => "MCPServer",
        }
    }

    /// Whether such an object stands in a namespace.
    #[must_use]
    pub const fn is_namespaced(self) -> bool {
        matches!(self, Self::PluginAttachment | Self::McpServer)
    }
}

impl fmt::Display for DocumentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Names a document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DocumentId {
    /// What it describes.
    pub kind: DocumentKind,
    /// The namespace, which is the tenant; none where the kind has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} `{namespace}/{}`", self.kind, self.name),
            None => write!(f, "{} `{}`", self.kind, self.name),
        }
    }
}

/// `metadata` of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// The name: a DNS label.
    pub name: String,
    /// The tenant; `default` when it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// For selection and display.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What others want to find again: kept with a server, given back, never read. With other kinds they are ignored.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A document that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// A tenant.
    Tenant(TenantDocument),
    /// A plugin that goes by a name.
    Plugin(PluginDocument),
    /// A plugin in the chain of the platform or of a tenant.
    Attachment(AttachmentDocument),
    /// A server.
    Server(ServerDocument),
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantDocument {
    /// Its name.
    pub name: TenantName,
    /// For selection and display.
    pub labels: BTreeMap<String, String>,
    /// What it shall be.
    pub spec: TenantSpec,
}

/// A plugin that goes by a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginDocument {
    /// Its name.
    pub name: PluginName,
    /// For selection and display.
    pub labels: BTreeMap<String, String>,
    /// What it shall be.
    pub spec: PluginSpec,
}

/// A plugin in the chain of the platform or of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachmentDocument {
    /// To whom it belongs.
    pub owner: Owner,
    /// For selection and display.
    pub labels: BTreeMap<String, String>,
    /// Its place among the attachments of its owner.
    pub order: i32,
    /// Which servers it reaches.
    pub selector: Selector,
    /// Plugin, configuration, grants.
    pub spec: AttachmentSpec,
}

impl AttachmentDocument {
    /// What names it.
    #[must_use]
    pub fn key(&self) -> PolicyKey {
        PolicyKey { owner: self.owner.clone(), name: self.spec.name.clone() }
    }
}

/// A server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerDocument {
    /// Tenant and name.
    pub key: ServerKey,
    /// What it shall be, with the labels of the document.
    pub spec: ServerSpec,
    /// How it stands in a cluster; without meaning on one machine.
    pub cluster: Box<ClusterSpec>,
}

impl ServerDocument {
    /// A server that nothing is said about but what it is.
    #[must_use]
    pub fn new(key: ServerKey, spec: ServerSpec) -> Self {
        Self { key, spec, cluster: Box::default() }
    }

    /// Takes over what the host filled in for a server that is there, where the document says nothing: an image stays on
    /// the engine that it was started on, a package at the version that was built.
    pub fn adopt(&mut self, known: &ServerSpec) {
        match (&mut self.spec.source, &known.source) {
            (Source::Image(wanted), Source::Image(known)) if wanted.engine.is_none() => {
                wanted.engine.clone_from(&known.engine);
            }
            (Source::Package(wanted), Source::Package(known)) => {
                if wanted.engine.is_none() {
                    wanted.engine.clone_from(&known.engine);
                }
                if wanted.resolved.is_none() && wanted.package == known.package {
                    wanted.resolved.clone_from(&known.resolved);
                }
            }
            _ => {}
        }
        if let (Source::Package(wanted), Source::Package(known)) = (&mut self.spec.source, &known.source)
            && wanted.package == known.package
        {
            wanted.engine = wanted.engine.take().or_else(|| known.engine.clone());
            wanted.resolved = wanted.resolved.take().or_else(|| known.resolved.clone());
        }
    }
}

// === impl Document ===

impl Document {
    /// What names it.
    #[must_use]
    pub fn id(&self) -> DocumentId {
        let (kind, namespace, name) = match self {
            Self::Tenant(tenant) => (DocumentKind::Tenant, None, tenant.name.to_string()),
            Self::Plugin(plugin) => (DocumentKind::Plugin, None, plugin.name.to_string()),
            Self::Attachment(attachment) => {
                let namespace = namespace_of(&attachment.owner);
                (DocumentKind::PluginAttachment, Some(namespace), attachment.spec.name.to_string())
            }
            Self::Server(server) => {
                (DocumentKind::McpServer, Some(server.key.tenant.to_string()), server.key.name.to_string())
            }
        };
        DocumentId { kind, namespace, name }
    }

    /// Its labels.
    #[must_use]
    pub fn labels(&self) -> &BTreeMap<String, String> {
        match self {
            Self::Tenant(tenant) => &tenant.labels,
            Self::Plugin(plugin) => &plugin.labels,
            Self::Attachment(attachment) => &attachment.labels,
            Self::Server(server) => &server.spec.labels,
        }
    }

    /// The tenant that it belongs to; none: the platform.
    #[must_use]
    pub fn tenant(&self) -> Option<&TenantName> {
        match self {
            Self::Tenant(_) | Self::Plugin(_) => None,
            Self::Attachment(attachment) => match &attachment.owner {
                Owner::Platform => None,
                Owner::Tenant(tenant) => Some(tenant),
            },
            Self::Server(server) => Some(&server.key.tenant),
        }
    }

    /// As it is written: complete, always the same for the same document, and without a status.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let DocumentId { kind, namespace, name } = self.id();
        let spec = match self {
            Self::Tenant(tenant) => json!(tenant.spec),
            Self::Plugin(plugin) => json!(plugin.spec),
            Self::Attachment(attachment) => json!(PluginAttachmentSpec::from(attachment)),
            Self::Server(server) => {
                let mut spec = json!(server.spec);
                if let Some(fields) = spec.as_object_mut() {
                    fields.remove("labels");
                    fields.remove("annotations");
                    if let Value::Object(of_the_cluster) = json!(server.cluster) {
                        fields.extend(of_the_cluster);
                    }
                }
                spec
            }
        };
        let annotations = match self {
            Self::Server(server) => server.spec.annotations.clone(),
            _ => BTreeMap::new(),
        };
        let metadata = Metadata { name, namespace, labels: self.labels().clone(), annotations };
        let mut document = Map::new();
        document.insert("apiVersion".to_owned(), API_VERSION.into());
        document.insert("kind".to_owned(), kind.as_str().into());
        document.insert("metadata".to_owned(), json!(metadata));
        document.insert("spec".to_owned(), spec);
        Value::Object(document)
    }
}

fn namespace_of(owner: &Owner) -> String {
    match owner {
        Owner::Platform => PLATFORM_NAMESPACE.to_owned(),
        Owner::Tenant(tenant) => tenant.to_string(),
    }
}

impl From<&TenantRecord> for Document {
    fn from(record: &TenantRecord) -> Self {
        Self::Tenant(TenantDocument {
            name: record.name.clone(),
            labels: record.labels.clone(),
            spec: record.spec.clone(),
        })
    }
}

impl From<&PluginRecord> for Document {
    fn from(record: &PluginRecord) -> Self {
        Self::Plugin(PluginDocument {
            name: record.name.clone(),
            labels: record.labels.clone(),
            spec: record.spec.clone(),
        })
    }
}

impl From<&PolicyRecord> for Document {
    fn from(record: &PolicyRecord) -> Self {
        Self::Attachment(AttachmentDocument {
            owner: record.owner.clone(),
            labels: record.labels.clone(),
            order: record.order,
            selector: record.selector.clone(),
            spec: normal(record.spec.clone()),
        })
    }
}

impl From<&ServerRecord> for Document {
    fn from(record: &ServerRecord) -> Self {
        let mut spec = record.spec.clone();
        spec.plugins = spec.plugins.into_iter().map(normal).collect();
        Self::Server(ServerDocument::new(record.key.clone(), spec))
    }
}

/// No configuration and an empty one are the same.
fn normal(mut spec: AttachmentSpec) -> AttachmentSpec {
    if spec.config.is_null() {
        spec.config = Value::Object(Map::new());
    }
    spec
}

/// The name of an attachment, from that of its document.
fn attachment_name(name: &str) -> Result<AttachmentName, String> {
    AttachmentName::new(name).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
