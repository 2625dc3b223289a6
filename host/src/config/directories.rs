//! Where things live: one directory when `FAIRLEAD_HOME` says so (tests, demonstrations, several daemons side by side),
//! otherwise where the platform puts them. Nothing else builds such a path, so that two parts never disagree about one.

use std::path::{Path, PathBuf};

use etcetera::AppStrategy as _;

/// The directories of one daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Directories {
    /// What must survive: the store, logs.
    pub(crate) state: PathBuf,
    /// What the user installed: plugins.
    pub(crate) data: PathBuf,
    /// What the user wrote.
    pub(crate) config: PathBuf,
    /// What can be made again: compiled plugins.
    pub(crate) cache: PathBuf,
    /// What lives as long as the daemon: the socket, its description.
    pub(crate) run: PathBuf,
}

impl Directories {
    /// Everything below one directory.
    #[must_use]
    pub(crate) fn below(home: &Path) -> Self {
        Self {
            state: home.join("state"),
            data: home.join("data"),
            config: home.join("config"),
            cache: home.join("cache"),
            run: home.join("run"),
        }
    }

    /// Where the platform puts such things (XDG on Linux, `~/Library` on macOS); `None` when the user has no home.
    #[must_use]
    pub(crate) fn of_platform() -> Option<Self> {
        let strategy = etcetera::app_strategy::choose_native_strategy(etcetera::AppStrategyArgs {
            top_level_domain: "dev".to_owned(),
            author: "Fairlead".to_owned(),
            app_name: "fairlead".to_owned(),
        })
        .ok()?;
        let state = strategy.state_dir().unwrap_or_else(|| strategy.data_dir().join("state"));
        Some(Self {
            data: strategy.data_dir(),
            config: strategy.config_dir(),
            cache: strategy.cache_dir(),
            run: strategy.runtime_dir().unwrap_or_else(|| state.join("run")),
            state,
        })
    }

    /// The state store.
    #[must_use]
    pub(crate) fn store(&self) -> PathBuf {
        self.state.join("store")
    }

    /// Logs of servers and of the daemon.
    #[must_use]
    pub(crate) fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }

    /// Log of the daemon.
    #[must_use]
    pub(crate) fn daemon_log(&self) -> PathBuf {
        self.logs().join("daemon.log")
    }

    /// The socket of the API.
    #[must_use]
    pub(crate) fn socket(&self) -> PathBuf {
        self.run.join("fairlead.sock")
    }

    /// The store of secrets.
    #[must_use]
    pub(crate) fn secrets(&self) -> PathBuf {
        self.state.join("secrets.json")
    }

    /// The key of the store of secrets, unless it is kept elsewhere. Not beside the store: a backup of the one should not be
    /// a backup of both.
    #[must_use]
    pub(crate) fn secrets_key(&self) -> PathBuf {
        self.config.join("secrets.key")
    }

    /// What this home is called where it shares something with others: a container engine.
    #[must_use]
    pub(crate) fn home_id(&self) -> PathBuf {
        self.state.join("home-id")
    }

    /// Held by the daemon that owns these directories. It lies with the state, which is what must have one owner.
    #[must_use]
    pub(crate) fn lock(&self) -> PathBuf {
        self.state.join("daemon.lock")
    }

    /// Describes the running daemon to whoever looks: process, address, socket, version.
    #[must_use]
    pub(crate) fn daemon_json(&self) -> PathBuf {
        self.run.join("daemon.json")
    }

    /// Registries: the list of them, and the last good copy of each.
    #[must_use]
    pub(crate) fn registries(&self) -> PathBuf {
        self.state.join("registries")
    }

    /// Plugins that the user installed.
    #[must_use]
    pub(crate) fn plugins(&self) -> PathBuf {
        self.data.join("plugins")
    }

    /// Tables of client applications that the user added.
    #[must_use]
    pub(crate) fn clients(&self) -> PathBuf {
        self.config.join("clients")
    }

    /// The ignore file for the mounts of all servers.
    #[must_use]
    pub(crate) fn ignore(&self) -> PathBuf {
        self.config.join("ignore")
    }

    /// Where the configuration file may be, unless another one is named. There is one of them at most.
    #[must_use]
    pub(crate) fn config_files(&self) -> [PathBuf; 4] {
        ["config.toml", "config.yaml", "config.yml", "config.json"].map(|file| self.config.join(file))
    }
}
