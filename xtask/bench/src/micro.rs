//! What one plugin costs without a network around it: the plugin host used as a library, on one core.
//!
//! A call takes about as long as reading the clock a few dozen times, so calls are timed in batches, and quantiles are over
//! batches. The message is a `tools/call` of 1 KiB.

mod kv;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use fairlead_core::chain::covers;
use fairlead_core::middleware::{Call, Head, Headers, Middleware, Notes, Origin, Phase, Subject, Verdict};
use fairlead_core::name::{AttachmentName, ServerKey, ServerName, TenantName};
use fairlead_core::plugin::{AttachmentSpec, Capability, InstanceModel};
use fairlead_tests::binary;
use fairlead_wasm::{Attachment, Compiler, Plugin, PluginHost, PluginHostConfig};
use serde::Serialize;
use serde_json::{Value, json};

use crate::message;
use crate::statistics::quantile;

/// Length of the call's text.
const PAYLOAD_BYTES: usize = 1_024;

/// All figures.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) figures: Vec<Figure>,
}

/// One figure, in microseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) median_us: f64,
    pub(crate) p10_us: f64,
    pub(crate) p99_us: f64,
    /// What was promised, where something was.
    pub(crate) aim_us: Option<f64>,
}

/// How often to measure: batches, and how many times in each.
#[derive(Debug, Clone, Copy)]
struct Effort {
    batches: usize,
    times: usize,
}

/// Measures.
pub(crate) async fn run(quick: bool) -> anyhow::Result<Figures> {
    let effort = |batches, times| if quick { Effort { batches: 3, times: 2 } } else { Effort { batches, times } };
    let cache = tempfile::tempdir().context("make a directory for compiled plugins")?;
    let host = host(cache.path())?;
    let noop = load(&host, &binary::fixture("noop")?).await?;
    let mut figures = Vec::new();

    let warm = Chain::of(&host, &[(&noop, json!({}))], InstanceModel::Warm).await?;
    figures.push(warm.figure("warm hop, decides on the head", Some(2.0), effort(300, 100)).await?);
    let fresh = Chain::of(&host, &[(&noop, json!({}))], InstanceModel::PerCall).await?;
    figures.push(fresh.figure("isolated hop, a fresh instance each", Some(25.0), effort(300, 20)).await?);
    let five: Vec<_> = (0..5).map(|_| (&noop, json!({}))).collect();
    let five = Chain::of(&host, &five, InstanceModel::Warm).await?;
    figures.push(five.figure("chain of five, warm", Some(10.0), effort(300, 50)).await?);
    for (name, config) in [
        ("tool-filter", json!({ "deny": ["danger*"] })),
        ("rate-limit", json!({ "requests": 1_000_000, "per": "1s" })),
        ("redact", json!({})),
    ] {
        let plugin = load(&host, &binary::plugin(name)?).await?;
        let chain = Chain::of(&host, &[(&plugin, config)], InstanceModel::Warm).await?;
        figures.push(chain.figure(&format!("{name}, warm, request"), None, effort(300, 50)).await?);
    }
    figures.push(uninterested(&warm, effort(300, 1_000)));
    figures.push(attach(&host, &noop, effort(50, 4)).await?);
    figures.push(from_cache(cache.path(), effort(30, 1)).await?);
    figures.push(compile(effort(5, 1)).await?);
    if quick {
        figures.iter_mut().for_each(|figure| figure.aim_us = None);
    }
    Ok(Figures { figures })
}

fn host(cache: &Path) -> anyhow::Result<Arc<PluginHost>> {
    let mut config = PluginHostConfig::new(cache.to_path_buf(), Arc::new(kv::Memory::default()));
    config.compiler = Compiler::InProcess;
    PluginHost::new(config).context("start a plugin host")
}

async fn load(host: &PluginHost, path: &Path) -> anyhow::Result<Arc<Plugin>> {
    host.load(path).await.with_context(|| format!("load {}", path.display()))
}

/// Middleware in a row, and a message for them.
struct Chain {
    links: Vec<Arc<dyn Middleware>>,
    server: Arc<ServerKey>,
    head: Head,
    origin: Arc<Origin>,
    params: Bytes,
}

impl Chain {
    async fn of(host: &PluginHost, plugins: &[(&Arc<Plugin>, Value)], model: InstanceModel) -> anyhow::Result<Self> {
        let mut links = Vec::new();
        for (number, (plugin, config)) in plugins.iter().enumerate() {
            links.push(host.attach(plugin, attachment(number, config.clone(), model)?).await?);
        }
        let params = json!({ "name": "echo", "arguments": { "text": message::payload(0, 0, PAYLOAD_BYTES) } });
        Ok(Self {
            links,
            server: Arc::new(ServerKey { tenant: TenantName::default(), name: ServerName::new("measured")? }),
            head: Head { method: "tools/call".into(), target: Some("echo".into()) },
            origin: Arc::new(Origin {
                request_id: Some(Bytes::from_static(b"1")),
                session: Some("a".into()),
                protocol_version: Some(message::REVISION.into()),
                headers: Headers::default(),
            }),
            params: params.to_string().into(),
        })
    }

    /// One message through all links.
    async fn pass(&self) -> anyhow::Result<()> {
        let mut notes = Notes::default();
        for link in &self.links {
            let call = Call {
                server: Arc::clone(&self.server),
                head: self.head.clone(),
                origin: Arc::clone(&self.origin),
                notes,
                subject: Subject::Request(self.params.clone()),
            };
            let answer = link.call(call).await?;
            if answer.verdict != Verdict::Next {
                bail!("expected to go on, got {:?}", answer.verdict);
            }
            notes = answer.notes;
        }
        Ok(())
    }

    async fn figure(&self, name: &str, aim_us: Option<f64>, effort: Effort) -> anyhow::Result<Figure> {
        for _ in 0..effort.times {
            self.pass().await?;
        }
        let mut picoseconds = Vec::with_capacity(effort.batches);
        for _ in 0..effort.batches {
            let begin = Instant::now();
            for _ in 0..effort.times {
                self.pass().await?;
            }
            picoseconds.push(each(begin, effort.times));
        }
        Ok(figure(name, aim_us, picoseconds))
    }
}

fn attachment(number: usize, config: Value, instances: InstanceModel) -> anyhow::Result<Attachment> {
    Ok(Attachment {
        tenant: TenantName::default(),
        place: "server/measured".to_owned(),
        spec: AttachmentSpec {
            config,
            instances,
            grants: vec![Capability { name: "kv".to_owned(), scope: Vec::new(), reason: String::new() }],
            ..AttachmentSpec::new(AttachmentName::new(&format!("link-{number}"))?, "")
        },
    })
}

/// What a plugin costs that does not want the message: the question whether it does.
fn uninterested(chain: &Chain, effort: Effort) -> Figure {
    let mut picoseconds = Vec::with_capacity(effort.batches);
    for _ in 0..effort.batches {
        let begin = Instant::now();
        for _ in 0..effort.times {
            for link in &chain.links {
                let phase = std::hint::black_box(Phase::Response);
                let wants = |interest| covers(interest, &chain.head.method, chain.head.target.as_deref(), phase);
                std::hint::black_box(link.interests().iter().any(wants));
            }
        }
        picoseconds.push(each(begin, effort.times));
    }
    figure("uninterested plugin", Some(0.02), picoseconds)
}

async fn attach(host: &PluginHost, plugin: &Arc<Plugin>, effort: Effort) -> anyhow::Result<Figure> {
    let mut picoseconds = Vec::new();
    for _ in 0..effort.batches {
        let begin = Instant::now();
        for _ in 0..effort.times {
            host.attach(plugin, attachment(0, json!({}), InstanceModel::Warm)?).await?;
        }
        picoseconds.push(each(begin, effort.times));
    }
    Ok(figure("attach: check, instantiate, configure", None, picoseconds))
}

async fn from_cache(cache: &Path, effort: Effort) -> anyhow::Result<Figure> {
    let path = binary::fixture("noop")?;
    let mut picoseconds = Vec::new();
    for _ in 0..effort.batches {
        // A host remembers what it has loaded, so each load needs a host that has not.
        let host = host(cache)?;
        let begin = Instant::now();
        let plugin = load(&host, &path).await?;
        picoseconds.push(each(begin, 1));
        ensure!(matches!(plugin.origin(), fairlead_wasm::Origin::Cached(_)), "the cache was not used");
    }
    Ok(figure("load from the cache: read, check, describe", Some(1_000.0), picoseconds))
}

async fn compile(effort: Effort) -> anyhow::Result<Figure> {
    let path = binary::fixture("noop")?;
    let mut picoseconds = Vec::new();
    for _ in 0..effort.batches {
        let cache = tempfile::tempdir().context("make a directory for compiled plugins")?;
        let host = host(cache.path())?;
        let begin = Instant::now();
        load(&host, &path).await?;
        picoseconds.push(each(begin, 1));
    }
    Ok(figure("load and compile", None, picoseconds))
}

/// Picoseconds for each of so many: for the cheapest figures a nanosecond is too coarse.
fn each(begin: Instant, times: usize) -> u64 {
    let picoseconds = begin.elapsed().as_nanos().saturating_mul(1_000) / u128::try_from(times.max(1)).unwrap_or(1);
    u64::try_from(picoseconds).unwrap_or(u64::MAX)
}

fn figure(name: &str, aim_us: Option<f64>, mut picoseconds: Vec<u64>) -> Figure {
    picoseconds.sort_unstable();
    let at = |fraction| quantile(&picoseconds, fraction).map_or(f64::NAN, |value| value as f64 / 1e6);
    Figure { name: name.to_owned(), median_us: at(0.5), p10_us: at(0.1), p99_us: at(0.99), aim_us }
}
