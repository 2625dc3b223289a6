//! The signature of *Standard Webhooks*, symmetric: `v1,` and the base64 of an HMAC-SHA256 of identity, time and body.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fairlead_core::secret::SecretValue;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// How a secret is written that is base64.
const PREFIX: &[u8] = b"whsec_";

/// Signs a body. `None`: the secret is written as base64 and is none.
pub(super) fn sign(secret: &SecretValue, id: &str, time: i64, body: &[u8]) -> Option<String> {
    let secret = secret.reveal();
    let decoded = match secret.strip_prefix(PREFIX) {
        Some(text) => Some(zeroize::Zeroizing::new(STANDARD.decode(text).ok()?)),
        None => None,
    };
    let key = decoded.as_ref().map_or(secret, |key| key.as_slice());
    // Any length of key will do.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    for part in [id.as_bytes(), b".", time.to_string().as_bytes(), b".", body] {
        mac.update(part);
    }
    Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification_comes_out() {
        let secret = SecretValue::new(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let body = br#"{"test": 2432232314}"#;
        let signed = sign(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body).unwrap();
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_that_is_not_base64_is_taken_as_it_is_unless_it_says_that_it_is() {
        let plain = sign(&SecretValue::new(b"a key"), "m", 1, b"x").unwrap();
        assert_ne!(plain, sign(&SecretValue::new(b"another"), "m", 1, b"x").unwrap());
        assert_eq!(sign(&SecretValue::new(b"whsec_!"), "m", 1, b"x"), None);
    }
}
