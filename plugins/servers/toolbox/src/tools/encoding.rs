//! Hashes and Base64.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::Tool;

#[derive(Deserialize, JsonSchema, Default)]
#[serde(rename_all = "lowercase")]
enum Algorithm {
    #[default]
    Sha256,
    Sha384,
    Sha512,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Hash {
    text: String,
    #[serde(default)]
    algorithm: Algorithm,
}

#[derive(Serialize, JsonSchema)]
struct Hashed {
    /// Lower-case hexadecimal.
    digest: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Base64 {
    text: String,
    /// From Base64 to text instead.
    #[serde(default)]
    decode: bool,
    /// The alphabet for URLs, without padding.
    #[serde(default)]
    url: bool,
}

#[derive(Serialize, JsonSchema)]
struct Coded {
    text: String,
}

fn hash(input: &Hash) -> String {
    let digest = match input.algorithm {
        Algorithm::Sha256 => Sha256::digest(&input.text).to_vec(),
        Algorithm::Sha384 => Sha384::digest(&input.text).to_vec(),
        Algorithm::Sha512 => Sha512::digest(&input.text).to_vec(),
    };
    digest.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn code(input: &Base64) -> Result<String, String> {
    let engine = if input.url { URL_SAFE_NO_PAD } else { STANDARD };
    if !input.decode {
        return Ok(engine.encode(&input.text));
    }
    let bytes = engine.decode(&input.text).map_err(|error| format!("text: {error}"))?;
    String::from_utf8(bytes).map_err(|_| "text: the decoded bytes are no UTF-8 text".to_owned())
}

pub(super) fn tools() -> Vec<Tool> {
    vec![
        Tool::new("hash", "Hash a text", "SHA-2 of a text, as hexadecimal.", |input: Hash, _| {
            Ok(Hashed { digest: hash(&input) })
        }),
        Tool::new("base64", "Base64", "Encodes a text as Base64, or decodes it.", |input: Base64, _| {
            code(&input).map(|text| Coded { text })
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_abc_is_that_of_the_standard() {
        // FIPS 180-4, appendix B.1
        let digest = hash(&Hash { text: "abc".into(), algorithm: Algorithm::Sha256 });
        assert_eq!(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn base64_goes_there_and_back() {
        let coded = code(&Base64 { text: "fairlead?>".into(), decode: false, url: true }).unwrap();
        assert_eq!(code(&Base64 { text: coded, decode: true, url: true }).unwrap(), "fairlead?>");
    }
}
