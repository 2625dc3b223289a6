//! Settings: flags over environment over file over defaults, resolved once into a value that never changes.
//!
//! Whoever needs a setting gets it handed down; nothing reads the environment later. Otherwise the same daemon would be
//! configured differently by two of its parts, and a test could not say what it runs under.

mod build;
mod directories;
mod file;
mod images;
mod observability;
pub(crate) mod variables;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fairlead_core::limits::UPDATE_CHECK_INTERVAL;
use fairlead_core::name::ProviderName;

pub(crate) use build::Build;
pub(crate) use directories::Directories;
use fairlead_proxy::EnvironmentProxies;
pub(crate) use images::Images;
pub(crate) use observability::Observability;
use serde::Deserialize;
use variables::Variable;

use crate::hooks::HookConfig;
use crate::limits::{HEALTH_INTERVAL, HOOKS_MAX, UPDATE_INTERVAL_MIN};
use crate::secrets::CommandProvider;
use crate::telemetry::Passing;

/// Where MCP clients connect unless somebody says otherwise: loopback, and always the same, so that the configuration of
/// a client never goes stale.
const ADDRESS_DEFAULT: &str = "127.0.0.1:7420";

/// What the daemon logs by default: itself in detail enough to follow what happened, the libraries only when they worry.
const LOG_DEFAULT: &str = "info,sled=warn,cranelift_codegen=warn,wasmtime=warn,hyper=warn";

/// How the daemon logs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// What was given on the command line; what was not given is decided by the next layer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Overrides {
    /// `--home`.
    pub(crate) home: Option<PathBuf>,
    /// `--config`.
    pub(crate) config: Option<PathBuf>,
    /// `--address`.
    pub(crate) address: Option<SocketAddr>,
    /// `--api-address`.
    pub(crate) api_address: Option<SocketAddr>,
    /// `--registry-address`.
    pub(crate) registry_address: Option<SocketAddr>,
    /// `--registry-tokens`.
    pub(crate) registry_tokens: bool,
    /// `--log`.
    pub(crate) log: Option<String>,
    /// `--log-format`.
    pub(crate) log_format: Option<LogFormat>,
}

/// Everything that can be set.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The one directory for everything, when there is one.
    pub(crate) home: Option<PathBuf>,
    /// The configuration file, when one was named.
    pub(crate) config: Option<PathBuf>,
    /// Where things live.
    pub(crate) directories: Directories,
    /// Where MCP clients connect.
    pub(crate) address: SocketAddr,
    /// Where the API is reached over TCP, with a token; by default nowhere.
    pub(crate) api_address: Option<SocketAddr>,
    /// Where the catalogue is served to other programs; by default nowhere.
    pub(crate) registry_address: Option<SocketAddr>,
    /// The catalogue is served to nobody without a token.
    pub(crate) registry_tokens: bool,
    /// What the daemon logs.
    pub(crate) log: String,
    /// How the daemon logs.
    pub(crate) log_format: LogFormat,
    /// Which exchanges are in the proxy log of a server.
    pub(crate) proxy_log: Passing,
    /// Directories in which plugins are looked up before the usual ones.
    pub(crate) plugin_path: Vec<PathBuf>,
    /// With what images are built of packages.
    pub(crate) build: Build,
    /// Who vouches for images.
    pub(crate) images: Images,
    /// Origins of web pages that may use the servers, besides those of this machine.
    pub(crate) allowed_origins: Vec<String>,
    /// Names under which the listener may be addressed, besides those of this machine.
    pub(crate) allowed_hosts: Vec<String>,
    /// Forward proxies for remote servers.
    pub(crate) proxies: EnvironmentProxies,
    /// Programs that know secrets, by the name of the provider.
    pub(crate) secret_providers: BTreeMap<ProviderName, CommandProvider>,
    /// Where `plugin build` installs what it needs.
    pub(crate) toolchains: PathBuf,
    /// Between two checks of a server for updates.
    pub(crate) update_interval: Duration,
    /// Between two questions whether a server that listens still answers; `None`: it is never asked.
    pub(crate) health_interval: Option<Duration>,
    /// How is found out what is newer.
    pub(crate) update_detector: UpdateDetector,
    /// Where traces and metrics go.
    pub(crate) observability: Observability,
    /// Who is told of updates.
    pub(crate) hooks: Vec<HookConfig>,
    /// Nothing is coloured.
    pub(crate) no_color: bool,
}

/// How is found out what is newer than what runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum UpdateDetector {
    /// The OCI registry is asked (`HEAD`), and only something newer is fetched and started.
    #[default]
    Head,
    /// At each check the engine fetches what the tag names and it is started beside what runs.
    Probe,
}

impl UpdateDetector {
    fn parse(value: &str) -> Result<Self, ConfigError> {
        match value {
            "head" => Ok(Self::Head),
            "probe" => Ok(Self::Probe),
            other => Err(ConfigError::Value {
                name: variables::IMAGE_UPDATE_DETECTOR.name.to_owned(),
                value: other.to_owned(),
                reason: "expected `head` or `probe`".to_owned(),
            }),
        }
    }
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// No `FAIRLEAD_HOME` and no home directory.
    #[error("there is no home directory to put state into")]
    NoHome,
    /// A value that cannot be used.
    #[error("`{value}` is no value for `{name}`: {reason}")]
    Value {
        /// Variable or setting.
        name: String,
        /// What was given.
        value: String,
        /// Why it cannot be used.
        reason: String,
    },
    /// The file is there but cannot be read, or was named and is not there.
    #[error("read configuration file `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("configuration file `{}`: {reason}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What and where.
        reason: String,
    },
    /// There are two files.
    #[error("there are two configuration files, `{}` and `{}`", one.display(), other.display())]
    Two {
        /// One of them.
        one: PathBuf,
        /// The other.
        other: PathBuf,
    },
    /// The current directory, to make a path absolute.
    #[error("find the current directory")]
    CurrentDirectory(#[source] std::io::Error),
}

impl ConfigError {
    /// What to do about it.
    #[must_use]
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::NoHome => format!("set `{}` to a directory", variables::HOME.name),
            Self::Value { name, .. } => format!("correct or remove `{name}`"),
            Self::Read { .. } | Self::Parse { .. } => {
                format!("correct the file, or name another with `--config` or `{}`", variables::CONFIG.name)
            }
            Self::Two { .. } => {
                format!("remove one of them, or name the other with `--config` or `{}`", variables::CONFIG.name)
            }
            Self::CurrentDirectory(_) => "change to a directory that exists".to_owned(),
        }
    }
}

/// Where variables are looked up: the process environment, or a map in a test.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

impl Settings {
    /// Puts the layers together.
    ///
    /// # Errors
    /// A value or the file cannot be used; nothing is guessed.
    pub(crate) fn resolve(overrides: Overrides, lookup: Lookup<'_>) -> Result<Self, ConfigError> {
        let home = match overrides.home.or_else(|| path(lookup, variables::HOME)) {
            Some(home) => Some(absolute(&home)?),
            None => None,
        };
        let directories = match &home {
            Some(home) => Directories::below(home),
            None => Directories::of_platform().ok_or(ConfigError::NoHome)?,
        };
        let config = match overrides.config.or_else(|| path(lookup, variables::CONFIG)) {
            Some(config) => Some(absolute(&config)?),
            None => None,
        };
        let file = match &config {
            Some(config) => file::File::read(config)?,
            None => file::File::read_if_there(&directories.config_files())?,
        };

        let address = match (overrides.address, text(lookup, variables::ADDRESS)?, file.address) {
            (Some(address), _, _) => address,
            (None, Some(address), _) => parse_address(variables::ADDRESS.name, &address)?,
            (None, None, Some(address)) => parse_address("address", &address)?,
            (None, None, None) => parse_address("address", ADDRESS_DEFAULT)?,
        };
        let api_address = match (overrides.api_address, text(lookup, variables::API_ADDRESS)?, file.api_address) {
            (Some(address), _, _) => Some(address),
            (None, Some(address), _) => Some(parse_address(variables::API_ADDRESS.name, &address)?),
            (None, None, Some(address)) => Some(parse_address("api_address", &address)?),
            (None, None, None) => None,
        };
        let registry_address =
            match (overrides.registry_address, text(lookup, variables::REGISTRY_ADDRESS)?, file.registry_address) {
                (Some(address), _, _) => Some(address),
                (None, Some(address), _) => Some(parse_address(variables::REGISTRY_ADDRESS.name, &address)?),
                (None, None, Some(address)) => Some(parse_address("registry_address", &address)?),
                (None, None, None) => None,
            };
        let registry_tokens = match text(lookup, variables::REGISTRY_TOKENS)?.as_deref() {
            _ if overrides.registry_tokens => true,
            None => file.registry_tokens.unwrap_or_default(),
            Some("true") => true,
            Some("false") => false,
            Some(other) => {
                return Err(ConfigError::Value {
                    name: variables::REGISTRY_TOKENS.name.to_owned(),
                    value: other.to_owned(),
                    reason: "expected `true` or `false`".to_owned(),
                });
            }
        };
        let log_format = match (overrides.log_format, text(lookup, variables::LOG_FORMAT)?, file.log_format) {
            (Some(format), _, _) => format,
            (None, Some(format), _) => parse_log_format(&format)?,
            (None, None, format) => format.unwrap_or_default(),
        };
        let proxy_log = match text(lookup, variables::PROXY_LOG)?.as_deref() {
            None => file.proxy_log.unwrap_or_default(),
            Some("failures") => Passing::Failures,
            Some("all") => Passing::All,
            Some(other) => {
                return Err(ConfigError::Value {
                    name: variables::PROXY_LOG.name.to_owned(),
                    value: other.to_owned(),
                    reason: "expected `failures` or `all`".to_owned(),
                });
            }
        };
        let log = overrides.log.or(text(lookup, variables::LOG)?).or(file.log);
        let plugin_path = match lookup(variables::PLUGIN_PATH.name).filter(|value| !value.is_empty()) {
            Some(value) => std::env::split_paths(&value).filter(|path| !path.as_os_str().is_empty()).collect(),
            None => file.plugin_path,
        };
        let plugin_path = plugin_path.iter().map(|path| absolute(path)).collect::<Result<_, _>>()?;
        let toolchains = match path(lookup, variables::TOOLCHAINS) {
            Some(toolchains) => absolute(&toolchains)?,
            None => directories.cache.join("toolchains"),
        };
        Ok(Self {
            home,
            config,
            directories,
            address,
            api_address,
            registry_address,
            registry_tokens,
            log: log.unwrap_or_else(|| LOG_DEFAULT.to_owned()),
            log_format,
            proxy_log,
            plugin_path,
            build: Build::resolve(file.build, lookup)?,
            images: Images::resolve(file.images, lookup)?,
            allowed_origins: list(lookup, variables::ALLOWED_ORIGINS)?.unwrap_or(file.allowed_origins),
            allowed_hosts: list(lookup, variables::ALLOWED_HOSTS)?.unwrap_or(file.allowed_hosts),
            proxies: proxies(lookup)?,
            secret_providers: check_providers(file.secrets.providers)?,
            toolchains,
            update_interval: interval(
                lookup,
                variables::IMAGE_UPDATE_INTERVAL,
                ("image_update_interval", file.image_update_interval),
                parse_interval,
            )?
            .unwrap_or(UPDATE_CHECK_INTERVAL),
            health_interval: interval(
                lookup,
                variables::HEALTH_INTERVAL,
                ("health_interval", file.health_interval),
                parse_interval_or_never,
            )?
            .unwrap_or(Some(HEALTH_INTERVAL)),
            update_detector: match text(lookup, variables::IMAGE_UPDATE_DETECTOR)? {
                Some(text) => UpdateDetector::parse(&text)?,
                None => file.image_update_detector.unwrap_or_default(),
            },
            observability: Observability::resolve(file.observability, lookup)?,
            hooks: check_hooks(file.hooks)?,
            no_color: path(lookup, variables::NO_COLOR).is_some(),
        })
    }
}

/// A provider has a program, and none takes the place of those that are always there.
fn check_providers(
    providers: BTreeMap<ProviderName, CommandProvider>,
) -> Result<BTreeMap<ProviderName, CommandProvider>, ConfigError> {
    for (name, provider) in &providers {
        let wrong = if [fairlead_core::secret::STORE, crate::secrets::ENVIRONMENT].contains(&name.as_str()) {
            "this provider is always there and cannot be another"
        } else if provider.command.first().is_none_or(String::is_empty) {
            "`command` names a program and its arguments"
        } else {
            continue;
        };
        return Err(ConfigError::Value {
            name: "secrets.providers".to_owned(),
            value: name.to_string(),
            reason: wrong.to_owned(),
        });
    }
    Ok(providers)
}

/// A handful, because every message goes to each of them.
fn check_hooks(hooks: Vec<HookConfig>) -> Result<Vec<HookConfig>, ConfigError> {
    if hooks.len() > HOOKS_MAX {
        let reason = format!("at most {HOOKS_MAX} receivers are told");
        return Err(ConfigError::Value { name: "hooks".to_owned(), value: hooks.len().to_string(), reason });
    }
    Ok(hooks)
}

fn path(lookup: Lookup<'_>, variable: Variable) -> Option<PathBuf> {
    lookup(variable.name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// An empty variable is the same as none: that is how shells and unit files unset one.
fn text(lookup: Lookup<'_>, variable: Variable) -> Result<Option<String>, ConfigError> {
    match lookup(variable.name).filter(|value| !value.is_empty()) {
        None => Ok(None),
        Some(value) => value.into_string().map(Some).map_err(|value| ConfigError::Value {
            name: variable.name.to_owned(),
            value: value.to_string_lossy().into_owned(),
            reason: "it is not UTF-8".to_owned(),
        }),
    }
}

/// Values with commas between them.
fn list(lookup: Lookup<'_>, variable: Variable) -> Result<Option<Vec<String>>, ConfigError> {
    let values =
        |text: String| text.split(',').map(|value| value.trim().to_owned()).filter(|value| !value.is_empty()).collect();
    Ok(text(lookup, variable)?.map(values))
}

/// As curl reads them: in lower case first, which the web server of a CGI program cannot set.
fn proxies(lookup: Lookup<'_>) -> Result<EnvironmentProxies, ConfigError> {
    let read = |variable: Variable| {
        let lower = lookup(&variable.name.to_ascii_lowercase()).and_then(|value| value.into_string().ok());
        match lower.filter(|value| !value.is_empty()) {
            Some(value) => Ok(value),
            None => Ok(text(lookup, variable)?.unwrap_or_default()),
        }
    };
    Ok(EnvironmentProxies {
        all: read(variables::ALL_PROXY)?,
        http: read(variables::HTTP_PROXY)?,
        https: read(variables::HTTPS_PROXY)?,
        no: read(variables::NO_PROXY)?,
    })
}

fn absolute(path: &Path) -> Result<PathBuf, ConfigError> {
    std::path::absolute(path).map_err(ConfigError::CurrentDirectory)
}

fn parse_address(name: &str, value: &str) -> Result<SocketAddr, ConfigError> {
    value.parse().map_err(|_| ConfigError::Value {
        name: name.to_owned(),
        value: value.to_owned(),
        reason: "expected an address with a port, like `127.0.0.1:7420`".to_owned(),
    })
}

/// A misspelt one is refused, not rounded to one that is allowed: nobody would notice.
/// A duration from its variable or, failing that, from the file; with the name under which it was found, for the error.
fn interval<T>(
    lookup: Lookup<'_>,
    variable: Variable,
    (name, of_file): (&str, Option<String>),
    parse: impl Fn(&str, &str) -> Result<T, ConfigError>,
) -> Result<Option<T>, ConfigError> {
    match (text(lookup, variable)?, of_file) {
        (Some(set), _) => parse(variable.name, &set).map(Some),
        (None, Some(set)) => parse(name, &set).map(Some),
        (None, None) => Ok(None),
    }
}

/// The same, where nothing at all is a choice too.
fn parse_interval_or_never(name: &str, value: &str) -> Result<Option<Duration>, ConfigError> {
    let is_never = value.trim().parse::<jiff::SignedDuration>().is_ok_and(|span| span.is_zero());
    if is_never { Ok(None) } else { parse_interval(name, value).map(Some) }
}

fn parse_interval(name: &str, value: &str) -> Result<Duration, ConfigError> {
    let wrong =
        |reason: &str| ConfigError::Value { name: name.to_owned(), value: value.to_owned(), reason: reason.to_owned() };
    let span: jiff::SignedDuration =
        value.trim().parse().map_err(|_| wrong("expected a duration, like `15m`, `90s` or `6h`"))?;
    let interval = Duration::try_from(span).map_err(|_| wrong("a duration is not negative"))?;
    if interval < UPDATE_INTERVAL_MIN {
        return Err(wrong("at least a second lies between two checks"));
    }
    Ok(interval)
}

fn parse_log_format(value: &str) -> Result<LogFormat, ConfigError> {
    <LogFormat as clap::ValueEnum>::from_str(value, false).map_err(|_| ConfigError::Value {
        name: variables::LOG_FORMAT.name.to_owned(),
        value: value.to_owned(),
        reason: "expected `text` or `json`".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(overrides: Overrides, variables: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        let variables: Vec<(String, String)> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Settings::resolve(overrides, &move |name| {
            variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.into())
        })
    }

    fn home_with_config(content: &str) -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("config")).unwrap();
        std::fs::write(home.path().join("config/config.toml"), content).unwrap();
        home
    }

    #[test]
    fn flags_go_before_environment_before_file_before_default() {
        let home = home_with_config("address = \"127.0.0.3:3\"");
        let overrides = || Overrides { home: Some(home.path().to_owned()), ..Overrides::default() };
        let environment = [("FAIRLEAD_ADDRESS", "127.0.0.2:2")];

        let flag = Overrides { address: Some("127.0.0.1:1".parse().unwrap()), ..overrides() };
        assert_eq!(resolve(flag, &environment).unwrap().address.port(), 1);
        assert_eq!(resolve(overrides(), &environment).unwrap().address.port(), 2);
        assert_eq!(resolve(overrides(), &[]).unwrap().address.port(), 3);
        std::fs::remove_file(home.path().join("config/config.toml")).unwrap();
        assert_eq!(resolve(overrides(), &[]).unwrap().address.port(), 7420);
    }

    #[test]
    fn a_home_holds_everything() {
        let settings = resolve(Overrides::default(), &[("FAIRLEAD_HOME", "/h")]).unwrap();
        for path in [
            settings.directories.store(),
            settings.directories.daemon_log(),
            settings.directories.plugins(),
            settings.directories.socket(),
            settings.directories.config_files()[0].clone(),
            settings.directories.cache.clone(),
        ] {
            assert!(path.starts_with("/h"), "{}", path.display());
        }
    }

    #[test]
    fn origins_and_proxies_come_from_the_environment() {
        let variables = [
            ("FAIRLEAD_HOME", "/h"),
            ("FAIRLEAD_ALLOWED_ORIGINS", "https://a.example, https://b.example"),
            ("HTTPS_PROXY", "http://upper:1"),
            ("https_proxy", "http://lower:1"),
            ("NO_PROXY", "localhost"),
        ];
        let settings = resolve(Overrides::default(), &variables).unwrap();
        assert_eq!(settings.allowed_origins, ["https://a.example", "https://b.example"]);
        assert_eq!((settings.proxies.https.as_str(), settings.proxies.no.as_str()), ("http://lower:1", "localhost"));
    }

    #[test]
    fn an_empty_variable_is_none() {
        let settings = resolve(Overrides::default(), &[("FAIRLEAD_HOME", "/h"), ("FAIRLEAD_ADDRESS", "")]).unwrap();
        assert_eq!(settings.address.port(), 7420);
    }

    #[test]
    fn keys_of_images_are_read_at_once() {
        let home = home_with_config(
            "[images]\nverification = \"enabled\"\n[[images.keys]]\nrepository = \"*\"\nfile = \"/no/such.pub\"\n",
        );
        let overrides = || Overrides { home: Some(home.path().to_owned()), ..Overrides::default() };
        let error = resolve(overrides(), &[]).unwrap_err().to_string();
        assert!(error.contains("/no/such.pub") && error.contains("images.keys"), "{error}");
        let home = home_with_config("[images]\nverification = \"warn\"\n");
        let overrides = || Overrides { home: Some(home.path().to_owned()), ..Overrides::default() };
        let images = resolve(overrides(), &[("FAIRLEAD_IMAGE_VERIFICATION", "enabled")]).unwrap().images;
        assert_eq!(images.verification, fairlead_core::signature::ImageVerification::Enabled);
        let error = resolve(overrides(), &[("FAIRLEAD_IMAGE_VERIFICATION", "on")]).unwrap_err().to_string();
        assert!(error.contains("FAIRLEAD_IMAGE_VERIFICATION"), "{error}");
    }

    #[test]
    fn a_wrong_value_names_its_variable() {
        let error =
            resolve(Overrides::default(), &[("FAIRLEAD_HOME", "/h"), ("FAIRLEAD_ADDRESS", "7420")]).unwrap_err();
        insta::assert_snapshot!(error, @"`7420` is no value for `FAIRLEAD_ADDRESS`: expected an address with a port, like `127.0.0.1:7420`");
    }

    #[test]
    fn an_unknown_setting_in_the_file_is_refused() {
        let home = home_with_config("adress = \"127.0.0.3:3\"");
        let error = resolve(Overrides { home: Some(home.path().to_owned()), ..Overrides::default() }, &[]).unwrap_err();
        assert!(error.to_string().contains("unknown field `adress`"), "{error}");
        assert!(error.to_string().contains("line 1"), "{error}");
    }

    #[test]
    fn the_file_may_be_yaml_or_json_and_there_is_one_of_them() {
        let home = home_with_config("");
        let file = |name: &str| home.path().join("config").join(name);
        let resolve = || resolve(Overrides { home: Some(home.path().to_owned()), ..Overrides::default() }, &[]);
        std::fs::remove_file(file("config.toml")).unwrap();
        let command = "command: [pass, show]";
        for (name, text) in [
            ("config.yaml", format!("address: 127.0.0.3:3\nsecrets:\n  providers:\n    pass: {{{command}}}\n")),
            ("config.json", r#"{"address": "127.0.0.3:3", "allowed_hosts": ["a"]}"#.to_owned()),
        ] {
            std::fs::write(file(name), text).unwrap();
            assert_eq!(resolve().unwrap().address.port(), 3, "{name}");
            std::fs::remove_file(file(name)).unwrap();
        }
        std::fs::write(file("config.yaml"), "adress: 127.0.0.3:3\n").unwrap();
        assert!(resolve().unwrap_err().to_string().contains("unknown field `adress`"));
        std::fs::write(file("config.json"), "{}").unwrap();
        let error = resolve().unwrap_err();
        assert!(matches!(error, ConfigError::Two { .. }) && error.hint().contains("--config"), "{error}");
    }

    #[test]
    fn a_named_file_must_be_there() {
        let overrides = Overrides { config: Some("/does/not/exist.toml".into()), ..Overrides::default() };
        let error = resolve(overrides, &[("FAIRLEAD_HOME", "/h")]).unwrap_err();
        assert!(matches!(error, ConfigError::Read { .. }), "{error}");
    }
}
