//! What crosses the API, in both directions. The daemon and the command line use the same types, and the OpenAPI document
//! is made from them.

mod operations;
pub(crate) mod policy;
pub(crate) mod registry;
mod updates;
mod usage;

use std::collections::BTreeMap;

use fairlead_core::chain::Level;
use fairlead_core::freshness::UpdateView;
use fairlead_core::image::ImageReference;
use fairlead_core::name::{GroupName, PluginName, ServerKey, ServerName, TenantName};
use fairlead_core::plugin::{AttachmentSpec, Capability, PluginKind};
use fairlead_core::secret::{SecretName, SecretReference};
use fairlead_core::server::ServerSpec;
use fairlead_core::status::{Desired, ServerPhase, ServerProfile};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

pub(crate) use self::operations::*;
pub(crate) use self::updates::*;
pub(crate) use self::usage::*;
use crate::secrets::KeySource;

/// A managed MCP server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Workload {
    /// Its name, unique within its tenant.
    pub(crate) name: ServerName,
    /// Its tenant.
    pub(crate) tenant: TenantName,
    /// Where MCP clients reach it.
    pub(crate) url: String,
    /// What state it is in.
    pub(crate) status: ServerPhase,
    /// Why, where there is something to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Since when it is in this state.
    pub(crate) since: Timestamp,
    /// Unwanted ends since it was last healthy.
    pub(crate) restarts: u32,
    /// When it is started again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retry_at: Option<Timestamp>,
    /// What it said of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) profile: Option<ServerProfile>,
    /// Whether somebody wants it to run.
    pub(crate) desired: Desired,
    /// Where it comes from, in one line.
    pub(crate) source: String,
    /// Its image, when it runs in a container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<ImageInfo>,
    /// How fresh it is: status, last success and failure, what runs and what is newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) updates: Option<UpdateView>,
    /// How it speaks: `stdio` or `streamable-http`.
    pub(crate) transport: String,
    /// The middleware of its chain, outermost first.
    pub(crate) chain: Vec<ChainLink>,
    /// The group that it belongs to.
    #[serde(default)]
    pub(crate) group: GroupName,
    /// For selection and display.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
    /// When it was created.
    pub(crate) created: Timestamp,
    /// All that was asked for; only where one server is asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) spec: Option<ServerSpec>,
}

/// The image that a server runs from, and where. What only an engine can tell is there once the server was launched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ImageInfo {
    /// As it was named.
    pub(crate) reference: String,
    /// The engine's own id of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    /// Digest of its manifest in its OCI registry; absent for an image that was built on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) digest: Option<String>,
    /// Name of the key with which somebody signed it, where signatures are looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) signed_by: Option<String>,
    /// Name of the container engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) engine: Option<String>,
    /// Its address: the server stays on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) engine_address: Option<String>,
}

/// One middleware in the chain of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChainLink {
    /// Where it was attached: `platform`, `tenant` or `server`.
    #[serde(default)]
    pub(crate) level: Level,
    /// Name of the attachment.
    pub(crate) name: String,
    /// Name, version and digest of the plugin.
    pub(crate) revision: String,
}

/// Servers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct WorkloadList {
    /// By tenant and name.
    pub(crate) workloads: Vec<Workload>,
}

/// A server to be created and started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CreateWorkload {
    /// Its name; by default one that is free, made from its source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<ServerName>,
    /// Its tenant.
    #[serde(default)]
    pub(crate) tenant: TenantName,
    /// Whether it shall run at once.
    #[serde(default)]
    pub(crate) desired: Desired,
    /// What it shall be.
    pub(crate) spec: ServerSpec,
}

/// A group of servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct GroupInfo {
    /// Its name.
    pub(crate) name: GroupName,
    /// Its tenant.
    pub(crate) tenant: TenantName,
    /// The servers in it, by name.
    pub(crate) servers: Vec<ServerName>,
}

/// Groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct GroupList {
    /// By name.
    pub(crate) groups: Vec<GroupInfo>,
}

/// A group to be created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateGroup {
    /// Its name.
    pub(crate) name: GroupName,
    /// Its tenant.
    #[serde(default)]
    pub(crate) tenant: TenantName,
}

/// As what a server is exported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ExportFormat {
    /// Fairlead's own document, as `fairlead run --from-config` takes it
    #[default]
    Yaml,
    /// ToolHive's RunConfig v0.1.0
    Runconfig,
    /// Fairlead's own document, without what is of this machine
    K8s,
}

impl ExportFormat {
    /// Its name, as flags and the API write it.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Yaml => "yaml",
            Self::Runconfig => "runconfig",
            Self::K8s => "k8s",
        }
    }
}

/// Which export.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExportQuery {
    /// The tenant.
    #[serde(default)]
    pub(crate) tenant: TenantName,
    /// As what.
    #[serde(default, rename = "as")]
    pub(crate) format: ExportFormat,
}

/// A server as a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Exported {
    /// The document.
    pub(crate) text: String,
    /// What has no place in it.
    pub(crate) notes: Vec<ExportNote>,
}

/// Something that has no place in a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ExportNote {
    /// Where it is in the server: an RFC 6901 pointer.
    pub(crate) pointer: String,
    /// Why it has no place.
    pub(crate) reason: String,
}

/// The plugins that a server shall have from now on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ReplacePlugins {
    /// Outermost first.
    pub(crate) plugins: Vec<AttachmentSpec>,
    /// Tools that clients may see and call; not given: as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tools: Option<Vec<String>>,
}

/// Which servers to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// Only of this tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<TenantName>,
    /// Only of this group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<GroupName>,
    /// Only with these labels: `key=value`, several with commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) labels: Option<String>,
    /// Also those that are stopped.
    #[serde(default)]
    pub(crate) all: bool,
}

/// Of which tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantQuery {
    /// The tenant.
    #[serde(default)]
    pub(crate) tenant: TenantName,
}

/// Which part of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogsQuery {
    /// The tenant.
    #[serde(default)]
    pub(crate) tenant: TenantName,
    /// The log of the data plane and of the plugins about the server, instead of its own.
    #[serde(default)]
    pub(crate) proxy: bool,
    /// Go on with what comes.
    #[serde(default)]
    pub(crate) follow: bool,
    /// Lines from the end to begin with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tail: Option<usize>,
}

/// Which plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PluginQuery {
    /// A file or the name of an installed plugin; not given: all that are installed.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub(crate) reference: Option<String>,
    /// The tenant that asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<TenantName>,
}

/// A plugin to be installed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct InstallPlugin {
    /// Registry and repository, with a tag or a digest.
    pub(crate) reference: ImageReference,
    /// What it is called in chains; by default what it calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<PluginName>,
}

/// Plugins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct PluginList {
    /// By name.
    pub(crate) plugins: Vec<PluginInfo>,
    /// Files in plugin directories that are no plugins, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) unusable: Vec<UnusablePlugin>,
    /// Where there are no plugins: the directories that were searched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) searched: Vec<String>,
}

/// A file in a plugin directory that is no plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct UnusablePlugin {
    /// The file.
    pub(crate) path: String,
    /// Why not.
    pub(crate) reason: String,
}

/// A plugin, as its manifest describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PluginInfo {
    /// Its name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// Which decision it takes over.
    pub(crate) kind: PluginKind,
    /// What it does, in one sentence.
    pub(crate) description: String,
    /// The file.
    pub(crate) path: String,
    /// Digest of the file.
    pub(crate) digest: String,
    /// Size of the file.
    pub(crate) size_bytes: u64,
    /// Version of the contract that it was built for.
    pub(crate) wit_version: String,
    /// What the component imports.
    pub(crate) imports: Vec<String>,
    /// What it may ask to be called for.
    pub(crate) interests: Vec<InterestInfo>,
    /// What it cannot work without.
    pub(crate) capabilities: Vec<Capability>,
    /// JSON Schema of its configuration.
    pub(crate) config_schema: serde_json::Value,
    /// Anything else that it says of itself: licence, homepage, authors.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) attributes: BTreeMap<String, String>,
}

/// What a middleware may ask to be called for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct InterestInfo {
    /// Method or pattern.
    pub(crate) method: String,
    /// Pattern over the tool, prompt or resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<String>,
    /// `request`, `response`, `error`, `event`.
    pub(crate) phases: Vec<String>,
}

/// A secret in the store. Its value is not here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SecretInfo {
    /// Its name.
    pub(crate) name: SecretName,
    /// What names it elsewhere.
    pub(crate) reference: SecretReference,
    /// When its value was set.
    pub(crate) updated: Timestamp,
    /// Servers that use it.
    pub(crate) used_by: Vec<String>,
}

/// Secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SecretList {
    /// By name.
    pub(crate) secrets: Vec<SecretInfo>,
}

/// The value of a secret, to be stored.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetSecret {
    /// The value.
    #[schemars(with = "String")]
    pub(crate) value: Zeroizing<String>,
}

/// Which secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecretQuery {
    /// The tenant.
    #[serde(default)]
    pub(crate) tenant: TenantName,
    /// A name in the store, or a reference.
    pub(crate) name: String,
}

/// The value of a secret.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct RevealedSecret {
    /// The value.
    #[schemars(with = "String")]
    pub(crate) value: Zeroizing<String>,
}

/// A new key for the store of secrets.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateSecrets {
    /// Where it shall be; where the old one is when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<KeySource>,
    /// The key, where it is not made but given: a passphrase that comes from the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub(crate) key: Option<Zeroizing<String>>,
}

/// The store of secrets has a new key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct RotatedSecrets {
    /// Where it is.
    pub(crate) key: KeySource,
}

/// A client application of this user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClientInfo {
    /// What it is called here.
    pub(crate) id: String,
    /// What it calls itself.
    pub(crate) name: String,
    /// Its configuration file.
    pub(crate) path: String,
    /// Whether it seems to be installed.
    pub(crate) installed: bool,
    /// Whether its file follows the servers.
    pub(crate) registered: bool,
    /// The group whose servers it has; all when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<GroupName>,
    /// Servers that we wrote into its file.
    pub(crate) entries: Vec<String>,
    /// What is not as it should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

/// Client applications.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ClientList {
    /// By id.
    pub(crate) clients: Vec<ClientInfo>,
}

/// What a client application shall have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegisterClient {
    /// Only servers of this group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<GroupName>,
}

/// The running daemon. Also the content of `daemon.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DaemonInfo {
    /// Version of the program.
    pub(crate) version: String,
    /// Its process.
    pub(crate) pid: u32,
    /// Where MCP clients connect.
    pub(crate) address: String,
    /// The socket of the API.
    pub(crate) socket: String,
    /// Where the API is reached over TCP, with a token, when that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) api_address: Option<String>,
    /// Where the catalogue is served, when it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) registry_address: Option<String>,
}

impl Workload {
    /// Tenant and name.
    #[must_use]
    pub(crate) fn key(&self) -> ServerKey {
        ServerKey { tenant: self.tenant.clone(), name: self.name.clone() }
    }
}
