//! The index that packages come from where none is set: whatever the tool that builds them says, in the image in which it does.
//!
//! An image may bring a configuration of its own, for a mirror say. Whoever asks somewhere else what is newest would offer versions
//! that a build then does not find.

use bollard::container::LogOutput;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    AttachContainerOptions, CreateContainerOptions, RemoveContainerOptions, StartContainerOptions,
};
use fairlead_core::image::ImageReference;
use fairlead_core::package::PackageKind;
use futures_util::StreamExt as _;
use tokio::time::timeout;

use super::engine::Engine;
use super::error::ContainerError;
use super::recipe::{BuildSettings, NOBODY};
use crate::limits::{INDEX_BYTES_MAX, INDEX_TOLD_MAX};

/// What pip reads, and what it has for want of that.
const PIP: &str = r#"
import ensurepip, glob, os, sys
bundled = os.path.join(os.path.dirname(ensurepip.__file__), "_bundled")
sys.path += glob.glob(bundled + "/pip*.whl") + glob.glob("/usr/share/python-wheels/pip*.whl")
from pip._internal.configuration import Configuration
from pip._internal.exceptions import ConfigurationError
from pip._internal.models.index import PyPI
read = Configuration(isolated=False)
read.load()
for name in (":env:.index-url", "install.index-url", "global.index-url"):
    try:
        print(read.get_value(name))
        break
    except (ConfigurationError, KeyError):
        pass
else:
    print(PyPI.simple_url)
"#;

/// The image in which packages of a kind are built.
pub(super) fn image(kind: PackageKind, settings: &BuildSettings) -> &ImageReference {
    match kind {
        PackageKind::Npx => &settings.node_image,
        PackageKind::Uvx => &settings.python_image,
        PackageKind::Go => &settings.go_image,
    }
}

/// Asks the tool, in a container without a network that is removed whatever it says.
pub(super) async fn ask(engine: &Engine, image: &str, kind: PackageKind) -> Result<String, ContainerError> {
    let words: &[&str] = match kind {
        PackageKind::Npx => &["npm", "config", "get", "registry"],
        PackageKind::Uvx => &["python3", "-c", PIP],
        PackageKind::Go => &["go", "env", "GOPROXY"],
    };
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        entrypoint: words.first().map(|program| vec![(*program).to_owned()]),
        cmd: Some(words.iter().skip(1).map(|word| (*word).to_owned()).collect()),
        user: Some(NOBODY.to_owned()),
        env: Some(vec!["HOME=/tmp".to_owned()]),
        working_dir: Some("/tmp".to_owned()),
        host_config: Some(HostConfig {
            // By the engine, also when nobody here is left to do it.
            auto_remove: Some(true),
            network_mode: Some("none".to_owned()),
            cap_drop: Some(vec!["ALL".to_owned()]),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let docker = engine.docker();
    let created = docker.create_container(None::<CreateContainerOptions>, body);
    let id = engine.ask("create container", created).await?.id;
    let said = match timeout(INDEX_TOLD_MAX, said(engine, &id)).await {
        Ok(said) => said,
        Err(_) => Err(nothing(kind, format!("nothing was said for {INDEX_TOLD_MAX:?}"))),
    };
    let options = RemoveContainerOptions { force: true, v: true, link: false };
    let _ = engine.ask("remove container", docker.remove_container(&id, Some(options))).await;
    let said = said?;
    let address = said.lines().map(str::trim).find(|line| !line.is_empty());
    address.map(str::to_owned).ok_or_else(|| nothing(kind, "the tool that builds it names none".to_owned()))
}

async fn said(engine: &Engine, id: &str) -> Result<String, ContainerError> {
    let docker = engine.docker();
    let options = AttachContainerOptions { stdout: true, stream: true, ..AttachContainerOptions::default() };
    let mut attached = engine.ask("attach", docker.attach_container(id, Some(options))).await?;
    engine.ask("start container", docker.start_container(id, None::<StartContainerOptions>)).await?;
    let mut text = String::new();
    while let Some(line) = attached.output.next().await {
        if let Ok(LogOutput::StdOut { message }) = line {
            text += &String::from_utf8_lossy(&message);
        }
        if text.len() > INDEX_BYTES_MAX {
            break;
        }
    }
    Ok(text)
}

fn nothing(kind: PackageKind, message: String) -> ContainerError {
    ContainerError::Build { package: format!("{}://", kind.scheme()), message }
}
