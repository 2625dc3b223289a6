//! The image that people make for their clusters, run as manifests run it: with arguments and no command, as somebody who is not root,
//! without a capability, and with nothing to write but `/tmp`. That pods of it work is shown where there is a node (`grounds`).

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use fairlead_tests::engine::Engine;
use fairlead_tests::{Cli, Home, image};
use http::Method;
use serde_json::{Value, json};

use crate::containers::engine;

/// What a registry of a cluster is read with.
const SOURCES: [&str; 2] = ["source-json", "source-mcp-registry"];

#[tokio::test]
async fn the_image_for_clusters_runs_as_nobody_with_nothing_to_write_and_has_the_plugins_that_registries_need() {
    let home = Home::new().unwrap();
    let Some(engine) = engine(&Cli::new(&home).unwrap()).await else { return };
    let image = format!("fairlead-test-image:{}", std::process::id());
    image::make(&engine, &image, &[]).await.unwrap();
    let shown = shown(&engine, &image).await;
    engine.forget(&image).await.unwrap();
    engine.done().await.unwrap();
    shown.unwrap();
}

async fn shown(engine: &Engine, image: &str) -> Result<()> {
    let made = engine.tell(Method::GET, &format!("/images/{image}/json"), &Value::Null).await?;
    let config = &made["Config"];
    // A kubelet that is to start nobody as root believes numbers only; and a command of the image would come before their arguments.
    ensure!(config["User"] == "65532:65532", "{config}");
    ensure!(config["Entrypoint"] == json!(["/usr/local/bin/fairlead"]), "{config}");
    ensure!(config["Cmd"].as_array().is_none_or(Vec::is_empty), "{config}");

    let version = config["Labels"]["org.opencontainers.image.version"].as_str().context("a version")?;
    let said = run(engine, image, &["version"]).await?;
    ensure!(said.starts_with(&format!("fairlead {version}\r\n")), "{version}: {said}");
    for source in SOURCES {
        let said = run(engine, image, &["plugin", "inspect", source, "--format", "json"]).await?;
        let plugin: Value = serde_json::from_str(&said).with_context(|| said.clone())?;
        ensure!(plugin["path"] == format!("/usr/local/lib/fairlead/plugins/{source}.wasm"), "{plugin}");
        ensure!(plugin["kind"] == "registry-source", "{plugin}");
    }
    Ok(())
}

/// Runs it with these arguments, to its good end: what it printed.
async fn run(engine: &Engine, image: &str, args: &[&str]) -> Result<String> {
    let body = json!({
        // With a terminal, what it prints comes as it was printed.
        "Image": image, "Cmd": args, "Tty": true, "Env": ["FAIRLEAD_HOME=/tmp/fairlead", "NO_COLOR=1"],
        "HostConfig": {
            "ReadonlyRootfs": true, "CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges"], "NetworkMode": "none",
            // Nothing there may be executed, as Docker has it; compiled plugins are loaded all the same.
            "Tmpfs": {"/tmp": "rw,noexec,mode=1777"},
        },
    });
    let container = engine.tell(Method::POST, "/containers/create", &body).await?;
    let id = container["Id"].as_str().context("a container")?;
    let ran = async {
        engine.tell(Method::POST, &format!("/containers/{id}/start"), &Value::Null).await?;
        let end = engine.tell(Method::POST, &format!("/containers/{id}/wait"), &Value::Null).await?;
        let said = engine.log(id).await?;
        ensure!(end["StatusCode"] == 0, "{args:?}: {end}: {said}");
        anyhow::Ok(said)
    };
    let ran = ran.await;
    engine.ask(Method::DELETE, &format!("/containers/{id}?force=true"), Bytes::new()).await?;
    ran
}
