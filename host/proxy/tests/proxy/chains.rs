//! Chains: who is asked, in which order, and what verdicts and faults do.

use std::sync::Arc;

use fairlead_core::chain::{Chain, Level};
use fairlead_core::middleware::{Fault, Identity, PatchOperation, Phase, Rejection, Subject, Verdict};
use fairlead_core::plugin::FailureMode::{self, Closed, Open};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::support::{Client, FakeServer, SESSION, SHARED, Scene, Scripted, key, link, rejection};

const ALL: [Phase; 4] = [Phase::Request, Phase::Response, Phase::Error, Phase::Event];

async fn scene(links: Vec<(&str, FailureMode, &Arc<Scripted>)>) -> (Scene, Arc<FakeServer>, Client) {
    let (scene, server) = Scene::server(SESSION).await;
    let links = links.into_iter().map(|(name, mode, middleware)| link(name, Level::Server, mode, middleware)).collect();
    assert!(scene.proxy.swap_chain(&key("one"), Arc::new(Chain::new(links))));
    let client = scene.client().await;
    (scene, server, client)
}

fn patch(pointer: &str, value: &str) -> Verdict {
    Verdict::Patch(vec![PatchOperation { pointer: pointer.to_owned(), value: Some(value.to_owned()) }])
}

/// Writes down who was asked.
fn witness(name: &'static str, log: &Arc<Mutex<Vec<String>>>, method: &str) -> Arc<Scripted> {
    let log = Arc::clone(log);
    Scripted::new(method, &ALL, move |call, _| {
        log.lock().push(format!("{name} {:?}", call.subject.phase()));
        Ok(Verdict::Next)
    })
}

#[tokio::test]
async fn requests_pass_from_the_outside_in_and_answers_from_the_inside_out() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let [platform, tenant, own] = ["platform", "tenant", "server"].map(|name| witness(name, &log, "tools/call"));
    let (scene, _server) = Scene::server(SESSION).await;
    let chain = Chain::new(vec![
        link("c", Level::Server, Closed, &own),
        link("a", Level::Platform, Closed, &platform),
        link("b", Level::Tenant, Closed, &tenant),
    ]);
    scene.proxy.swap_chain(&key("one"), Arc::new(chain));
    let client = scene.client().await;
    client.call(&json!(1), "echo", json!({"a": 1})).await;
    let there = ["platform Request", "tenant Request", "server Request"];
    let back = ["server Response", "tenant Response", "platform Response"];
    assert_eq!(*log.lock(), [there, back].concat());
    log.lock().clear();
    client.call(&json!(2), "no such tool", json!({})).await;
    assert_eq!(log.lock()[3..], ["server Error", "tenant Error", "platform Error"]);
    assert_eq!(
        own.seen.lock()[0],
        (Phase::Request, "tools/call".into(), Some("echo".into()), r#"{"arguments":{"a":1},"name":"echo"}"#.into())
    );
}

#[tokio::test]
async fn nobody_is_asked_about_what_it_did_not_ask_for() {
    let other = Scripted::new("prompts/*", &ALL, |_, _| Ok(Verdict::Reject(rejection(1, "never"))));
    let elsewhere = Scripted::for_target("tools/call", Some("b*"), &ALL, |_, _| Ok(Verdict::Next));
    let (_scene, _server, client) = scene(vec![("a", Closed, &other), ("b", Closed, &elsewhere)]).await;
    let answer = client.call(&json!(1), "echo", json!({})).await;
    assert!(answer["result"].is_object());
    client.call(&json!(2), "big", json!({"bytes": 1})).await;
    assert_eq!(elsewhere.phases(), [Phase::Request, Phase::Response]);
    assert!(other.seen.lock().is_empty());
}

#[tokio::test]
async fn a_patch_changes_what_the_server_gets_and_only_that() {
    let editor = Scripted::new("tools/call", &[Phase::Request], |_, _| Ok(patch("/arguments/b", "[true]")));
    let (_scene, server, client) = scene(vec![("editor", Closed, &editor)]).await;
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{ "name":"echo","arguments":{"n":9007199254740993 ,"b":1} }}"#;
    let text = client.post(body).await.text().await;
    assert!(text.contains(r#""structuredContent":{"n":9007199254740993 ,"b":[true]}"#), "{text}");
    assert_eq!(server.got(r#""params":{ "name":"echo","arguments":{"n":9007199254740993 ,"b":[true]} }}"#).len(), 1);
}

#[tokio::test]
async fn a_renamed_tool_has_its_new_name_further_in_and_its_old_one_on_the_way_out() {
    let rename = Scripted::new("tools/call", &[Phase::Request, Phase::Response], |call, _| {
        Ok(if call.subject.phase() == Phase::Request { patch("/name", "\"echo\"") } else { Verdict::Next })
    });
    let inner =
        Scripted::for_target("tools/call", Some("echo"), &[Phase::Request, Phase::Response], |_, _| Ok(Verdict::Next));
    let (_scene, _server, client) = scene(vec![("rename", Closed, &rename), ("inner", Closed, &inner)]).await;
    assert!(client.call(&json!(1), "alias", json!({})).await["result"].is_object());
    let targets =
        |link: &Scripted| link.seen.lock().iter().map(|(_, _, target, _)| target.clone().unwrap()).collect::<Vec<_>>();
    assert_eq!(targets(&rename), ["alias", "alias"]);
    assert_eq!(targets(&inner), ["echo", "echo"]);
}

#[tokio::test]
async fn a_rejection_stops_a_request_and_the_outer_ones_hear_of_it() {
    let outer = Scripted::new("*", &ALL, |_, _| Ok(Verdict::Next));
    let guard = Scripted::new("tools/call", &ALL, |_, _| {
        Ok(Verdict::Reject(Rejection {
            code: 4290,
            message: "slow down".into(),
            data: Some("{\"a\":1}".into()),
            retry_after_ms: Some(1_500),
        }))
    });
    let inner = Scripted::new("tools/call", &ALL, |_, _| Ok(Verdict::Next));
    let (_scene, server, client) =
        scene(vec![("outer", Closed, &outer), ("guard", Closed, &guard), ("inner", Closed, &inner)]).await;
    outer.seen.lock().clear();
    let reply = client.begin(&json!("r"), "echo", json!({})).await;
    assert_eq!((reply.status.as_u16(), reply.headers["retry-after"].to_str().unwrap()), (200, "2"));
    let error = json!({"code": 4290, "message": "slow down", "data": {"a": 1, "retryAfterMs": 1_500}});
    assert_eq!(reply.json().await, json!({"jsonrpc": "2.0", "id": "r", "error": error}));
    assert_eq!(outer.phases(), [Phase::Request, Phase::Error]);
    assert_eq!(guard.phases(), [Phase::Request]);
    assert!(inner.seen.lock().is_empty());
    assert!(server.got("tools/call").is_empty());
}

#[tokio::test]
async fn reserved_codes_and_endless_texts_are_tamed() {
    let guard = Scripted::new("tools/call", &[Phase::Request], |call, _| {
        let wait = (call.head.target.as_deref() == Some("wait")).then_some(1);
        Ok(Verdict::Reject(Rejection { code: -32601, message: "é".repeat(10_000), data: None, retry_after_ms: wait }))
    });
    let (_scene, _server, client) = scene(vec![("guard", Closed, &guard)]).await;
    let error = client.call(&json!(1), "x", json!({})).await["error"].clone();
    assert_eq!((error["code"].clone(), error["message"].as_str().unwrap().len()), (json!(4030), 1024));
    assert_eq!(client.call(&json!(1), "wait", json!({})).await["error"]["code"], 4290);
}

#[tokio::test]
async fn an_answer_of_a_middleware_passes_the_outer_ones_only() {
    let outer = Scripted::new("tools/call", &ALL, |call, _| {
        Ok(if call.subject.phase() == Phase::Response { patch("/outer", "1") } else { Verdict::Next })
    });
    let cache = Scripted::new("tools/call", &ALL, |_, _| Ok(Verdict::Respond("{\"cached\":1e2}".into())));
    let inner = Scripted::new("tools/call", &ALL, |_, _| Ok(Verdict::Next));
    let (_scene, server, client) =
        scene(vec![("outer", Closed, &outer), ("cache", Closed, &cache), ("inner", Closed, &inner)]).await;
    let text = client.begin(&json!(1), "echo", json!({})).await.text().await;
    assert_eq!(text, r#"{"jsonrpc":"2.0","id":1,"result":{"cached":1e2,"outer":1}}"#);
    assert_eq!(cache.phases(), [Phase::Request], "it is not asked about its own answer");
    assert!(inner.seen.lock().is_empty() && server.got("tools/call").is_empty());
}

#[tokio::test]
async fn answers_can_be_changed_refused_and_replaced_on_the_way_out() {
    let inner = Scripted::new("tools/call", &[Phase::Response, Phase::Error], |call, _| {
        Ok(match (&call.subject, call.head.target.as_deref()) {
            (Subject::Response(_), Some("echo")) => patch("/structuredContent/seen", "true"),
            (Subject::Response(_), _) => Verdict::Reject(rejection(7, "not this")),
            (Subject::Error(_), _) => Verdict::Respond("{\"instead\":true}".into()),
            _ => Verdict::Next,
        })
    });
    let outer = Scripted::new("tools/call", &[Phase::Response, Phase::Error], |_, _| Ok(Verdict::Next));
    let (_scene, _server, client) = scene(vec![("outer", Closed, &outer), ("inner", Closed, &inner)]).await;
    let text = client.begin(&json!(1), "echo", json!({"n": 1.0})).await.text().await;
    assert_eq!(text, r#"{"result":{"content":[],"structuredContent":{"n":1.0,"seen":true}},"jsonrpc":"2.0","id":1}"#);
    assert_eq!(
        client.call(&json!(2), "big", json!({"bytes": 1})).await["error"],
        json!({"code": 7, "message": "not this"})
    );
    assert_eq!(client.call(&json!(3), "unknown", json!({})).await["result"], json!({"instead": true}));
    assert_eq!(outer.phases(), [Phase::Response, Phase::Error, Phase::Response]);
}

#[tokio::test]
async fn an_error_that_nobody_changes_keeps_its_bytes() {
    let witness = Scripted::new("tools/call", &[Phase::Error], |_, _| Ok(Verdict::Next));
    let (_scene, _server, client) = scene(vec![("witness", Closed, &witness)]).await;
    let error = client.call(&json!(1), "unknown", json!({})).await["error"].clone();
    assert_eq!(error, json!({"code": -32602, "message": "unknown tool unknown"}));
    assert_eq!(witness.seen.lock()[0].3, "unknown tool unknown");
}

#[tokio::test]
async fn events_are_judged_from_the_inside_out() {
    let editor = Scripted::new("notifications/progress", &[Phase::Event], |call, _| {
        let Subject::Event(params) = &call.subject else { return Ok(Verdict::Next) };
        let params: Value = serde_json::from_slice(params).unwrap();
        Ok(match params["progress"].as_u64() {
            Some(2) => Verdict::Reject(rejection(1, "dropped")),
            _ => patch("/message", "\"seen\""),
        })
    });
    let guard =
        Scripted::new("sampling/*", &[Phase::Event], |_, _| Ok(Verdict::Reject(rejection(4031, "no sampling"))));
    for wire in [SESSION, SHARED] {
        let (scene, _server) = Scene::server(wire).await;
        let links = vec![link("guard", Level::Server, Closed, &guard), link("editor", Level::Server, Closed, &editor)];
        scene.proxy.swap_chain(&key("one"), Arc::new(Chain::new(links)));
        let client = scene.client().await;
        let params = json!({"name": "steps", "arguments": {"steps": 3}, "_meta": {"progressToken": "t"}});
        let mut reply = client.ask(&json!(1), "tools/call", params).await;
        for step in [1, 3] {
            let expected = json!({"progressToken": "t", "progress": step, "message": "seen"});
            assert_eq!(reply.message().await.unwrap()["params"], expected);
        }
        assert!(reply.message().await.unwrap()["result"].is_object());
        let refused = client.begin(&json!(2), "ask", json!({"method": "sampling/createMessage"})).await;
        assert!(!refused.is_stream(), "the client never sees the question");
        let told = refused.json().await["result"]["content"][0]["text"].to_string();
        assert!(told.contains("4031") && told.contains("no sampling"), "{told}");
    }
}

#[tokio::test]
async fn events_outside_requests_are_judged_as_well() {
    let editor = Scripted::new("notifications/*", &[Phase::Event], |_, _| Ok(patch("/x", "1")));
    let guard = Scripted::new("roots/list", &[Phase::Event], |_, _| Ok(Verdict::Reject(rejection(9, "private"))));
    let (_scene, server, client) = scene(vec![("editor", Closed, &editor), ("guard", Closed, &guard)]).await;
    let line = json!({"line": {"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {}}});
    client.call(&json!(1), "say", line).await;
    let mut stream = client.listen(&[]).await;
    assert_eq!(stream.message().await.unwrap()["params"], json!({"x": 1}));
    client.call(&json!(2), "ask later", json!({"method": "roots/list"})).await;
    let heard = stream.message().await.unwrap();
    assert!(heard["params"]["answer"].as_str().unwrap().contains("private"), "{heard}");
    assert!(!server.got("private").is_empty());
}

#[tokio::test]
async fn a_rejected_notification_is_accepted_and_goes_no_further() {
    let guard =
        Scripted::new("notifications/secret", &[Phase::Request], |_, _| Ok(Verdict::Reject(rejection(1, "no"))));
    let editor =
        Scripted::new("notifications/plain", &[Phase::Request], |_, _| Ok(Verdict::Replace("{\"new\":1}".into())));
    let (_scene, server, client) = scene(vec![("guard", Closed, &guard), ("editor", Closed, &editor)]).await;
    assert_eq!(client.notify("notifications/secret", json!({})).await.status, 202);
    assert_eq!(client.notify("notifications/plain", json!({"old": 1})).await.status, 202);
    client.call(&json!(1), "echo", json!({})).await;
    assert!(server.got("secret").is_empty());
    assert_eq!(server.got("notifications/plain").len(), 1);
    assert!(server.got("notifications/plain")[0].contains(r#""params":{"new":1}"#));
}

#[tokio::test]
async fn a_broken_guard_refuses_or_lets_pass_as_it_was_told() {
    for (fault, kind) in [
        (Ok(Verdict::Replace("{".into())), "nonsense"),
        (Ok(patch("/no/where", "1")), "nonsense"),
        (Ok(Verdict::Respond("x".into())), "nonsense"),
        (Err(Fault::Trap("unreachable at secret place".into())), "trap"),
        (Err(Fault::Deadline(50)), "deadline"),
    ] {
        let script = fault.clone();
        let broken = Scripted::new("tools/call", &[Phase::Request], move |_, _| script.clone());
        let outer = Scripted::new("tools/call", &ALL, |_, _| Ok(Verdict::Next));
        let (_scene, server, client) = scene(vec![("outer", Closed, &outer), ("broken", Closed, &broken)]).await;
        let error = client.call(&json!(1), "echo", json!({})).await["error"].clone();
        assert_eq!(
            (&error["code"], &error["data"]["kind"], &error["data"]["plugin"]),
            (&json!(-32603), &json!(kind), &json!("broken"))
        );
        assert_eq!(error["data"]["correlation"].as_str().unwrap().len(), 16);
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!(server.got("tools/call").is_empty());
        assert_eq!(outer.phases(), [Phase::Request, Phase::Error]);

        let script = fault.clone();
        let broken = Scripted::new("tools/call", &[Phase::Request], move |_, _| script.clone());
        let (scene, _server, client) = scene(vec![("broken", Open, &broken)]).await;
        assert!(client.call(&json!(1), "echo", json!({})).await["result"].is_object());
        let health = &scene.proxy.health(&key("one")).unwrap()[0];
        assert_eq!((health.faults, health.passed), (1, 1));
    }
}

#[tokio::test]
async fn after_enough_faults_a_middleware_is_left_alone() {
    let broken = Scripted::new("tools/call", &[Phase::Request], |_, _| Err(Fault::Trap("x".into())));
    let (_scene, _server, client) = scene(vec![("broken", Closed, &broken)]).await;
    let mut kinds = Vec::new();
    for call in 0..8 {
        kinds.push(
            client.call(&json!(call), "echo", json!({})).await["error"]["data"]["kind"].as_str().unwrap().to_owned(),
        );
    }
    assert_eq!(kinds[..5], ["trap"; 5]);
    assert_eq!(kinds[5..], ["circuit_open"; 3]);
    assert_eq!(broken.seen.lock().len(), 5);
}

#[tokio::test]
async fn notes_travel_with_the_exchange_and_survive_a_fault() {
    let found = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&found);
    let outer = Scripted::new("tools/call", &[Phase::Request, Phase::Response], move |call, notes| {
        match call.subject.phase() {
            Phase::Request => {
                notes.identity = Some(Identity { subject: "alice".into(), claims: Vec::new() });
                notes.attributes.push(("a".into(), "1".into()));
                notes.attributes.push(("long".into(), "x".repeat(10_000)));
            }
            _ => log.lock().push((notes.identity.clone().map(|who| who.subject), notes.attributes.clone())),
        }
        Ok(Verdict::Next)
    });
    let broken = Scripted::new("tools/call", &[Phase::Request], |_, notes| {
        notes.attributes.clear();
        Err(Fault::Trap("x".into()))
    });
    let (_scene, _server, client) = scene(vec![("outer", Closed, &outer), ("broken", Open, &broken)]).await;
    client.call(&json!(1), "echo", json!({})).await;
    assert_eq!(*found.lock(), [(Some("alice".to_owned()), vec![("a".to_owned(), "1".to_owned())])]);
}

#[tokio::test]
async fn middleware_sees_where_a_message_comes_from_but_no_credentials() {
    let witness = Scripted::new("tools/call", &[Phase::Request], |call, _| {
        assert_eq!(call.origin.protocol_version.as_deref(), Some("2025-11-25"));
        assert_eq!(call.origin.request_id.as_deref(), Some(&b"1"[..]));
        Ok(Verdict::Next)
    });
    let (_scene, _server, client) = scene(vec![("witness", Closed, &witness)]).await;
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}"#;
    let request = client.request(http::Method::POST, &[("authorization", "Bearer x"), ("x-test", "seen")], body);
    assert_eq!(client.send(request).await.status, 200);
    let (session, header) = witness.calls.lock()[0].clone();
    assert_eq!(header.as_deref(), Some("seen"));
    assert!(session.is_some_and(|key| !client.session().unwrap().contains(&key)));
}

#[tokio::test]
async fn a_swap_in_the_middle_of_an_exchange_changes_nothing_for_it() {
    let old = Scripted::new("tools/call", &[Phase::Response], |_, _| Ok(patch("/by", "\"old\"")));
    let new = Scripted::new("tools/call", &[Phase::Response], |_, _| Ok(patch("/by", "\"new\"")));
    let (scene, server, client) = scene(vec![("old", Closed, &old)]).await;
    let params = json!({"name": "steps", "arguments": {"steps": 1, "hold": true}, "_meta": {"progressToken": 1}});
    let mut reply = client.ask(&json!(1), "tools/call", params).await;
    reply.message().await.unwrap();
    scene.proxy.swap_chain(&key("one"), Arc::new(Chain::new(vec![link("new", Level::Server, Closed, &new)])));
    server.release.notify_waiters();
    assert_eq!(reply.last().await["result"]["by"], "old");
    assert_eq!(client.call(&json!(2), "echo", json!({})).await["result"]["by"], "new");
}

#[tokio::test]
async fn nobody_asks_a_middleware_in_the_name_of_the_host() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let [all, moments] = [("all", "*"), ("moments", "fairlead/*")].map(|(name, method)| witness(name, &log, method));
    let (_scene, server, client) = scene(vec![("all", Closed, &all), ("moments", Closed, &moments)]).await;
    moments.seen.lock().clear();
    let refused = client.ask(&json!(1), "fairlead/session-close", json!({})).await.json().await;
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(1), &json!(-32601)), "{refused}");
    assert_eq!(client.notify("fairlead/listen", json!({})).await.status, 202);
    let line = json!({"jsonrpc": "2.0", "method": "fairlead/answer"});
    let mut reply = client.begin(&json!(2), "say", json!({"line": line})).await;
    if reply.is_stream() {
        while let Some(message) = reply.message().await {
            assert_eq!(message["method"], Value::Null, "{message}");
        }
    }
    assert!(moments.seen.lock().is_empty(), "{:?}", moments.seen.lock());
    assert!(server.got("session-close").is_empty() && server.got("fairlead/listen").is_empty());
}
