//! Credentials from where `docker login` and `podman login` put them.
//!
//! Docker's order: a helper for this registry, the helper for all, then the file itself. A helper is a program
//! (`docker-credential-<name>`); it gets the registry on stdin and answers JSON. Nothing of the answer is ever logged. They
//! are the credentials of the user of this machine, so only the tenant of the machine has them; every other one is
//! anonymous until it brings its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fairlead_core::BoxFuture;
use fairlead_core::name::TenantName;
use fairlead_core::oci::{Credential, CredentialError, CredentialSource};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use crate::limits::{AUTH_FILE_BYTES_MAX, CREDENTIAL_HELPER_BYTES_MAX, CREDENTIAL_HELPER_MAX};

/// The name under which Docker keeps what belongs to `docker.io`.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// Reads what Docker and Podman wrote.
#[derive(Debug, Clone)]
pub struct DockerCredentials {
    owner: TenantName,
    files: Vec<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AuthFile {
    auths: BTreeMap<String, Auth>,
    creds_store: String,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
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

impl DockerCredentials {
    /// Of the user of this machine, for the tenant of the machine.
    #[must_use]
    pub fn of_machine(variable: impl Fn(&str) -> Option<String>) -> Self {
        let directory = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = directory("HOME");
        let in_home = |path: &str| home.as_ref().map(|home| home.join(path));
        let docker = directory("DOCKER_CONFIG").or_else(|| in_home(".docker"));
        let files = [
            directory("REGISTRY_AUTH_FILE"),
            docker.map(|directory| directory.join("config.json")),
            directory("XDG_RUNTIME_DIR").map(|directory| directory.join("containers/auth.json")),
            in_home(".config/containers/auth.json"),
        ];
        Self { owner: TenantName::default(), files: files.into_iter().flatten().collect() }
    }

    async fn search(&self, registry: &str) -> Result<Credential, String> {
        for path in &self.files {
            let Some(file) = read(path).await? else { continue };
            if let Some(found) = of_file(&file, registry).await? {
                return Ok(found);
            }
        }
        Ok(Credential::Anonymous)
    }
}

impl CredentialSource for DockerCredentials {
    fn find<'a>(
        &'a self,
        tenant: &'a TenantName,
        registry: &'a str,
    ) -> BoxFuture<'a, Result<Credential, CredentialError>> {
        Box::pin(async move {
            if *tenant != self.owner {
                return Ok(Credential::Anonymous);
            }
            let found = self.search(registry).await;
            found.map_err(|reason| CredentialError { registry: registry.to_owned(), reason })
        })
    }
}

async fn read(path: &Path) -> Result<Option<AuthFile>, String> {
    let Ok(file) = tokio::fs::File::open(path).await else { return Ok(None) };
    let mut text = Vec::new();
    let read = file.take(AUTH_FILE_BYTES_MAX).read_to_end(&mut text).await;
    read.map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let parsed = serde_json::from_slice(&text);
    parsed.map(Some).map_err(|error| format!("{} is damaged in line {}", path.display(), error.line()))
}

async fn of_file(file: &AuthFile, registry: &str) -> Result<Option<Credential>, String> {
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
        Some(auth) => of_auth(auth),
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

fn of_auth(auth: &Auth) -> Result<Option<Credential>, String> {
    if !auth.registrytoken.is_empty() {
        return Ok(Some(Credential::RegistryToken(auth.registrytoken.clone())));
    }
    if !auth.identitytoken.is_empty() {
        return Ok(Some(Credential::IdentityToken(auth.identitytoken.clone())));
    }
    let password = |username: &str, password: &str| {
        Some(Credential::Password { username: username.to_owned(), password: password.to_owned() })
    };
    if !auth.auth.is_empty() {
        let text = STANDARD.decode(&auth.auth).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let text = text.ok_or("what `docker login` wrote is damaged")?;
        let (username, secret) = text.split_once(':').ok_or("what `docker login` wrote is damaged")?;
        return Ok(password(username, secret.trim_end_matches('\0')));
    }
    // With a credential store the file has empty entries, which only say that somebody logged in.
    Ok(if auth.username.is_empty() { None } else { password(&auth.username, &auth.password) })
}

async fn of_helper(helper: &str, key: &str) -> Result<Option<Credential>, String> {
    if !helper.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) {
        return Err("the name of the credential helper is none".to_owned());
    }
    let program = format!("docker-credential-{helper}");
    let (success, bytes) = match timeout(CREDENTIAL_HELPER_MAX, ask(&program, key)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(format!("{program}: {error}")),
        Err(_) => return Err(format!("{program} did not answer within {CREDENTIAL_HELPER_MAX:?}")),
    };
    if !success {
        // The one failure that is an answer; it is part of the protocol, word for word.
        let known = String::from_utf8_lossy(&bytes).contains("credentials not found");
        return if known { Ok(None) } else { Err(format!("{program} failed")) };
    }
    let Answer { username, secret } =
        serde_json::from_slice(&bytes).map_err(|_| format!("{program} answered something else than credentials"))?;
    Ok(Some(if username == "<token>" {
        Credential::IdentityToken(secret)
    } else {
        Credential::Password { username, password: secret }
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
        stdout.take(CREDENTIAL_HELPER_BYTES_MAX).read_to_end(&mut bytes).await?;
    }
    Ok((child.wait().await?.success(), bytes))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    async fn found(config: &str, registry: &str) -> Result<Credential, CredentialError> {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join(".docker")).unwrap();
        fs::write(home.path().join(".docker/config.json"), config).unwrap();
        let path = home.path().to_str().unwrap().to_owned();
        let source = DockerCredentials::of_machine(|name| (name == "HOME").then(|| path.clone()));
        source.find(&TenantName::default(), registry).await
    }

    // "user:pass:word"
    const FILE: &str = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dXNlcjpwYXNzOndvcmQ="},"empty.test":{}}}"#;

    #[tokio::test]
    async fn what_docker_login_wrote_is_found_for_the_tenant_of_the_machine_alone() {
        let expected = Credential::Password { username: "user".to_owned(), password: "pass:word".to_owned() };
        assert_eq!(found(FILE, "docker.io").await.unwrap(), expected);
        assert_eq!(found(FILE, "ghcr.io").await.unwrap(), Credential::Anonymous);
        assert_eq!(found(FILE, "empty.test").await.unwrap(), Credential::Anonymous);
        let nobody = DockerCredentials { owner: TenantName::new("other").unwrap(), files: Vec::new() };
        assert_eq!(nobody.find(&TenantName::default(), "docker.io").await.unwrap(), Credential::Anonymous);
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
        assert_eq!(found(config, "b.test").await.unwrap(), Credential::Anonymous);
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
