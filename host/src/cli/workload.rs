//! A server in words.

use fairlead_core::chain::Level;
use fairlead_core::name::TenantName;
use fairlead_core::plugin::FailureMode;
use jiff::Timestamp;

use super::output::{age, word};
use crate::api::types::Workload;

/// Everything that is worth knowing, one thing on each line. Values of the environment are not shown: they may be secrets.
pub(super) fn describe(workload: &Workload) -> String {
    let now = Timestamp::now();
    let mut lines: Vec<(&str, String)> = vec![("name", workload.name.to_string())];
    if workload.tenant != TenantName::default() {
        lines.push(("tenant", workload.tenant.to_string()));
    }
    lines.push(("status", format!("{} for {}", word(workload.status), age(workload.since, now))));
    if let Some(reason) = &workload.reason {
        lines.push(("reason", reason.clone()));
    }
    if let Some(retry_at) = workload.retry_at {
        lines.push(("starts again in", age(now, retry_at)));
    }
    if workload.restarts > 0 {
        lines.push(("restarts", workload.restarts.to_string()));
    }
    lines.push(("url", workload.url.clone()));
    lines.push(("source", workload.source.clone()));
    if let Some(image) = &workload.image {
        let exactly = image.digest.as_ref().or(image.id.as_ref());
        lines.extend(exactly.map(|digest| ("image", digest.clone())));
        let engine = [&image.engine, &image.engine_address].map(|part| part.clone().unwrap_or_default()).join(" ");
        lines.push(("engine", engine.trim().to_owned()));
    }
    lines.push(("transport", workload.transport.clone()));
    if let Some(profile) = &workload.profile {
        lines.push(("server", format!("{} {} (MCP {})", profile.name, profile.version, profile.protocol_version)));
        lines.push(("offers", profile.capabilities.join(", ")));
    }
    for (at, link) in workload.chain.iter().enumerate() {
        let mode = workload
            .spec
            .as_ref()
            .and_then(|spec| spec.plugins.iter().find(|plugin| plugin.name.as_str() == link.name));
        let open = mode.is_some_and(|plugin| plugin.failure_mode == FailureMode::Open);
        let label = if at == 0 { "plugins" } else { "" };
        lines.push((
            label,
            format!(
                "{} ({}){}{}",
                link.name,
                link.revision,
                if link.level == Level::Server { String::new() } else { format!(" of the {}", link.level.as_str()) },
                if open && link.level == Level::Server { ", passes when broken" } else { "" },
            ),
        ));
    }
    if let Some(spec) = &workload.spec {
        if !spec.tools.is_empty() {
            lines.push(("tools", spec.tools.join(", ")));
        }
        if !spec.env.is_empty() {
            lines.push(("environment", spec.env.keys().cloned().collect::<Vec<_>>().join(", ")));
        }
    }
    if !workload.labels.is_empty() {
        let labels = workload.labels.iter().map(|(key, value)| format!("{key}={value}"));
        lines.push(("labels", labels.collect::<Vec<_>>().join(", ")));
    }
    lines.push(("created", format!("{:.0} ({} ago)", workload.created, age(workload.created, now))));
    let width = lines.iter().map(|(label, _)| label.len()).max().unwrap_or_default();
    lines.into_iter().map(|(label, value)| format!("{label:width$}  {value}\n")).collect()
}
