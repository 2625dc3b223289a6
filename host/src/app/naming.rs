//! A name for a server that was given none: from what it is, so that one recognises it in a list.

use fairlead_core::limits::NAME_LENGTH_MAX;
use fairlead_core::name::ServerName;
use fairlead_core::server::Source;

/// Shorter than a name may be, so that a number fits behind it.
const DERIVED_LENGTH_MAX: usize = NAME_LENGTH_MAX - 5;

/// Programs that say nothing about a server: what they run does.
const LAUNCHERS: &[&str] = &[
    "npx", "uvx", "bunx", "pnpm", "npm", "yarn", "bun", "node", "deno", "python", "python3", "uv", "pipx", "sh",
    "bash", "env", "go", "cargo", "java",
];

/// What launchers are told to do.
const VERBS: &[&str] = &["run", "exec", "dlx", "x", "tool"];

/// Names in the order of preference, without end; the first is the plain one.
pub(super) fn candidates(source: &Source) -> impl Iterator<Item = ServerName> {
    let base = base(source);
    let numbered = base.clone();
    std::iter::once(base)
        .chain((2_u32..).map(move |number| format!("{numbered}-{number}")))
        .filter_map(|name| ServerName::new(&name).ok())
}

/// The name that a server of this source gets where it is free.
pub(crate) fn name_of(source: &Source) -> Option<ServerName> {
    candidates(source).next()
}

fn base(source: &Source) -> String {
    let text = match source {
        Source::Wasm { path, .. } => path.file_stem().map(|stem| stem.to_string_lossy().into_owned()),
        Source::Command { program, args, .. } => Some(of_command(program, args)),
        Source::Image(image) => Some(last_part(&image.reference.to_string()).to_owned()),
        Source::Package(source) => Some(last_part(source.package.name()).to_owned()),
        Source::Remote(remote) => Some(of_host(remote.host()).to_owned()),
    };
    let name = label(&text.unwrap_or_default());
    if name.is_empty() { "server".to_owned() } else { name }
}

fn of_command(program: &str, args: &[String]) -> String {
    let program = last_part(program);
    let stem = program.split('.').next().unwrap_or_default();
    if !LAUNCHERS.contains(&stem) {
        return program.to_owned();
    }
    match launched(args) {
        Some(launched) => last_part(launched).to_owned(),
        None => program.to_owned(),
    }
}

/// Labels that say that something is reached, and not what.
const DOORS: &[&str] = &["mcp", "api", "www"];

/// The label of a host that says most: `linear` of `mcp.linear.app`.
fn of_host(host: &str) -> &str {
    if host.parse::<std::net::IpAddr>().is_ok() {
        return "remote";
    }
    let labels = host.split('.').count();
    let telling = host.split('.').take(labels.max(2) - 1).find(|label| !DOORS.contains(label));
    telling.unwrap_or(host)
}

/// What a launcher is told to launch; nothing where it is given a program as text.
pub(super) fn launched(args: &[String]) -> Option<&str> {
    if args.iter().any(|arg| matches!(arg.as_str(), "-c" | "-e" | "--eval" | "-p" | "--print")) {
        return None;
    }
    let told = args.iter().find(|arg| !arg.starts_with('-') && !VERBS.contains(&arg.as_str()));
    told.map(String::as_str)
}

/// The last part of a path or a scoped package, without version, tag and the extension of a script.
fn last_part(text: &str) -> &str {
    let last = text.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let last = last.split(['@', ':', '=']).next().unwrap_or_default();
    let scripts = [".py", ".js", ".mjs", ".cjs", ".ts", ".sh", ".jar", ".rb"];
    scripts.iter().find_map(|extension| last.strip_suffix(extension)).unwrap_or(last)
}

/// Makes a DNS label of a text.
fn label(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars().map(|c| c.to_ascii_lowercase()) {
        if name.len() >= DERIVED_LENGTH_MAX {
            break;
        }
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    name.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use fairlead_core::remote::RemoteSource;
    use proptest::prelude::*;

    use super::*;

    fn command(line: &str) -> Source {
        let mut words = line.split(' ').map(str::to_owned);
        Source::Command { program: words.next().unwrap(), args: words.collect(), directory: None }
    }

    fn first(source: &Source) -> String {
        candidates(source).next().unwrap().to_string()
    }

    #[test]
    fn a_name_says_what_the_server_is() {
        for (line, name) in [
            ("npx -y @modelcontextprotocol/server-everything@1.2.3 stdio", "server-everything"),
            ("uvx mcp-server-time", "mcp-server-time"),
            ("uv run server.py", "server"),
            ("python3 ./my_echo.py", "my-echo"),
            ("python3 -m http.server", "http-server"),
            ("/usr/bin/python3.12 /srv/x/main.py", "main"),
            ("/opt/bin/Weather_Server --fast", "weather-server"),
            ("node", "node"),
            ("python3 -c print(1)", "python3"),
            ("---", "server"),
        ] {
            assert_eq!(first(&command(line)), name, "{line}");
        }
        assert_eq!(first(&Source::Wasm { path: "/a/b/toolbox.wasm".into(), args: Vec::new() }), "toolbox");
        for (url, name) in [
            ("https://mcp.linear.app/mcp", "linear"),
            ("https://api.githubcopilot.com/mcp/", "githubcopilot"),
            ("https://mcp.example", "mcp-example"),
            ("http://localhost:8080/mcp", "localhost"),
            ("http://127.0.0.1:8080/mcp", "remote"),
        ] {
            assert_eq!(first(&Source::Remote(Box::new(RemoteSource::new(url)))), name, "{url}");
        }
    }

    #[test]
    fn the_second_gets_a_number() {
        let names: Vec<_> = candidates(&command("cat")).take(3).map(String::from).collect();
        assert_eq!(names, ["cat", "cat-2", "cat-3"]);
    }

    proptest! {
        #[test]
        fn whatever_the_source_there_is_a_name(program in ".{0,90}", args in proptest::collection::vec(".{0,20}", 0..3)) {
            let source = Source::Command { program, args, directory: None };
            prop_assert!(candidates(&source).nth(1_000).is_some());
        }
    }
}
