//! What is said of a server: each condition with its reason, and the phase that they come to.

use fairlead_core::chain::Level;
use fairlead_core::document::ServerDocument;
use fairlead_core::name::PluginName;
use fairlead_core::plugin::AttachmentSpec;
use fairlead_core::pod::PodLink;
use fairlead_core::policy::{Reached, reaching};
use fairlead_core::server::Source;
use jiff::Timestamp;

use super::names::Names;
use super::{Observed, Origin, Server, Settings, Workload, backend, enforceable, is_over_cap, launched};
use crate::approval::{self, Judgement};
use crate::freshness::{self, Answer};
use crate::limits::{PROXY_PORT, SERVER_NAME_LENGTH_MAX};
use crate::status::{Condition, ConditionType, Finding, Phase, Reason, RequestStatus, ServerStatus, Truth};

/// What became of each part of a document, and why it cannot be carried out where it cannot.
pub(super) struct Verdict<'a> {
    /// Where the server comes from.
    pub(super) origin: Result<Origin<'a>, String>,
    /// Its chain, outermost first, every plugin pinned.
    pub(super) chain: Result<Vec<PodLink>, String>,
    /// Its pod template.
    pub(super) template: Result<(), String>,
    /// Its permission profile.
    pub(super) profile: Result<(), String>,
}

/// Judges a document.
pub(super) fn judge<'a>(server: &'a Server, observed: &Observed) -> Verdict<'a> {
    let document = match &server.document {
        Ok(document) => document,
        Err(error) => {
            let origin = Err(error.to_string());
            return Verdict { origin, chain: Ok(Vec::new()), template: Ok(()), profile: Ok(()) };
        }
    };
    let profile = match &document.spec.source {
        Source::Image(image) => {
            image.permissions.granted().map_err(|error| error.to_string()).and_then(|granted| enforceable(&granted))
        }
        _ => Ok(()),
    };
    let template = document.cluster.pod_template_spec.as_ref().map_or(Ok(()), backend::check_template);
    Verdict { origin: origin(server, document), chain: chain(document, observed), template, profile }
}

fn origin<'a>(server: &Server, document: &'a ServerDocument) -> Result<Origin<'a>, String> {
    if server.name.len() > SERVER_NAME_LENGTH_MAX {
        return Err(format!(
            "the name has {} characters, and {SERVER_NAME_LENGTH_MAX} are possible",
            server.name.len()
        ));
    }
    for volume in &document.cluster.volumes {
        let given = [&volume.claim, &volume.config_map, &volume.secret].into_iter().flatten().count();
        if given != 1 {
            return Err(format!(
                "volumes: `{}` has {given} of `claim`, `configMap` and `secret`, and one is needed",
                volume.name
            ));
        }
    }
    match &document.spec.source {
        Source::Image(image) => {
            if let Some(text) = image.user.as_deref().filter(|text| backend::user(text).is_none()) {
                return Err(format!("source.user: `{text}` is a name, and a cluster takes numbers: `uid[:gid]`"));
            }
            // Where it is refused, the condition of the profile says so.
            let granted = image.permissions.granted();
            let network = granted.map_or(fairlead_core::permission::NetworkAccess::Closed, |granted| granted.network);
            Ok(Origin::Image { image, network, env: backend::environment(&document.spec, &document.cluster)? })
        }
        Source::Remote(remote) => {
            if remote.ca_file.is_some() {
                return Err("source.caFile: a file is of one machine, and a cluster has no such place".to_owned());
            }
            Ok(Origin::Remote { remote, secrets: backend::secrets_in(remote.headers.values())? })
        }
        Source::Command { .. } => Err("a command is of one machine: give an image".to_owned()),
        Source::Wasm { .. } => Err("a component at a path is of one machine: give an image".to_owned()),
        Source::Package(_) => Err("no image is built in a cluster: make one with `fairlead build`".to_owned()),
    }
}

fn chain(document: &ServerDocument, observed: &Observed) -> Result<Vec<PodLink>, String> {
    let mut chain = Vec::new();
    for record in reaching(&observed.policies, Reached::of(&document.key, &document.spec)) {
        chain.push(pinned(record.owner.level(), &record.spec, observed)?);
    }
    if let Some(tools) = document.spec.tools_attachment().map_err(|error| error.to_string())? {
        chain.push(pinned(Level::Server, &tools, observed)?);
    }
    for attachment in &document.spec.plugins {
        let link = pinned(Level::Server, attachment, observed)?;
        // An update policy stands beside the chain: the proxy would have nothing to ask it.
        chain.extend(attachment.kind.is_middleware().then_some(link));
    }
    Ok(chain)
}

fn pinned(level: Level, attachment: &AttachmentSpec, observed: &Observed) -> Result<PodLink, String> {
    let found =
        plugin(&attachment.plugin, observed).map_err(|reason| format!("attachment `{}`: {reason}", attachment.name))?;
    let (source, digest) = (found.source.clone(), found.digest.clone());
    Ok(PodLink { level, attachment: attachment.clone(), source, digest })
}

fn plugin<'a>(name: &str, observed: &'a Observed) -> Result<&'a fairlead_core::store::PluginSpec, String> {
    let by_name =
        PluginName::new(name).map_err(|_| format!("`{name}` is no name of a Plugin, and a cluster has no files"))?;
    observed.plugins.get(&by_name).ok_or_else(|| format!("there is no Plugin `{name}`"))
}

/// All that is said.
pub(super) fn status(
    server: &Server,
    observed: &Observed,
    verdict: &Verdict<'_>,
    settings: &Settings,
    now: Timestamp,
) -> ServerStatus {
    let names = Names::new(&server.name, &server.namespace);
    let document = server.document.as_ref().ok();
    let proxy = observed.proxy.unwrap_or_default();
    let (phase, message) = phase(server, observed, verdict);
    let mut findings = vec![
        judged(ConditionType::SpecValid, &verdict.origin, Reason::SpecIsValid, Reason::SpecIsInvalid),
        judged(
            ConditionType::PodTemplateValid,
            &verdict.template,
            Reason::ValidPodTemplateSpec,
            Reason::InvalidPodTemplateSpec,
        ),
        judged(
            ConditionType::PermissionProfileValid,
            &verdict.profile,
            Reason::PermissionProfileEnforced,
            Reason::PermissionProfileNotEnforceable,
        ),
        judged(ConditionType::PluginsResolved, &verdict.chain, Reason::AllPluginsResolved, Reason::PluginNotFound),
    ];
    if let Some(document) = document {
        findings.push(stdio_cap(document, observed));
        findings.push(session_storage(document));
    }
    let reason = match phase {
        Phase::Ready => Reason::Ready,
        Phase::Stopped => Reason::Stopped,
        Phase::Pending | Phase::Failed | Phase::Terminating => Reason::NotReady,
    };
    findings.push(Finding::new(ConditionType::Ready, phase == Phase::Ready, reason, message.clone()));
    let before = &server.status.conditions;
    let is_approval = |condition: &&Condition| condition.kind == ConditionType::RegistryEntryApproved;
    let kept = match approval::judge(server, observed) {
        Judgement::Nothing => None,
        // Whoever leads from now on asks first, and nobody sees a difference. What was said of another entry is not said of this one.
        Judgement::Later(entry) => {
            let is_of_it = |said: &&Condition| entry.as_ref().is_none_or(|entry| approval::is_about(said, entry));
            before.iter().find(is_approval).filter(is_of_it).cloned()
        }
        Judgement::Found(finding) => {
            findings.push(finding);
            None
        }
    };
    let said = |finding: Finding| finding.since(before, server.generation, now);
    let mut conditions: Vec<Condition> = findings.into_iter().map(said).chain(kept).collect();
    conditions.sort_by_key(|condition| condition.kind);
    let port = document.and_then(|document| document.cluster.proxy_port).unwrap_or(PROXY_PORT);
    ServerStatus {
        phase,
        message,
        url: format!("http://{}.{}.svc:{port}/mcp", names.service(), server.namespace),
        image: match document.map(|document| (&document.spec.source, launched(document, observed))) {
            Some((Source::Image(image), launched)) => launched.as_ref().unwrap_or(&image.reference).to_string(),
            _ => String::new(),
        },
        replicas: count(proxy.replicas),
        ready_replicas: count(proxy.ready),
        backend_ready_replicas: count(observed.backend.unwrap_or_default().ready),
        selector: names.proxy_selector(),
        observed_generation: server.generation,
        updates: settings.updates.and_then(|interval| freshness::view(server, observed, phase, interval, now)),
        update_request: answered(server, observed),
        conditions,
    }
}

/// The last answer. It outlives the record, which somebody may take away: what was done is not to be done again.
fn answered(server: &Server, observed: &Observed) -> Option<RequestStatus> {
    let kept = observed.kept.as_ref().and_then(|kept| kept.answers.last());
    kept.map(Answer::status).or_else(|| server.status.update_request.clone())
}

fn count(replicas: u32) -> i32 {
    i32::try_from(replicas).unwrap_or(i32::MAX)
}

fn judged<T>(kind: ConditionType, verdict: &Result<T, String>, good: Reason, bad: Reason) -> Finding {
    match verdict {
        Ok(_) => Finding::new(kind, Truth::True, good, ""),
        Err(reason) => Finding::new(kind, Truth::False, bad, reason.clone()),
    }
}

fn stdio_cap(document: &ServerDocument, observed: &Observed) -> Finding {
    let kind = ConditionType::StdioReplicaCapped;
    if !is_over_cap(document, observed) {
        return Finding::new(kind, Truth::False, Reason::StdioReplicaCapNotActive, "");
    }
    let by_document = document.cluster.exceeds_stdio(&document.spec.transport);
    let whence = if by_document { "the document asks for more" } else { "it was scaled to more from outside" };
    let message = format!("a stdio server is one process with one client side, so it has one replica; {whence}");
    Finding::new(kind, Truth::True, Reason::StdioTransportCapAt1, message)
}

fn session_storage(document: &ServerDocument) -> Finding {
    let kind = ConditionType::SessionStorageWarning;
    let asked = document.cluster.replicas.unwrap_or(1);
    let is_shared =
        document.cluster.session_storage.as_ref().is_some_and(fairlead_core::cluster::SessionStorage::is_shared);
    match (asked > 1, is_shared) {
        (false, _) => Finding::new(kind, Truth::False, Reason::SessionStorageWarningNotApplicable, ""),
        (true, true) => {
            Finding::new(kind, Truth::False, Reason::SessionStorageConfigured, "Redis session storage is configured")
        }
        (true, false) => {
            let message =
                "replicas > 1 but sessionStorage.provider is not redis; sessions are not shared across replicas";
            Finding::new(kind, Truth::True, Reason::SessionStorageMissingForReplicas, message)
        }
    }
}

fn phase(server: &Server, observed: &Observed, verdict: &Verdict<'_>) -> (Phase, String) {
    if server.deleting {
        return (Phase::Terminating, "MCP server is being removed".to_owned());
    }
    let reasons = [verdict.origin.as_ref().err(), verdict.template.as_ref().err(), verdict.profile.as_ref().err()];
    if let Some(reason) = reasons.into_iter().flatten().next() {
        return (Phase::Failed, reason.clone());
    }
    // A plugin may come yet.
    if let Err(reason) = &verdict.chain {
        return (Phase::Pending, reason.clone());
    }
    let Ok(document) = &server.document else { return (Phase::Failed, String::new()) };
    let transport = &document.spec.transport;
    let is_image = matches!(document.spec.source, Source::Image(_));
    let asked = if is_image { document.cluster.proxy_replicas(transport) } else { document.cluster.replicas };
    let wanted =
        |asked: Option<u32>, there: Option<Workload>| asked.or_else(|| there.map(|there| there.wanted)).unwrap_or(1);
    let proxies = wanted(asked, observed.proxy);
    if proxies == 0 {
        return (Phase::Stopped, "MCP server has no replicas".to_owned());
    }
    let up =
        |there: Option<Workload>, wanted: u32| there.is_some_and(|there| there.is_current && there.ready >= wanted);
    let backends = wanted(document.cluster.server_replicas(transport), observed.backend);
    if !up(observed.proxy, proxies) || (is_image && !up(observed.backend, backends)) {
        // The same one whatever the order in which pods were seen.
        if let Some(failure) = observed.pod_failures.iter().min() {
            return (Phase::Failed, failure.clone());
        }
        return (Phase::Pending, "MCP server is starting".to_owned());
    }
    (Phase::Ready, "MCP server is running".to_owned())
}
