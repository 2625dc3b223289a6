//! What becomes of a request where the API server fails: one that does so when it is told to, and otherwise has one server.

use std::convert::Infallible;
use std::sync::Arc;

use fairlead_core::freshness::Wish;
use http::{Method, Request as HttpRequest, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::Config;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::freshness::{Outcome, Wanted};

const IMAGE: &str = "r.test/docs:1";

/// What there is, and what fails of it.
#[derive(Default)]
struct State {
    /// The annotation.
    text: Option<String>,
    /// Whether what is asked is answered at once.
    answers: bool,
    /// What was.
    answered: Option<String>,
    /// With which status the next requests of a method fail that come to the server, and whether they are carried out before.
    faults: Vec<(Method, u16, bool)>,
}

impl State {
    fn server(&self) -> Value {
        let annotations: serde_json::Map<String, Value> =
            self.text.iter().map(|text| (REQUEST.to_owned(), text.as_str().into())).collect();
        let now = Timestamp::UNIX_EPOCH;
        let toggles = UpdateToggles::for_new();
        let at = Moment { now, since: now, toggles, against: &[], interval: Duration::ZERO, spread: 0 };
        json!({
            "apiVersion": "fairlead.dev/v1alpha1",
            "kind": "MCPServer",
            "metadata": {"name": "docs", "namespace": "team", "uid": "u", "resourceVersion": "1", "annotations": annotations},
            "spec": {"source": {"kind": "image", "reference": IMAGE}},
            "status": {"updates": view(&Freshness::default(), &at)},
        })
    }

    fn record(&self) -> Value {
        let mut answers = Answers::default();
        if let Some(text) = &self.answered {
            answers = answers.with(Answer::new(text, Outcome::Done, Timestamp::UNIX_EPOCH));
        }
        let kept = Kept { reference: IMAGE.to_owned(), answers, ..Kept::default() };
        kept.object(&Names::new("docs", "team"), "u").unwrap()
    }

    /// Carries out a request about the server.
    fn carry_out(&mut self, method: &Method, body: &Value) -> (u16, Value) {
        let fault = self.faults.iter().position(|(of, ..)| of == method).map(|at| self.faults.remove(at));
        if *method == Method::PATCH && fault.as_ref().is_none_or(|(_, _, is_done)| *is_done) {
            self.text = body["metadata"]["annotations"][REQUEST].as_str().map(str::to_owned);
            self.answered = self.text.clone().filter(|_| self.answers).or_else(|| self.answered.take());
        }
        let Some((_, code, _)) = fault else { return (200, self.server()) };
        (code, json!({"kind": "Status", "status": "Failure", "message": "on purpose", "reason": "Test", "code": code}))
    }
}

/// A cluster with one server, and a door to it.
struct Cluster {
    door: Door,
    state: Arc<Mutex<State>>,
    _serving: JoinSet<()>,
}

impl Cluster {
    async fn new(state: State) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (state, mut serving) = (Arc::new(Mutex::new(state)), JoinSet::new());
        let shared = Arc::clone(&state);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                let answer = service_fn(move |request: HttpRequest<Incoming>| {
                    let state = Arc::clone(&state);
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                        let (code, said) = match head.uri.path().contains("/configmaps/") {
                            true => (200, state.lock().record()),
                            false => state.lock().carry_out(&head.method, &body),
                        };
                        let said = Full::new(Bytes::from(said.to_string()));
                        Ok::<_, Infallible>(Response::builder().status(code).body(said).unwrap())
                    }
                });
                connections.spawn(async move {
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        let client = Client::try_from(Config::new(address.parse().unwrap())).unwrap();
        let door = Door { client, namespace: TenantName::new("team").unwrap() };
        Self { door, state, _serving: serving }
    }

    async fn ask(&self) -> Result<Answer, AskError> {
        let request = Request { id: "a-1".to_owned(), uid: None, by: None, wanted: Wanted::Wish(Wish::Check) };
        let asked = self.door.ask(&ServerName::new("docs").unwrap(), &request, &|_| {}).await;
        asked.map(|(answer, _)| answer)
    }

    fn stands(&self) -> bool {
        self.state.lock().text.is_some()
    }
}

/// Fails the look after the annotation was written, and those after it.
fn blind(code: u16, times: usize) -> Vec<(Method, u16, bool)> {
    vec![(Method::GET, code, false); times]
}

#[tokio::test]
async fn looks_that_fail_while_an_answer_is_waited_for_are_made_again() {
    let cluster = Cluster::new(State { answers: true, ..State::default() }).await;
    let name = ServerName::new("docs").unwrap();
    let looked = cluster.door.look(&name).await.unwrap();
    let request = Request { id: "a-1".to_owned(), uid: None, by: None, wanted: Wanted::Wish(Wish::Check) };
    assert!(cluster.door.annotate(&looked, Some(&request.text())).await.unwrap());
    cluster.state.lock().faults = blind(500, 2);
    let (answer, _) = cluster.door.answer(&name, "a-1", &|_| {}).await.unwrap();
    assert_eq!((answer.id.as_str(), cluster.state.lock().faults.len()), ("a-1", 0));
}

#[tokio::test]
async fn what_was_written_and_not_confirmed_is_taken_back_unless_it_was_answered() {
    let unconfirmed = || vec![(Method::PATCH, 500, true)];
    let cluster = Cluster::new(State { faults: unconfirmed(), ..State::default() }).await;
    let error = cluster.ask().await.unwrap_err();
    assert!(matches!(error, AskError::Withdrawn { .. }) && !cluster.stands(), "{error}");
    let cluster = Cluster::new(State { faults: unconfirmed(), answers: true, ..State::default() }).await;
    assert_eq!(cluster.ask().await.unwrap().id, "a-1");
    // The client of the cluster tries some writes again by itself: the second time, the server is another one than it was.
    let again = vec![(Method::PATCH, 409, true)];
    let cluster = Cluster::new(State { faults: again, answers: true, ..State::default() }).await;
    assert_eq!(cluster.ask().await.unwrap().id, "a-1");
    let refused = Cluster::new(State { faults: vec![(Method::PATCH, 403, false)], ..State::default() }).await;
    let error = refused.ask().await.unwrap_err();
    assert!(matches!(error, AskError::Refused { .. }), "{error}");
    assert!(error.hint().unwrap().contains("`list`"), "{error}");
}

#[tokio::test]
async fn whoever_may_not_look_any_more_is_told_that_the_request_may_stand() {
    let cluster = Cluster::new(State::default()).await;
    cluster.state.lock().text = Some(json!({"id": "a-1", "do": "check"}).to_string());
    cluster.state.lock().faults = blind(403, 1);
    let name = ServerName::new("docs").unwrap();
    let why = cluster.door.answer(&name, "a-1", &|_| {}).await.unwrap_err();
    cluster.state.lock().faults = blind(403, 1);
    let error = cluster.door.give_up(&name, "a-1", why).await.unwrap_err();
    assert!(matches!(error, AskError::Left { .. }) && cluster.stands(), "{error}");
    assert!(error.hint().unwrap().contains("kubectl annotate"), "{error}");
}
