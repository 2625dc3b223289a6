//! A thousand attachments across a hundred tenants: what each costs, and that nobody pays for another's.

use std::time::{Duration, Instant};

use fairlead_wasm::Origin;
use serde_json::json;

use crate::support::{Host, ask, request};

const TENANTS: usize = 100;
const EACH: usize = 10;

/// Resident memory of this process, in bytes; other tests run beside this one, so it is told and not judged.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

#[tokio::test]
async fn a_thousand_attachments_cost_alike_are_compiled_once_and_leave_each_other_alone() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::with_cache(directory.path().join("cache"));
    let plugin = host.load("noop").await;
    assert!(matches!(plugin.origin(), Origin::Compiled(_)));
    let mut attached = Vec::new();
    let mut quarters = Vec::new();
    let (mut started, mut memory) = (Instant::now(), resident());
    for number in 0..TENANTS * EACH {
        let tenant = format!("tenant-{}", number % TENANTS);
        let name = format!("a{}", number / TENANTS);
        attached.push(host.attach_for(&tenant, "noop", json!({ "name": name })).await.unwrap());
        if (number + 1) % (TENANTS * EACH / 4) == 0 {
            let now = resident();
            quarters.push((started.elapsed(), now.saturating_sub(memory)));
            (started, memory) = (Instant::now(), now);
        }
    }
    for (time, bytes) in &quarters {
        let of = u32::try_from(TENANTS * EACH / 4).unwrap();
        eprintln!("a quarter of 1,000: {:?} and {} KiB of memory for each", *time / of, bytes / u64::from(of) / 1024);
    }
    let files = std::fs::read_dir(&host.cache).unwrap().filter_map(Result::ok);
    let compiled = files.filter(|file| file.metadata().is_ok_and(|about| about.len() > 10_000)).count();
    assert_eq!(compiled, 1, "one component, compiled once");
    let (first, last) = (quarters[0].0, quarters[3].0);
    assert!(last < first * 4 + Duration::from_secs(1), "the last quarter took {last:?}, the first {first:?}");

    ask(&attached[417], request(json!({}))).await.unwrap();
    let called: Vec<_> = host.host.metrics().into_iter().filter(|of| of.counts.calls > 0).collect();
    assert_eq!(called.len(), 1, "nobody else was asked");
    assert_eq!((called[0].scope.tenant.as_str(), called[0].scope.attachment.as_str()), ("tenant-17", "a4"));
}
