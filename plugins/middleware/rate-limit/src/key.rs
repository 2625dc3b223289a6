//! The key of a bucket: the parts that have one of their own, in a form in which no two combinations are the same.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use fairlead_plugin::Message;

use crate::config::By;

/// Keys longer than this are hashed: the contract allows 512 bytes, and a name from outside may be longer.
const READABLE_BYTES_MAX: usize = 200;

/// The key of the bucket that a message draws from.
pub(crate) fn of(by: &[By], message: &Message<'_>) -> String {
    let mut key = String::from("bucket");
    for by in by {
        let part = match by {
            By::Tool => message.target().map(str::to_owned),
            By::Session => message.context().session(),
            By::Identity => message.context().identity(),
            By::Server => Some(message.context().server()),
        };
        key.push('/');
        key.push_str(by.word());
        // The length makes it unambiguous whatever the part contains; `-` is nobody, which no length is.
        match part {
            Some(part) => key.push_str(&format!(":{}:{part}", part.len())),
            None => key.push_str(":-"),
        }
    }
    if key.len() > READABLE_BYTES_MAX { hashed(&key) } else { key }
}

fn hashed(key: &str) -> String {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, key).hash(&mut hasher);
        hasher.finish()
    };
    format!("bucket#{:016x}{:016x}", half(0), half(1))
}
