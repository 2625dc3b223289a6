//! Reading a document: what it says in the nouns of this crate, or what is wrong with it, where, and what was probably
//! meant.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{
    API_VERSION, AttachmentDocument, AttachmentLevel, Document, DocumentId, DocumentKind, Metadata,
    PluginAttachmentSpec, PluginDocument, ServerDocument, TenantDocument, attachment_name, normal,
};
use crate::cluster::ClusterSpec;
use crate::limits::{SUGGESTION_DISTANCE_MAX, SUGGESTION_SHARE};
use crate::name::{PluginName, ServerKey, ServerName, TenantName};
use crate::plugin::AttachmentSpec;
use crate::policy::Owner;
use crate::server::ServerSpec;
use crate::store::PluginSpec;
use crate::tenant::{PLATFORM_NAMESPACE, TenantSpec};

/// What a cluster, or a tool that talks to one, adds to `metadata`. It says nothing about what is wanted.
const OF_THE_CLUSTER: [&str; 10] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "uid",
];

/// What annotations of the tool begin with that talks to a cluster.
const OF_KUBECTL: &str = "kubectl.kubernetes.io/";

/// What is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{subject}: {}{reason}", place(pointer))]
pub struct DocumentError {
    /// Which document, as far as it says so.
    pub subject: String,
    /// RFC 6901 pointer; empty: the whole.
    pub pointer: String,
    /// What is wrong there.
    pub reason: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

fn place(pointer: &str) -> String {
    if pointer.is_empty() { String::new() } else { format!("`{pointer}`: ") }
}

impl DocumentError {
    /// Something is wrong with a document that is known.
    #[must_use]
    pub fn new(id: &DocumentId, pointer: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { subject: id.to_string(), pointer: pointer.into(), reason: reason.into(), suggestion: None }
    }

    fn of(subject: &str, pointer: impl Into<String>, reason: impl Into<String>) -> Self {
        let (pointer, reason) = (pointer.into(), reason.into());
        Self { subject: subject.to_owned(), pointer, reason, suggestion: None }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        self.suggestion.as_ref().map(|meant| format!("did you mean `{meant}`?"))
    }
}

/// Reads a document.
///
/// # Errors
/// It is none, or a field is unknown, missing or wrong.
pub fn read(value: &Value) -> Result<Document, DocumentError> {
    let Value::Object(fields) = value else {
        return Err(DocumentError::of("the document", "", "is no mapping with `apiVersion`, `kind` and `metadata`"));
    };
    let mut subject = "the document".to_owned();
    let version = text(fields, "apiVersion").map_err(|reason| DocumentError::of(&subject, "/apiVersion", reason))?;
    if version != API_VERSION {
        let reason = format!("is `{version}`, and this program knows `{API_VERSION}`");
        return Err(DocumentError::of(&subject, "/apiVersion", reason));
    }
    let word = text(fields, "kind").map_err(|reason| DocumentError::of(&subject, "/kind", reason))?;
    let kinds = DocumentKind::ALL.map(DocumentKind::as_str);
    let Some(kind) = DocumentKind::ALL.into_iter().find(|kind| kind.as_str() == word) else {
        let error = DocumentError::of(&subject, "/kind", format!("is `{word}`; there are {}", kinds.join(", ")));
        return Err(DocumentError { suggestion: closest(word, kinds), ..error });
    };
    subject = kind.to_string();
    let mut metadata = fields.get("metadata").cloned().unwrap_or_default();
    if let Some(fields) = metadata.as_object_mut() {
        fields.retain(|name, _| !OF_THE_CLUSTER.contains(&name.as_str()));
        fields.retain(|name, value| !(matches!(name.as_str(), "labels" | "annotations") && value.is_null()));
        if let Some(annotations) = fields.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.retain(|name, _| !name.starts_with(OF_KUBECTL));
        }
        if let Some(name) = fields.get("name").and_then(Value::as_str) {
            subject = match fields.get("namespace").and_then(Value::as_str) {
                Some(namespace) => format!("{kind} `{namespace}/{name}`"),
                None => format!("{kind} `{name}`"),
            };
        }
    }
    let metadata: Metadata = part(&metadata, &subject, "/metadata")?;
    let known = ["apiVersion", "kind", "metadata", "spec", "status"];
    if let Some(unknown) = fields.keys().find(|name| !known.contains(&name.as_str())) {
        let error = DocumentError::of(&subject, format!("/{}", token(unknown)), format!("unknown field `{unknown}`"));
        return Err(DocumentError { suggestion: closest(unknown, known), ..error });
    }
    let empty = Value::Object(Map::new());
    let spec = fields.get("spec").filter(|spec| !spec.is_null()).unwrap_or(&empty);
    Reader { kind, subject: &subject, metadata, spec }.read()
}

struct Reader<'a> {
    kind: DocumentKind,
    subject: &'a str,
    metadata: Metadata,
    spec: &'a Value,
}

impl Reader<'_> {
    fn read(self) -> Result<Document, DocumentError> {
        if let (Some(_), false) = (&self.metadata.namespace, self.kind.is_namespaced()) {
            let reason = format!("a {} belongs to the platform and has no namespace", self.kind);
            return Err(self.wrong("/metadata/namespace", reason));
        }
        match self.kind {
            DocumentKind::Tenant => self.tenant().map(Document::Tenant),
            DocumentKind::Plugin => self.plugin().map(Document::Plugin),
            DocumentKind::PluginAttachment => self.attachment().map(Document::Attachment),
            DocumentKind::McpServer => self.server().map(Document::Server),
        }
    }

    fn tenant(self) -> Result<TenantDocument, DocumentError> {
        let name = self.name(TenantName::new(&self.metadata.name))?;
        if name.as_str() == PLATFORM_NAMESPACE {
            return Err(self.wrong("/metadata/name", "is the namespace of the platform, not a tenant".to_owned()));
        }
        let spec: TenantSpec = part(self.spec, self.subject, "/spec")?;
        Ok(TenantDocument { name, labels: self.metadata.labels, spec })
    }

    fn plugin(self) -> Result<PluginDocument, DocumentError> {
        let name = self.name(PluginName::new(&self.metadata.name))?;
        let spec: PluginSpec = part(self.spec, self.subject, "/spec")?;
        let digits = spec.digest.strip_prefix("sha256:").unwrap_or_default();
        if digits.len() != 64 || !digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            let reason = "is not `sha256:` and 64 hexadecimal digits in lower case".to_owned();
            return Err(self.wrong("/spec/digest", reason));
        }
        Ok(PluginDocument { name, labels: self.metadata.labels, spec })
    }

    fn attachment(self) -> Result<AttachmentDocument, DocumentError> {
        let name = attachment_name(&self.metadata.name).map_err(|reason| self.wrong("/metadata/name", reason))?;
        let spec: PluginAttachmentSpec = part(self.spec, self.subject, "/spec")?;
        let namespace = self.metadata.namespace.as_deref();
        let owner = match (spec.level, namespace) {
            (AttachmentLevel::Platform, None | Some(PLATFORM_NAMESPACE)) => Owner::Platform,
            (AttachmentLevel::Platform, Some(_)) => {
                let reason = format!("an attachment of the platform stands in `{PLATFORM_NAMESPACE}`, or in none");
                return Err(self.wrong("/metadata/namespace", reason));
            }
            (AttachmentLevel::Tenant, Some(PLATFORM_NAMESPACE)) => {
                let reason = "what stands in the namespace of the platform is of level `platform`".to_owned();
                return Err(self.wrong("/spec/level", reason));
            }
            (AttachmentLevel::Tenant, _) => Owner::Tenant(self.namespace()?),
        };
        if let (Owner::Tenant(_), false) = (&owner, spec.selector.tenants.is_empty()) {
            let reason = "only the platform selects tenants; what belongs to a tenant stays with it".to_owned();
            return Err(self.wrong("/spec/selector/tenants", reason));
        }
        Ok(AttachmentDocument {
            owner,
            labels: self.metadata.labels,
            order: spec.order,
            selector: spec.selector,
            spec: normal(AttachmentSpec {
                name,
                kind: spec.kind,
                plugin: spec.plugin,
                config: spec.config,
                failure_mode: spec.failure_mode,
                instances: spec.instances,
                limits: spec.limits,
                grants: spec.grants,
            }),
        })
    }

    fn server(self) -> Result<ServerDocument, DocumentError> {
        let name = self.name(ServerName::new(&self.metadata.name))?;
        let tenant = self.namespace()?;
        let mut own = self.spec.clone();
        let cluster: Box<ClusterSpec> = part(&take(&mut own, &ClusterSpec::FIELDS), self.subject, "/spec")?;
        let mut spec: ServerSpec = part(&own, self.subject, "/spec")?;
        for (field, given) in [("labels", &spec.labels), ("annotations", &spec.annotations)] {
            if !given.is_empty() {
                let error =
                    self.wrong(&format!("/spec/{field}"), format!("the {field} of a server stand in its metadata"));
                return Err(DocumentError { suggestion: Some(format!("metadata.{field}")), ..error });
            }
        }
        spec.labels = self.metadata.labels;
        spec.annotations = self.metadata.annotations;
        spec.plugins = spec.plugins.into_iter().map(normal).collect();
        Ok(ServerDocument { key: ServerKey { tenant, name }, spec, cluster })
    }

    fn name<T>(&self, name: Result<T, crate::name::NameError>) -> Result<T, DocumentError> {
        name.map_err(|error| self.wrong("/metadata/name", error.to_string()))
    }

    fn namespace(&self) -> Result<TenantName, DocumentError> {
        match self.metadata.namespace.as_deref() {
            None => Ok(TenantName::default()),
            Some(PLATFORM_NAMESPACE) => {
                let reason = format!("`{PLATFORM_NAMESPACE}` is the namespace of the platform, not a tenant");
                Err(self.wrong("/metadata/namespace", reason))
            }
            Some(name) => TenantName::new(name).map_err(|error| self.wrong("/metadata/namespace", error.to_string())),
        }
    }

    fn wrong(&self, pointer: &str, reason: String) -> DocumentError {
        DocumentError::of(self.subject, pointer, reason)
    }
}

/// Takes fields out of an object, as an object of their own.
fn take(object: &mut Value, names: &[&str]) -> Value {
    let fields = object.as_object_mut();
    let taken = fields.map(|fields| names.iter().filter_map(|name| fields.remove_entry(*name)).collect());
    Value::Object(taken.unwrap_or_default())
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<&'a str, String> {
    match fields.get(name) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err("is no text".to_owned()),
        None => Err("is missing".to_owned()),
    }
}

fn part<T: DeserializeOwned>(value: &Value, subject: &str, at: &str) -> Result<T, DocumentError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let mut pointer = at.to_owned();
        for segment in error.path().iter() {
            match segment {
                serde_path_to_error::Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
                serde_path_to_error::Segment::Map { key } => pointer.push_str(&format!("/{}", token(key))),
                serde_path_to_error::Segment::Enum { .. } | serde_path_to_error::Segment::Unknown => {}
            }
        }
        let said = error.inner().to_string();
        let suggestion = meant(&said);
        // With one at hand nobody reads the list of all that would be possible.
        let reason = match (&suggestion, said.split_once(", expected")) {
            (Some(_), Some((reason, _))) => reason.to_owned(),
            _ => said,
        };
        DocumentError { suggestion, ..DocumentError::of(subject, pointer, reason) }
    })
}

fn token(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// What was probably meant, from what serde says of an unknown field or variant: the texts in back quotes.
fn meant(said: &str) -> Option<String> {
    let unknown = said.strip_prefix("unknown field ").or_else(|| said.strip_prefix("unknown variant "))?;
    let mut quoted = unknown.split('`').skip(1).step_by(2);
    let given = quoted.next()?;
    closest(given, quoted)
}

/// The one among several texts that another was probably meant to be.
pub fn closest<'a>(given: &str, possible: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let distance = |word: &str| strsim::damerau_levenshtein(&given.to_lowercase(), &word.to_lowercase());
    let near = possible.into_iter().map(|word| (distance(word), word)).min()?;
    let most = SUGGESTION_DISTANCE_MAX.min(given.chars().count() / SUGGESTION_SHARE + 1);
    (near.0 <= most).then(|| near.1.to_owned())
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        read(&value).map_err(serde::de::Error::custom)
    }
}
