//! Every environment variable that Fairlead reads, once: code, help and reference page take it from here.

/// An environment variable.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Variable {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it does, in one sentence.
    pub(crate) meaning: &'static str,
}

const fn variable(name: &'static str, meaning: &'static str) -> Variable {
    Variable { name, meaning }
}

/// One directory for everything.
pub(crate) const HOME: Variable = variable(
    "FAIRLEAD_HOME",
    "Directory for state, data, configuration, cache, logs and the socket; without it, where the platform puts them",
);
/// The configuration file.
pub(crate) const CONFIG: Variable = variable(
    "FAIRLEAD_CONFIG",
    "Configuration file; by default `config.toml`, `config.yaml` or `config.json` in the configuration directory",
);
/// Where MCP clients connect.
pub(crate) const ADDRESS: Variable =
    variable("FAIRLEAD_ADDRESS", "Address on which MCP clients reach the servers; port 0 picks a free one");
/// Where the API is reached over TCP.
pub(crate) const API_ADDRESS: Variable = variable(
    "FAIRLEAD_API_ADDRESS",
    "Address on which the API is reached over TCP, with a token; without it, only over the socket",
);
/// Where the catalogue is served.
pub(crate) const REGISTRY_ADDRESS: Variable = variable(
    "FAIRLEAD_REGISTRY_ADDRESS",
    "Address on which the catalogue is served, by the official registry API; without it, nowhere",
);
/// Whether the catalogue is for everybody.
pub(crate) const REGISTRY_TOKENS: Variable =
    variable("FAIRLEAD_REGISTRY_TOKENS", "`true`: the catalogue is served to nobody without a token");
/// What is logged.
pub(crate) const LOG: Variable =
    variable("FAIRLEAD_LOG", "What the daemon logs: a level, or `target=level` directives with commas");
/// How it is logged.
pub(crate) const LOG_FORMAT: Variable = variable("FAIRLEAD_LOG_FORMAT", "How the daemon logs: `text` or `json`");
/// What the proxy log of a server has.
pub(crate) const PROXY_LOG: Variable = variable(
    "FAIRLEAD_PROXY_LOG",
    "Which exchanges `fairlead logs --proxy` shows: `failures`, those that did not end well, or `all`",
);
/// Where plugins are looked up by name.
pub(crate) const PLUGIN_PATH: Variable = variable(
    "FAIRLEAD_PLUGIN_PATH",
    "Directories, separated by colons, in which plugins are looked up by name before the usual ones",
);
/// Where servers from images go.
pub(crate) const CONTAINER_ENGINE: Variable = variable(
    "FAIRLEAD_CONTAINER_ENGINE",
    "Container engine for new servers, as `unix:///path/to/socket`; without it, the first that answers",
);
/// `[build] node_image`.
pub(crate) const BUILD_NODE_IMAGE: Variable = variable(
    "FAIRLEAD_BUILD_NODE_IMAGE",
    "Base image of the images that are built of npm packages; has `node`, `npm` and `sh`",
);
/// `[build] python_image`.
pub(crate) const BUILD_PYTHON_IMAGE: Variable = variable(
    "FAIRLEAD_BUILD_PYTHON_IMAGE",
    "Base image of the images that are built of Python packages; has `python3` with `venv`, and `sh`",
);
/// `[build] go_image`.
pub(crate) const BUILD_GO_IMAGE: Variable =
    variable("FAIRLEAD_BUILD_GO_IMAGE", "Image in which Go modules are built; has `go` and `sh`");
/// `[build] go_base_image`.
pub(crate) const BUILD_GO_BASE_IMAGE: Variable =
    variable("FAIRLEAD_BUILD_GO_BASE_IMAGE", "Image that the program of a Go module is put into");
/// `[build] npm_registry`.
pub(crate) const BUILD_NPM_REGISTRY: Variable =
    variable("FAIRLEAD_BUILD_NPM_REGISTRY", "npm registry from which packages are built");
/// `[build] python_index`.
pub(crate) const BUILD_PYTHON_INDEX: Variable =
    variable("FAIRLEAD_BUILD_PYTHON_INDEX", "Python package index from which packages are built");
/// `[build] go_proxy`.
pub(crate) const BUILD_GO_PROXY: Variable =
    variable("FAIRLEAD_BUILD_GO_PROXY", "Go module proxy from which modules are built, as in `GOPROXY`");
/// `[build] npmrc`.
pub(crate) const BUILD_NPMRC: Variable = variable(
    "FAIRLEAD_BUILD_NPMRC",
    "File with more lines for npm's configuration in a build, such as credentials; it does not get into the image",
);
/// `[build] netrc`.
pub(crate) const BUILD_NETRC: Variable =
    variable("FAIRLEAD_BUILD_NETRC", "File with credentials for pip and Go in a build; it does not get into the image");
/// `[build] ca_file`.
pub(crate) const BUILD_CA_FILE: Variable = variable(
    "FAIRLEAD_BUILD_CA_FILE",
    "Certificates in PEM that are trusted in a build and by the server that is built",
);
/// `[build] network`.
pub(crate) const BUILD_NETWORK: Variable =
    variable("FAIRLEAD_BUILD_NETWORK", "Network of builds, by the name that the container engine has for it");
/// `[images] verification`.
pub(crate) const IMAGE_VERIFICATION: Variable = variable(
    "FAIRLEAD_IMAGE_VERIFICATION",
    "What is done about signatures of images: `enabled` (nothing runs that no known key has signed), `warn`, `disabled`",
);
/// Pages that may use the servers.
pub(crate) const ALLOWED_ORIGINS: Variable = variable(
    "FAIRLEAD_ALLOWED_ORIGINS",
    "Origins of web pages that may use the servers (`https://app.example`), with commas, besides those of this machine",
);
/// Names of the listener.
pub(crate) const ALLOWED_HOSTS: Variable = variable(
    "FAIRLEAD_ALLOWED_HOSTS",
    "Names under which the listener may be addressed, without port, with commas, besides those of this machine",
);
/// Forward proxy for https.
pub(crate) const HTTPS_PROXY: Variable =
    variable("HTTPS_PROXY", "Forward proxy of the daemon for remote servers at `https://` URLs");
/// Forward proxy for http.
pub(crate) const HTTP_PROXY: Variable =
    variable("HTTP_PROXY", "Forward proxy of the daemon for remote servers at `http://` URLs");
/// Forward proxy for both.
pub(crate) const ALL_PROXY: Variable =
    variable("ALL_PROXY", "Forward proxy of the daemon where neither of the two is set");
/// No forward proxy.
pub(crate) const NO_PROXY: Variable =
    variable("NO_PROXY", "Hosts, domains and networks that the daemon reaches without a forward proxy");
/// The key of the store of secrets.
pub(crate) const SECRETS_KEY: Variable = variable(
    "FAIRLEAD_SECRETS_KEY",
    "Passphrase of the store of secrets; without it, a key file in the configuration directory",
);
/// The same, in a file.
pub(crate) const SECRETS_KEY_FILE: Variable =
    variable("FAIRLEAD_SECRETS_KEY_FILE", "File that holds the passphrase of the store of secrets");
/// Where toolchains for building plugins are installed.
pub(crate) const TOOLCHAINS: Variable = variable(
    "FAIRLEAD_TOOLCHAINS",
    "Directory into which `plugin build` installs what JavaScript and Python need; without it, in the cache",
);
/// How often servers are checked.
pub(crate) const IMAGE_UPDATE_INTERVAL: Variable = variable(
    "FAIRLEAD_IMAGE_UPDATE_INTERVAL",
    "Time between two checks of a server for updates, such as `15m` or `6h`; at least a second",
);
/// How often servers are asked whether they answer.
pub(crate) const HEALTH_INTERVAL: Variable = variable(
    "FAIRLEAD_HEALTH_INTERVAL",
    "Time between two questions whether a server that listens still answers, such as `30s`; `0s`: it is never asked",
);
/// How is found out what is newer.
pub(crate) const IMAGE_UPDATE_DETECTOR: Variable = variable(
    "FAIRLEAD_IMAGE_UPDATE_DETECTOR",
    "How is found out what is newer: `head` asks the OCI registry, `probe` starts what the tag names at each check",
);
/// Where traces and metrics go.
pub(crate) const OTLP_ENDPOINT: Variable = variable(
    "FAIRLEAD_OTLP_ENDPOINT",
    "Collector that traces and metrics are sent to, as OTLP over HTTP: `http://127.0.0.1:4318`",
);
/// Where metrics are scraped.
pub(crate) const METRICS_ADDRESS: Variable =
    variable("FAIRLEAD_METRICS_ADDRESS", "Address on which Prometheus finds `/metrics`");
/// How many traces there are.
pub(crate) const TRACE_RATIO: Variable = variable(
    "FAIRLEAD_TRACE_RATIO",
    "Part of the traces that begin here and are kept, from 0 to 1; one that a client began is kept if the client says so",
);
/// The password of the Redis that keeps sessions.
pub(crate) const SESSION_STORAGE_PASSWORD: Variable = variable(
    fairlead_core::pod::SESSION_STORAGE_PASSWORD,
    "Password of the Redis in which `fairlead proxy pod` keeps sessions",
);
/// No colour, <https://no-color.org>.
pub(crate) const NO_COLOR: Variable = variable("NO_COLOR", "When set to anything, nothing is coloured");

/// Where a test leaves its orders for faults. Not among [`ALL`]: no build that people use reads it.
#[cfg(debug_assertions)]
pub(crate) const FAULTS: Variable =
    Variable { name: "FAIRLEAD_FAULTS", meaning: "Directory of orders for faults, in tests" };

/// All of them, in the order of the reference page.
pub(crate) const ALL: &[Variable] = &[
    HOME,
    CONFIG,
    ADDRESS,
    API_ADDRESS,
    REGISTRY_ADDRESS,
    REGISTRY_TOKENS,
    LOG,
    LOG_FORMAT,
    PROXY_LOG,
    PLUGIN_PATH,
    CONTAINER_ENGINE,
    BUILD_NODE_IMAGE,
    BUILD_PYTHON_IMAGE,
    BUILD_GO_IMAGE,
    BUILD_GO_BASE_IMAGE,
    BUILD_NPM_REGISTRY,
    BUILD_PYTHON_INDEX,
    BUILD_GO_PROXY,
    BUILD_NPMRC,
    BUILD_NETRC,
    BUILD_CA_FILE,
    BUILD_NETWORK,
    IMAGE_VERIFICATION,
    ALLOWED_ORIGINS,
    ALLOWED_HOSTS,
    HTTPS_PROXY,
    HTTP_PROXY,
    ALL_PROXY,
    NO_PROXY,
    SECRETS_KEY,
    SECRETS_KEY_FILE,
    TOOLCHAINS,
    IMAGE_UPDATE_INTERVAL,
    HEALTH_INTERVAL,
    IMAGE_UPDATE_DETECTOR,
    OTLP_ENDPOINT,
    METRICS_ADDRESS,
    TRACE_RATIO,
    SESSION_STORAGE_PASSWORD,
    NO_COLOR,
];
