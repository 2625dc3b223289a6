//! Hot swap under load: the whole chain of a server is replaced again and again, and every call must be answered, by one
//! revision from beginning to end.
//!
//! Three links stamp the request and the response with the label of their revision; the echo server tells back what it saw.
//! Six labels in each reply, and all must be the same.

use std::rc::Rc;
use std::time::Instant;

use anyhow::ensure;
use serde::Serialize;
use serde_json::Value;
use tokio::task::LocalSet;

use crate::load::{Tally, Workers};
use crate::message::Reply;
use crate::scene::{Scene, stamp};

/// The links, outermost first; also the fields that they stamp.
const LINKS: [&str; 3] = ["outer", "middle", "inner"];

/// Callers during the swaps.
const WORKERS: usize = 8;

/// Length of a call's text.
const PAYLOAD_BYTES: usize = 256;

/// What happened.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) swaps: usize,
    pub(crate) requests: u64,
    pub(crate) failures: u64,
    pub(crate) swaps_per_second: f64,
    pub(crate) requests_per_second: f64,
    pub(crate) resident_before_kib: u64,
    pub(crate) resident_after_kib: u64,
}

/// Swaps that many times under load. An error when one request failed or was answered by two revisions.
pub(crate) async fn run(swaps: usize) -> anyhow::Result<Outcome> {
    let scene = Scene::start().await?;
    let target = scene.http("swapped", chain(0)?).await?;
    let pid = scene.daemon.pid();
    let resident_before_kib = crate::process::resident_kib(pid)?;
    let tally = Rc::new(Tally::default());
    let begin = Instant::now();
    let local = LocalSet::new();
    local
        .run_until(async {
            let load = target.load(WORKERS, PAYLOAD_BYTES);
            let workers = Workers::begin(&load, &tally, one_revision).await?;
            for revision in 1..=swaps {
                scene.swap(target.name, &chain(revision)?).await?;
            }
            tally.end();
            workers.join().await
        })
        .await?;
    let took = begin.elapsed().as_secs_f64();
    let outcome = Outcome {
        swaps,
        requests: tally.requests(),
        failures: tally.failures(),
        swaps_per_second: swaps as f64 / took,
        requests_per_second: tally.requests() as f64 / took,
        resident_before_kib,
        resident_after_kib: crate::process::resident_kib(pid)?,
    };
    ensure!(outcome.failures == 0, "{} of {} requests failed: {:?}", outcome.failures, outcome.requests, tally.told());
    ensure!(outcome.requests > swaps as u64, "{} requests are no load for {swaps} swaps", outcome.requests);
    Ok(outcome)
}

fn chain(revision: usize) -> anyhow::Result<Vec<Value>> {
    LINKS.iter().map(|name| stamp(name, &revision.to_string())).collect()
}

/// Every link has stamped the request and the response, and all labels are the same.
fn one_revision(reply: &Reply<'_>) -> Result<(), String> {
    let meta = reply.meta().ok_or("a reply without stamps")?;
    let labels: Option<Vec<&str>> = LINKS
        .iter()
        .flat_map(|name| [meta.get(name), meta.pointer(&format!("/seen/{name}"))])
        .map(|label| label.and_then(Value::as_str))
        .collect();
    let labels = labels.ok_or_else(|| format!("a stamp is missing: {meta}"))?;
    if labels.iter().any(|label| Some(label) != labels.first()) {
        return Err(format!("two revisions in one exchange: {meta}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::one_revision;
    use crate::message::Reply;

    fn reply(meta: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"content":[{{"type":"text","text":"x"}}],"_meta":{meta}}}}}"#)
    }

    #[test]
    fn six_equal_labels_pass_and_nothing_else() {
        let good = r#"{"seen":{"outer":"7","middle":"7","inner":"7"},"outer":"7","middle":"7","inner":"7"}"#;
        let mixed = r#"{"seen":{"outer":"7","middle":"7","inner":"7"},"outer":"8","middle":"7","inner":"7"}"#;
        let missing = r#"{"seen":{"outer":"7","middle":"7"},"outer":"7","middle":"7","inner":"7"}"#;
        for (meta, passes) in [(good, true), (mixed, false), (missing, false), ("{}", false)] {
            let text = reply(meta);
            let parsed = Reply::check(text.as_bytes(), 1, "x").unwrap();
            assert_eq!(one_revision(&parsed).is_ok(), passes, "{meta}");
        }
    }
}
