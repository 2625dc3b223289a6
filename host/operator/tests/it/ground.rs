//! A namespace of the test cluster, an operator in it, and the means to look.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fairlead_operator::approval::Reach;
use fairlead_operator::controller::{self, LeaseOptions, Options, Tally};
use fairlead_operator::crd;
use fairlead_operator::desired::{Resource, Settings};
use fairlead_operator::registry::Registries;
use fairlead_registry::spec::RegistrySpec;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, DynamicObject};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::faulty::Proxy;
use crate::keeper::Follower;

/// Names the kubeconfig of the test cluster.
const VARIABLE: &str = "FAIRLEAD_TEST_CLUSTER";

/// A bound for a broken run, never the pace of a good one.
const SETTLE: Duration = Duration::from_secs(60);

/// How often a state is looked at.
const POLL: Duration = Duration::from_millis(50);

/// A namespace of its own.
pub(crate) struct Ground {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    operators: Vec<JoinHandle<()>>,
}

impl Drop for Ground {
    fn drop(&mut self) {
        for operator in &self.operators {
            operator.abort();
        }
    }
}

/// Our definitions.
pub(crate) fn definitions() -> Vec<Value> {
    crd::definitions(&registry_schema())
}

fn registry_schema() -> Value {
    let settings = schemars::generate::SchemaSettings::draft2020_12();
    let generator = settings.with(|settings| settings.inline_subschemas = true).into_generator();
    generator.into_root_schema_for::<RegistrySpec>().to_value()
}

/// What those who read registries say of them.
pub(crate) fn registries() -> Registries {
    Registries {
        schema: registry_schema,
        check: |registry| {
            serde_json::from_value::<RegistrySpec>(registry.clone()).map(drop).map_err(|it| it.to_string())
        },
        grants: |url, _| json!([{"name": "http", "scope": [format!("GET {url}")]}]),
        read: fairlead_registry::offer::read,
    }
}

/// What every operator here is set to.
pub(crate) fn settings() -> Settings {
    Settings { proxy_image: "registry.test/fairlead:1".to_owned(), updates: None, binds_reviewers: true }
}

/// The configuration of a client, as a user; `None`: of the whole cluster.
pub(crate) async fn config(user: Option<&str>) -> Option<Config> {
    let Some(path) = std::env::var_os(VARIABLE) else {
        assert!(std::env::var_os("CI").is_none(), "CI has a test cluster: {VARIABLE} is not set");
        // Not `eprintln!`: libtest would keep it for failures, and a skipped test has to say so.
        use std::io::Write as _;
        let _ = writeln!(
            std::io::stderr(),
            "skipped: {VARIABLE} is not set; `cargo xtask cluster up` starts a test cluster"
        );
        return None;
    };
    let kubeconfig = Kubeconfig::read_from(path).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    if let Some(user) = user {
        let header = http_name("impersonate-user");
        config.headers.push((header, user.parse().unwrap()));
    }
    Some(config)
}

fn http_name(name: &'static str) -> http::HeaderName {
    http::HeaderName::from_static(name)
}

impl Ground {
    /// A namespace; `None` where there is no cluster, which has been told.
    pub(crate) async fn bare() -> Option<Self> {
        static DEFINED: OnceCell<()> = OnceCell::const_new();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let client = Client::try_from(config(None).await?).unwrap();
        DEFINED.get_or_init(|| define(&client)).await;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("t{}-{count}", std::process::id());
        let body = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": namespace, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        });
        let api = Api::<DynamicObject>::all_with(client.clone(), &resource("", "Namespace", "namespaces"));
        api.create(&PostParams::default(), &serde_json::from_value(body).unwrap()).await.unwrap();
        Some(Self { client, namespace, operators: Vec::new() })
    }

    /// The same with an operator.
    pub(crate) async fn new() -> Option<(Self, Arc<Tally>)> {
        let mut ground = Self::bare().await?;
        let tally = ground.operator("one").await;
        Some((ground, tally))
    }

    /// Starts an operator.
    pub(crate) async fn operator(&mut self, identity: &str) -> Arc<Tally> {
        self.operator_as(identity, None).await
    }

    /// Starts an operator as another user.
    pub(crate) async fn operator_as(&mut self, identity: &str, user: Option<&str>) -> Arc<Tally> {
        self.operator_with(identity, config(user).await.unwrap(), None, None)
    }

    /// Starts an operator that reaches the pods of registries in another way.
    pub(crate) async fn operator_reaching(
        &mut self,
        identity: &str,
        user: Option<&str>,
        reach: Arc<dyn Reach>,
    ) -> Arc<Tally> {
        self.operator_with(identity, config(user).await.unwrap(), None, Some(reach))
    }

    /// Starts an operator that keeps servers fresh.
    pub(crate) async fn operator_keeping(
        &mut self,
        identity: &str,
        user: Option<&str>,
        keeper: &Arc<Follower>,
    ) -> Arc<Tally> {
        self.operator_with(identity, config(user).await.unwrap(), Some(Arc::clone(keeper)), None)
    }

    /// Starts an operator behind a proxy.
    pub(crate) fn operator_behind(&mut self, identity: &str, proxy: &Proxy) -> Arc<Tally> {
        self.operator_with(identity, proxy.config(), None, None)
    }

    fn operator_with(
        &mut self,
        identity: &str,
        config: Config,
        keeper: Option<Arc<Follower>>,
        reach: Option<Arc<dyn Reach>>,
    ) -> Arc<Tally> {
        let client = Client::try_from(config).unwrap();
        let tally = Arc::new(Tally::default());
        let options = Options {
            namespace: Some(self.namespace.clone()),
            settings: Settings { updates: keeper.as_ref().map(|keeper| keeper.interval), ..settings() },
            registries: registries(),
            keeper: keeper.map(|keeper| keeper as _),
            reach,
            lease: LeaseOptions {
                namespace: self.namespace.clone(),
                name: "fairlead-operator".to_owned(),
                identity: identity.to_owned(),
            },
            tally: Arc::clone(&tally),
        };
        #[expect(clippy::disallowed_methods, reason = "aborted when the ground is dropped")]
        let operator =
            tokio::spawn(async move { controller::run(client, options, std::future::pending()).await.unwrap() });
        self.operators.push(operator);
        tally
    }

    /// Ends an operator without ceremony, as a node that dies does.
    pub(crate) fn kill(&self, operator: usize) {
        self.operators[operator].abort();
    }

    /// Ends the operator that was started last, and waits until nothing of it runs.
    pub(crate) async fn kill_last(&mut self) {
        let Some(operator) = self.operators.pop() else { panic!("there is none") };
        operator.abort();
        let _ = operator.await;
    }

    pub(crate) fn api(&self, resource: Resource) -> Api<DynamicObject> {
        let (group, _) = resource.api();
        let kind = self::resource(group, resource.kind(), resource.plural());
        match resource.is_namespaced() {
            true => Api::namespaced_with(self.client.clone(), &self.namespace, &kind),
            false => Api::all_with(self.client.clone(), &kind),
        }
    }

    /// Selects what operators of this namespace made, of a kind: what has no namespace lies beside that of other tests.
    pub(crate) fn ours(&self, resource: Resource) -> ListParams {
        let ours = "app.kubernetes.io/managed-by=fairlead-operator";
        match resource.is_namespaced() {
            true => ListParams::default().labels(ours),
            false => ListParams::default().labels(&format!("{ours},fairlead.dev/namespace={}", self.namespace)),
        }
    }

    /// The same, as it is there.
    pub(crate) async fn made(&self, resource: Resource) -> Vec<DynamicObject> {
        self.api(resource).list(&self.ours(resource)).await.unwrap().items
    }

    pub(crate) fn servers(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource(crd::GROUP, "MCPServer", "mcpservers"))
    }

    pub(crate) fn registries(&self) -> Api<DynamicObject> {
        let resource = resource(crd::GROUP, "MCPRegistry", "mcpregistries");
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    pub(crate) fn pods(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource("", "Pod", "pods"))
    }

    /// Makes a server.
    pub(crate) async fn create(&self, name: &str, spec: Value) {
        self.servers().create(&PostParams::default(), &server(name, spec)).await.unwrap();
    }

    /// Changes fields of a server; `null` takes them away.
    pub(crate) async fn change(&self, name: &str, spec: Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.servers().patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Scales something from outside, as `kubectl scale` does.
    pub(crate) async fn scale(&self, api: &Api<DynamicObject>, name: &str, replicas: u32) {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        api.patch_scale(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Waits until an object is as it is looked for.
    pub(crate) async fn until(
        &self,
        api: &Api<DynamicObject>,
        name: &str,
        what: &str,
        is: impl Fn(&Value) -> bool,
    ) -> Value {
        let end = Instant::now() + SETTLE;
        loop {
            let seen = api.get_opt(name).await.unwrap().map_or(Value::Null, |object| json!(object));
            if is(&seen) {
                return seen;
            }
            assert!(Instant::now() < end, "{name}: {what}: not within {SETTLE:?}; last seen: {seen:#}");
            sleep(POLL).await;
        }
    }

    /// Waits for a condition of a server.
    pub(crate) async fn condition(&self, name: &str, kind: &str, status: &str, reason: &str) -> Value {
        self.condition_of(&self.servers(), name, kind, status, reason).await
    }

    /// Waits for a condition.
    pub(crate) async fn condition_of(
        &self,
        api: &Api<DynamicObject>,
        name: &str,
        kind: &str,
        status: &str,
        reason: &str,
    ) -> Value {
        let is = |server: &Value| {
            let conditions = server.pointer("/status/conditions").and_then(Value::as_array);
            conditions.into_iter().flatten().any(|condition| {
                condition["type"] == kind && condition["status"] == status && condition["reason"] == reason
            })
        };
        self.until(api, name, &format!("{kind} {status} {reason}"), is).await
    }

    /// Waits until the operator has seen the newest form of a server.
    pub(crate) async fn observed(&self, name: &str) -> Value {
        let is = |server: &Value| {
            !server.is_null() && server.pointer("/status/observedGeneration") == server.pointer("/metadata/generation")
        };
        self.until(&self.servers(), name, "observed", is).await
    }

    /// Waits until an object is there.
    pub(crate) async fn there(&self, resource: Resource, name: &str) -> Value {
        self.until(&self.api(resource), name, "is there", |object| !object.is_null()).await
    }

    /// Waits until an object is gone.
    pub(crate) async fn gone(&self, api: &Api<DynamicObject>, name: &str) {
        self.until(api, name, "is gone", Value::is_null).await;
    }

    /// Waits until the operator has nothing to do for a while: nothing that it looked at changed anything.
    pub(crate) async fn quiet(&self, tally: &Tally) {
        let end = Instant::now() + SETTLE;
        let mut last = (tally.writes(), Instant::now());
        while last.1.elapsed() < Duration::from_secs(2) {
            if tally.writes() != last.0 {
                last = (tally.writes(), Instant::now());
            }
            assert!(Instant::now() < end, "the operator goes on writing: {tally:?}");
            sleep(POLL).await;
        }
    }

    /// Waits until so many looks have ended.
    pub(crate) async fn looked(&self, tally: &Tally, looks: u64) {
        let end = Instant::now() + SETTLE;
        while tally.reconciles() < looks {
            assert!(Instant::now() < end, "nobody looked within {SETTLE:?}: {tally:?}");
            sleep(POLL).await;
        }
    }

    /// Waits until a look fails.
    pub(crate) async fn fails(&self, tally: &Tally, why: &str) {
        let end = Instant::now() + SETTLE;
        while tally.failures() == 0 {
            assert!(Instant::now() < end, "{why}: nothing failed within {SETTLE:?}: {tally:?}");
            sleep(POLL).await;
        }
    }

    /// Removes a server.
    pub(crate) async fn delete(&self, name: &str) {
        self.servers().delete(name, &DeleteParams::default()).await.unwrap();
    }
}

/// A server, as it is sent.
pub(crate) fn server(name: &str, spec: Value) -> DynamicObject {
    let body =
        json!({"apiVersion": "fairlead.dev/v1alpha1", "kind": "MCPServer", "metadata": {"name": name}, "spec": spec});
    serde_json::from_value(body).unwrap()
}

pub(crate) fn stdio() -> Value {
    json!({"source": {"kind": "image", "reference": "registry.test/server:1"}})
}

pub(crate) fn http() -> Value {
    json!({
        "source": {"kind": "image", "reference": "registry.test/server:1"},
        "transport": {"kind": "streamable-http", "port": 9000},
    })
}

pub(crate) fn with(mut spec: Value, fields: Value) -> Value {
    for (name, value) in fields.as_object().unwrap() {
        spec[name] = value.clone();
    }
    spec
}

pub(crate) fn resource(group: &str, kind: &str, plural: &str) -> ApiResource {
    let version = if group == crd::GROUP { crd::VERSION } else { "v1" };
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version,
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

/// Gives the API server our definitions.
async fn define(client: &Client) {
    for definition in definitions() {
        establish(client, &definition).await;
    }
}

/// Gives the API server a definition, strictly, and waits until it serves it.
pub(crate) async fn establish(client: &Client, definition: &Value) {
    let resource = resource("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions");
    let api = Api::<DynamicObject>::all_with(client.clone(), &resource);
    let name = definition["metadata"]["name"].as_str().unwrap().to_owned();
    let params = PatchParams::apply("test").force().validation_strict();
    api.patch(&name, &params, &Patch::Apply(definition)).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    let end = Instant::now() + SETTLE;
    loop {
        let there = json!(api.get(&name).await.unwrap());
        let conditions = there["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let is = |kind: &str, status: &str| conditions.iter().any(|it| it["type"] == kind && it["status"] == status);
        assert!(!is("NonStructuralSchema", "True"), "{there:#}");
        if is("Established", "True") {
            return;
        }
        assert!(Instant::now() < end, "{there:#}");
        sleep(POLL).await;
    }
}
