//! What the operator writes is what this program reads.

use clap::Parser as _;
use fairlead_core::document::{self, Document};
use fairlead_core::pod::PodUpstream;
use fairlead_operator::desired::{Decision, Observed, Resource, Server, Settings, desired};
use fairlead_operator::limits::TERMINATION_GRACE_SECS;
use fairlead_operator::status::ServerStatus;
use fairlead_proxy::limits::SESSIONS_END_MAX;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::cli::{Cli, Command, proxy};

fn decided(spec: &Value) -> Decision {
    let document = document::read(&json!({
        "apiVersion": document::API_VERSION, "kind": "MCPServer",
        "metadata": {"name": "docs", "namespace": "team"}, "spec": spec,
    }));
    let Ok(Document::Server(document)) = document else { panic!("{document:?}") };
    let server = Server {
        name: "docs".to_owned(),
        namespace: "team".to_owned(),
        uid: "u".to_owned(),
        generation: 1,
        deleting: false,
        restarted_at: None,
        created_fresh: false,
        document: Ok(document),
        status: ServerStatus::default(),
    };
    let settings =
        Settings { proxy_image: "registry.test/fairlead:1".to_owned(), updates: None, binds_reviewers: false };
    desired(&server, &Observed::default(), &settings, Timestamp::UNIX_EPOCH)
}

fn body(decision: &Decision, resource: Resource, name: &str) -> Value {
    let objects = decision.objects.as_ref().unwrap();
    objects.iter().find(|object| object.resource == resource && object.name == name).unwrap().body.clone()
}

#[test]
fn what_the_operator_starts_and_writes_is_understood_here() {
    let image = json!({"kind": "image", "reference": "registry.test/server:1"});
    let remote = json!({"kind": "remote", "url": "https://mcp.test/mcp", "headers": {"x-key": "secret://store/key"}});
    let redis = json!({"provider": "redis", "address": "redis:6379", "db": 1, "keyPrefix": "x:"});
    for spec in [
        json!({ "source": image }),
        json!({"source": image, "transport": {"kind": "streamable-http", "port": 9000}, "sessionStorage": redis}),
        json!({"source": image, "transport": {"kind": "sse", "port": 9000}, "backendReplicas": 2, "bridge": true}),
        json!({ "source": remote }),
    ] {
        let decision = decided(&spec);
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("server.json");
        let written = body(&decision, Resource::ConfigMap, "docs-config")["data"]["server.json"].clone();
        std::fs::write(&file, written.as_str().unwrap()).unwrap();
        let deployment = body(&decision, Resource::Deployment, "docs");
        let args = deployment["spec"]["template"]["spec"]["containers"][0]["args"].clone();
        let mut args: Vec<String> = serde_json::from_value(args).unwrap();
        let at = args.iter().position(|arg| arg == "/etc/fairlead/server.json").unwrap();
        file.to_str().unwrap().clone_into(&mut args[at]);
        args.insert(0, "fairlead".to_owned());
        let Command::Proxy(proxy::Command::Pod(args)) = Cli::try_parse_from(args).unwrap().command else { panic!() };
        let options = args.options().unwrap();
        assert_eq!(options.config.server.to_string(), "team/docs");
        assert_eq!(matches!(options.config.upstream, PodUpstream::Remote(_)), options.secrets.is_some(), "{spec}");
        let grace = Duration::from_secs(TERMINATION_GRACE_SECS.unsigned_abs());
        assert!(options.leave + options.drain + SESSIONS_END_MAX < grace);
    }
}
