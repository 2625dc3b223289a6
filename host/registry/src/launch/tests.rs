//! What an entry becomes when it is run, and what is refused.

use std::sync::Arc;

use fairlead_core::name::{LayerName, RegistryName};
use serde_json::{Value, json};

use super::*;
use crate::entry::{Entry, sample};

fn merged(packages: Value, remotes: Value) -> Merged {
    let mut entry = sample("io.acme/My_Server", "1.0.0");
    entry.document =
        json!({"name": "io.acme/My_Server", "version": "1.0.0", "packages": packages, "remotes": remotes}).to_string();
    Merged {
        entry: Arc::new(entry),
        registry: RegistryName::new("r").unwrap(),
        layer: LayerName::new("trusted").unwrap(),
        is_latest: true,
        shadowed: Vec::new(),
    }
}

fn answers(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn an_image_is_run_with_its_environment_arguments_and_port() {
    let merged = merged(
        json!([
            {"registryType": "npm", "identifier": "x", "version": "1.0.0"},
            {"registryType": "oci", "identifier": "acme/server:1.0", "transport": {"type": "streamable-http", "url": "http://localhost:8080/api"},
             "environmentVariables": [
                {"name": "KEY", "isRequired": true, "isSecret": true, "description": "the key"},
                {"name": "LEVEL", "default": "info", "choices": ["info", "debug"]},
                {"name": "FIXED", "value": "{user}:x", "variables": {"user": {"isRequired": true}}}],
             "packageArguments": [
                {"type": "positional", "valueHint": "root", "default": "/data"},
                {"type": "named", "name": "--mode", "value": "fast"}],
             "runtimeArguments": [{"type": "named", "name": "--privileged"}]},
        ]),
        json!([]),
    );
    let LaunchError::Missing(asked) = launch(&merged, None, &BTreeMap::new()).unwrap_err() else { panic!() };
    assert_eq!(asked.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["KEY", "user"]);
    assert!(asked[0].secret && asked[0].required);

    let made = launch(&merged, None, &answers(&[("KEY", "secret://store/key"), ("user", "me")])).unwrap();
    assert_eq!(made.name.as_str(), "my-server");
    assert_eq!(made.spec.env, answers(&[("FIXED", "me:x"), ("KEY", "secret://store/key"), ("LEVEL", "info")]));
    assert_eq!(made.spec.transport, Transport::StreamableHttp { port: 8080, path: "/api".to_owned() });
    let Source::Image(image) = &made.spec.source else { panic!() };
    assert_eq!(
        (image.reference.as_str(), image.args.as_slice()),
        ("acme/server:1.0", &["/data".to_owned(), "--mode".to_owned(), "fast".to_owned()][..])
    );
    assert_eq!(made.notes.len(), 1);
    assert_eq!(made.spec.annotations[ANNOTATION_ENTRY], "io.acme/My_Server@1.0.0");

    let wrong = launch(&merged, None, &answers(&[("KEY", "k"), ("user", "me"), ("LEVEL", "loud")]));
    assert!(matches!(wrong, Err(LaunchError::Answer { name, .. }) if name == "LEVEL"));
}

#[test]
fn the_most_isolated_way_is_taken_unless_another_is_asked_for() {
    let merged = merged(
        json!([{"registryType": "pypi", "identifier": "x", "version": "2.0"}, {"registryType": "mcpb", "identifier": "https://x"}]),
        json!([{"type": "sse", "url": "https://{region}.example.test/sse", "variables": {"region": {"default": "eu"}},
                "headers": [{"name": "Authorization", "value": "Bearer {token}", "variables": {"token": {"isRequired": true, "isSecret": true}}},
                            {"name": "X-Key", "isSecret": true}]}]),
    );
    let made = launch(&merged, None, &BTreeMap::new()).unwrap();
    assert!(matches!(&made.spec.source, Source::Package(package) if package.package.as_str() == "uvx://x@2.0"));
    let given = answers(&[("token", "secret://store/t"), ("X-Key", "secret://store/k")]);
    let made = launch(&merged, Some("remote"), &given).unwrap();
    let Source::Remote(remote) = &made.spec.source else { panic!() };
    assert_eq!((remote.url.as_str(), remote.transport), ("https://eu.example.test/sse", RemoteTransport::Sse));
    assert_eq!(remote.headers["Authorization"], "Bearer ${secret://store/t}");
    assert_eq!(remote.headers["X-Key"], "${secret://store/k}");
    let more = launch(&merged, Some("remote"), &answers(&[("token", "t"), ("OTHER", "x")]));
    assert!(matches!(more, Err(LaunchError::Answer { name, .. }) if name == "OTHER"));
    let made = launch(&merged, None, &answers(&[("OTHER", "x")])).unwrap();
    assert_eq!(made.spec.env, answers(&[("OTHER", "x")]));
    assert!(matches!(launch(&merged, Some("oci"), &given), Err(LaunchError::NotOffered { .. })));
    assert!(matches!(launch(&merged, Some("mcpb"), &given), Err(LaunchError::NotOffered { .. })));
}

#[test]
fn an_entry_that_offers_nothing_becomes_no_server() {
    let bundle = merged(json!([{"registryType": "mcpb", "identifier": "https://x"}]), json!([]));
    assert_eq!(launch(&bundle, None, &BTreeMap::new()), Err(LaunchError::NoWay(vec!["mcpb".to_owned()])));
    let silent = merged(json!([{"registryType": "oci", "identifier": "a", "transport": {"type": "sse"}}]), json!([]));
    assert!(matches!(launch(&silent, None, &BTreeMap::new()), Err(LaunchError::Entry(_))));
}

#[test]
fn parameters_of_a_template_are_given_once_and_have_types() {
    let document = json!({
        "name": "a/t", "version": "1.0.0",
        "_meta": {"io.modelcontextprotocol.registry/publisher-provided": {"dev.fairlead/template": {"parameters": [
            {"name": "region", "isRequired": true, "choices": ["eu", "us"]},
            {"name": "port", "format": "number", "default": "8080"},
        ]}}},
        "packages": [{"registryType": "oci", "identifier": "x.test/t:1", "transport": {"type": "streamable-http", "url": "http://localhost:{port}/{region}"},
            "environmentVariables": [{"name": "REGION", "value": "{region}"}, {"name": "URL", "value": "https://{region}.x.test"}],
            "packageArguments": [{"type": "named", "name": "--port", "value": "{port}"}]}],
    });
    let mut merged = merged(json!([]), json!([]));
    merged.entry = Arc::new(Entry { document: document.to_string(), ..sample("a/t", "1.0.0") });
    let view = merged.entry.view();
    let asked: Vec<_> =
        questions(&view, &way(&view, None).unwrap()).into_iter().map(|question| question.name).collect();
    assert_eq!(asked, ["region", "port"]);
    let run = |given: &[(&str, &str)]| launch(&merged, None, &answers(given));
    assert!(matches!(run(&[]), Err(LaunchError::Missing(missing)) if missing.len() == 1));
    assert!(matches!(run(&[("region", "mars")]), Err(LaunchError::Answer { .. })));
    assert!(matches!(run(&[("region", "eu"), ("port", "x")]), Err(LaunchError::Answer { .. })));
    let spec = run(&[("region", "eu"), ("port", "9000")]).unwrap().spec;
    assert_eq!(
        spec.env.into_iter().collect::<Vec<_>>(),
        [("REGION".to_owned(), "eu".to_owned()), ("URL".to_owned(), "https://eu.x.test".to_owned())]
    );
    assert_eq!(spec.transport, Transport::StreamableHttp { port: 9000, path: "/eu".to_owned() });
}
