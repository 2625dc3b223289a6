//! Between our `MCPServer` and ToolHive's (`toolhive.stacklok.dev`, `v1alpha1` and `v1beta1`), in both directions.
//!
//! Nothing is lost in silence. What has no meaning on the other side is kept in an annotation, written back on the way home, and
//! told with its path either way. The result is a plain document: whether it can be carried out is for its reader to say.

use fairlead_core::document::{API_VERSION, Document, DocumentKind, ServerDocument};
use fairlead_core::runconfig::{Fate, Note};
use fairlead_core::server::{Source, Transport};
use serde_json::{Map, Value, json};

use crate::desired::overlay;

/// The group of ToolHive's resources.
const GROUP: &str = "toolhive.stacklok.dev";

/// Where the part of a foreign `spec` that has no meaning here is kept.
const KEPT: &str = "fairlead.dev/toolhive-spec";

/// The port at which ToolHive looks for a server that listens, where none is named.
const PORT: u64 = 8080;

/// The container of a server, here and there.
const CONTAINER: &str = "mcp";

/// Fields that are the same here and there.
const SAME: [&str; 7] =
    ["backendReplicas", "proxyPort", "replicas", "secrets", "serviceAccount", "sessionAffinity", "sessionStorage"];

/// Settings of ToolHive that have no meaning here, and why.
const NOT_APPLIED: &[(&str, &str)] = &[
    ("audit", "auditing is a setting of the operator"),
    ("authServerRef", "authentication is a plugin: attach one"),
    ("authzConfig", "authorisation is a plugin: attach one"),
    ("authzConfigRef", "authorisation is a plugin: attach one"),
    ("endpointPrefix", "servers have one path each"),
    ("externalAuthConfigRef", "outgoing authentication of this kind is not available"),
    ("oidcConfig", "authentication is a plugin: attach one"),
    ("oidcConfigRef", "authentication is a plugin: attach one"),
    ("permissionProfile", "a profile stands in the document; one in a ConfigMap is not read"),
    ("proxyMode", "one address serves every transport"),
    ("rateLimiting", "attach the plugin `rate-limit`"),
    ("resourceOverrides", "objects of the proxy are the operator's; annotations of its Service stand in `service`"),
    ("telemetryConfigRef", "telemetry is a setting of the operator"),
    ("toolConfigRef", "tools are filtered by `tools` and renamed by a plugin"),
    ("trustProxyHeaders", "the data plane trusts no header of a proxy"),
    ("volumes", "a path of a node is not mounted: give a claim, a ConfigMap or a Secret"),
    ("webhookConfigRef", "middleware are plugins: attach one"),
];

/// A version of ToolHive's resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// The older one.
    V1Alpha1,
    /// The one that it stores.
    V1Beta1,
}

impl Version {
    const fn as_str(self) -> &'static str {
        match self {
            Self::V1Alpha1 => "v1alpha1",
            Self::V1Beta1 => "v1beta1",
        }
    }
}

/// A document in its new form.
#[derive(Debug, Clone, PartialEq)]
pub struct Converted {
    /// The document.
    pub document: Value,
    /// What became of fields that did not simply become part of it.
    pub notes: Vec<Note>,
}

/// Why a document has no other form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {reason}")]
pub struct ConvertError {
    /// Where: an RFC 6901 pointer.
    pub pointer: String,
    /// What is wrong.
    pub reason: String,
}

impl ConvertError {
    fn new(pointer: &str, reason: impl Into<String>) -> Self {
        Self { pointer: pointer.to_owned(), reason: reason.into() }
    }
}

/// Whether a document is a server of ToolHive.
#[must_use]
pub fn is_toolhive(document: &Value) -> bool {
    let version = document.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    version.split('/').next() == Some(GROUP) && document.get("kind").and_then(Value::as_str) == Some("MCPServer")
}

/// A server of ToolHive as one of ours.
///
/// # Errors
/// It is none, or lacks what no server can be without.
pub fn from_toolhive(document: &Value) -> Result<Converted, ConvertError> {
    if !is_toolhive(document) {
        return Err(ConvertError::new("/kind", format!("is no MCPServer of {GROUP}")));
    }
    let Some(Value::Object(theirs)) = document.get("spec") else {
        return Err(ConvertError::new("/spec", "is missing"));
    };
    let mut rest = theirs.clone();
    let image =
        rest.remove("image").filter(Value::is_string).ok_or_else(|| ConvertError::new("/spec/image", "is missing"))?;
    let mut source = json!({"kind": "image", "reference": image});
    let mut ours = Map::new();
    if let Some(args) = rest.remove("args") {
        put(&mut source, "args", args);
    }
    // Nothing is enforced there where nothing is said, and nothing is shut off.
    put(&mut source, "permissions", profile(&mut rest).unwrap_or_else(|| "network".into()));
    ours.insert("source".to_owned(), source);
    ours.extend(transport(&mut rest)?.map(|transport| ("transport".to_owned(), transport)));
    if let Some(env) = rest.remove("env") {
        ours.insert("env".to_owned(), variables(&env)?);
    }
    if let Some(group) = rest.remove("groupRef").as_ref().and_then(|group| group.get("name")) {
        ours.insert("group".to_owned(), group.clone());
    }
    for field in SAME {
        ours.extend(rest.remove(field).map(|value| (field.to_owned(), value)));
    }
    if let Some(template) = template(&mut rest) {
        ours.insert("podTemplateSpec".to_owned(), template);
    }
    let notes = rest.keys().map(|field| told(field)).collect();
    let mut metadata = metadata(document);
    if !rest.is_empty() {
        annotate(&mut metadata, Value::Object(rest).to_string());
    }
    let document = json!({"apiVersion": API_VERSION, "kind": "MCPServer", "metadata": metadata, "spec": ours});
    Ok(Converted { document, notes })
}

/// What a person needs of `metadata`: what a cluster added says nothing about what is wanted.
fn metadata(document: &Value) -> Map<String, Value> {
    let wanted = ["name", "namespace", "labels", "annotations"];
    let given = document.get("metadata").and_then(Value::as_object);
    let mut metadata: Map<String, Value> = Map::new();
    for field in wanted {
        metadata.extend(given.and_then(|given| given.get(field)).map(|value| (field.to_owned(), value.clone())));
    }
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.retain(|name, _| !name.starts_with("kubectl.kubernetes.io/"));
    }
    metadata
}

fn annotate(metadata: &mut Map<String, Value>, text: String) {
    let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.insert(KEPT.to_owned(), text.into());
    }
}

fn put(object: &mut Value, name: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
}

fn told(field: &str) -> Note {
    let known = NOT_APPLIED.iter().find(|(name, _)| *name == field);
    let (fate, reason) = match known {
        Some((_, reason)) => (Fate::NotApplied, *reason),
        None => (Fate::Unknown, "no version that is known has this field"),
    };
    Note { pointer: format!("/spec/{}", field.replace('~', "~0").replace('/', "~1")), fate, reason: reason.to_owned() }
}

/// A built-in profile; one of another kind stays where it is.
fn profile(rest: &mut Map<String, Value>) -> Option<Value> {
    let profile = rest.get("permissionProfile")?;
    let kind = profile.get("type").and_then(Value::as_str).unwrap_or("builtin");
    let name = profile.get("name").and_then(Value::as_str).filter(|name| matches!(*name, "none" | "network"))?;
    let name = (kind == "builtin").then(|| Value::from(name))?;
    rest.remove("permissionProfile");
    Some(name)
}

fn transport(rest: &mut Map<String, Value>) -> Result<Option<Value>, ConvertError> {
    let kind = rest.remove("transport");
    let port = rest.remove("mcpPort").or_else(|| rest.remove("targetPort"));
    match kind.as_ref().map(|kind| kind.as_str().unwrap_or_default()) {
        None | Some("stdio") => {
            rest.extend(port.map(|port| ("mcpPort".to_owned(), port)));
            Ok(None)
        }
        Some(kind @ ("sse" | "streamable-http")) => {
            Ok(Some(json!({"kind": kind, "port": port.unwrap_or_else(|| PORT.into())})))
        }
        Some(other) => {
            Err(ConvertError::new("/spec/transport", format!("is `{other}`; there are stdio, sse and streamable-http")))
        }
    }
}

fn variables(env: &Value) -> Result<Value, ConvertError> {
    let mut variables = Map::new();
    for (at, variable) in env.as_array().into_iter().flatten().enumerate() {
        let text = |field: &str| variable.get(field).and_then(Value::as_str);
        let name = text("name").ok_or_else(|| ConvertError::new(&format!("/spec/env/{at}/name"), "is missing"))?;
        variables.insert(name.to_owned(), text("value").unwrap_or_default().into());
    }
    Ok(variables.into())
}

/// Their pod template, with their resources in the container that both sides call alike.
fn template(rest: &mut Map<String, Value>) -> Option<Value> {
    let resources = rest
        .remove("resources")
        .map(|resources| json!({"spec": {"containers": [{"name": CONTAINER, "resources": resources}]}}));
    match (resources, rest.remove("podTemplateSpec")) {
        (Some(resources), Some(template)) => Some(overlay(&resources, &template)),
        (resources, template) => template.or(resources),
    }
}

/// One of our servers as one of ToolHive.
///
/// # Errors
/// It is of a kind that ToolHive has no resource for.
pub fn to_toolhive(server: &ServerDocument, version: Version) -> Result<Converted, ConvertError> {
    let ours = Document::Server(server.clone()).to_value();
    let Source::Image(image) = &server.spec.source else {
        return Err(ConvertError::new("/spec/source", "is no image, and a ToolHive MCPServer is nothing else"));
    };
    let mut metadata = metadata(&ours);
    let kept = metadata.get_mut("annotations").and_then(Value::as_object_mut).and_then(|there| there.remove(KEPT));
    metadata.retain(|_, value| value.as_object().is_none_or(|fields| !fields.is_empty()));
    let kept = kept.as_ref().and_then(Value::as_str).and_then(|text| serde_json::from_str(text).ok());
    let mut theirs: Map<String, Value> = kept.unwrap_or_default();
    let mut notes = Vec::new();
    let mut spec = match ours.get("spec") {
        Some(Value::Object(spec)) => spec.clone(),
        _ => Map::new(),
    };
    theirs.insert("image".to_owned(), image.reference.as_str().into());
    if !image.args.is_empty() {
        theirs.insert("args".to_owned(), json!(image.args));
    }
    theirs.insert("transport".to_owned(), server.spec.transport.name().into());
    if let Some(port) = server.spec.transport.port() {
        theirs.insert("mcpPort".to_owned(), port.into());
    }
    let usual = match &server.spec.transport {
        Transport::Stdio => None,
        Transport::StreamableHttp { .. } => Some("/mcp"),
        Transport::Sse { .. } => Some("/sse"),
    };
    if server.spec.transport.path() != usual {
        notes.push(dropped("/spec/transport/path", "ToolHive has one path for each transport"));
    }
    for name in ["none", "network"] {
        let builtin = fairlead_core::permission::PermissionProfile::builtin(name);
        if !theirs.contains_key("permissionProfile") && builtin.as_ref() == Ok(&image.permissions) {
            theirs.insert("permissionProfile".to_owned(), json!({"type": "builtin", "name": name}));
        }
    }
    if !theirs.contains_key("permissionProfile") {
        notes.push(dropped("/spec/source/permissions", "a whole profile stands in a ConfigMap there"));
    }
    if !server.spec.env.is_empty() {
        let env: Vec<Value> =
            server.spec.env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        theirs.insert("env".to_owned(), env.into());
    }
    if let Some(group) = spec.remove("group") {
        theirs.insert("groupRef".to_owned(), json!({"name": group}));
    }
    for field in SAME.into_iter().chain(["podTemplateSpec"]) {
        theirs.extend(spec.remove(field).map(|value| (field.to_owned(), value)));
    }
    for carried in ["source", "transport", "env"] {
        spec.remove(carried);
    }
    notes.extend(source(image));
    let is_default = |field: &str, value: &Value| field == "isolation" && value == "session";
    let left = spec.iter().filter(|(field, value)| !is_default(field, value));
    notes.extend(left.map(|(field, _)| dropped(&format!("/spec/{field}"), "ToolHive has no such setting")));
    let document = json!({
        "apiVersion": format!("{GROUP}/{}", version.as_str()),
        "kind": DocumentKind::McpServer.as_str(),
        "metadata": metadata,
        "spec": theirs,
    });
    Ok(Converted { document, notes })
}

/// What of an image has no place there.
fn source(image: &fairlead_core::image::ImageSource) -> Vec<Note> {
    let usual = fairlead_core::image::ImageSource::new(image.reference.clone());
    let differing = [
        ("command", image.command != usual.command),
        ("pull", image.pull != usual.pull),
        ("verification", image.verification != usual.verification),
        ("user", image.user != usual.user),
        ("writableRoot", image.writable_root != usual.writable_root),
        ("resources", image.resources != usual.resources),
    ];
    let differing = differing.into_iter().filter(|(_, differs)| *differs);
    differing
        .map(|(field, _)| dropped(&format!("/spec/source/{field}"), "ToolHive has no such setting; a pod template may"))
        .collect()
}

fn dropped(pointer: &str, reason: &str) -> Note {
    Note { pointer: pointer.to_owned(), fate: Fate::Dropped, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use fairlead_core::document;

    use super::*;

    fn theirs(spec: Value) -> Value {
        json!({"apiVersion": "toolhive.stacklok.dev/v1beta1", "kind": "MCPServer",
               "metadata": {"name": "docs", "namespace": "team", "labels": {"a": "b"}}, "spec": spec})
    }

    fn ours(document: &Value) -> ServerDocument {
        match document::read(document).unwrap() {
            Document::Server(server) => server,
            other => panic!("{other:?}"),
        }
    }

    /// The manifests of their documentation, written anew: each transport, session storage, resources, pod templates, references.
    fn manifests() -> Vec<Value> {
        vec![
            json!({"image": "ghcr.io/example/yardstick:1.1", "transport": "stdio"}),
            json!({"image": "ghcr.io/example/fetch:1", "transport": "streamable-http", "mcpPort": 8081, "proxyPort": 9090,
                   "permissionProfile": {"type": "builtin", "name": "network"}}),
            json!({"image": "ghcr.io/example/old:1", "transport": "sse", "mcpPort": 3001, "args": ["--verbose"]}),
            json!({"image": "ghcr.io/example/github:2", "transport": "stdio", "env": [{"name": "TOOLSETS", "value": "all"}],
                   "secrets": [{"name": "github", "key": "token", "targetEnvName": "GITHUB_TOKEN"}],
                   "resources": {"limits": {"cpu": "100m", "memory": "128Mi"}, "requests": {"cpu": "50m"}},
                   "podTemplateSpec": {"spec": {"nodeSelector": {"disk": "ssd"}, "containers": [{"name": "mcp", "securityContext": {"runAsUser": 1000}}]}}}),
            json!({"image": "x/y:1", "transport": "streamable-http", "mcpPort": 80, "replicas": 3, "backendReplicas": 2, "sessionAffinity": "None",
                   "sessionStorage": {"provider": "redis", "address": "redis:6379", "db": 1, "keyPrefix": "p", "passwordRef": {"name": "r", "key": "k"}}}),
            json!({"image": "x/y:1", "transport": "stdio", "groupRef": {"name": "team"}, "oidcConfigRef": {"name": "o", "audience": "a"},
                   "authzConfig": {"type": "inline", "inline": {"policies": ["permit(principal, action, resource);"]}},
                   "toolConfigRef": {"name": "t"}, "volumes": [{"name": "v", "hostPath": "/d", "mountPath": "/d"}],
                   "permissionProfile": {"type": "configmap", "name": "p", "key": "k"}, "trustProxyHeaders": true}),
        ]
    }

    /// Their words for what may be said in two ways.
    fn normal(mut spec: Value) -> Value {
        let resources = spec.as_object_mut().unwrap().remove("resources");
        if let Some(resources) = resources {
            let container = json!({"spec": {"containers": [{"name": "mcp", "resources": resources}]}});
            spec["podTemplateSpec"] = overlay(&container, spec.get("podTemplateSpec").unwrap_or(&json!({})));
        }
        if spec.get("permissionProfile").is_none() {
            spec["permissionProfile"] = json!({"type": "builtin", "name": "network"});
        }
        spec
    }

    #[test]
    fn their_manifests_come_back_and_nothing_is_lost_in_silence() {
        for spec in manifests() {
            let there = from_toolhive(&theirs(spec.clone())).unwrap();
            let back = to_toolhive(&ours(&there.document), Version::V1Beta1).unwrap();
            let mut expected = theirs(normal(spec));
            if there.document["spec"].get("group").is_none() {
                expected["spec"].as_object_mut().unwrap().remove("groupRef");
            }
            assert_eq!(back.document, expected);
            assert_eq!(back.notes, [], "{there:?}");
        }
    }

    #[test]
    fn what_has_no_meaning_here_is_told_with_its_path() {
        let there = from_toolhive(&theirs(manifests().pop().unwrap())).unwrap();
        let told: Vec<&str> = there.notes.iter().map(|note| note.pointer.as_str()).collect();
        let mut expected =
            ["authzConfig", "oidcConfigRef", "permissionProfile", "toolConfigRef", "trustProxyHeaders", "volumes"]
                .map(|field| format!("/spec/{field}"));
        expected.sort();
        assert_eq!(told, expected);
        let unknown = from_toolhive(&theirs(json!({"image": "x/y", "transport": "stdio", "colour": 1}))).unwrap();
        assert_eq!(unknown.notes.first().map(|note| note.fate), Some(Fate::Unknown));
    }

    #[test]
    fn what_they_cannot_say_is_told_with_its_path() {
        let spec = json!({"source": {"kind": "image", "reference": "x/y:1", "user": "7", "permissions": "none"},
                          "tools": ["a"], "transport": {"kind": "streamable-http", "port": 80, "path": "/other"}});
        let document = json!({"apiVersion": API_VERSION, "kind": "MCPServer", "metadata": {"name": "a"}, "spec": spec});
        let there = to_toolhive(&ours(&document), Version::V1Alpha1).unwrap();
        assert_eq!(there.document["apiVersion"], "toolhive.stacklok.dev/v1alpha1");
        let told: Vec<&str> = there.notes.iter().map(|note| note.pointer.as_str()).collect();
        assert_eq!(told, ["/spec/transport/path", "/spec/source/user", "/spec/tools"]);
    }

    #[test]
    fn what_is_no_server_of_theirs_is_refused() {
        for document in [
            json!({}),
            json!({"apiVersion": "v1", "kind": "MCPServer"}),
            theirs(json!({})),
            theirs(json!({"image": "x", "transport": "smoke"})),
        ] {
            assert!(from_toolhive(&document).is_err(), "{document}");
        }
        let remote = json!({"apiVersion": API_VERSION, "kind": "MCPServer", "metadata": {"name": "a"},
                            "spec": {"source": {"kind": "remote", "url": "https://x.test"}}});
        assert!(to_toolhive(&ours(&remote), Version::V1Beta1).is_err());
    }
}
