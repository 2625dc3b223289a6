//! What lies in this home, and whether it is in order: secrets, client applications, plugins, the clock, what was left over.
//!
//! Where a daemon runs it is asked, because it knows; where none does, the files are looked at as a daemon would find them.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use fairlead_core::name::TenantName;

use super::{Check, bad, good, warning};
use crate::api::types::{ClientList, PluginList, SecretList};
use crate::app::containers::leftover_containers;
use crate::client::{Client, ClientError};
use crate::config::{Directories, Settings};
use crate::limits::CLOCK_SKEW_MAX;
use crate::secrets::Providers;
use crate::text;

/// Whether the store of secrets opens, and nobody else reads its key.
pub(super) async fn secrets(settings: &Settings, daemon: Option<&Client>) -> Check {
    let name = "secrets";
    let directories = &settings.directories;
    for file in [directories.secrets(), directories.secrets_key()] {
        if let Some(mode) = open_to_others(&file) {
            let shown = file.display();
            return bad(name, format!("others than you can read `{shown}` (mode {mode:o})"))
                .hint(format!("`chmod 600 {shown}`, then `fairlead secret rotate`: what was read may be known"));
        }
    }
    if !directories.secrets().exists() {
        return good(name, "none are stored".to_owned());
    }
    let found = match daemon {
        Some(client) => match client.get::<SecretList>("/api/v1beta/secrets").await {
            Ok(list) => Ok(list.secrets.len()),
            Err(ClientError::Problem(problem)) => Err((problem.detail, problem.hint)),
            Err(error) => Err((text::chain(&error), None)),
        },
        None => {
            let providers = Providers::new(settings, std::sync::Arc::new(crate::app::MachineClock));
            let listed = providers.list(TenantName::default()).await;
            listed.map(|known| known.len()).map_err(|problem| (problem.detail, problem.hint))
        }
    };
    match found {
        Ok(count) => good(name, format!("the store opens; {count} in tenant `default`")),
        Err((detail, hint)) => {
            let check = bad(name, detail);
            match hint {
                Some(hint) => check.hint(hint),
                None => check,
            }
        }
    }
}

/// Whether the files of client applications say what they should.
pub(super) async fn clients(daemon: Option<&Client>) -> Check {
    let name = "clients";
    let Some(client) = daemon else {
        return good(name, "looked after by the daemon when it runs".to_owned());
    };
    let clients = match client.get::<ClientList>("/api/v1beta/clients").await {
        Ok(ClientList { clients }) => clients,
        Err(error) => return warning(name, text::chain(&error)),
    };
    let (registered, installed) = clients.iter().fold((0, 0), |(registered, installed), client| {
        (registered + usize::from(client.registered), installed + usize::from(client.installed))
    });
    match clients.iter().find_map(|client| Some((client, client.problem.as_ref()?))) {
        Some((client, problem)) => warning(name, format!("{}: {problem} (`{}`)", client.id, client.path))
            .hint(format!("`fairlead client register {}` writes it again", client.id)),
        None => good(name, format!("{registered} registered, {installed} installed")),
    }
}

/// Whether what is installed can be loaded.
pub(super) async fn plugins(directories: &Directories, daemon: Option<&Client>) -> Check {
    let name = "plugins";
    if let Some(client) = daemon {
        return match client.get::<PluginList>("/api/v1beta/plugins").await {
            Err(error) => warning(name, text::chain(&error)),
            Ok(PluginList { plugins, unusable, .. }) => match unusable.first() {
                None => good(name, format!("{} can be attached by name", plugins.len())),
                Some(plugin) => warning(name, format!("`{}` is none: {}", plugin.path, plugin.reason))
                    .hint("remove it, or put a component there that was built for this version"),
            },
        };
    }
    let directory = directories.plugins();
    let files = std::fs::read_dir(&directory).map(|entries| {
        let is_plugin = |path: &Path| path.extension().is_some_and(|extension| extension == "wasm");
        entries.flatten().filter(|entry| is_plugin(&entry.path())).count()
    });
    match files {
        Ok(count) => good(name, format!("{count} installed in `{}`", directory.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            good(name, format!("none installed: `{}` is not there", directory.display()))
        }
        Err(error) => warning(name, format!("`{}`: {error}", directory.display())),
    }
}

/// Whether the clock is behind what was written last: lifetimes, ages and certificates would be wrong.
pub(super) fn clock(directories: &Directories) -> Check {
    let name = "clock";
    let files = [directories.store().join("sled/db"), directories.daemon_log(), directories.secrets()];
    let written = |file: &Path| std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok();
    let last = files.iter().filter_map(|file| written(file)).max();
    let ahead = last.and_then(|last| last.duration_since(SystemTime::now()).ok()).unwrap_or(Duration::ZERO);
    if ahead > CLOCK_SKEW_MAX {
        return warning(name, format!("it is {} s behind what was written last", ahead.as_secs())).hint(
            "set it, by NTP for example; times that are shown and lifetimes of plugin state are wrong until then",
        );
    }
    good(name, format!("{:.0}", jiff::Timestamp::now()))
}

/// Containers that no daemon minds. One that starts takes over what its servers still want, and removes the rest.
pub(super) async fn orphans(settings: &Settings, daemon: Option<&Client>) -> Check {
    let name = "orphans";
    if daemon.is_some() {
        return good(name, "looked for by the daemon when it started".to_owned());
    }
    let found = match leftover_containers(settings).await {
        Err(error) => return warning(name, format!("cannot be looked for: {error}")),
        Ok(found) => found,
    };
    let (serving, rest): (Vec<_>, Vec<_>) = found.iter().partition(|found| found.running && found.mark.is_some());
    if found.is_empty() {
        return good(name, "no container is left of an earlier daemon".to_owned());
    }
    let servers: BTreeSet<String> =
        serving.iter().filter_map(|found| Some(found.server.as_ref()?.to_string())).collect();
    let mut told = Vec::new();
    if !servers.is_empty() {
        let servers: Vec<String> = servers.into_iter().collect();
        told.push(format!("{} serves on without a daemon", servers.join(", ")));
    }
    if !rest.is_empty() {
        let names: Vec<&str> = rest.iter().map(|found| found.name.as_str()).collect();
        told.push(format!("of no use any more: {}", names.join(", ")));
    }
    warning(name, told.join("; ")).hint(
        "the next daemon takes over what still serves and removes the rest: `fairlead serve`, or any command that starts it",
    )
}

/// The mode of a file that others than its owner can read.
fn open_to_others(file: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;

    let mode = std::fs::metadata(file).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::Verdict;
    use super::*;

    fn settings(home: &Path) -> Settings {
        let overrides = crate::config::Overrides { home: Some(home.to_owned()), ..Default::default() };
        Settings::resolve(overrides, &|_| None).unwrap()
    }

    #[tokio::test]
    async fn a_key_that_others_can_read_is_bad_and_so_is_a_store_that_does_not_open() {
        let home = tempfile::tempdir().unwrap();
        let settings = settings(home.path());
        assert_eq!(secrets(&settings, None).await.verdict, Verdict::Good);
        let (key, store) = (settings.directories.secrets_key(), settings.directories.secrets());
        for file in [&key, &store] {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "x").unwrap();
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let check = secrets(&settings, None).await;
        assert!(check.verdict == Verdict::Bad && check.hint.is_some(), "{check:?}");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
        let check = secrets(&settings, None).await;
        assert!(check.verdict == Verdict::Bad && check.hint.unwrap().contains("chmod 600"));
    }

    #[test]
    fn a_clock_that_is_behind_is_a_warning() {
        let home = tempfile::tempdir().unwrap();
        let directories = Directories::below(home.path());
        assert_eq!(clock(&directories).verdict, Verdict::Good);
        std::fs::create_dir_all(directories.logs()).unwrap();
        let log = std::fs::File::create(directories.daemon_log()).unwrap();
        assert_eq!(clock(&directories).verdict, Verdict::Good);
        log.set_modified(SystemTime::now() + Duration::from_secs(3_600)).unwrap();
        assert_eq!(clock(&directories).verdict, Verdict::Warning);
    }
}
