//! The sealed form of the store: a header that says how the key is made, and everything else behind an AEAD.
//!
//! The header is not secret but it is authenticated, with the content, so that nobody weakens the derivation or moves the
//! content of one store under the header of another. A small sealed nothing beside it tells a wrong key from a file that was
//! changed: an AEAD alone says "no" to both, and their remedies are opposite.
//!
//! Argon2id makes the key, also from a random key file: one way to derive is one way to be wrong, and 20 ms are paid once.

use std::collections::BTreeMap;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use fairlead_core::name::TenantName;
use fairlead_core::secret::{SecretName, SecretValue};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::key::KeySource;
use crate::limits::{KDF_LANES_MAX, KDF_MEMORY_KIB, KDF_MEMORY_KIB_MAX, KDF_PASSES, KDF_PASSES_MAX};

/// What the file begins with.
const FORMAT: &str = "fairlead-secrets";

/// Version of the form.
const VERSION: u32 = 1;

/// Bytes of a nonce: so many that random ones never meet.
const NONCE_BYTES: usize = 24;

/// Bytes of a salt.
const SALT_BYTES: usize = 16;

/// Why a sealed store is not opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum SealError {
    /// It is none, or not of this program.
    #[error("it is no store of secrets, or a newer program made it: {0}")]
    Form(String),
    /// The derivation is out of bounds.
    #[error("it asks for a derivation of its key that is out of bounds")]
    Derivation,
    /// The key is another one.
    #[error("the key does not open it")]
    WrongKey,
    /// It is not as it was written.
    #[error("it was changed or damaged")]
    Changed,
    /// Random numbers are missing.
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
}

/// How the key is made. Authenticated as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Header {
    format: String,
    version: u32,
    kdf: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
    cipher: String,
    /// Where the key material comes from.
    pub(super) key: KeySource,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    header: Header,
    /// Nothing, sealed.
    check: Sealed,
    /// Everything, sealed.
    content: Sealed,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    nonce: String,
    sealed: String,
}

/// The key that a header and key material make, and the header.
pub(super) struct Key {
    pub(super) header: Header,
    bytes: Zeroizing<[u8; 32]>,
}

/// One secret of the store.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) value: SecretValue,
    pub(super) updated: Timestamp,
}

/// Everything in the store.
pub(super) type Content = BTreeMap<TenantName, BTreeMap<SecretName, Entry>>;

/// An entry as it lies inside the seal. Base64 has nothing to escape, so a reader makes no copies on the way.
#[derive(Serialize, Deserialize)]
struct Stored {
    value: Zeroizing<String>,
    updated: Timestamp,
}

type StoredContent = BTreeMap<TenantName, BTreeMap<SecretName, Stored>>;

impl Header {
    /// For a new store, or a new key of an old one.
    pub(super) fn new(key: KeySource) -> Result<Self, SealError> {
        let salt = random::<SALT_BYTES>()?;
        Ok(Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            kdf: "argon2id".to_owned(),
            memory_kib: KDF_MEMORY_KIB,
            passes: KDF_PASSES,
            lanes: 1,
            salt: STANDARD.encode(salt),
            cipher: "xchacha20poly1305".to_owned(),
            key,
        })
    }

    /// Reads the header of a sealed store.
    pub(super) fn read(file: &[u8]) -> Result<Self, SealError> {
        let File { header, .. } = parse(file)?;
        header.check()?;
        Ok(header)
    }

    fn check(&self) -> Result<(), SealError> {
        let known = [(&self.format, FORMAT), (&self.kdf, "argon2id"), (&self.cipher, "xchacha20poly1305")];
        if let Some((found, _)) = known.iter().find(|(found, expected)| found.as_str() != *expected) {
            return Err(SealError::Form(format!("`{}`", found.escape_debug())));
        }
        if self.version != VERSION {
            return Err(SealError::Form(format!("version {}", self.version)));
        }
        let within =
            self.memory_kib <= KDF_MEMORY_KIB_MAX && self.passes <= KDF_PASSES_MAX && self.lanes <= KDF_LANES_MAX;
        if within { Ok(()) } else { Err(SealError::Derivation) }
    }

    fn authenticated(&self) -> Result<Vec<u8>, SealError> {
        serde_json::to_vec(self).map_err(|error| SealError::Form(error.to_string()))
    }
}

impl Key {
    /// Derives. Takes a moment and some memory, on purpose.
    pub(super) fn derive(header: Header, material: &[u8]) -> Result<Self, SealError> {
        header.check()?;
        let salt = STANDARD.decode(&header.salt).map_err(|_| SealError::Derivation)?;
        let params = Params::new(header.memory_kib, header.passes, header.lanes, Some(32));
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.map_err(|_| SealError::Derivation)?);
        let mut bytes = Zeroizing::new([0; 32]);
        argon2.hash_password_into(material, &salt, &mut *bytes).map_err(|_| SealError::Derivation)?;
        Ok(Self { header, bytes })
    }

    /// The file that holds this content.
    pub(super) fn seal(&self, content: &Content) -> Result<Vec<u8>, SealError> {
        let plain = write(content)?;
        let file = File {
            header: self.header.clone(),
            check: self.put_under(b"check", &[])?,
            content: self.put_under(b"content", &plain)?,
        };
        serde_json::to_vec_pretty(&file).map_err(|error| SealError::Form(error.to_string()))
    }

    /// What a file holds.
    pub(super) fn open(&self, file: &[u8]) -> Result<Content, SealError> {
        let File { header, check, content } = parse(file)?;
        if header != self.header {
            return Err(SealError::WrongKey);
        }
        self.take_out(b"check", &check).map_err(|_| SealError::WrongKey)?;
        let plain = self.take_out(b"content", &content)?;
        read(&plain)
    }

    fn put_under(&self, label: &[u8], plain: &[u8]) -> Result<Sealed, SealError> {
        let nonce = random::<NONCE_BYTES>()?;
        let aad = self.label(label)?;
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: &aad });
        let sealed = sealed.map_err(|_| SealError::Form("it is too large".to_owned()))?;
        Ok(Sealed { nonce: STANDARD.encode(nonce), sealed: STANDARD.encode(sealed) })
    }

    fn take_out(&self, label: &[u8], sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let changed = |_| SealError::Changed;
        let nonce: [u8; NONCE_BYTES] =
            STANDARD.decode(&sealed.nonce).map_err(changed)?.try_into().map_err(|_| SealError::Changed)?;
        let bytes = STANDARD.decode(&sealed.sealed).map_err(changed)?;
        let aad = self.label(label)?;
        let plain = self.cipher().decrypt(&XNonce::from(nonce), Payload { msg: &bytes, aad: &aad });
        plain.map(Zeroizing::new).map_err(|_| SealError::Changed)
    }

    /// Which of the two, and the header: neither is taken for the other.
    fn label(&self, label: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut aad = label.to_vec();
        aad.push(0);
        aad.extend(self.header.authenticated()?);
        Ok(aad)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.bytes).into())
    }
}

fn parse(file: &[u8]) -> Result<File, SealError> {
    serde_json::from_slice(file).map_err(|error| SealError::Form(format!("line {}", error.line())))
}

fn write(content: &Content) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let stored: StoredContent = content
        .iter()
        .map(|(tenant, entries)| {
            let entries = entries.iter().map(|(name, entry)| {
                let value = Zeroizing::new(STANDARD.encode(entry.value.reveal()));
                (name.clone(), Stored { value, updated: entry.updated })
            });
            (tenant.clone(), entries.collect())
        })
        .collect();
    let size: usize =
        stored.values().flatten().map(|(name, entry)| name.as_str().len() + entry.value.len() + 128).sum();
    // Of its final size at once: growing would leave copies behind that nobody overwrites.
    let mut plain = Zeroizing::new(Vec::with_capacity(2 * size + 1024));
    serde_json::to_writer(&mut *plain, &stored).map_err(|error| SealError::Form(error.to_string()))?;
    Ok(plain)
}

fn read(plain: &[u8]) -> Result<Content, SealError> {
    let stored: StoredContent = serde_json::from_slice(plain).map_err(|_| SealError::Changed)?;
    let mut content = Content::new();
    for (tenant, entries) in stored {
        for (name, Stored { value, updated }) in entries {
            let mut bytes = STANDARD.decode(value.as_bytes()).map_err(|_| SealError::Changed)?;
            let entry = Entry { value: SecretValue::new(&bytes), updated };
            bytes.zeroize();
            content.entry(tenant.clone()).or_default().insert(name, entry);
        }
    }
    Ok(content)
}

/// Random bytes of the operating system.
pub(super) fn random<const N: usize>() -> Result<[u8; N], SealError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(SealError::Random)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Cheap, for tests that derive often.
    fn key(material: &[u8]) -> Key {
        let header = Header { memory_kib: 8, passes: 1, ..Header::new(KeySource::File).unwrap() };
        Key::derive(header, material).unwrap()
    }

    fn content(value: &[u8]) -> Content {
        let entry = Entry { value: SecretValue::new(value), updated: Timestamp::UNIX_EPOCH };
        [(TenantName::default(), [(SecretName::new("a").unwrap(), entry)].into())].into()
    }

    #[test]
    fn a_new_store_is_made_the_expensive_way_and_opens_with_its_key_alone() {
        let key = Key::derive(Header::new(KeySource::Environment).unwrap(), b"passphrase").unwrap();
        let file = key.seal(&content(b"hunter2")).unwrap();
        let header = Header::read(&file).unwrap();
        assert_eq!(
            (header.memory_kib, header.passes, header.key),
            (KDF_MEMORY_KIB, KDF_PASSES, KeySource::Environment)
        );
        assert!(Key::derive(header.clone(), b"passphrase").unwrap().open(&file).unwrap() == content(b"hunter2"));
        let wrong = Key::derive(header, b"passphrasf").unwrap().open(&file);
        assert!(matches!(wrong, Err(SealError::WrongKey)));
    }

    #[test]
    fn a_file_that_asks_for_all_the_memory_is_refused() {
        let text = String::from_utf8(key(b"k").seal(&content(b"v")).unwrap()).unwrap();
        let text = text.replace("\"memoryKib\": 8", "\"memoryKib\": 4000000000");
        assert!(matches!(Header::read(text.as_bytes()), Err(SealError::Derivation)));
    }

    #[test]
    fn the_value_is_nowhere_in_the_file() {
        let file = String::from_utf8(key(b"k").seal(&content(b"hunter2")).unwrap()).unwrap();
        assert!(!file.contains("hunter2") && !file.contains(&STANDARD.encode("hunter2")), "{file}");
    }

    proptest! {
        #[test]
        fn what_is_sealed_comes_out_again(value in proptest::collection::vec(any::<u8>(), 0..64)) {
            let key = key(b"k");
            let file = key.seal(&content(&value)).unwrap();
            prop_assert!(key.open(&file).unwrap() == content(&value));
        }

        /// Whatever byte is changed: it is refused, or it says the same (white space, say).
        #[test]
        fn a_changed_file_is_refused(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let key = key(b"k");
            let mut file = key.seal(&content(b"value")).unwrap();
            let at = at.index(file.len());
            file[at] = byte;
            if let Ok(opened) = Header::read(&file).and_then(|header| Key::derive(header, b"k")).and_then(|key| key.open(&file)) {
                prop_assert!(opened == content(b"value"));
            }
        }

        #[test]
        fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            prop_assert!(Header::read(&bytes).is_err());
        }
    }
}
