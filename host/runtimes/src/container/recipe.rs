//! How an image is built of a package: a recipe in two stages, as a pure function of the package and the settings.
//!
//! The package is installed in a first stage, by a user without rights, and only what was installed goes into the image:
//! addresses and credentials of package indexes stay behind. They are files there and never arguments or variables, which an
//! engine would show to whoever asks for the history of the image. Nothing is quoted, because nothing that would need it can
//! be in a reference ([`fairlead_core::package`]).

use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::PathBuf;

use fairlead_core::image::ImageReference;
use fairlead_core::name::TenantName;
use fairlead_core::package::{LATEST, PackageKind, PackageSource};
use sha2::{Digest as _, Sha256};

/// With what images are built of packages, where the defaults do not fit: other base images, mirrors, proxies that sign.
#[derive(Debug, Clone)]
pub struct BuildSettings {
    /// Base image of npm packages: has `node`, `npm` and `sh`.
    pub node_image: ImageReference,
    /// Base image of Python packages: has `python3` with `venv`, and `sh`.
    pub python_image: ImageReference,
    /// Image in which Go modules are built: has `go` and `sh`.
    pub go_image: ImageReference,
    /// Image that the program of a Go module is put into.
    pub go_base_image: ImageReference,
    /// npm registry; absent: npm's own.
    pub npm_registry: Option<String>,
    /// Python package index; absent: pip's own.
    pub python_index: Option<String>,
    /// Go module proxy, as in `GOPROXY`; absent: Go's own.
    pub go_proxy: Option<String>,
    /// More lines for npm's configuration, credentials for example. They do not get into the image.
    pub npmrc: Option<PathBuf>,
    /// Credentials for hosts, for pip and Go. They do not get into the image.
    pub netrc: Option<PathBuf>,
    /// Certificates to trust, in PEM, while building and in the server.
    pub ca_file: Option<PathBuf>,
    /// Network of the build, by the name that the engine has for it; absent: the engine's own.
    pub network: Option<String>,
}

/// Why there is no recipe.
#[derive(Debug, thiserror::Error)]
#[error("read `{}`", path.display())]
pub struct BuildFileError {
    /// The file.
    pub path: PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
}

/// How an image is built.
#[derive(Debug, Clone)]
pub(super) struct Recipe {
    /// What the engine is told.
    pub(super) text: String,
    /// Names and contents that it refers to.
    pub(super) files: Vec<(&'static str, Vec<u8>)>,
    /// Images that it begins with.
    pub(super) bases: Vec<ImageReference>,
    /// The same for the same recipe, whatever the version of the package.
    pub(super) key: String,
}

/// Where the package is, in the build and in the image.
pub(super) const SERVER_DIRECTORY: &str = "/opt/server";

/// Who installs a package and, unless its server says otherwise, who runs it.
pub(super) const NOBODY: &str = "65532:65532";

/// Where the files of a recipe are in its first stage.
const BUILD_DIRECTORY: &str = "/opt/fairlead";

/// Labels of every image that was built here.
pub(super) mod label {
    pub(in super::super) const PACKAGE: &str = "fairlead.dev/package";
    pub(in super::super) const RECIPE: &str = "fairlead.dev/recipe";
    /// Of the first stage, so that it can be found and removed: which build.
    pub(in super::super) const BUILD: &str = "fairlead.dev/build";
}

impl BuildSettings {
    /// The usual base images and the usual indexes.
    ///
    /// # Errors
    /// Never: the names are constants, which a test checks.
    pub fn usual() -> Result<Self, fairlead_core::image::ImageReferenceError> {
        Ok(Self {
            node_image: ImageReference::new("docker.io/library/node:24-slim")?,
            python_image: ImageReference::new("docker.io/library/python:3.14-slim")?,
            go_image: ImageReference::new("docker.io/library/golang:1.26")?,
            go_base_image: ImageReference::new("gcr.io/distroless/static-debian12:nonroot")?,
            npm_registry: None,
            python_index: None,
            go_proxy: None,
            npmrc: None,
            netrc: None,
            ca_file: None,
            network: None,
        })
    }

    /// As far as they are for a tenant: credentials are for that of the machine alone.
    pub(super) fn of_tenant(&self, tenant: &TenantName) -> Cow<'_, Self> {
        if *tenant == TenantName::default() {
            return Cow::Borrowed(self);
        }
        let public = |index: &Option<String>| index.as_deref().map(without_user);
        Cow::Owned(Self {
            npm_registry: public(&self.npm_registry),
            python_index: public(&self.python_index),
            go_proxy: public(&self.go_proxy),
            npmrc: None,
            netrc: None,
            ..self.clone()
        })
    }

    fn file(path: Option<&PathBuf>) -> Result<Option<Vec<u8>>, BuildFileError> {
        let read = |path: &PathBuf| fs::read(path).map_err(|source| BuildFileError { path: path.clone(), source });
        path.map(read).transpose()
    }
}

impl Recipe {
    /// The recipe for a package.
    pub(super) fn of(source: &PackageSource, settings: &BuildSettings) -> Result<Self, BuildFileError> {
        let kind = source.package.kind();
        let (name, version) = (source.package.name(), source.version());
        let (usual, index) = match kind {
            PackageKind::Npx => (&settings.node_image, &settings.npm_registry),
            PackageKind::Uvx => (&settings.python_image, &settings.python_index),
            PackageKind::Go => (&settings.go_image, &settings.go_proxy),
        };
        let build_base = source.base.as_ref().unwrap_or(usual);
        let base = if kind == PackageKind::Go { &settings.go_base_image } else { build_base };
        let ca = BuildSettings::file(settings.ca_file.as_ref())?;
        let install = match kind {
            PackageKind::Npx => npm,
            PackageKind::Uvx => pip,
            PackageKind::Go => go,
        };
        let trusted = if ca.is_some() { trust(kind) } else { String::new() };
        let stage = |version| {
            let installed = install(name, version);
            format!(
                "FROM {build_base} AS build\nUSER 0\nRUN mkdir -p {SERVER_DIRECTORY} && chown {NOBODY} {SERVER_DIRECTORY}\n\
                 COPY files {BUILD_DIRECTORY}\nUSER {NOBODY}\nWORKDIR {SERVER_DIRECTORY}\nENV HOME=/tmp\n{trusted}{installed}"
            )
        };
        let image = format!(
            "FROM {base}\nCOPY --from=build {SERVER_DIRECTORY} {SERVER_DIRECTORY}\n{}ENV HOME=/tmp\n{trusted}\
             WORKDIR /tmp\nUSER {NOBODY}\nENTRYPOINT [\"{SERVER_DIRECTORY}/entry\"]\n",
            if ca.is_some() { format!("COPY files/ca.pem {BUILD_DIRECTORY}/ca.pem\n") } else { String::new() },
        );
        // What was fetched with credentials is not what others get; which ones they were makes no difference.
        let shown = match kind {
            PackageKind::Npx => settings.npmrc.is_some(),
            PackageKind::Uvx | PackageKind::Go => settings.netrc.is_some(),
        };
        let (unversioned, ca_text) = (stage(LATEST), String::from_utf8_lossy(ca.as_deref().unwrap_or_default()));
        let mut parts = vec![unversioned.as_str(), &image, index.as_deref().unwrap_or_default(), &ca_text];
        parts.extend(shown.then_some("with credentials"));
        let key = key(&parts);
        let labels = format!("LABEL {}={} {}={key}\n", label::PACKAGE, source.package, label::RECIPE);
        let mut files = configuration(kind, index.as_deref(), settings)?;
        files.extend(ca.map(|ca| ("files/ca.pem", ca)));
        let mut bases = vec![build_base.clone()];
        if base != build_base {
            bases.push(base.clone());
        }
        Ok(Self { text: format!("{}{image}{labels}", stage(version)), files, bases, key })
    }

    /// What is sent to the engine for one build, whose mark the first stage bears.
    pub(super) fn context(&self, mark: &str) -> io::Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        let marked = self.text.replacen("AS build\n", &format!("AS build\nLABEL {}={mark}\n", label::BUILD), 1);
        let recipe = [("Dockerfile", marked.into_bytes())];
        for (path, content) in recipe.iter().chain(&self.files) {
            let mut header = tar::Header::new_gnu();
            header.set_size(u64::try_from(content.len()).unwrap_or_default());
            header.set_mode(0o644);
            archive.append_data(&mut header, path, content.as_slice())?;
        }
        archive.into_inner()
    }
}

fn npm(name: &str, version: &str) -> String {
    format!(
        "RUN NPM_CONFIG_USERCONFIG={BUILD_DIRECTORY}/npmrc npm install --omit=dev --no-audit --no-fund --loglevel=http \
         --no-update-notifier {name}@{version}\nRUN node {BUILD_DIRECTORY}/entry.mjs {name}\n"
    )
}

fn pip(name: &str, version: &str) -> String {
    // pip has no word for the newest version: it takes that when none is named.
    let wanted = if version == LATEST { name.to_owned() } else { format!("{name}=={version}") };
    format!(
        "RUN python3 -m venv {SERVER_DIRECTORY}\nRUN PIP_CONFIG_FILE={BUILD_DIRECTORY}/pip.conf \
         NETRC={BUILD_DIRECTORY}/netrc bin/pip install --no-cache-dir --disable-pip-version-check {wanted}\n\
         RUN bin/python {BUILD_DIRECTORY}/entry.py {name}\n"
    )
}

fn go(module: &str, version: &str) -> String {
    format!(
        "RUN GOENV={BUILD_DIRECTORY}/goenv NETRC={BUILD_DIRECTORY}/netrc GOBIN={SERVER_DIRECTORY}/bin GOPATH=/tmp/go \
         GOCACHE=/tmp/go-build GOFLAGS=-trimpath CGO_ENABLED=0 go install -v {module}@{version}\n\
         RUN mv bin/* entry && rmdir bin && go version -m entry | awk '$1 == \"mod\" {{ printf \"%s\", $3 }}' > VERSION\n"
    )
}

fn trust(kind: PackageKind) -> String {
    let file = format!("{BUILD_DIRECTORY}/ca.pem");
    let mut text = format!("ENV SSL_CERT_FILE={file}");
    let more: &[&str] = match kind {
        PackageKind::Npx => &["NODE_EXTRA_CA_CERTS", "NPM_CONFIG_CAFILE"],
        PackageKind::Uvx => &["PIP_CERT", "REQUESTS_CA_BUNDLE"],
        PackageKind::Go => &[],
    };
    for name in more {
        let _ = write!(text, " {name}={file}");
    }
    text + "\n"
}

/// The files of the first stage.
fn configuration(
    kind: PackageKind,
    index: Option<&str>,
    settings: &BuildSettings,
) -> Result<Vec<(&'static str, Vec<u8>)>, BuildFileError> {
    let line = |before: &str| index.map(|index| format!("{before}{index}\n")).unwrap_or_default();
    Ok(match kind {
        PackageKind::Npx => {
            let mut npmrc = line("registry=").into_bytes();
            npmrc.extend(BuildSettings::file(settings.npmrc.as_ref())?.unwrap_or_default());
            vec![("files/npmrc", npmrc), ("files/entry.mjs", include_bytes!("recipe/npx.mjs").to_vec())]
        }
        PackageKind::Uvx => vec![
            ("files/pip.conf", format!("[global]\n{}", line("index-url = ")).into_bytes()),
            ("files/netrc", BuildSettings::file(settings.netrc.as_ref())?.unwrap_or_default()),
            ("files/entry.py", include_bytes!("recipe/uvx.py").to_vec()),
        ],
        PackageKind::Go => vec![
            ("files/goenv", line("GOPROXY=").into_bytes()),
            ("files/netrc", BuildSettings::file(settings.netrc.as_ref())?.unwrap_or_default()),
        ],
    })
}

/// Addresses, or a list of them as Go has it, without what they show to whoever answers.
fn without_user(addresses: &str) -> String {
    let one = |address: &str| match address.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.find('/').map_or((rest, ""), |end| rest.split_at(end));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => address.to_owned(),
    };
    addresses.split(',').map(one).collect::<Vec<_>>().join(",")
}

/// Short, and different for different parts.
fn key(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.len().to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().iter().take(6).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use fairlead_core::package::PackageReference;
    use proptest::prelude::*;

    use super::*;

    fn recipe(package: &str, settings: &BuildSettings) -> Recipe {
        Recipe::of(&PackageSource::new(PackageReference::new(package).unwrap()), settings).unwrap()
    }

    #[test]
    fn the_key_is_of_the_package_and_the_settings_and_not_of_the_version() {
        let usual = BuildSettings::usual().unwrap();
        for name in ["npx://a", "uvx://a", "go://example.test/a"] {
            let key = recipe(name, &usual).key;
            assert_eq!(recipe(&format!("{name}@1.2.3"), &usual).key, key, "{name}");
            assert_ne!(recipe(&format!("{name}b"), &usual).key, key, "{name}");
            let mirror = Some("https://mirror.test/".to_owned());
            let elsewhere = BuildSettings {
                npm_registry: mirror.clone(),
                python_index: mirror.clone(),
                go_proxy: mirror,
                ..usual.clone()
            };
            assert_ne!(recipe(name, &elsewhere).key, key, "{name}");
        }
    }

    #[test]
    fn an_address_of_an_index_is_a_file_of_the_first_stage_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let npmrc = directory.path().join("npmrc");
        fs::write(&npmrc, "//mirror.test/:_authToken=hunter2\n").unwrap();
        let index = Some("https://user:hunter2@mirror.test/".to_owned());
        let settings = BuildSettings {
            npm_registry: index.clone(),
            python_index: index.clone(),
            go_proxy: index,
            npmrc: Some(npmrc),
            ..BuildSettings::usual().unwrap()
        };
        for package in ["npx://a", "uvx://a", "go://example.test/a"] {
            let recipe = recipe(package, &settings);
            assert!(!recipe.text.contains("hunter2") && !recipe.key.contains("hunter2"), "{}", recipe.text);
            assert!(recipe.files.iter().any(|(_, content)| String::from_utf8_lossy(content).contains("hunter2")));
            let image = recipe.text.rsplit_once("\nFROM ").unwrap().1;
            assert!(!image.contains("COPY files"), "nothing of the files gets into the image: {image}");
        }
    }

    #[test]
    fn credentials_are_for_the_tenant_of_the_machine_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("credentials");
        fs::write(&file, "hunter2").unwrap();
        let index = Some("https://me:hunter2@index.example/simple,https://other.example".to_owned());
        let settings = BuildSettings {
            npm_registry: index.clone(),
            python_index: index.clone(),
            go_proxy: index,
            npmrc: Some(file.clone()),
            netrc: Some(file),
            ..BuildSettings::usual().unwrap()
        };
        let stranger = settings.of_tenant(&TenantName::new("stranger").unwrap()).into_owned();
        let own = settings.of_tenant(&TenantName::default()).into_owned();
        for package in ["npx://a", "uvx://a", "go://example.test/a"] {
            let (own, stranger) = (recipe(package, &own), recipe(package, &stranger));
            let said = |recipe: &Recipe| String::from_utf8(recipe.context("m").unwrap()).unwrap();
            assert!(said(&own).contains("hunter2") && !said(&stranger).contains("hunter2"), "{package}");
            assert!(said(&stranger).contains("https://index.example/simple,https://other.example"), "{package}");
            assert_ne!(own.key, stranger.key, "what is built for one is not the other's");
        }
    }

    #[test]
    fn a_recipe_says_what_is_done() {
        let recipe = recipe("npx://@scope/server@1.2.3", &BuildSettings::usual().unwrap());
        insta::assert_snapshot!(recipe.text.replace(&recipe.key, "KEY"), @r#"
        FROM docker.io/library/node:24-slim AS build
        USER 0
        RUN mkdir -p /opt/server && chown 65532:65532 /opt/server
        COPY files /opt/fairlead
        USER 65532:65532
        WORKDIR /opt/server
        ENV HOME=/tmp
        RUN NPM_CONFIG_USERCONFIG=/opt/fairlead/npmrc npm install --omit=dev --no-audit --no-fund --loglevel=http --no-update-notifier @scope/server@1.2.3
        RUN node /opt/fairlead/entry.mjs @scope/server
        FROM docker.io/library/node:24-slim
        COPY --from=build /opt/server /opt/server
        ENV HOME=/tmp
        WORKDIR /tmp
        USER 65532:65532
        ENTRYPOINT ["/opt/server/entry"]
        LABEL fairlead.dev/package=npx://@scope/server@1.2.3 fairlead.dev/recipe=KEY
        "#);
    }

    proptest! {
        #[test]
        fn a_reference_adds_no_line_to_a_recipe(text in "(npx|uvx|go)://[a-zA-Z0-9@/._~+-]{0,40}") {
            let usual = BuildSettings::usual().unwrap();
            if let Ok(package) = PackageReference::new(&text) {
                let lines = |text: &str| recipe(text, &usual).text.lines().count();
                let plain = match package.kind() {
                    PackageKind::Npx => "npx://a",
                    PackageKind::Uvx => "uvx://a",
                    PackageKind::Go => "go://example.test/a",
                };
                prop_assert_eq!(lines(&text), lines(plain));
            }
        }
    }
}
