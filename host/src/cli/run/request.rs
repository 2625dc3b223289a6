//! What was typed after `fairlead run`, as a server.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use fairlead_core::package::PackageReference;
use fairlead_core::server::{ServerSpec, Source, Transport};
use fairlead_core::status::Desired;

use super::{Args, TransportArg, remote, secrets};
use crate::api::types::CreateWorkload;
use crate::cli::Failure;

/// The server, without its plugins.
pub(super) fn create(args: &Args, environment: &dyn Fn(&str) -> Option<OsString>) -> Result<CreateWorkload, Failure> {
    Ok(CreateWorkload {
        name: args.name.clone(),
        tenant: args.tenant.clone(),
        desired: Desired::Running,
        spec: ServerSpec {
            source: source(args)?,
            transport: transport(args)?,
            isolation: args.isolation.into(),
            bridge: args.bridge,
            env: environment_of(args, environment)?,
            tools: args.tools.clone(),
            plugins: Vec::new(),
            updates: None,
            group: args.group.clone(),
            labels: args.label.iter().cloned().collect(),
            annotations: BTreeMap::new(),
        },
    })
}

/// How the server speaks. Of one at a URL, the source says it.
fn transport(args: &Args) -> Result<Transport, Failure> {
    let is_remote = args.source.as_deref().is_some_and(remote::is_meant);
    let path = |default: &str| args.target_path.clone().unwrap_or_else(|| default.to_owned());
    match (args.transport, args.target_port) {
        (_, None) if is_remote && args.target_path.is_none() => Ok(Transport::Stdio),
        (_, _) if is_remote => {
            Err(Failure::usage("a URL has its port and path in it")
                .hint("leave `--target-port` and `--target-path` out"))
        }
        (None | Some(TransportArg::Stdio), None) => Ok(Transport::Stdio),
        (None | Some(TransportArg::Stdio), Some(_)) => {
            Err(Failure::usage("`--target-port` is for servers that speak HTTP")
                .hint("add `--transport streamable-http`"))
        }
        (Some(TransportArg::StreamableHttp), Some(port)) => Ok(Transport::StreamableHttp { port, path: path("/mcp") }),
        (Some(TransportArg::Sse), Some(port)) => Ok(Transport::Sse { port, path: path("/sse") }),
        (Some(TransportArg::StreamableHttp | TransportArg::Sse), None) => {
            Err(Failure::usage("`--target-port` is missing").hint("name the port that the server listens on"))
        }
    }
}

/// Programs that fetch and run packages: as images they would be something else than what was meant.
const PACKAGE_LAUNCHERS: &[&str] = &["npx", "bunx", "pnpx", "uvx", "pipx"];

fn source(args: &Args) -> Result<Source, Failure> {
    if let Some(url) = args.source.as_deref().filter(|source| remote::is_meant(source)) {
        if !args.command.is_empty() {
            return Err(Failure::usage("a server at a URL takes no arguments"));
        }
        no_image_flags(args)?;
        return Ok(Source::Remote(Box::new(args.remote.source(url, args.transport)?)));
    }
    if let Some(flag) = args.remote.given() {
        return Err(Failure::usage(format!("`{flag}` is for servers at a URL (`https://example.com/mcp`)")));
    }
    let Some(file) = &args.source else {
        let Some((program, rest)) = args.command.split_first() else {
            return Err(Failure::usage("there is nothing to run").hint(
                "name an image (`fairlead run mcp/time`), a component (`fairlead run ./server.wasm`) or a command \
                 (`fairlead run -- npx -y package`)",
            ));
        };
        no_image_flags(args)?;
        let directory = std::env::current_dir()?;
        return Ok(Source::Command { program: program.clone(), args: rest.to_vec(), directory: Some(directory) });
    };
    if PACKAGE_LAUNCHERS.contains(&file.as_str()) {
        return Err(Failure::usage(format!("`{file}` is a command, not an image"))
            .hint(format!("a command of this machine goes after `--`: `fairlead run -- {file}`")));
    }
    if PackageReference::is_meant(file) {
        return Ok(Source::Package(Box::new(args.image.package(file, &args.command)?)));
    }
    if let Some(flag) = args.image.given_for_packages() {
        return Err(Failure::usage(format!("`{flag}` is for packages (`npx://name`)")));
    }
    if !is_file(file) {
        return Ok(Source::Image(Box::new(args.image.source(file, &args.command)?)));
    }
    no_image_flags(args)?;
    let path = Path::new(file);
    if !path.is_file() {
        let hint = match path.extension() {
            Some(extension) if extension == "wasm" => "give the path of a Wasm component".to_owned(),
            _ => format!("a command of this machine goes after `--`: `fairlead run -- {file}`"),
        };
        return Err(Failure::new(format!("there is no file `{file}`")).hint(hint));
    }
    Ok(Source::Wasm { path: std::path::absolute(path)?, args: args.command.clone() })
}

/// Whether a source is a file rather than an image: by how it is written, so that a file that happens to lie in the current
/// directory never changes what a command means.
fn is_file(source: &str) -> bool {
    source.ends_with(".wasm") || source.starts_with(['/', '.', '~'])
}

fn no_image_flags(args: &Args) -> Result<(), Failure> {
    match args.image.given() {
        None => Ok(()),
        Some(flag) => Err(Failure::usage(format!("`{flag}` is for servers in containers"))
            .hint("a command of this machine is not isolated, and a Wasm component always is")),
    }
}

pub(super) fn environment_of(
    args: &Args,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<BTreeMap<String, String>, Failure> {
    let mut env = env(&args.env, environment)?;
    secrets::add(&args.secret, &mut env)?;
    Ok(env)
}

fn env(typed: &[String], environment: &dyn Fn(&str) -> Option<OsString>) -> Result<BTreeMap<String, String>, Failure> {
    typed
        .iter()
        .map(|text| match text.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => {
                let value = environment(text).and_then(|value| value.into_string().ok());
                let value = value.ok_or_else(|| {
                    Failure::usage(format!("`{text}` is not in the environment"))
                        .hint(format!("set it, or give its value: `-e {text}=…`"))
                })?;
                Ok((text.clone(), value))
            }
        })
        .collect()
}

/// `key=value`.
pub(in crate::cli) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected `key=value`".to_owned()),
    }
}
