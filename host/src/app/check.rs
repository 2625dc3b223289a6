//! Whether a server makes sense, before anything is done for it. What is wrong is named with its place.

use std::collections::BTreeSet;

use fairlead_core::header::{HeaderError, header_name, header_value};
use fairlead_core::plugin::PluginKind;
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::remote::{ProxyChoice, Reach, RemoteSource};
use fairlead_core::secret::{SecretText, SecretValue};
use fairlead_core::server::{ServerSpec, Source, TOOLS_ATTACHMENT, Transport};

use crate::limits::CHAIN_LINKS_MAX;

/// Checks what can be checked without touching the world.
pub(super) fn check(spec: &ServerSpec) -> Result<(), Problem> {
    check_source(spec)?;
    check_environment(spec)?;
    check_plugins(spec)?;
    check_composition(spec)
}

/// How its own update policies decide together names exactly those that there are.
fn check_composition(spec: &ServerSpec) -> Result<(), Problem> {
    let Some(compose) = spec.updates.as_ref().and_then(|updates| updates.compose.as_ref()) else { return Ok(()) };
    let policies = spec.plugins.iter().filter(|plugin| plugin.kind == PluginKind::UpdatePolicy);
    let attached: BTreeSet<_> = policies.map(|policy| policy.name.clone()).collect();
    compose.check(&attached).map_err(|error| invalid(&error.to_string(), "/spec/updates/compose"))
}

fn check_source(spec: &ServerSpec) -> Result<(), Problem> {
    match &spec.source {
        Source::Command { program, .. } if program.is_empty() => {
            return Err(invalid("the program has no name", "/spec/source/program"));
        }
        Source::Command { directory: Some(directory), .. } if !directory.is_absolute() => {
            return Err(invalid("the working directory is not absolute", "/spec/source/directory"));
        }
        Source::Wasm { path, .. } if !path.is_absolute() => {
            return Err(invalid("the path of the component is not absolute", "/spec/source/path"));
        }
        Source::Remote(remote) => check_remote(remote)?,
        _ => {}
    }
    match (&spec.source, &spec.transport) {
        (_, Transport::Stdio) => Ok(()),
        (Source::Wasm { .. }, _) => Err(invalid("a Wasm component has no network and speaks stdio", "/spec/transport")),
        (Source::Remote(_), _) => Err(invalid("how a remote server speaks is said in its source", "/spec/transport")),
        (_, transport) if transport.port() == Some(0) => Err(invalid("there is no port 0", "/spec/transport/port")),
        (_, transport) if transport.path().is_some_and(|path| !path.starts_with('/')) => {
            Err(invalid("a path begins with `/`", "/spec/transport/path"))
        }
        (_, Transport::StreamableHttp { .. } | Transport::Sse { .. }) => Ok(()),
    }
}

fn check_remote(remote: &RemoteSource) -> Result<(), Problem> {
    check_url(&remote.url, "/spec/source/url")?;
    if !(remote.url.starts_with("https://") || remote.url.starts_with("http://")) {
        return Err(invalid("a URL of a server begins with `https://` or `http://`", "/spec/source/url"));
    }
    for (name, text) in &remote.headers {
        let pointer = format!("/spec/source/headers/{}", name.replace('~', "~0").replace('/', "~1"));
        let wrong = |error: HeaderError| invalid(&error.to_string(), &pointer);
        header_name(name).map_err(wrong)?;
        let text = SecretText::parse(text).map_err(|error| invalid(&error.to_string(), &pointer))?;
        let blank = text.fill(|_| Ok(SecretValue::new(b"")));
        let blank = blank.map_err(|error| invalid(&error.to_string(), &pointer))?;
        header_value(name, blank.as_bytes()).map_err(wrong)?;
    }
    if remote.ca_file.as_ref().is_some_and(|file| !file.is_absolute()) {
        return Err(invalid("the path of the certificates is not absolute", "/spec/source/caFile"));
    }
    match &remote.proxy {
        ProxyChoice::Url { .. } if remote.reach != Reach::Any => {
            let text = "what may only be at public addresses takes the forward proxy of the daemon, or none";
            Err(invalid(text, "/spec/source/proxy"))
        }
        ProxyChoice::Url { url } => {
            check_url(url, "/spec/source/proxy/url")?;
            if url.starts_with("http://") {
                return Ok(());
            }
            Err(invalid("a URL of a proxy begins with `http://`", "/spec/source/proxy/url"))
        }
        ProxyChoice::Environment | ProxyChoice::Direct => Ok(()),
    }
}

/// Never repeats the URL: what is wrong with it may be that it has a password.
fn check_url(url: &str, pointer: &str) -> Result<(), Problem> {
    let parsed: http::Uri = url.parse().map_err(|_| invalid("this is no URL", pointer))?;
    let authority = parsed.authority().filter(|authority| !authority.host().is_empty());
    let authority = authority.ok_or_else(|| invalid("the URL names no host", pointer))?;
    if authority.as_str().contains('@') {
        return Err(invalid("a user or password in a URL would be stored and shown", pointer)
            .hint("send it in a header made from a secret: `--header-secret`"));
    }
    if url.contains('#') {
        return Err(invalid("a fragment (`#…`) means nothing to a server", pointer));
    }
    Ok(())
}

fn check_environment(spec: &ServerSpec) -> Result<(), Problem> {
    for (name, value) in &spec.env {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(invalid(&format!("`{name}` is no name of an environment variable"), "/spec/env"));
        }
        // The value may be a secret and is not repeated.
        if value.contains('\0') {
            return Err(invalid(&format!("the value of `{name}` has a NUL character"), "/spec/env"));
        }
        if let Err(error) = SecretText::parse(value) {
            return Err(invalid(&format!("the value of `{name}`: {error}"), "/spec/env"));
        }
    }
    Ok(())
}

fn check_plugins(spec: &ServerSpec) -> Result<(), Problem> {
    let mut names = BTreeSet::new();
    if !spec.tools.is_empty() {
        names.insert(TOOLS_ATTACHMENT);
    }
    for (at, plugin) in spec.plugins.iter().enumerate() {
        let pointer = format!("/spec/plugins/{at}/name");
        if !names.insert(plugin.name.as_str()) {
            return Err(invalid(&format!("there are two plugins named `{}`", plugin.name), &pointer));
        }
    }
    if names.len() > CHAIN_LINKS_MAX {
        let detail = format!("there are {} plugins, at most {CHAIN_LINKS_MAX} are possible", names.len());
        return Err(invalid(&detail, "/spec/plugins"));
    }
    Ok(())
}

fn invalid(detail: &str, pointer: &str) -> Problem {
    Problem::new(ProblemKind::Invalid, detail).at(pointer)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn problem(more: Value) -> Option<Problem> {
        let mut spec = json!({"source": {"kind": "command", "program": "cat"}});
        spec.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        check(&serde_json::from_value(spec).unwrap()).err()
    }

    #[test]
    fn what_makes_no_sense_is_refused_at_its_place() {
        for (spec, pointer) in [
            (json!({"source": {"kind": "command", "program": ""}}), "/spec/source/program"),
            (json!({"source": {"kind": "command", "program": "x", "directory": "."}}), "/spec/source/directory"),
            (json!({"source": {"kind": "wasm", "path": "x.wasm"}}), "/spec/source/path"),
            (
                json!({"source": {"kind": "wasm", "path": "/x.wasm"}, "transport": {"kind": "streamable-http", "port": 1}}),
                "/spec/transport",
            ),
            (json!({"transport": {"kind": "streamable-http", "port": 0}}), "/spec/transport/port"),
            (json!({"transport": {"kind": "streamable-http", "port": 1, "path": "mcp"}}), "/spec/transport/path"),
            (json!({"source": {"kind": "remote", "url": "ftp://a"}}), "/spec/source/url"),
            (json!({"source": {"kind": "remote", "url": "/mcp"}}), "/spec/source/url"),
            (json!({"source": {"kind": "remote", "url": "https://u:hunter2@a/"}}), "/spec/source/url"),
            (
                json!({"source": {"kind": "remote", "url": "https://a", "headers": {"Host": "b"}}}),
                "/spec/source/headers/Host",
            ),
            (
                json!({"source": {"kind": "remote", "url": "https://a", "headers": {"a": "${secret://store"}}}),
                "/spec/source/headers/a",
            ),
            (json!({"source": {"kind": "remote", "url": "https://a", "caFile": "ca.pem"}}), "/spec/source/caFile"),
            (
                json!({"source": {"kind": "remote", "url": "https://a", "proxy": {"kind": "url", "url": "https://p"}}}),
                "/spec/source/proxy/url",
            ),
            (
                json!({"source": {"kind": "remote", "url": "https://a"}, "transport": {"kind": "sse", "port": 1}}),
                "/spec/transport",
            ),
            (json!({"env": {"A=B": "c"}}), "/spec/env"),
            (json!({"plugins": [{"name": "a", "plugin": "x"}, {"name": "a", "plugin": "y"}]}), "/spec/plugins/1/name"),
            (json!({"tools": ["t"], "plugins": [{"name": "tools", "plugin": "x"}]}), "/spec/plugins/0/name"),
        ] {
            let problem = problem(spec.clone());
            assert_eq!(problem.and_then(|problem| problem.pointer).as_deref(), Some(pointer), "{spec}");
        }
        assert_eq!(problem(json!({})), None);
    }

    #[test]
    fn a_secret_in_the_environment_is_not_repeated() {
        let problem = problem(json!({"env": {"TOKEN": "hunter2\u{0}"}})).unwrap();
        assert!(!problem.detail.contains("hunter2") && problem.detail.contains("TOKEN"), "{}", problem.detail);
    }
}
