//! Credentials for private registries, from where `docker login` and `podman login` put them.
//!
//! Docker's order: a helper for this registry, the helper for all, then the file itself. A helper is a program
//! (`docker-credential-<name>`); it gets the registry on stdin and answers JSON. Nothing of the answer is ever logged.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::auth::DockerCredentials;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

use super::contexts::docker_directory;
use super::error::ContainerError;
use super::surroundings::Surroundings;
use crate::limits::{CREDENTIAL_HELPER_BYTES_MAX, CREDENTIAL_HELPER_TIMEOUT};

/// The name under which Docker keeps what belongs to `docker.io`.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AuthFile {
    auths: BTreeMap<String, Auth>,
    creds_store: String,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// What to show to a registry; `None` when nobody logged in to it.
pub(super) async fn of_registry(
    surroundings: &Surroundings,
    registry: &str,
) -> Result<Option<DockerCredentials>, ContainerError> {
    for path in files(surroundings) {
        let Some(text) = surroundings.text(&path) else { continue };
        let refused = |message: String| ContainerError::Credentials { registry: registry.to_owned(), message };
        let file: AuthFile = serde_json::from_str(&text)
            .map_err(|error| refused(format!("{} is damaged in line {}", path.display(), error.line())))?;
        if let Some(found) = of_file(&file, registry).await.map_err(refused)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn files(surroundings: &Surroundings) -> Vec<PathBuf> {
    let docker = docker_directory(surroundings).map(|directory| directory.join("config.json"));
    let named = surroundings.directory("REGISTRY_AUTH_FILE");
    let runtime = surroundings.directory("XDG_RUNTIME_DIR").map(|directory| directory.join("containers/auth.json"));
    let config = surroundings.in_home(".config/containers/auth.json");
    [named, docker, runtime, config].into_iter().flatten().collect()
}

async fn of_file(file: &AuthFile, registry: &str) -> Result<Option<DockerCredentials>, String> {
    let keys = keys(registry);
    let helper = keys.iter().find_map(|key| file.cred_helpers.get(key)).unwrap_or(&file.creds_store);
    if !helper.is_empty() {
        for key in &keys {
            if let Some(found) = of_helper(helper, key).await? {
                return Ok(Some(found));
            }
        }
    }
    match keys.iter().find_map(|key| file.auths.get(key)) {
        Some(auth) => of_auth(auth, registry),
        None => Ok(None),
    }
}

/// The names under which a registry may be written.
fn keys(registry: &str) -> Vec<String> {
    if registry == "docker.io" {
        return [DOCKER_HUB_KEY, "index.docker.io", "docker.io"].map(str::to_owned).into();
    }
    vec![registry.to_owned(), format!("https://{registry}"), format!("https://{registry}/v1/")]
}

fn of_auth(auth: &Auth, registry: &str) -> Result<Option<DockerCredentials>, String> {
    let mut found = DockerCredentials {
        username: some(&auth.username),
        password: some(&auth.password),
        identitytoken: some(&auth.identitytoken),
        registrytoken: some(&auth.registrytoken),
        serveraddress: Some(registry.to_owned()),
        ..DockerCredentials::default()
    };
    if !auth.auth.is_empty() {
        let text = STANDARD.decode(&auth.auth).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let text = text.ok_or("what `docker login` wrote is damaged")?;
        let (username, password) = text.split_once(':').ok_or("what `docker login` wrote is damaged")?;
        found.username = some(username);
        found.password = some(password.trim_end_matches('\0'));
    }
    let is_something = found.username.is_some() || found.identitytoken.is_some() || found.registrytoken.is_some();
    // With a credential store the file has empty entries, which only say that somebody logged in.
    Ok(is_something.then_some(found))
}

async fn of_helper(helper: &str, key: &str) -> Result<Option<DockerCredentials>, String> {
    if !helper.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        return Err("the name of the credential helper is none".to_owned());
    }
    let program = format!("docker-credential-{helper}");
    let answered = timeout(CREDENTIAL_HELPER_TIMEOUT, ask(&program, key)).await;
    let (success, bytes) = match answered {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(format!("{program}: {error}")),
        Err(_) => return Err(format!("{program} did not answer within {CREDENTIAL_HELPER_TIMEOUT:?}")),
    };
    if !success {
        // The one failure that is an answer; it is part of the protocol, word for word.
        let known = String::from_utf8_lossy(&bytes).contains("credentials not found");
        return if known { Ok(None) } else { Err(format!("{program} failed")) };
    }
    let Answer { username, secret } =
        serde_json::from_slice(&bytes).map_err(|_| format!("{program} answered something else than credentials"))?;
    let server = Some(key.to_owned());
    Ok(Some(if username == "<token>" {
        DockerCredentials { identitytoken: Some(secret), serveraddress: server, ..DockerCredentials::default() }
    } else {
        DockerCredentials {
            username: Some(username),
            password: Some(secret),
            serveraddress: server,
            ..DockerCredentials::default()
        }
    }))
}

async fn ask(program: &str, key: &str) -> std::io::Result<(bool, Vec<u8>)> {
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(key.as_bytes()).await?;
    }
    let mut bytes = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(CREDENTIAL_HELPER_BYTES_MAX as u64).read_to_end(&mut bytes).await?;
    }
    Ok((child.wait().await?.success(), bytes))
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    async fn found(config: &str, registry: &str) -> Result<Option<(String, String)>, ContainerError> {
        let machine = tempfile::tempdir().unwrap();
        fs::create_dir_all(machine.path().join("home/.docker")).unwrap();
        fs::write(machine.path().join("home/.docker/config.json"), config).unwrap();
        let surroundings = Surroundings::below(machine.path(), &[("HOME", "/home")]);
        let found = of_registry(&surroundings, registry).await?;
        Ok(found.map(|found| (found.username.unwrap_or_default(), found.password.unwrap_or_default())))
    }

    // "user:pass:word"
    const FILE: &str = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dXNlcjpwYXNzOndvcmQ="},"empty.test":{}}}"#;

    #[tokio::test]
    async fn what_docker_login_wrote_is_found() {
        let expected = Some(("user".to_owned(), "pass:word".to_owned()));
        assert_eq!(found(FILE, "docker.io").await.unwrap(), expected);
        assert_eq!(found(FILE, "ghcr.io").await.unwrap(), None);
        assert_eq!(found(FILE, "empty.test").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_damaged_file_is_told_without_its_content() {
        let error = found("{\"auths\": secret", "docker.io").await.unwrap_err().to_string();
        assert!(error.contains("config.json is damaged in line 1") && !error.contains("secret"), "{error}");
        let error = found(r#"{"auths":{"a.test":{"auth":"c2VjcmV0"}}}"#, "a.test").await.unwrap_err().to_string();
        assert!(error.contains("damaged") && !error.contains("c2VjcmV0"), "{error}");
    }

    #[tokio::test]
    async fn a_helper_that_is_not_there_is_an_error_and_not_an_anonymous_pull() {
        let config = r#"{"credHelpers":{"a.test":"is-not-installed-anywhere"}}"#;
        let error = found(config, "a.test").await.unwrap_err().to_string();
        assert!(error.contains("docker-credential-is-not-installed-anywhere"), "{error}");
        assert_eq!(found(config, "b.test").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_helper_is_asked_as_the_protocol_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("helper");
        let script = "#!/bin/sh\nread key\nprintf '{\"ServerURL\":\"%s\",\"Username\":\"%s\",\"Secret\":\"s\"}' \"$key\" \"$1\"\n";
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let (success, bytes) = ask(program.to_str().unwrap(), "a.test\n").await.unwrap();
        assert!(success);
        let answer: Answer = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((answer.username.as_str(), answer.secret.as_str()), ("get", "s"));
    }
}
