//! Client applications on this machine: which are set up, and what stands in their files.
//!
//! A client is registered once. From then on the daemon keeps its file in step: a server that is created gets an entry, one
//! that is removed loses it, and nothing else of the file changes. A stopped server keeps its entry, because its address
//! stays. Entries that somebody wrote by hand are never touched: what is ours is written down.

mod edit;
mod file;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use fairlead_core::name::GroupName;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::Directories;
use crate::{durable, private};
use file::ClientFile;
use table::{Client, Places, object};

pub(crate) use file::FileError;

/// Why nothing was done with a client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientsError {
    /// The table is wrong.
    #[error(transparent)]
    Table(#[from] table::TableError),
    /// There is no such client.
    #[error("there is no client application `{0}`")]
    Unknown(String),
    /// It was never registered.
    #[error("the client application `{0}` is not registered")]
    NotRegistered(String),
    /// Its file says no.
    #[error(transparent)]
    File(#[from] FileError),
    /// Something of the user's stands where ours should.
    #[error("`{}` has a server `{server}` that is not ours", path.display())]
    Taken {
        /// The file.
        path: PathBuf,
        /// Its name.
        server: String,
    },
    /// Nobody knows where the user's files are.
    #[error("there is no home directory, so no client application is found")]
    NoHome,
    /// The list of registered clients.
    #[error("{operation} the list of registered clients: {reason}")]
    Registered {
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        reason: String,
    },
}

/// What is registered, as it lies on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Registered {
    #[serde(default)]
    clients: BTreeMap<String, Registration>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Registration {
    /// Only servers of this group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<GroupName>,
    /// Names of the entries that are ours.
    #[serde(default)]
    entries: BTreeSet<String>,
}

/// A server, as far as a client has to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offered {
    pub(crate) url: String,
    pub(crate) group: GroupName,
}

/// Servers by the names of their entries.
pub(crate) type Offers = BTreeMap<String, Offered>;

/// A client application as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) installed: bool,
    pub(crate) registered: bool,
    pub(crate) group: Option<GroupName>,
    pub(crate) entries: Vec<String>,
    /// What is not as it should be.
    pub(crate) problem: Option<String>,
}

/// All of them.
pub(crate) struct Clients {
    directory: PathBuf,
    registered: PathBuf,
    backups: PathBuf,
    places: Option<Places>,
    /// One change at a time, of files and of the list.
    turn: Mutex<()>,
}

impl Clients {
    pub(crate) fn new(directories: &Directories) -> Self {
        Self::of(directories, Places::of_this_user())
    }

    fn of(directories: &Directories, places: Option<Places>) -> Self {
        Self {
            directory: directories.clients(),
            registered: directories.state.join("clients.json"),
            backups: directories.state.join("clients"),
            places,
            turn: Mutex::default(),
        }
    }

    /// Every client that is known. Blocking, like everything here.
    pub(crate) fn status(&self, offers: &Offers) -> Result<Vec<State>, ClientsError> {
        let _turn = self.turn.lock();
        let registered = self.read()?;
        let places = self.places()?;
        let state = |client: &Client| {
            let registration = registered.clients.get(&client.id);
            State {
                id: client.id.clone(),
                name: client.name.clone(),
                path: client.file(places),
                installed: client.is_installed(places),
                registered: registration.is_some(),
                group: registration.and_then(|registration| registration.group.clone()),
                entries: registration.into_iter().flat_map(|registration| registration.entries.clone()).collect(),
                problem: registration.and_then(|registration| self.out_of_step(client, registration, offers).err()),
            }
        };
        Ok(table::read(&self.directory)?.values().map(state).collect())
    }

    /// Registers a client and writes its entries.
    pub(crate) fn register(&self, id: &str, group: Option<GroupName>, offers: &Offers) -> Result<(), ClientsError> {
        let _turn = self.turn.lock();
        let client = self.client(id)?;
        let mut registered = self.read()?;
        let mut registration = registered.clients.get(id).cloned().unwrap_or_default();
        registration.group = group;
        // Written down first: an entry that a crash leaves must be known as ours.
        let before = registration.clone();
        registration.entries.extend(wanted(&registration, offers).keys().map(|name| (*name).clone()));
        self.check_free(&client, &before, offers)?;
        registered.clients.insert(id.to_owned(), registration);
        self.write(&registered)?;
        self.sync_one(&client, &mut registered, offers)
    }

    /// Takes our entries out of a client's file and forgets it.
    pub(crate) fn remove(&self, id: &str) -> Result<(), ClientsError> {
        let _turn = self.turn.lock();
        let client = self.client(id)?;
        let mut registered = self.read()?;
        if !registered.clients.contains_key(id) {
            return Err(ClientsError::NotRegistered(id.to_owned()));
        }
        self.sync_one(&client, &mut registered, &Offers::new())?;
        registered.clients.remove(id);
        self.write(&registered)
    }

    /// Puts back what a client's file was before the last change, and forgets the client, so that it stays so.
    pub(crate) fn undo(&self, id: &str) -> Result<(), ClientsError> {
        let _turn = self.turn.lock();
        let client = self.client(id)?;
        self.file(&client)?.undo()?;
        let mut registered = self.read()?;
        registered.clients.remove(id);
        self.write(&registered)
    }

    /// Brings every registered client in step. What fails for one is told and keeps nobody else.
    pub(crate) fn sync(&self, offers: &Offers) -> Result<Vec<(String, ClientsError)>, ClientsError> {
        let _turn = self.turn.lock();
        let mut registered = self.read()?;
        if registered.clients.is_empty() {
            return Ok(Vec::new());
        }
        let clients = table::read(&self.directory)?;
        let mut failed = Vec::new();
        for id in registered.clients.keys().cloned().collect::<Vec<_>>() {
            let outcome = match clients.get(&id) {
                Some(client) => self.sync_one(client, &mut registered, offers),
                None => Err(ClientsError::Unknown(id.clone())),
            };
            failed.extend(outcome.err().map(|error| (id, error)));
        }
        Ok(failed)
    }

    /// One change of the file for everything: nobody sees it half-way.
    fn sync_one(&self, client: &Client, registered: &mut Registered, offers: &Offers) -> Result<(), ClientsError> {
        let Some(registration) = registered.clients.get(&client.id).cloned() else { return Ok(()) };
        let file = self.file(client)?;
        let wanted = wanted(&registration, offers);
        let text = file.read()?;
        let mut ours = registration.entries.clone();
        for (name, offered) in &wanted {
            let entry = client.entry(name, &offered.url);
            let found = edit::get(client, &text, name).map_err(|source| self.edit_error(client, source))?;
            let is_free = found.is_none() || found == Some(Value::Object(object(&entry)));
            if is_free || ours.contains(*name) {
                ours.insert((*name).clone());
            }
        }
        let known = Registration { entries: ours.clone(), ..registration };
        if registered.clients.get(&client.id) != Some(&known) {
            registered.clients.insert(client.id.clone(), known.clone());
            self.write(registered)?;
        }
        file.change(|text| {
            let mut text = text.to_owned();
            for name in ours.iter().filter(|name| !wanted.contains_key(name)) {
                text = edit::remove(client, &text, name)?;
            }
            for (name, offered) in wanted.iter().filter(|(name, _)| ours.contains(**name)) {
                text = edit::set(client, &text, name, &client.entry(name, &offered.url))?;
            }
            Ok(text)
        })?;
        let taken = wanted.keys().find(|name| !ours.contains(**name)).map(|name| (*name).clone());
        let kept = ours.into_iter().filter(|name| wanted.contains_key(name)).collect();
        if registered.clients.get(&client.id).is_some_and(|registration| registration.entries != kept) {
            registered.clients.insert(client.id.clone(), Registration { entries: kept, ..known });
            self.write(registered)?;
        }
        match taken {
            Some(server) => Err(ClientsError::Taken { path: client.file(self.places()?), server }),
            None => Ok(()),
        }
    }

    fn check_free(&self, client: &Client, registration: &Registration, offers: &Offers) -> Result<(), ClientsError> {
        let text = self.file(client)?.read()?;
        for (name, offered) in wanted(registration, offers) {
            let found = edit::get(client, &text, name).map_err(|source| self.edit_error(client, source))?;
            let entry = Value::Object(object(&client.entry(name, &offered.url)));
            if !registration.entries.contains(name) && found.is_some_and(|found| found != entry) {
                return Err(ClientsError::Taken { path: client.file(self.places()?), server: name.clone() });
            }
        }
        Ok(())
    }

    fn out_of_step(&self, client: &Client, registration: &Registration, offers: &Offers) -> Result<(), String> {
        let text = self.file(client).map_err(|error| error.to_string())?.read().map_err(|error| error.to_string())?;
        for (name, offered) in wanted(registration, offers) {
            let entry = Value::Object(object(&client.entry(name, &offered.url)));
            match edit::get(client, &text, name).map_err(|error| error.to_string())? {
                None => return Err(format!("`{name}` is not in its file")),
                Some(found) if found != entry => return Err(format!("`{name}` is not as it was written")),
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn client(&self, id: &str) -> Result<Client, ClientsError> {
        table::read(&self.directory)?.remove(id).ok_or_else(|| ClientsError::Unknown(id.to_owned()))
    }

    fn file(&self, client: &Client) -> Result<ClientFile, ClientsError> {
        Ok(ClientFile::new(client.file(self.places()?), &self.backups, &client.id))
    }

    fn places(&self) -> Result<&Places, ClientsError> {
        self.places.as_ref().ok_or(ClientsError::NoHome)
    }

    fn edit_error(&self, client: &Client, source: edit::EditError) -> ClientsError {
        let path = self.places.as_ref().map_or_else(PathBuf::new, |places| client.file(places));
        FileError::Edit { path, source }.into()
    }

    fn read(&self) -> Result<Registered, ClientsError> {
        let failed = |reason: String| ClientsError::Registered { operation: "read", reason };
        match std::fs::read(&self.registered) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Registered::default()),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    fn write(&self, registered: &Registered) -> Result<(), ClientsError> {
        let failed = |reason: String| ClientsError::Registered { operation: "write", reason };
        let bytes = serde_json::to_vec_pretty(registered).map_err(|error| failed(error.to_string()))?;
        let directory = self.registered.parent().unwrap_or(Path::new("/"));
        let written = private::make(directory).and_then(|()| durable::replace(&self.registered, &bytes, 0o600));
        written.map_err(|error| failed(error.to_string()))
    }
}

impl ClientsError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Unknown(_) => "`fairlead client status --all` shows those that are known",
            Self::NotRegistered(_) => "`fairlead client status` shows those that are",
            Self::Taken { .. } => "rename or remove that entry, or give the server another name",
            Self::File(FileError::Edit { .. }) => "correct the file, or change it by hand: it was left as it is",
            Self::File(FileError::Changed { .. }) => "what it was is kept in the state directory, below `clients`",
            Self::Table(_) => "correct or remove that file",
            _ => return None,
        })
    }
}

fn wanted<'a>(registration: &Registration, offers: &'a Offers) -> BTreeMap<&'a String, &'a Offered> {
    let is_wanted = |offered: &Offered| registration.group.as_ref().is_none_or(|group| *group == offered.group);
    offers.iter().filter(|(_, offered)| is_wanted(offered)).collect()
}

#[cfg(test)]
mod tests;
