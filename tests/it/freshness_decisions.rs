//! People decide about the updates of servers of a cluster: with our command, with `kubectl`, with the rights that a guide gives them,
//! and while the operator is killed.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fairlead_tests::cluster::Cluster;
use fairlead_tests::limits::SETTLE;
use fairlead_tests::{Cli, Home, Output, binary, eventually};
use serde_json::{Value, json};
use tokio::process::Child;

use crate::distribution::Registry;
use crate::freshness_cluster::{Scene, node};

/// Longer than a command waits for an answer, on a machine that compiles at the same time.
const ASKED: Duration = Duration::from_secs(120);

/// How often the operator is killed with a request before it.
const KILLS: u64 = 8;

/// The longest that it lives after it.
const LIFE_MAX_MS: u64 = 400;

const REQUEST: &str = "fairlead.dev/update-request";

/// Somebody who types, and the server that it is about.
struct Person<'a> {
    scene: &'a Scene<'a>,
    cli: Cli,
    server: &'a str,
}

impl<'a> Person<'a> {
    /// Whoever made the cluster.
    fn root(scene: &'a Scene<'a>, server: &'a str) -> Result<Self> {
        let cli = scene.cli.clone().env("KUBECONFIG", scene.cluster.kubeconfig_path()?).within(ASKED);
        Ok(Self { scene, cli, server })
    }

    /// Somebody whom that one lets in under another name.
    fn named(scene: &'a Scene<'a>, server: &'a str, name: &str, home: &Home) -> Result<Self> {
        let mut config: Value = serde_json::from_str(&std::fs::read_to_string(scene.cluster.kubeconfig_path()?)?)?;
        let user = config.pointer_mut("/users/0/user").and_then(Value::as_object_mut).context("a user")?;
        user.insert("as".to_owned(), json!(name));
        let file = home.path().join(format!("kubeconfig-{name}"));
        std::fs::write(&file, config.to_string())?;
        let cli = scene.cli.clone().env("KUBECONFIG", file.to_str().context("a path")?).within(ASKED);
        Ok(Self { scene, cli, server })
    }

    fn args<'s>(&'s self, verb: &[&'s str]) -> Vec<&'s str> {
        let mut args = vec!["update"];
        args.extend(verb);
        args.insert(2, self.server);
        args.extend(["--on-cluster", self.scene.cluster.namespace()]);
        args
    }

    /// Types `fairlead update`, which must do it.
    async fn asks(&self, args: &[&str]) -> Result<Value> {
        self.cli.json(self.args(args)).await
    }

    /// Types it, and it must be refused.
    async fn is_refused(&self, args: &[&str], why: &str) -> Result<Output> {
        let refused = self.cli.run(self.args(args)).await?;
        ensure!(refused.code == Some(1) && refused.stderr.contains(why), "{why}: {refused}");
        Ok(refused)
    }

    /// Writes the annotation by hand.
    async fn annotates(&self, text: &str) -> Result<()> {
        let (server, annotation) = (format!("mcpserver/{}", self.server), format!("{REQUEST}={text}"));
        self.scene.cluster.kubectl(&["annotate", "--overwrite", &server, &annotation], "").await.map(drop)
    }

    /// Waits until a request was answered, the last of all: what is kept of it.
    async fn is_answered(&self, id: &str) -> Result<Value> {
        eventually(&format!("`{id}` is answered"), SETTLE, async || {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let record = self.scene.cluster.get(&format!("configmap/{}-freshness", self.server)).await?;
            let answered = record.pointer("/data/answered").and_then(Value::as_str).context("nothing was answered")?;
            let answered: Value = serde_json::from_str(answered)?;
            let answer = answered.pointer("/0").context("an answer")?;
            ensure!(answer.get("id") == Some(&json!(id)), "{answer}");
            Ok(answer.get("outcome").context("an outcome")?.clone())
        })
        .await
    }

    async fn is_done(&self, id: &str) -> Result<()> {
        let outcome = self.is_answered(id).await?;
        ensure!(outcome.get("kind") == Some(&json!("done")), "{id}: {outcome}");
        Ok(())
    }

    async fn runs(&self, digest: &str) -> Result<Value> {
        let is = |updates: &Value| updates.get("running") == Some(&json!([digest])) && updates.get("target").is_none();
        self.scene.reaches(self.server, &format!("runs {digest}"), is).await
    }

    async fn waits_for_approval(&self, digest: &str) -> Result<Value> {
        let is = |updates: &Value| {
            updates.get("newest") == Some(&json!(digest)) && updates.get("held") == Some(&json!("awaiting-approval"))
        };
        self.scene.reaches(self.server, &format!("waits for a yes to {digest}"), is).await
    }
}

/// A server that needs a person's yes; there may be only one of it, so nothing is tried beside it.
async fn document(scene: &Scene<'_>, server: &str, annotations: Value) -> Result<String> {
    let plugin = binary::plugin("update-approval")?;
    let inspected = scene.cli.json(["plugin", "inspect", plugin.to_str().context("a path")?]).await?;
    let digest = inspected.get("digest").and_then(Value::as_str).context("a digest")?;
    let policy = format!("approval-{}", scene.cluster.namespace());
    Ok(json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "fairlead.dev/v1alpha1", "kind": "Plugin", "metadata": {"name": policy},
         "spec": {"source": plugin, "digest": digest}},
        {"apiVersion": "fairlead.dev/v1alpha1", "kind": "MCPServer",
         "metadata": {"name": server, "annotations": annotations},
         "spec": {
            "source": {"kind": "image", "reference": scene.reference(server)},
            "transport": {"kind": "streamable-http", "port": 9000},
            "updates": {"check": true, "autoReinstall": true, "singleInstance": true},
            "plugins": [{"name": "ask", "kind": "update-policy", "plugin": policy}],
        }},
    ]})
    .to_string())
}

fn operator(cluster: &Cluster) -> Result<Child> {
    cluster.operator_with("registry.test/fairlead:1", &[], &[("FAIRLEAD_IMAGE_UPDATE_INTERVAL", "2s")])
}

async fn clean(cluster: &Cluster) {
    let policy = format!("approval-{}", cluster.namespace());
    cluster.kubectl(&["delete", "mcpserver", "--all", "--timeout=60s"], "").await.unwrap();
    cluster.kubectl(&["delete", "plugin.fairlead.dev", &policy], "").await.unwrap();
}

#[tokio::test]
async fn people_approve_hold_and_go_back_with_our_command_and_with_kubectl_and_what_is_refused_says_why() {
    let Some(cluster) = Cluster::found().await.unwrap() else { return };
    let Some(registry) = Registry::start().await else { return };
    let home = Home::new().unwrap();
    let scene = Scene { cluster: &cluster, registry: &registry, cli: Cli::new(&home).unwrap() };
    let first = scene.push("docs", 0).await.unwrap();
    let _operator = operator(&cluster).unwrap();
    cluster.kubectl(&["apply", "-f", "-"], &document(&scene, "docs", json!({})).await.unwrap()).await.unwrap();
    let mut probed = BTreeSet::new();
    tokio::select! {
        broke = node(&cluster, &first, "none", &mut probed) => broke.unwrap(),
        decided = decided(&scene, &first) => decided.unwrap(),
    }
    clean(&cluster).await;
}

async fn decided(scene: &Scene<'_>, first: &str) -> Result<()> {
    let root = Person::root(scene, "docs")?;
    root.runs(first).await?;
    let repository = scene.registry.reference("team/docs");
    let at = |digest: &str| format!("{repository}@{digest}");

    // A plan is told, and changes nothing.
    let second = scene.push("docs", 1).await?;
    root.waits_for_approval(&second).await?;
    let plan = root.asks(&["plan"]).await?;
    let effect = plan.pointer("/0/effect").context("an effect")?;
    ensure!(effect.get("kind") == Some(&json!("hold")) && effect.get("pin") == Some(&json!(second)), "{plan:#}");
    ensure!(scene.launched("docs").await? == scene.reference("docs"));
    root.is_refused(&["apply"], "it is held back: 0 of 1 approvals").await?;

    // A yes, by whoever the cluster says that it is.
    let approved = root.asks(&["approve"]).await?;
    let approval = approved.pointer("/approvals/0").context("an approval")?;
    ensure!(approval.get("pin") == Some(&json!(second)) && approval.get("by") != Some(&json!("")), "{approval}");
    let me = scene.cluster.kubectl(&["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"], "").await?;
    ensure!(approval.get("by") == Some(&json!(me)), "{approval}: I am {me}");
    root.runs(&second).await?;
    ensure!(scene.launched("docs").await? == at(&second));

    // Back, and what was left does not come again by itself, though it was approved.
    root.asks(&["rollback"]).await?;
    root.runs(first).await?;
    ensure!(scene.launched("docs").await? == at(first));
    let history = root.asks(&["history"]).await?;
    ensure!(history.pointer("/0/outcome") == Some(&json!("rolled-back")), "{history:#}");

    // A no is stronger than a yes, until it is taken back.
    let held = root.asks(&["hold", "--reason", "release week", "--for", "3d", "--by", "eve"]).await?;
    ensure!(held.pointer("/hold/reason") == Some(&json!("release week")), "{held:#}");
    let third = scene.push("docs", 2).await?;
    root.waits_for_approval(&third).await?;
    root.asks(&["approve", "--digest", &third, "--by", "eve"]).await?;
    let is_frozen = |updates: &Value| updates.get("held") == Some(&json!("frozen"));
    scene.reaches("docs", "held by eve", is_frozen).await?;
    let plan = root.asks(&["plan"]).await?;
    ensure!(plan.pointer("/0/effect/detail") == Some(&json!("held by eve: release week")), "{plan:#}");
    root.runs(first).await?;
    root.asks(&["resume"]).await?;
    root.runs(&third).await?;
    ensure!(root.asks(&["status"]).await?.get("hold").is_none());

    by_hand(&root, &second).await?;
    anew(&root).await
}

/// With `kubectl` alone, well and badly.
async fn by_hand(root: &Person<'_>, known: &str) -> Result<()> {
    let cluster = root.scene.cluster;
    root.annotates(r#"{"id": "by-hand", "do": "hold", "by": "me", "reason": "weekend"}"#).await?;
    root.is_done("by-hand").await?;
    eventually("the status tells", SETTLE, async || {
        let server = cluster.get("mcpserver/docs").await?;
        let said = server.pointer("/status/updateRequest").context("nothing is told")?;
        ensure!(said.get("id") == Some(&json!("by-hand")) && said.get("outcome") == Some(&json!("done")), "{said}");
        Ok(())
    })
    .await?;
    let held = |updates: &Value| updates.pointer("/hold/reason") == Some(&json!("weekend"));
    root.scene.reaches("docs", "held", held).await?;

    // Each is told why, once, and nothing happens.
    let nonsense = [
        ("wrong", json!({"id": "wrong", "do": "explode"}), "unknown variant `explode`"),
        ("field", json!({"id": "field", "do": "resume", "really": true}), "unknown field `really`"),
        ("nobody", json!({"id": "nobody", "do": "approve", "digest": known}), "`by` is missing"),
        ("by-hand", json!({"id": "by-hand", "do": "resume"}), "its `id` was used before"),
    ];
    for (id, request, why) in nonsense {
        root.annotates(&request.to_string()).await?;
        let answer = eventually(&format!("{request} is refused"), SETTLE, async || {
            let answer = root.is_answered(id).await?;
            ensure!(answer.get("kind") == Some(&json!("refused")), "{answer}");
            Ok(answer)
        })
        .await?;
        let message = answer.pointer("/problem/detail").and_then(Value::as_str).context("a message")?;
        ensure!(message.contains(why), "{message}");
    }
    let told = cluster.kubectl(&["get", "events", "-o", "jsonpath={.items[*].reason}"], "").await?;
    ensure!(told.contains("UpdateRequestDone") && told.contains("UpdateRequestRefused"), "{told}");
    ensure!(root.asks(&["status"]).await?.pointer("/hold/reason") == Some(&json!("weekend")));
    let unknown = format!("sha256:{:064}", 7);
    root.is_refused(&["approve", "--digest", &unknown], "is not among the candidates").await?;
    let none = Person { scene: root.scene, cli: root.cli.clone(), server: "none" };
    none.is_refused(&["status"], "there is no server `none`").await?;
    Ok(())
}

/// A server of the same name that came after it has nothing of its answers, and does not do what that one was asked.
async fn anew(root: &Person<'_>) -> Result<()> {
    let cluster = root.scene.cluster;
    let before = cluster.get("mcpserver/docs").await?;
    let uid = before.pointer("/metadata/uid").context("a uid")?;
    cluster.kubectl(&["delete", "mcpserver", "docs", "--timeout=60s"], "").await?;
    let asked = json!({"id": "restored", "do": "hold", "by": "eve", "uid": uid});
    let annotations = json!({REQUEST: asked.to_string()});
    cluster.kubectl(&["apply", "-f", "-"], &document(root.scene, "docs", annotations).await?).await?;
    let answer = root.is_answered("restored").await?;
    ensure!(answer.to_string().contains("an earlier server"), "{answer}");
    // What was used there is not used here.
    root.annotates(r#"{"id": "by-hand", "do": "check"}"#).await?;
    root.is_done("by-hand").await?;
    let status = root.asks(&["status"]).await?;
    ensure!(status.get("hold").is_none(), "{status:#}");
    Ok(())
}

#[tokio::test]
async fn an_operator_that_is_killed_does_what_was_asked_once_or_says_why_not() {
    let Some(cluster) = Cluster::found().await.unwrap() else { return };
    let Some(registry) = Registry::start().await else { return };
    let home = Home::new().unwrap();
    let scene = Scene { cluster: &cluster, registry: &registry, cli: Cli::new(&home).unwrap() };
    let first = scene.push("docs", 0).await.unwrap();
    cluster.kubectl(&["apply", "-f", "-"], &document(&scene, "docs", json!({})).await.unwrap()).await.unwrap();
    let mut probed = BTreeSet::new();
    tokio::select! {
        broke = node(&cluster, &first, "none", &mut probed) => broke.unwrap(),
        killed = killed(&scene, &first) => killed.unwrap(),
    }
    clean_without_operator(&cluster).await;
}

async fn killed(scene: &Scene<'_>, first: &str) -> Result<()> {
    let root = Person::root(scene, "docs")?;
    let mut operator = operator(scene.cluster)?;
    root.runs(first).await?;
    let second = scene.push("docs", 1).await?;
    root.waits_for_approval(&second).await?;
    let mut done = 0;
    for kill in 0..KILLS {
        let id = format!("kill-{kill}");
        // An update that a person orders stands in the history, as often as it was ordered.
        let pin = if kill % 2 == 0 { second.as_str() } else { first };
        root.annotates(&json!({"id": id, "do": "apply", "digest": pin}).to_string()).await?;
        tokio::time::sleep(Duration::from_millis(kill * LIFE_MAX_MS / KILLS)).await;
        operator.kill().await?;
        // Nobody waits until the lease of a dead one runs out.
        scene.cluster.kubectl(&["delete", "lease", "--all"], "").await?;
        operator = self::operator(scene.cluster)?;
        let answer = root.is_answered(&id).await?;
        done += u64::from(answer.get("kind") == Some(&json!("done")));
        root.runs(pin).await?;
    }
    let history = root.asks(&["history"]).await?;
    let ordered = history.as_array().context("a list")?.iter();
    let ordered = ordered.filter(|attempt| attempt.get("trigger") == Some(&json!("operator"))).count();
    ensure!(u64::try_from(ordered)? == done && done == KILLS, "{ordered} of {done}: {history:#}");
    Ok(())
}

#[tokio::test]
async fn who_may_only_decide_decides_in_their_own_name_and_changes_nothing_else_and_nobody_waits_for_an_operator_for_ever()
 {
    let Some(cluster) = Cluster::found().await.unwrap() else { return };
    let Some(registry) = Registry::start().await else { return };
    let home = Home::new().unwrap();
    let scene = Scene { cluster: &cluster, registry: &registry, cli: Cli::new(&home).unwrap() };
    let first = scene.push("docs", 0).await.unwrap();
    let operator = operator(&cluster).unwrap();
    cluster.kubectl(&["apply", "-f", "-"], &document(&scene, "docs", json!({})).await.unwrap()).await.unwrap();
    let mut probed = BTreeSet::new();
    tokio::select! {
        broke = node(&cluster, &first, "none", &mut probed) => broke.unwrap(),
        restricted = restricted(&scene, &first, operator, &home) => restricted.unwrap(),
    }
    clean_without_operator(&cluster).await;
}

async fn restricted(scene: &Scene<'_>, first: &str, mut operator: Child, home: &Home) -> Result<()> {
    let cluster = scene.cluster;
    let examples = binary::root().join("deploy/examples/approvers.yaml");
    // The policy is everybody's: as whoever else tests it here applies it.
    let apply = ["apply", "--server-side", "--field-manager=test", "-f", examples.to_str().context("a path")?];
    cluster.kubectl(&apply, "").await?;
    cluster.kubectl(&["label", "namespace", cluster.namespace(), "fairlead.dev/decisions=named"], "").await?;
    let root = Person::root(scene, "docs")?;
    let (alice, bob) = (Person::named(scene, "docs", "alice", home)?, Person::named(scene, "docs", "bob", home)?);
    root.runs(first).await?;
    let second = scene.push("docs", 1).await?;
    root.waits_for_approval(&second).await?;
    bob.is_refused(&["status"], "forbidden").await?;

    // The admission policy takes a moment to count.
    eventually("nobody speaks for another", SETTLE, async || {
        alice.is_refused(&["approve", "--by", "bob"], "in one's own name").await
    })
    .await?;
    let asked = r#"{"id":"forged","do":"approve","reason":"\"by\":\"alice\"","by":"bob"}"#;
    let forged = cluster
        .kubectl(&["annotate", "--as=alice", "--overwrite", "mcpserver/docs", &format!("{REQUEST}={asked}")], "")
        .await;
    ensure!(forged.is_err_and(|error| format!("{error:#}").contains("in one's own name")));
    nothing_else(cluster).await?;
    let approved = alice.asks(&["approve"]).await?;
    ensure!(approved.pointer("/approvals/0/by") == Some(&json!("alice")), "{approved:#}");
    root.runs(&second).await?;

    // Nobody leads: what is asked is taken back.
    operator.kill().await?;
    alice.is_refused(&["rollback"], "nobody answered within").await?;
    let server = cluster.get("mcpserver/docs").await?;
    ensure!(server.pointer("/metadata/annotations").and_then(|all| all.get(REQUEST)).is_none(), "{server:#}");
    Ok(())
}

/// Who may only decide is refused whatever else a patch can change, and is let in with a request alone.
async fn nothing_else(cluster: &Cluster) -> Result<()> {
    let mark = r#"{"metadata":{"labels":{"guarded":"yes"},"annotations":{"team/note":"kept"}}}"#;
    cluster.kubectl(&["patch", "mcpserver/docs", "--type=merge", "-p", mark], "").await?;
    let others = [
        json!({"spec": {"backendReplicas": 3}}),
        json!({"metadata": {"labels": {"guarded": null}}}),
        json!({"metadata": {"labels": {"more": "yes"}}}),
        json!({"metadata": {"annotations": {"fairlead.dev/restarted-at": "now"}}}),
        json!({"metadata": {"annotations": {"team/note": "changed"}}}),
        json!({"metadata": {"annotations": {"team/note": null}}}),
        json!({"metadata": {"finalizers": null}}),
        json!({"metadata": {"ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "00000000-0000-0000-0000-000000000000"},
        ]}}),
    ];
    for other in others {
        let other = other.to_string();
        let patch = ["patch", "mcpserver/docs", "--as=alice", "--type=merge", "-p", other.as_str()];
        let changed = cluster.kubectl(&patch, "").await;
        ensure!(changed.is_err_and(|error| format!("{error:#}").contains("change nothing else")), "{other}");
    }
    let request = format!(r#"{REQUEST}={{"id":"alone","do":"check","by":"alice"}}"#);
    cluster.kubectl(&["annotate", "mcpserver/docs", "--as=alice", "--overwrite", &request], "").await?;
    Ok(())
}

/// Nobody is there who would let a server go.
async fn clean_without_operator(cluster: &Cluster) {
    let patch = r#"{"metadata":{"finalizers":null}}"#;
    cluster.kubectl(&["patch", "mcpserver/docs", "--type=merge", "-p", patch], "").await.unwrap();
    clean(cluster).await;
}
