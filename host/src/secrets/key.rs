//! Where the key of the store comes from: a file of this home, the environment, or the keyring of the desktop.
//!
//! A file is the default because it always works: on a server, in a container, after a reboot without anybody there. It
//! protects what a backup or a synchronised directory carries away (the store lies with the state, the key with the
//! configuration), not against somebody who reads both. The environment and the keyring keep it off the disk.
//!
//! The keyring is reached through the tool that the platform has for it (`secret-tool`, `security`), with the value on
//! standard input. The library for it would bring a D-Bus implementation of 130 crates for this one value.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::program;
use super::sealed::random;
use crate::config::variables;
use crate::durable;
use crate::limits::{KEY_MATERIAL_BYTES_MAX, KEYRING_MAX};
use crate::private;

/// Whose place it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum KeySource {
    /// A file of this home, for its owner alone
    File,
    /// `FAIRLEAD_SECRETS_KEY`, or the file that `FAIRLEAD_SECRETS_KEY_FILE` names
    Environment,
    /// The keyring of the desktop
    Keyring,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyError {
    /// The place is empty.
    #[error("the key of the store of secrets is not in {0}")]
    Absent(String),
    /// The place cannot be read or written.
    #[error("{operation} {place}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// Where.
        place: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The keyring says no.
    #[error("the keyring: {0}")]
    Keyring(String),
}

/// Key material: long lines of random text, or a passphrase.
pub(super) type Material = Zeroizing<Vec<u8>>;

/// Where variables are looked up: the process environment, or a map in a test.
pub(super) type Lookup = Box<dyn Fn(&str) -> Option<OsString> + Send + Sync>;

/// All places.
pub(super) struct Keys {
    pub(super) file: PathBuf,
    pub(super) lookup: Lookup,
}

impl Keys {
    /// Where a new store takes its key from when nobody said: the environment where it has one.
    pub(super) fn default_source(&self) -> KeySource {
        let given = [variables::SECRETS_KEY, variables::SECRETS_KEY_FILE];
        let is_given = given.iter().any(|variable| (self.lookup)(variable.name).is_some_and(|value| !value.is_empty()));
        if is_given { KeySource::Environment } else { KeySource::File }
    }

    /// In words.
    pub(super) fn place(&self, source: KeySource) -> String {
        match source {
            KeySource::File => format!("`{}`", self.file.display()),
            KeySource::Environment => {
                format!("`{}` or `{}`", variables::SECRETS_KEY.name, variables::SECRETS_KEY_FILE.name)
            }
            KeySource::Keyring => "the keyring".to_owned(),
        }
    }

    /// What is there, the current one first. A file has two during a rotation, so that a crash leaves the one that opens.
    pub(super) fn read(&self, source: KeySource) -> Result<Vec<Material>, KeyError> {
        let absent = || KeyError::Absent(self.place(source));
        match source {
            KeySource::File => match read_bounded(&self.file) {
                Ok(text) => Ok(lines(&text)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Err(absent()),
                Err(error) => Err(self.io("read", source, error)),
            },
            KeySource::Environment => {
                if let Some(value) = (self.lookup)(variables::SECRETS_KEY.name).filter(|value| !value.is_empty()) {
                    return Ok(vec![Zeroizing::new(value.into_encoded_bytes())]);
                }
                let file = (self.lookup)(variables::SECRETS_KEY_FILE.name).filter(|value| !value.is_empty());
                let text = read_bounded(&PathBuf::from(file.ok_or_else(absent)?));
                Ok(lines(&text.map_err(|error| self.io("read", source, error))?))
            }
            KeySource::Keyring => {
                let found = lines(&keyring(&self.keyring_call("lookup"), None)?);
                if found.is_empty() { Err(absent()) } else { Ok(found) }
            }
        }
    }

    /// Makes a new key and puts it in front of those that are there. What is in the environment is not ours to change: there it
    /// is `given`.
    pub(super) fn add(&self, source: KeySource, given: Option<Material>) -> Result<Material, KeyError> {
        let new = match (source, given) {
            (KeySource::Environment, Some(given)) => return Ok(given),
            (KeySource::Environment, None) => {
                return self.read(source)?.into_iter().next().ok_or_else(|| KeyError::Absent(self.place(source)));
            }
            (_, Some(given)) => given,
            (_, None) => generate().map_err(|error| self.io("make", source, error))?,
        };
        let mut all = vec![new.clone()];
        all.extend(self.read(source).or_else(|error| match error {
            // The tool says the same of an empty keyring and of a locked one, which takes nothing either.
            KeyError::Absent(_) | KeyError::Keyring(_) => Ok(Vec::new()),
            other => Err(other),
        })?);
        self.write(source, &all)?;
        Ok(new)
    }

    /// Forgets all keys but this one.
    pub(super) fn keep_only(&self, source: KeySource, key: &Material) -> Result<(), KeyError> {
        self.write(source, std::slice::from_ref(key))
    }

    /// Forgets the key of a place that is not used any more.
    pub(super) fn forget(&self, source: KeySource) -> Result<(), KeyError> {
        match source {
            KeySource::File => std::fs::remove_file(&self.file).map_err(|error| self.io("remove", source, error)),
            KeySource::Keyring => keyring(&self.keyring_call("clear"), None).map(drop),
            KeySource::Environment => Ok(()),
        }
    }

    /// Puts these in place of what is there.
    fn write(&self, source: KeySource, keys: &[Material]) -> Result<(), KeyError> {
        let mut text = Zeroizing::new(Vec::with_capacity(keys.iter().map(|key| key.len() + 1).sum()));
        for key in keys {
            text.extend_from_slice(key);
            text.push(b'\n');
        }
        match source {
            KeySource::File => {
                let written = private::make_for(&self.file).and_then(|()| durable::replace(&self.file, &text, 0o600));
                written.map_err(|error| self.io("write", source, error))
            }
            KeySource::Keyring => keyring(&self.keyring_call("store"), Some(&self.keyring_input(&text))).map(drop),
            KeySource::Environment => Ok(()),
        }
    }

    /// Which home's key: one desktop has one keyring, and may have several homes.
    fn keyring_account(&self) -> String {
        self.file.display().to_string()
    }

    #[cfg(not(target_os = "macos"))]
    fn keyring_call(&self, verb: &str) -> Vec<String> {
        let label = (verb == "store").then_some("--label=Fairlead");
        let attributes = ["service", "fairlead", "account"];
        let words = ["secret-tool", verb].into_iter().chain(label).chain(attributes).map(str::to_owned);
        words.chain([self.keyring_account()]).collect()
    }

    #[cfg(not(target_os = "macos"))]
    fn keyring_input(&self, keys: &Material) -> Material {
        keys.clone()
    }

    #[cfg(target_os = "macos")]
    fn keyring_call(&self, verb: &str) -> Vec<String> {
        let account = self.keyring_account();
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        match verb {
            "store" => words(&["security", "-i"]),
            "clear" => words(&["security", "delete-generic-password", "-s", "fairlead", "-a", &account]),
            _ => words(&["security", "find-generic-password", "-s", "fairlead", "-a", &account, "-w"]),
        }
    }

    /// On standard input, where no list of processes shows it. One line, which has room for one key: the newest.
    #[cfg(target_os = "macos")]
    fn keyring_input(&self, keys: &Material) -> Material {
        let account = self.keyring_account();
        let mut line =
            Zeroizing::new(format!("add-generic-password -U -s fairlead -a \"{account}\" -w \"").into_bytes());
        line.extend_from_slice(keys.split(|byte| *byte == b'\n').next().unwrap_or_default());
        line.extend_from_slice(b"\"\n");
        line
    }

    fn io(&self, operation: &'static str, source: KeySource, error: io::Error) -> KeyError {
        KeyError::Io { operation, place: self.place(source), source: error }
    }
}

/// 256 random bits as text, so that every place takes them.
fn generate() -> io::Result<Material> {
    let mut bytes = random::<32>().map_err(io::Error::other)?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.zeroize();
    Ok(Zeroizing::new(text.into_bytes()))
}

fn read_bounded(path: &std::path::Path) -> io::Result<Material> {
    use std::io::Read as _;

    let mut text = Zeroizing::new(Vec::with_capacity(KEY_MATERIAL_BYTES_MAX));
    let limit = u64::try_from(KEY_MATERIAL_BYTES_MAX).unwrap_or(u64::MAX);
    std::fs::File::open(path)?.take(limit).read_to_end(&mut text)?;
    Ok(text)
}

fn lines(text: &[u8]) -> Vec<Material> {
    let lines = text.split(|byte| matches!(byte, b'\n' | b'\r')).filter(|line| !line.is_empty());
    lines.map(|line| Zeroizing::new(line.to_vec())).collect()
}

fn keyring(call: &[String], input: Option<&Material>) -> Result<Material, KeyError> {
    program::run(call, input.map(|input| input.as_slice()), KEYRING_MAX)
        .map_err(|error| KeyError::Keyring(error.to_string()))
}
