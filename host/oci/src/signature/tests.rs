//! Signatures that fit, and all the ways in which they do not.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::json;

use super::*;

struct Signer {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl Signer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let secret = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, secret.as_ref(), &random).unwrap();
        Self { pair, random }
    }

    fn pem(&self) -> String {
        let prefix = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
        let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        let prefix = prefix.as_bytes().chunks(2).map(digits);
        let der: Vec<u8> = prefix.chain(self.pair.public_key().as_ref().iter().copied()).collect();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
    }

    fn key(&self, repository: &str, name: &str) -> TrustedKey {
        let key = PublicKey::from_pem(&self.pem()).unwrap();
        TrustedKey { repository: repository.to_owned(), name: name.to_owned(), key }
    }

    fn sign(&self, message: &[u8]) -> String {
        STANDARD.encode(self.pair.sign(&self.random, message).unwrap())
    }

    fn simple(&self, text: &serde_json::Value) -> Signed {
        let message = text.to_string().into_bytes();
        let signature = self.sign(&message);
        Signed::simple(message, &signature).unwrap()
    }

    fn bundle(&self, statement: &serde_json::Value) -> Vec<u8> {
        let payload = statement.to_string();
        let kind = "application/vnd.in-toto+json";
        let message = format!("DSSEv1 {} {kind} {} {payload}", kind.len(), payload.len());
        let envelope = json!({
            "payload": STANDARD.encode(&payload),
            "payloadType": kind,
            "signatures": [{"sig": self.sign(message.as_bytes())}],
        });
        json!({"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "dsseEnvelope": envelope})
            .to_string()
            .into()
    }
}

fn digest(digit: &str) -> Digest {
    Digest::new(&format!("sha256:{}", digit.repeat(64))).unwrap()
}

fn text(digest: &Digest) -> serde_json::Value {
    json!({"critical": {
        "identity": {"docker-reference": "a.test/b"},
        "image": {"docker-manifest-digest": digest.as_str()},
        "type": "cosign container image signature",
    }, "optional": null})
}

fn statement(digest: &Digest, kind: &str) -> serde_json::Value {
    let hex = digest.as_str().strip_prefix("sha256:").unwrap();
    json!({"_type": "https://in-toto.io/Statement/v1", "subject": [{"digest": {"sha256": hex}}], "predicateType": kind})
}

const SIGN: &str = "https://sigstore.dev/cosign/sign/v1";

#[test]
fn a_signature_counts_for_its_digest_and_its_key_alone() {
    let (ours, theirs) = (Signer::new(), Signer::new());
    let (key, other) = (ours.key("a.test/b", "ours"), theirs.key("a.test/b", "theirs"));
    for signed in
        [ours.simple(&text(&digest("1"))), Signed::bundled(&ours.bundle(&statement(&digest("1"), SIGN))).unwrap()]
    {
        let signed = [signed];
        assert_eq!(vouched(&signed, &[&other, &key], &digest("1")), Ok("ours".to_owned()));
        assert_eq!(vouched(&signed, &[&key], &digest("2")), Err("what was signed is another image"));
        assert_eq!(vouched(&signed, &[&other], &digest("1")), Err("none of the keys fits"));
    }
}

#[test]
fn what_was_signed_must_be_a_signature_of_an_image() {
    let ours = Signer::new();
    let key = ours.key("*", "ours");
    let mut other = text(&digest("1"));
    other["critical"]["type"] = "atomic container signature".into();
    let built = statement(&digest("1"), "https://slsa.dev/provenance/v1");
    for signed in [ours.simple(&other), Signed::bundled(&ours.bundle(&built)).unwrap()] {
        assert_eq!(vouched(&[signed], &[&key], &digest("1")), Err("what was signed is of another kind"));
    }
    assert_eq!(vouched(&[ours.simple(&json!("x"))], &[&key], &digest("1")), Err("what was signed is damaged"));
}

#[test]
fn one_changed_byte_is_another_text() {
    let ours = Signer::new();
    let key = ours.key("*", "ours");
    let message = text(&digest("1")).to_string();
    let signature = ours.sign(message.as_bytes());
    for at in [0, message.len() / 2, message.len() - 1] {
        let mut changed = message.clone().into_bytes();
        changed[at] ^= 1;
        let signed = Signed::simple(changed, &signature).unwrap();
        assert_eq!(vouched(&[signed], &[&key], &digest("1")), Err("none of the keys fits"));
    }
}

#[test]
fn a_key_is_for_the_repositories_that_were_said() {
    let key = |repository| Signer::new().key(repository, "x");
    assert!(key("a.test/b").is_for("a.test/b"));
    assert!(!key("a.test/b").is_for("a.test/b/c"));
    assert!(key("a.test/b/*").is_for("a.test/b/c/d"));
    assert!(!key("a.test/b/*").is_for("a.test/bc"));
    assert!(key("*").is_for("anything"));
}

/// Public keys (P-256, P-384, Ed25519), and signatures of `hello` by them, as OpenSSL 3.0 made them:
/// `openssl dgst -sha256 -sign KEY`, and `openssl pkeyutl -sign -rawin` for the last.
const OPENSSL: [(&str, &str); 3] = [
    (
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE84kpF71wdaJt+N6ZeE9368WxkT1iKoUSnTfzLo4MSBYshKcuOX7le5T/SsYhpSEoJjAzljnU8j2jiTH5cjQujw==",
        "MEQCIE5xhQuEoj8kcn2HaC5GoCeb0h6WrhIIJOHN3pMRL0MiAiAH+UrVk8g2TvsUtDHo+/OnpaywDlkHS2+L3GEK/E5egg==",
    ),
    (
        "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEdTJE0IPx2TX1IYCms/M0n2kgDwIV0cSkNUXVPUNzkxdMyUee7pcqmqe1ABSmHWp61Oihy3WMKWUjfq7CQ1fOBxFU8MuNHriHxWeceXsy8LKlalxhzoqxJpE378iVwZpb",
        "MGQCMAZUrC2BBizy44EoonsAGoqUVvzica/nTAl5qpTXAfSYBr9Jg/hMgkmpMAykWCdM6wIwbMnJUSOTyGQiXeDohIFKSiMWyd2W0ihSRYBX8UfIBXqmxfcXXhj9uX+cxf/znfau",
    ),
    (
        "MCowBQYDK2VwAyEAQe5Azs8Ite28wMx8mJGaifCuUnhnSsfLRrosV9n5K14=",
        "DtJuw1DPITYmUEoLlCvNMQaOWZE2dh+XwGhKzm/KVSTB4m3Z/n47bwcheAg4kVAY5HoQBHBGy5q7+kL/VX8YAw==",
    ),
];

#[test]
fn keys_of_openssl_are_read_and_others_refused() {
    for (key, signature) in OPENSSL {
        let key = PublicKey::from_pem(&format!("-----BEGIN PUBLIC KEY-----\n{key}\n-----END PUBLIC KEY-----")).unwrap();
        let signature = STANDARD.decode(signature).unwrap();
        assert!(key.has_signed(b"hello", &signature));
        assert!(!key.has_signed(b"hullo", &signature));
    }
    let rsa = "-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAL6a\n-----END PUBLIC KEY-----";
    assert_eq!(PublicKey::from_pem(rsa), Err(KeyError::Unsupported));
    for none in ["", "-----BEGIN PUBLIC KEY-----", "-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----"] {
        assert_eq!(PublicKey::from_pem(none), Err(KeyError::NotPem), "{none}");
    }
}
