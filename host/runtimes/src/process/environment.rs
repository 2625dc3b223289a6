//! The environment of a command: what it was given, and of the daemon's only what a program cannot do without.
//!
//! The daemon inherits whatever the user's shell held when it was started: cloud credentials, tokens, keys. A server that
//! somebody tries out must not read them by accident, so nothing is passed on but the names below, none of which is meant
//! for a secret. Everything else is given on purpose (`-e NAME=value`), and what is given wins.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use fairlead_core::workload::LaunchEnvironment;

/// Names that are passed on from the daemon's environment.
const PASSED_ON: &[&str] = &[
    // Who and where: without these hardly a program starts.
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TMPDIR",
    // Language and time.
    "LANG",
    "LANGUAGE",
    "TZ",
    // Where programs keep what is theirs: npx, uvx and most servers follow these.
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_CONFIG_DIRS",
    "XDG_DATA_HOME",
    "XDG_DATA_DIRS",
    "XDG_STATE_HOME",
    "XDG_RUNTIME_DIR",
    // The way out of the building: without these a package launcher behind a proxy hangs until it times out.
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    // Where packages come from and where they are kept. Tokens are not among them: they belong into `.npmrc` and `.netrc`.
    "NPM_CONFIG_REGISTRY",
    "NPM_CONFIG_CACHE",
    "NPM_CONFIG_PREFIX",
    "NPM_CONFIG_USERCONFIG",
    "NPM_CONFIG_GLOBALCONFIG",
    "NPM_CONFIG_CAFILE",
    "npm_config_registry",
    "npm_config_cache",
    "npm_config_prefix",
    "npm_config_userconfig",
    "npm_config_globalconfig",
    "npm_config_cafile",
    "UV_INDEX_URL",
    "UV_DEFAULT_INDEX",
    "UV_CACHE_DIR",
    "UV_TOOL_DIR",
    "UV_PYTHON_INSTALL_DIR",
    "UV_SYSTEM_CERTS",
    "UV_NATIVE_TLS",
    "PIP_INDEX_URL",
    "PIP_CERT",
    // Homes of version managers: what stands in `PATH` are their shims, which ask these.
    "NVM_DIR",
    "VOLTA_HOME",
    "FNM_DIR",
    "ASDF_DIR",
    "ASDF_DATA_DIR",
    "MISE_DATA_DIR",
    "PYENV_ROOT",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "DENO_DIR",
    "BUN_INSTALL",
];

/// What begins so is passed on too: `LC_ALL`, `LC_CTYPE` and their like.
const PASSED_ON_PREFIX: &str = "LC_";

/// Environment of a workload by name.
pub(super) type Environment = BTreeMap<OsString, OsString>;

/// What a workload gets of `daemon`'s environment, with `given` on top.
pub(super) fn of_workload(
    daemon: impl Iterator<Item = (OsString, OsString)>,
    given: &LaunchEnvironment,
) -> Environment {
    let inherited = daemon.filter(|(name, _)| passed_on(name));
    let given = given.iter().map(|(name, value)| (name.into(), value.as_str().into()));
    inherited.chain(given).collect()
}

fn passed_on(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| PASSED_ON.contains(&name) || name.starts_with(PASSED_ON_PREFIX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(daemon: &[(&str, &str)], given: &[(&str, &str)]) -> Vec<(String, String)> {
        let daemon = daemon.iter().map(|(name, value)| (name.into(), value.into()));
        let given = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned().into())).collect();
        let text = |text: OsString| text.into_string().unwrap();
        of_workload(daemon, &given).into_iter().map(|(name, value)| (text(name), text(value))).collect()
    }

    #[test]
    fn a_secret_of_the_daemon_is_not_passed_on() {
        let daemon = [
            ("HOME", "/home/a"),
            ("LC_ALL", "C"),
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("NPM_TOKEN", "x"),
            ("npm_config__authToken", "x"),
            ("FAIRLEAD_HOME", "/x"),
            ("LD_PRELOAD", "/x.so"),
            ("NODE_OPTIONS", "--require /x.js"),
        ];
        let expected = [("HOME", "/home/a"), ("LC_ALL", "C")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(environment(&daemon, &[]), expected);
    }

    #[test]
    fn what_is_given_wins() {
        let merged = environment(&[("PATH", "/bin"), ("TZ", "UTC")], &[("PATH", "/opt/bin"), ("TOKEN", "t")]);
        let expected = [("PATH", "/opt/bin"), ("TOKEN", "t"), ("TZ", "UTC")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(merged, expected);
    }
}
