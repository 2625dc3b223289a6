//! Every environment variable that Fairlead reads, once: code, help and reference page take it from here.

/// An environment variable.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Variable {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it does, in one sentence.
    pub(crate) meaning: &'static str,
}

/// One directory for everything.
pub(crate) const HOME: Variable = Variable {
    name: "FAIRLEAD_HOME",
    meaning: "Directory for state, data, configuration, cache, logs and the socket; without it, where the platform puts them",
};
/// The configuration file.
pub(crate) const CONFIG: Variable = Variable {
    name: "FAIRLEAD_CONFIG",
    meaning: "Configuration file; by default `config.toml` in the configuration directory",
};
/// Where MCP clients connect.
pub(crate) const ADDRESS: Variable = Variable {
    name: "FAIRLEAD_ADDRESS",
    meaning: "Address on which MCP clients reach the servers; port 0 picks a free one",
};
/// What is logged.
pub(crate) const LOG: Variable = Variable {
    name: "FAIRLEAD_LOG",
    meaning: "What the daemon logs: a level, or `target=level` directives with commas",
};
/// How it is logged.
pub(crate) const LOG_FORMAT: Variable =
    Variable { name: "FAIRLEAD_LOG_FORMAT", meaning: "How the daemon logs: `text` or `json`" };
/// Where plugins are looked up by name.
pub(crate) const PLUGIN_PATH: Variable = Variable {
    name: "FAIRLEAD_PLUGIN_PATH",
    meaning: "Directories, separated by colons, in which plugins are looked up by name before the usual ones",
};
/// Where servers from images go.
pub(crate) const CONTAINER_ENGINE: Variable = Variable {
    name: "FAIRLEAD_CONTAINER_ENGINE",
    meaning: "Container engine for new servers, as `unix:///path/to/socket`; without it, the first that answers",
};
/// No colour, <https://no-color.org>.
pub(crate) const NO_COLOR: Variable =
    Variable { name: "NO_COLOR", meaning: "When set to anything, nothing is coloured" };

/// All of them, in the order of the reference page.
pub(crate) const ALL: &[Variable] = &[HOME, CONFIG, ADDRESS, LOG, LOG_FORMAT, PLUGIN_PATH, CONTAINER_ENGINE, NO_COLOR];
