//! Servers that name the entry they came from, and registries that are asked for it: what the condition says, and what it costs.
//!
//! Registries answer as the test says, where their pods would be; everything else is real, the tokens that they are shown too.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use fairlead_core::BoxFuture;
use fairlead_operator::approval::{Reach, Reached};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::ground::Ground;

const ENTRY: &str = "fairlead.dev/registry-entry";

const KIND: &str = "RegistryEntryApproved";

/// All registries of a test: what is served, and what was asked.
#[derive(Debug, Default)]
struct Served {
    /// By name and version.
    entries: Mutex<BTreeMap<String, Value>>,
    asked: Mutex<Vec<Asked>>,
    connections: Mutex<JoinSet<()>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    path: String,
    host: String,
    token: Option<String>,
}

impl Served {
    fn put(&self, entry: &str, status: &str, url: &str) {
        let (name, version) = entry.split_once('@').unwrap();
        let server = json!({"name": name, "version": version, "remotes": [{"type": "streamable-http", "url": url}]});
        let official = json!({"io.modelcontextprotocol.registry/official": {"status": status, "isLatest": true}});
        self.entries.lock().insert(entry.to_owned(), json!({"server": server, "_meta": official}));
    }

    fn take(&self, entry: &str) {
        self.entries.lock().remove(entry);
    }

    /// What was asked since this was asked last.
    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock())
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let header = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let path = request.uri().path().to_owned();
        let token = header("authorization").map(|token| token.strip_prefix("Bearer ").unwrap().to_owned());
        self.asked.lock().push(Asked { path: path.clone(), host: header("host").unwrap(), token });
        let named = path.strip_prefix("/v0.1/servers/").unwrap().replace("%2F", "/").replace("/versions/", "@");
        let entry = self.entries.lock().get(&named).map(Value::to_string);
        let status = if entry.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
        let mut response = Response::new(Full::from(entry.unwrap_or_default()));
        *response.status_mut() = status;
        response
    }
}

/// Leads to them, whichever pod is meant.
#[derive(Debug)]
struct Way(Arc<Served>);

impl Reach for Way {
    fn reach<'a>(&'a self, _: &'a str, _: &'a str, port: u16) -> BoxFuture<'a, Result<Reached, String>> {
        Box::pin(async move {
            assert_eq!(port, 8080);
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
            let served = Arc::clone(&self.0);
            self.0.connections.lock().spawn(async move {
                let answer = service_fn(move |request| {
                    let response = served.answer(&request);
                    async { Ok::<_, Infallible>(response) }
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(far.unwrap().0), answer).await;
            });
            Ok(Reached { stream: near.unwrap(), lease: Box::new(()) })
        })
    }
}

impl Ground {
    async fn create_from(&self, name: &str, entry: &str, url: &str) {
        let body = json!({"apiVersion": "fairlead.dev/v1alpha1", "kind": "MCPServer",
                          "metadata": {"name": name, "annotations": {ENTRY: entry}},
                          "spec": {"source": {"kind": "remote", "url": url}}});
        self.servers().create(&PostParams::default(), &serde_json::from_value(body).unwrap()).await.unwrap();
    }

    async fn create_catalogue(&self, name: &str, access: &str) {
        let registries = json!({"a": {"source": {"kind": "oci", "reference": "r.test/a:1"}}});
        let body = json!({"apiVersion": "fairlead.dev/v1alpha1", "kind": "MCPRegistry", "metadata": {"name": name},
                          "spec": {"registries": registries, "access": access}});
        self.registries().create(&PostParams::default(), &serde_json::from_value(body).unwrap()).await.unwrap();
    }

    /// Has all pods of a registry be ready for a long time already.
    async fn is_ready(&self, registry: &str) {
        let deployments = self.api(fairlead_operator::desired::Resource::Deployment);
        let name = format!("{registry}-registry");
        self.until(&deployments, &name, "admitted", |object| object["status"]["replicas"] == 1).await;
        let long_ago = json!([{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        let answers = Patch::Merge(json!({"status": {"phase": "Running", "conditions": long_ago}}));
        let its = ListParams::default().labels(&format!("fairlead.dev/registry={registry}"));
        for pod in self.pods().list(&its).await.unwrap() {
            let name = pod.metadata.name.unwrap();
            self.pods().patch_status(&name, &PatchParams::default(), &answers).await.unwrap();
        }
    }

    /// Changes something of a registry that makes no pod of it another.
    async fn touch(&self, registry: &str, annotation: &str) {
        let patch = Patch::Merge(json!({"spec": {"service": {"annotations": {"touched": annotation}}}}));
        self.registries().patch(registry, &PatchParams::default(), &patch).await.unwrap();
    }

    async fn judged(&self, server: &str, status: &str, reason: &str) -> String {
        let seen = self.condition(server, KIND, status, reason).await;
        let conditions = seen["status"]["conditions"].as_array().unwrap();
        let condition = conditions.iter().find(|condition| condition["type"] == KIND).unwrap();
        condition["message"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_server_is_held_against_its_entry_for_as_long_as_it_lives() {
    let Some(mut ground) = Ground::bare().await else { return };
    let served = Arc::new(Served::default());
    let tally = ground.operator_reaching("one", None, Arc::new(Way(Arc::clone(&served)))).await;
    let (entry, url) = ("io.acme/docs@1.0.0", "https://docs.example.test/mcp");
    ground.create_from("docs", entry, url).await;
    ground.create("unnamed", json!({"source": {"kind": "remote", "url": url}})).await;
    ground.judged("docs", "Unknown", "NoRegistry").await;

    served.put(entry, "active", url);
    ground.create_catalogue("main", "open").await;
    let said = ground.judged("docs", "Unknown", "RegistryUnavailable").await;
    assert!(said.contains("`main`: no pod of it is ready"), "{said}");
    ground.is_ready("main").await;
    let said = ground.judged("docs", "True", "EntryApproved").await;
    assert!(said.contains(entry) && said.contains("`main`"), "{said}");
    let asked = Asked {
        path: "/v0.1/servers/io.acme%2Fdocs/versions/1.0.0".to_owned(),
        host: format!("main-registry.{}.svc", ground.namespace),
        token: None,
    };
    assert_eq!(served.asked(), std::slice::from_ref(&asked));

    // However many name it, and however often they are looked at, nobody asks again, and nothing is written.
    for index in 0..20 {
        ground.create_from(&format!("more{index}"), entry, url).await;
    }
    for index in 0..20 {
        ground.judged(&format!("more{index}"), "True", "EntryApproved").await;
    }
    ground.quiet(&tally).await;
    let (looks, writes) = (tally.reconciles(), tally.writes());
    let touch = Patch::Merge(json!({"metadata": {"annotations": {"looked": "again"}}}));
    ground.servers().patch("docs", &PatchParams::default(), &touch).await.unwrap();
    ground.looked(&tally, looks + 1).await;
    ground.quiet(&tally).await;
    assert_eq!(tally.writes(), writes, "nothing has changed");
    assert_eq!(served.asked(), []);

    // It is the server that changes: nobody need be asked. It goes on all the same.
    ground.change("docs", json!({"source": {"url": "https://elsewhere.example.test/mcp"}})).await;
    let said = ground.judged("docs", "False", "EntryDiffers").await;
    assert!(said.contains(url) && said.contains("https://elsewhere.example.test/mcp"), "{said}");
    let deployment = ground.api(fairlead_operator::desired::Resource::Deployment).get("docs").await.unwrap();
    assert!(deployment.metadata.deletion_timestamp.is_none());
    ground.change("docs", json!({"source": {"url": url}})).await;
    ground.judged("docs", "True", "EntryApproved").await;
    assert_eq!(served.asked(), []);

    // It is the entry; what was said of it holds until the registry is asked, which it is when it changes.
    for (status, touched) in [("deprecated", "a"), ("deleted", "b")] {
        served.put(entry, status, url);
        ground.touch("main", touched).await;
        let is_told = |server: &Value| server["status"]["conditions"].to_string().contains(&format!("is {status}"));
        ground.until(&ground.servers(), "docs", status, is_told).await;
        ground.judged("more19", "False", "EntryWithdrawn").await;
        assert_eq!(served.asked(), std::slice::from_ref(&asked), "once for all servers");
    }
    served.take(entry);
    ground.touch("main", "c").await;
    ground.judged("docs", "False", "EntryNotFound").await;

    // Whoever says of a server that it came from nowhere has nothing said of it.
    let forget = Patch::Merge(json!({"metadata": {"annotations": {ENTRY: null}}}));
    ground.servers().patch("docs", &PatchParams::default(), &forget).await.unwrap();
    let is_silent = |server: &Value| !server["status"]["conditions"].to_string().contains(KIND);
    ground.until(&ground.servers(), "docs", "silent", is_silent).await;
    assert!(is_silent(&json!(ground.servers().get("unnamed").await.unwrap())));
    assert_eq!(tally.failures(), 0, "{tally:?}");

    // The next one that leads knows nothing yet, and takes nothing back that was said.
    let before = json!(ground.servers().get("more0").await.unwrap())["status"].clone();
    ground.kill_last().await;
    let tally = ground.operator_reaching("two", None, Arc::new(Way(Arc::clone(&served)))).await;
    ground.looked(&tally, 1).await;
    ground.quiet(&tally).await;
    assert_eq!(json!(ground.servers().get("more0").await.unwrap())["status"], before);
    // And one registry of several is enough.
    ground.create_catalogue("other", "open").await;
    served.put(entry, "active", url);
    ground.is_ready("other").await;
    let said = ground.judged("more0", "True", "EntryApproved").await;
    assert!(said.contains("`other`"), "{said}");
}

#[tokio::test]
async fn a_registry_is_shown_a_token_that_was_made_for_it_and_for_nobody_else() {
    let Some(mut ground) = Ground::bare().await else { return };
    let served = Arc::new(Served::default());
    let (entry, url) = ("io.acme/docs@1.0.0", "https://docs.example.test/mcp");
    served.put(entry, "active", url);
    // Whoever runs it by a kubeconfig is perhaps no account.
    ground.operator_reaching("person", None, Arc::new(Way(Arc::clone(&served)))).await;
    ground.create_catalogue("main", "cluster").await;
    ground.create_from("docs", entry, url).await;
    ground.is_ready("main").await;
    let is_told = |server: &Value| server["status"]["conditions"].to_string().contains("no service account");
    ground.until(&ground.servers(), "docs", "nobody's", is_told).await;
    ground.judged("docs", "Unknown", "RegistryUnavailable").await;
    assert_eq!(served.asked(), [], "nobody is asked without a token who takes one");
    ground.kill_last().await;

    let all = crate::rights::all();
    let user = ground.allow("operator", &all).await;
    ground.operator_reaching("account", Some(&user), Arc::new(Way(Arc::clone(&served)))).await;
    ground.judged("docs", "True", "EntryApproved").await;
    let asked = served.asked();
    let token = asked[0].token.clone().unwrap();
    let whose = async |audience: &str| {
        let spec = TokenReviewSpec { token: Some(token.clone()), audiences: Some(vec![audience.to_owned()]) };
        let review = TokenReview { spec, ..TokenReview::default() };
        let reviews: Api<TokenReview> = Api::all(ground.client.clone());
        let status = reviews.create(&PostParams::default(), &review).await.unwrap().status.unwrap();
        status.user.and_then(|user| user.username)
    };
    assert_eq!(whose(&format!("main-registry.{}.svc", ground.namespace)).await, Some(user.clone()));
    assert_eq!(whose(&format!("other-registry.{}.svc", ground.namespace)).await, None);
    assert_eq!(whose("https://kubernetes.default.svc").await, None);
    ground.kill_last().await;

    // Without the right to make one it has none.
    let less = all.iter().filter(|(_, resource, _)| resource != "serviceaccounts/token").cloned().collect();
    let user = ground.allow("less", &less).await;
    ground.operator_reaching("less", Some(&user), Arc::new(Way(Arc::clone(&served)))).await;
    ground.create_from("later", "io.acme/later@1.0.0", url).await;
    let said = ground.judged("later", "Unknown", "RegistryUnavailable").await;
    assert!(said.contains("may not make one"), "{said}");
}
