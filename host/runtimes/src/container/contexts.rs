//! Docker's contexts: named engines of the `docker` command, one of which is current.
//!
//! Read as the files that they are (`config.json`, `contexts/meta/*/meta.json`), because the command may not be there. A
//! file that cannot be read names no engine; the search goes on.

use std::path::PathBuf;

use serde::Deserialize;

use super::surroundings::Surroundings;

/// One context.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) name: String,
    /// Address of its engine, as the file has it.
    pub(super) host: String,
    pub(super) current: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Meta {
    name: String,
    endpoints: Endpoints,
}

#[derive(Deserialize)]
struct Endpoints {
    docker: Endpoint,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Endpoint {
    host: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    current_context: String,
}

/// Directory of the `docker` command's own configuration.
pub(super) fn docker_directory(surroundings: &Surroundings) -> Option<PathBuf> {
    surroundings.directory("DOCKER_CONFIG").or_else(|| surroundings.in_home(".docker"))
}

/// All contexts. The one called `default` stands for `DOCKER_HOST` and the usual socket, and has no file.
pub(super) fn read(surroundings: &Surroundings) -> Vec<Context> {
    let Some(directory) = docker_directory(surroundings) else { return Vec::new() };
    let config = surroundings.text(&directory.join("config.json"));
    let config: Config = config.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let current = surroundings.variable("DOCKER_CONTEXT").unwrap_or(&config.current_context);
    let metas = surroundings.entries(&directory.join("contexts/meta")).into_iter();
    let metas = metas.filter_map(|entry| surroundings.text(&entry.join("meta.json")));
    let metas = metas.filter_map(|text| serde_json::from_str::<Meta>(&text).ok());
    metas
        .map(|meta| Context { current: meta.name == current, name: meta.name, host: meta.endpoints.docker.host })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_current_context_is_known_and_damaged_ones_are_passed_over() {
        let machine = tempfile::tempdir().unwrap();
        let docker = machine.path().join("home/.docker");
        for (digest, meta) in [
            (
                "aa",
                r#"{"Name":"vm","Metadata":{},"Endpoints":{"docker":{"Host":"unix:///vm.sock","SkipTLSVerify":false}}}"#,
            ),
            ("bb", r#"{"Name":"far","Endpoints":{"docker":{"Host":"ssh://far"}}}"#),
            ("cc", "{"),
            ("dd", r#"{"Name":"kube","Endpoints":{}}"#),
        ] {
            let directory = docker.join("contexts/meta").join(digest);
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("meta.json"), meta).unwrap();
        }
        fs::write(docker.join("config.json"), r#"{"auths":{},"currentContext":"vm"}"#).unwrap();
        let context = |name: &str, host: &str, current| Context { name: name.into(), host: host.into(), current };
        let variables = [("HOME", "/home")];
        let surroundings = Surroundings::below(machine.path(), &variables);
        assert_eq!(read(&surroundings), [context("vm", "unix:///vm.sock", true), context("far", "ssh://far", false)]);
        let surroundings = Surroundings::below(machine.path(), &[("HOME", "/home"), ("DOCKER_CONTEXT", "far")]);
        assert_eq!(read(&surroundings), [context("vm", "unix:///vm.sock", false), context("far", "ssh://far", true)]);
    }
}
