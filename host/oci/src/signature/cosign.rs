//! The two forms in which cosign writes what it signed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fairlead_core::digest::Digest;
use serde::{Deserialize, Serialize};

use super::key::PublicKey;

/// The text that is signed up to version 2 (`containers-signature(5)`).
pub(super) const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// Where its signature is: an annotation of the layer that has the text.
pub(super) const ANNOTATION: &str = "dev.cosignproject.cosign/signature";

/// What version 3 signs: a statement of in-toto.
const STATEMENT: &str = "application/vnd.in-toto+json";

/// What a statement must say: that the image is signed. Others (how it was built, what is in it) are no word for it.
const SIGNED: [&str; 2] = ["https://sigstore.dev/cosign/sign/v1", "https://cosign.sigstore.dev/sign/v1"];

/// Whether this is a bundle of any version.
pub(super) fn is_bundle(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.dev.sigstore.bundle")
}

/// Something that was signed, and its signature. Neither is believed: both come from a registry, or from a cache.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Signed {
    form: Form,
    message: Vec<u8>,
    signature: Vec<u8>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Form {
    Simple,
    Statement,
}

#[derive(Deserialize)]
struct Simple {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: Image,
    r#type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Image {
    docker_manifest_digest: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    subject: Vec<Subject>,
    predicate_type: String,
}

#[derive(Deserialize)]
struct Subject {
    digest: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    dsse_envelope: Envelope,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Deserialize)]
struct EnvelopeSignature {
    sig: String,
}

impl Signed {
    /// A text and its signature; `None` when that is none.
    pub(super) fn simple(message: Vec<u8>, signature: &str) -> Option<Self> {
        Some(Self { form: Form::Simple, message, signature: STANDARD.decode(signature).ok()? })
    }

    /// What is in a bundle; `None` when it holds something else.
    pub(super) fn bundled(bundle: &[u8]) -> Option<Self> {
        let Bundle { dsse_envelope: envelope } = serde_json::from_slice(bundle).ok()?;
        if envelope.payload_type != STATEMENT {
            return None;
        }
        let message = STANDARD.decode(envelope.payload).ok()?;
        let signature = STANDARD.decode(&envelope.signatures.first()?.sig).ok()?;
        Some(Self { form: Form::Statement, message, signature })
    }

    /// Whether it was signed with this key.
    pub(super) fn is_by(&self, key: &PublicKey) -> bool {
        match self.form {
            Form::Simple => key.has_signed(&self.message, &self.signature),
            Form::Statement => {
                // The encoding before authentication of DSSE, version 1.
                let mut message =
                    format!("DSSEv1 {} {STATEMENT} {} ", STATEMENT.len(), self.message.len()).into_bytes();
                message.extend_from_slice(&self.message);
                key.has_signed(&message, &self.signature)
            }
        }
    }

    /// Whether it says of this digest that it is signed. To be asked of what was signed with a known key.
    pub(super) fn is_of(&self, digest: &Digest) -> Result<(), &'static str> {
        let named = match self.form {
            Form::Simple => {
                let Simple { critical } =
                    serde_json::from_slice(&self.message).map_err(|_| "what was signed is damaged")?;
                if critical.r#type != "cosign container image signature" {
                    return Err("what was signed is of another kind");
                }
                critical.image.docker_manifest_digest == digest.as_str()
            }
            Form::Statement => {
                let Statement { subject, predicate_type } =
                    serde_json::from_slice(&self.message).map_err(|_| "what was signed is damaged")?;
                if !SIGNED.contains(&predicate_type.as_str()) {
                    return Err("what was signed is of another kind");
                }
                let names = |subject: &Subject| {
                    subject.digest.get("sha256").is_some_and(|hex| digest.as_str().strip_prefix("sha256:") == Some(hex))
                };
                subject.iter().any(names)
            }
        };
        if named { Ok(()) } else { Err("what was signed is another image") }
    }
}
