//! A host with a throw-away cache, guests, and calls to make.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fairlead_core::kv::{KvEntry, KvError, KvScope, KvStore};
use fairlead_core::middleware::{Answer, Call, Fault, Head, Middleware, Notes, Origin, Rejection, Subject};
use fairlead_core::name::{ServerKey, ServerName, TenantName};
use fairlead_wasm::{AttachError, Attachment, Compiler, Plugin, PluginHost, PluginHostConfig};
use serde_json::{Value, json};

/// A host, and what it stands on.
pub(crate) struct Host {
    pub(crate) host: Arc<PluginHost>,
    pub(crate) kv: Arc<Memory>,
    pub(crate) cache: PathBuf,
}

impl Host {
    /// A host whose cache is shared by all tests of this run, so that each guest is compiled once.
    pub(crate) fn new() -> Self {
        Self::with_cache(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled"))
    }

    pub(crate) fn with_cache(cache: PathBuf) -> Self {
        let kv = Arc::new(Memory::default());
        let config = PluginHostConfig {
            compiler: Compiler::InProcess,
            ..PluginHostConfig::new(cache.clone(), Arc::clone(&kv) as Arc<dyn KvStore>)
        };
        Self { host: PluginHost::new(config).unwrap(), kv, cache }
    }

    pub(crate) async fn load(&self, name: &str) -> Arc<Plugin> {
        self.host.load(&guest(name)).await.unwrap_or_else(|error| panic!("{}", chain(&error)))
    }

    /// Attaches a guest for the tenant `default`, with more of the spec as given.
    pub(crate) async fn attach(&self, name: &str, spec: Value) -> Result<Arc<dyn Middleware>, AttachError> {
        self.attach_for("default", name, spec).await
    }

    pub(crate) async fn attach_for(
        &self,
        tenant: &str,
        name: &str,
        mut spec: Value,
    ) -> Result<Arc<dyn Middleware>, AttachError> {
        let fields = spec.as_object_mut().unwrap();
        fields.entry("name").or_insert(json!(name));
        fields.insert("plugin".to_owned(), json!(name));
        let attachment = Attachment {
            tenant: TenantName::new(tenant).unwrap(),
            place: "server/s".to_owned(),
            spec: serde_json::from_value(spec).unwrap(),
        };
        self.host.attach(&self.load(name).await, attachment).await
    }
}

/// A guest that was built for the tests.
pub(crate) fn guest(name: &str) -> PathBuf {
    let plugins = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("plugins");
    let fixture = plugins.join("fixtures").join(format!("{name}.wasm"));
    let first_party = plugins.join(format!("{name}.wasm"));
    match (fixture.is_file(), first_party.is_file()) {
        (true, _) => fixture,
        (false, true) => first_party,
        _ => panic!("guest `{name}` is missing from {}: run `cargo xtask plugins --fixtures`", plugins.display()),
    }
}

pub(crate) fn call(subject: Subject) -> Call {
    Call {
        server: Arc::new(ServerKey { tenant: TenantName::default(), name: ServerName::new("s").unwrap() }),
        head: Head { method: "tools/call".into(), target: Some("echo".into()) },
        origin: Arc::new(Origin::default()),
        notes: Notes::default(),
        subject,
    }
}

pub(crate) fn request(params: Value) -> Call {
    call(Subject::Request(Bytes::from(params.to_string())))
}

pub(crate) fn response(result: Value) -> Call {
    call(Subject::Response(Bytes::from(result.to_string())))
}

pub(crate) fn event(params: Value) -> Call {
    Call {
        head: Head { method: "notifications/progress".into(), target: None },
        ..call(Subject::Event(Bytes::from(params.to_string())))
    }
}

pub(crate) fn error(code: i64) -> Call {
    call(Subject::Error(Rejection { code, message: "no".to_owned(), data: None, retry_after_ms: None }))
}

pub(crate) async fn ask(middleware: &Arc<dyn Middleware>, call: Call) -> Result<Answer, Fault> {
    tokio::time::timeout(Duration::from_secs(30), middleware.call(call)).await.expect("an answer or a fault in time")
}

pub(crate) fn attribute<'a>(answer: &'a Answer, name: &str) -> &'a str {
    let found = answer.notes.attributes.iter().find(|(known, _)| known == name);
    &found.unwrap_or_else(|| panic!("attribute {name} in {:?}", answer.notes.attributes)).1
}

/// An error and everything behind it, as the host prints it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// State in memory, without times to live.
#[derive(Default)]
pub(crate) struct Memory(Mutex<BTreeMap<(String, String), KvEntry>>);

impl Memory {
    /// Everything, as `tenant/place/attachment` and key.
    pub(crate) fn keys(&self) -> Vec<(String, String)> {
        self.0.lock().unwrap().keys().cloned().collect()
    }

    fn write(
        &self,
        scope: &KvScope,
        key: &str,
        with: impl FnOnce(Option<&KvEntry>) -> Result<Option<Vec<u8>>, KvError>,
    ) -> Result<Option<u64>, KvError> {
        let mut entries = self.0.lock().unwrap();
        let at = at(scope, key);
        let now = entries.get(&at);
        let version = now.map_or(0, |entry| entry.version) + 1;
        let Some(value) = with(now)? else { return Ok(None) };
        entries.insert(at, KvEntry { value, version });
        Ok(Some(version))
    }
}

fn at(scope: &KvScope, key: &str) -> (String, String) {
    (format!("{}/{}/{}", scope.tenant, scope.place, scope.attachment), key.to_owned())
}

impl KvStore for Memory {
    fn get(&self, scope: &KvScope, key: &str) -> Result<Option<KvEntry>, KvError> {
        Ok(self.0.lock().unwrap().get(&at(scope, key)).cloned())
    }

    fn set(&self, scope: &KvScope, key: &str, value: &[u8], _: Option<Duration>) -> Result<u64, KvError> {
        Ok(self.write(scope, key, |_| Ok(Some(value.to_vec())))?.unwrap())
    }

    fn compare_and_set(
        &self,
        scope: &KvScope,
        key: &str,
        expected: Option<u64>,
        value: &[u8],
        _: Option<Duration>,
    ) -> Result<Option<u64>, KvError> {
        self.write(scope, key, |now| Ok((now.map(|entry| entry.version) == expected).then(|| value.to_vec())))
    }

    fn increment(&self, scope: &KvScope, key: &str, by: i64, _: Option<Duration>) -> Result<i64, KvError> {
        let mut sum = by;
        self.write(scope, key, |now| {
            if let Some(entry) = now {
                sum += i64::from_le_bytes(entry.value.as_slice().try_into().map_err(|_| KvError::WrongType)?);
            }
            Ok(Some(sum.to_le_bytes().to_vec()))
        })?;
        Ok(sum)
    }

    fn delete(&self, scope: &KvScope, key: &str) -> Result<(), KvError> {
        self.0.lock().unwrap().remove(&at(scope, key));
        Ok(())
    }

    fn keys(&self, scope: &KvScope, prefix: &str, _: Option<&str>, _: u32) -> Result<Vec<String>, KvError> {
        let of_scope = at(scope, "").0;
        let entries = self.0.lock().unwrap();
        Ok(entries.keys().filter(|(s, k)| *s == of_scope && k.starts_with(prefix)).map(|(_, k)| k.clone()).collect())
    }
}
