//! Tenants, tokens, chains and documents, as they cross the API.

use std::collections::BTreeMap;

use fairlead_core::chain::Level;
use fairlead_core::document::{Action, Difference, DocumentId, DocumentKind};
use fairlead_core::name::{AttachmentName, ServerName, TenantName};
use fairlead_core::plugin::{AttachmentSpec, Capability, FailureMode, PluginKind};
use fairlead_core::policy::{Position, Selector};
use fairlead_core::tenant::Role;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

// === Tenants ===

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TenantInfo {
    /// Its name.
    pub(crate) name: TenantName,
    /// Who that is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) description: String,
    /// Whether its tokens may run commands of this machine and name its files.
    pub(crate) host_access: bool,
    /// For selection and display.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
    /// Servers that it has.
    pub(crate) servers: usize,
    /// Plugins that it has attached for all of them or some.
    pub(crate) attachments: usize,
    /// When it was created; absent when it only has servers and was never declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<Timestamp>,
}

/// Tenants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct TenantList {
    /// By name.
    pub(crate) tenants: Vec<TenantInfo>,
}

/// A tenant to be created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CreateTenant {
    /// Its name.
    pub(crate) name: TenantName,
    /// Who that is.
    #[serde(default)]
    pub(crate) description: String,
    /// Lets its tokens run commands of this machine and name its files.
    #[serde(default)]
    pub(crate) host_access: bool,
    /// For selection and display.
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
}

// === Tokens ===

/// Whose tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenQuery {
    /// Only those of this tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<TenantName>,
}

/// A token to be created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CreateToken {
    /// The tenant that it is for; not given: the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<TenantName>,
    /// What its bearer may do.
    pub(crate) role: Role,
    /// What it is for.
    #[serde(default)]
    pub(crate) description: String,
    /// After how many seconds it ends to be good; not given: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_in_secs: Option<u32>,
}

/// A token, without what makes it one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TokenInfo {
    /// Names it.
    pub(crate) id: String,
    /// The tenant that it is for; absent: the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<TenantName>,
    /// What its bearer may do.
    pub(crate) role: Role,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) description: String,
    /// When it was created.
    pub(crate) created: Timestamp,
    /// When it ends to be good; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<Timestamp>,
}

/// Tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct TokenList {
    /// By tenant.
    pub(crate) tokens: Vec<TokenInfo>,
}

/// A token that was just created: the only time that anybody sees it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct CreatedToken {
    /// What is known of it.
    pub(crate) info: TokenInfo,
    /// The token itself.
    pub(crate) token: String,
}

impl std::fmt::Debug for CreatedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedToken").field("info", &self.info).finish_non_exhaustive()
    }
}

// === Chains ===

/// Which chain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChainQuery {
    /// Of the platform, of a tenant, or of a server with all that reaches it.
    #[serde(default)]
    pub(crate) level: Level,
    /// The tenant; for levels `tenant` and `server`.
    #[serde(default)]
    pub(crate) tenant: TenantName,
    /// The server; for level `server`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<ServerName>,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChainView {
    /// Of the platform, of a tenant, or of a server with all that reaches it.
    pub(crate) level: Level,
    /// The tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<TenantName>,
    /// The server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<ServerName>,
    /// Outermost first.
    pub(crate) links: Vec<ChainEntry>,
}

/// A plugin in a chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChainEntry {
    /// Where it was attached.
    pub(crate) level: Level,
    /// Name of the attachment.
    pub(crate) name: AttachmentName,
    /// The decision that it takes over.
    pub(crate) kind: PluginKind,
    /// A file or the name of an installed plugin.
    pub(crate) plugin: String,
    /// Which servers it reaches.
    #[serde(default, skip_serializing_if = "Selector::is_empty")]
    pub(crate) selector: Selector,
    /// What happens when it is broken.
    pub(crate) failure_mode: FailureMode,
    /// What it was given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) grants: Vec<Capability>,
    /// Its configuration; that of the platform is not told to tenants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) config: Option<Value>,
}

/// A chain to be changed. What serves now goes on until the new chain is ready; no request is lost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct EditChain {
    /// Of the platform, of a tenant, or of a server.
    #[serde(default)]
    pub(crate) level: Level,
    /// The tenant; for levels `tenant` and `server`.
    #[serde(default)]
    pub(crate) tenant: TenantName,
    /// The server; for level `server`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<ServerName>,
    /// What is changed.
    pub(crate) edit: ChainEdit,
}

/// One change of a chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum ChainEdit {
    /// Puts a plugin in; innermost unless a position is given.
    Add {
        /// Plugin, configuration, grants.
        attachment: Box<AttachmentSpec>,
        /// Where.
        #[serde(default)]
        position: Option<Position>,
        /// Which servers it reaches; not for a server's own.
        #[serde(default)]
        selector: Selector,
    },
    /// Takes a plugin out.
    Remove {
        /// Name of the attachment.
        name: AttachmentName,
    },
    /// Puts a plugin elsewhere in its chain.
    Move {
        /// Name of the attachment.
        name: AttachmentName,
        /// Where to.
        position: Position,
    },
    /// Makes the chain consist of these, outermost first.
    Set {
        /// Plugins with what they reach.
        attachments: Vec<ChainItem>,
    },
}

/// A plugin of a chain that is set as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChainItem {
    /// Plugin, configuration, grants.
    pub(crate) attachment: AttachmentSpec,
    /// Which servers it reaches; not for a server's own.
    #[serde(default, skip_serializing_if = "Selector::is_empty")]
    pub(crate) selector: Selector,
}

/// A request to be led through the chain of a server, without the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ExplainChain {
    /// The tenant.
    #[serde(default)]
    pub(crate) tenant: TenantName,
    /// The server.
    pub(crate) server: ServerName,
    /// A JSON-RPC request or notification.
    pub(crate) request: Value,
    /// What the server would answer: `{"result": …}` or `{"error": …}`; not given: the way back is not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) answer: Option<Value>,
    /// Headers of the request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) headers: BTreeMap<String, String>,
}

/// What the chain of a server makes of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Explanation {
    /// The plugins of the chain, outermost first.
    pub(crate) links: Vec<ExplainedLink>,
    /// The method.
    pub(crate) method: String,
    /// Tool, prompt or resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<String>,
    /// Whether the server would see the request.
    pub(crate) reaches_server: bool,
    /// The `params` with which it would see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) params: Option<Value>,
    /// What the client would get: `{"result": …}` or `{"error": …}`, as far as it is known without the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) answer: Option<Value>,
}

/// One plugin of the chain, and what it said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExplainedLink {
    /// Where it was attached.
    pub(crate) level: Level,
    /// Name of the attachment.
    pub(crate) name: String,
    /// Name, version and digest of the plugin.
    pub(crate) revision: String,
    /// The moments at which it wants to see such a message: `request`, `response`, `error`.
    pub(crate) wants: Vec<String>,
    /// What it was asked and said, in order.
    pub(crate) asked: Vec<ExplainedCall>,
}

/// One question to a plugin, and its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExplainedCall {
    /// `request`, `response` or `error`.
    pub(crate) phase: String,
    /// `next`, `edit`, `respond`, `reject` or `fault`.
    pub(crate) verdict: String,
    /// Code and text of a rejection, changes of an edit, reason of a fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<Value>,
    /// How long it took, in microseconds.
    pub(crate) micros: f64,
}

// === Documents ===

/// Documents to be applied: all of them, or none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Apply {
    /// The tenant within which all of them stand; not given: anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<TenantName>,
    /// The documents.
    pub(crate) documents: Vec<Value>,
    /// Only tells what would be done.
    #[serde(default)]
    pub(crate) dry_run: bool,
    /// Removes what has all of these labels and is not among the documents.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) prune: BTreeMap<String, String>,
}

/// What was done about documents, or would be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Applied {
    /// In the order in which it is done.
    pub(crate) steps: Vec<AppliedStep>,
}

/// What was done about one document, or would be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct AppliedStep {
    /// Which.
    pub(crate) id: DocumentId,
    /// What.
    pub(crate) action: Action,
    /// What that changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) differences: Vec<Difference>,
}

/// Which documents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DocumentQuery {
    /// Only of this kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<DocumentKind>,
    /// Only within this tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<TenantName>,
    /// Only with this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
}

/// Documents, with what is as `status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct DocumentList {
    /// By kind, namespace and name.
    pub(crate) documents: Vec<Value>,
}
