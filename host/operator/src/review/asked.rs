//! What the API server is asked, and what its answers come to: one that says what it is told to, and keeps the questions.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;

const AUDIENCE: &str = "main-registry.team.svc";

struct ApiServer {
    asking: OfCluster,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    serving: JoinSet<()>,
}

/// One that gives this as the status of whatever is created.
async fn saying(status: Value) -> ApiServer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
    let (mut serving, seen) = (JoinSet::new(), Arc::clone(&asked));
    serving.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let (status, seen) = (status.clone(), Arc::clone(&seen));
            let answer = service_fn(move |request: Request<Incoming>| {
                let (status, seen) = (status.clone(), Arc::clone(&seen));
                async move {
                    let path = request.uri().path().to_owned();
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let mut object: Value = serde_json::from_slice(&body).unwrap();
                    seen.lock().push((path, object["spec"].clone()));
                    object["status"] = status;
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(object.to_string()))))
                }
            });
            connections.spawn(async move {
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
    let client = Client::try_from(Config::new(address.parse().unwrap())).unwrap();
    let asking = OfCluster {
        tokens: Api::all(client.clone()),
        accesses: Api::all(client),
        audience: AUDIENCE.to_owned(),
        namespace: "team".to_owned(),
        name: "main".to_owned(),
    };
    ApiServer { asking, asked, serving }
}

#[tokio::test]
async fn a_token_is_somebodys_only_where_it_was_made_for_this_registry() {
    let user = json!({"username": "ann", "groups": ["readers"]});
    for (status, is_known) in [
        (json!({"authenticated": true, "audiences": [AUDIENCE], "user": user}), true),
        (json!({"authenticated": true, "audiences": ["x", AUDIENCE], "user": user}), true),
        // An authenticator that knows no audiences.
        (json!({"authenticated": true, "user": user}), false),
        (json!({"authenticated": true, "audiences": ["other-registry.team.svc"], "user": user}), false),
        (json!({"authenticated": false, "audiences": [AUDIENCE], "user": user}), false),
        (json!({"audiences": [AUDIENCE], "user": user}), false),
        (json!({"authenticated": true, "audiences": [AUDIENCE]}), false),
        (json!({}), false),
    ] {
        let server = saying(status.clone()).await;
        let known = server.asking.who("a-token").await.unwrap();
        let expected = is_known.then(|| ("ann".to_owned(), vec!["readers".to_owned()]));
        let known = known.map(|user| (user.username.unwrap(), user.groups.unwrap()));
        assert_eq!(known, expected, "{status}");
        let asked = server.asked.lock().clone();
        let path = "/apis/authentication.k8s.io/v1/tokenreviews".to_owned();
        assert_eq!(asked, [(path, json!({"token": "a-token", "audiences": [AUDIENCE]}))]);
    }
}

#[tokio::test]
async fn whether_somebody_may_is_asked_of_all_that_they_are_and_of_this_one_registry() {
    for (status, may) in [
        (json!({"allowed": true}), true),
        (json!({"allowed": true, "denied": false}), true),
        (json!({"allowed": true, "denied": true}), false),
        (json!({"allowed": false}), false),
    ] {
        let server = saying(status.clone()).await;
        let user = json!({"username": "ann", "uid": "7", "groups": ["readers"], "extra": {"scopes": ["a"]}});
        let asked = server.asking.may(serde_json::from_value(user.clone()).unwrap()).await.unwrap();
        assert_eq!(asked, may, "{status}");
        let mut expected = json!({"user": "ann", "uid": "7", "groups": ["readers"], "extra": {"scopes": ["a"]}});
        expected["resourceAttributes"] = json!({"group": "fairlead.dev", "version": "v1alpha1", "resource": "mcpregistries",
            "subresource": "entries", "verb": "get", "namespace": "team", "name": "main"});
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews".to_owned();
        assert_eq!(*server.asked.lock(), [(path, expected)]);
    }
}

#[tokio::test]
async fn an_api_server_that_is_away_is_no_answer() {
    let mut server = saying(json!({})).await;
    server.serving.shutdown().await;
    let failed = server.asking.who("a-token").await.unwrap_err();
    assert!(matches!(&failed, AskError::Failed { what: "review a token", .. } | AskError::Silent { .. }), "{failed}");
    assert!(!format!("{failed:?}").contains("a-token"), "{failed:?}");
    assert!(server.asking.may(UserInfo::default()).await.is_err());
}
