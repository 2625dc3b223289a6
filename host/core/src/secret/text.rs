//! Texts with secrets in them: a value of an environment variable, a header, a string of a configuration.
//!
//! `secret://store/name` as a whole, or `${secret://store/name}` anywhere inside. Everything else is literal, other `${…}`
//! included: it belongs to whoever reads the text.

use zeroize::Zeroizing;

use super::{REDACTED, SCHEME, SecretError, SecretReference, SecretReferenceError, SecretValue, Secrets};
use crate::name::TenantName;

/// Opens a reference inside a text, before [`SCHEME`].
const OPEN: &str = "${";

/// A text, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretText {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Secret(SecretReference),
}

impl SecretText {
    /// Takes a text apart.
    ///
    /// # Errors
    /// A reference in it is none, or it is what was shown in place of a value.
    pub fn parse(text: &str) -> Result<Self, SecretReferenceError> {
        if text == REDACTED {
            return Err(SecretReferenceError::Redacted);
        }
        if text.starts_with(SCHEME) {
            return Ok(Self { parts: vec![Part::Secret(text.parse()?)] });
        }
        let opening = format!("{OPEN}{SCHEME}");
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once(&opening) {
            let (name, following) = after.split_once('}').ok_or(SecretReferenceError::Unclosed)?;
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            parts.push(Part::Secret(format!("{SCHEME}{name}").parse()?));
            rest = following;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    /// The secrets in it, in their order.
    pub fn references(&self) -> impl Iterator<Item = &SecretReference> {
        self.parts.iter().filter_map(|part| match part {
            Part::Secret(reference) => Some(reference),
            Part::Literal(_) => None,
        })
    }

    /// Whether it names a secret.
    #[must_use]
    pub fn has_secrets(&self) -> bool {
        self.references().next().is_some()
    }

    /// The text with values in place of references, as `find` gives them.
    ///
    /// # Errors
    /// `find` fails, or a value is no text.
    pub fn fill(
        &self,
        mut find: impl FnMut(&SecretReference) -> Result<SecretValue, SecretError>,
    ) -> Result<Zeroizing<String>, SecretError> {
        let mut values = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            values.push(match part {
                Part::Literal(_) => None,
                Part::Secret(reference) => Some(find(reference)?),
            });
        }
        let mut texts = Vec::with_capacity(self.parts.len());
        for (part, value) in self.parts.iter().zip(&values) {
            texts.push(match (part, value) {
                (Part::Secret(reference), Some(value)) => value.reveal_text().map_err(|_| SecretError::Unusable {
                    reference: reference.clone(),
                    reason: "its value is not UTF-8 text".to_owned(),
                })?,
                (Part::Literal(text), _) => text,
                (Part::Secret(_), None) => "",
            });
        }
        // Of its final size at once: growing would leave copies behind that nobody overwrites.
        let mut filled = Zeroizing::new(String::with_capacity(texts.iter().map(|text| text.len()).sum()));
        for text in texts {
            filled.push_str(text);
        }
        Ok(filled)
    }
}

/// A text as it is used: with the values of this tenant's secrets in it, now.
///
/// # Errors
/// A reference is none, or a secret cannot be had.
pub async fn reveal(
    secrets: &dyn Secrets,
    tenant: &TenantName,
    text: &SecretText,
) -> Result<Zeroizing<String>, SecretError> {
    let mut values = Vec::new();
    for reference in text.references() {
        values.push(secrets.resolve(tenant, reference).await?);
    }
    let mut values = values.into_iter();
    text.fill(|reference| values.next().ok_or_else(|| SecretError::Absent(reference.clone())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(text: &str) -> String {
        let find =
            |reference: &SecretReference| Ok(SecretValue::new(reference.name().as_str().to_uppercase().as_bytes()));
        SecretText::parse(text).unwrap().fill(find).unwrap().to_string()
    }

    #[test]
    fn references_are_replaced_and_nothing_else() {
        for (text, expected) in [
            ("secret://store/a", "A"),
            ("Bearer ${secret://store/a}", "Bearer A"),
            ("${secret://store/a}:${secret://pass/b/c}@x", "A:B/C@x"),
            ("${HOME} $x {secret://store/a}", "${HOME} $x {secret://store/a}"),
            ("", ""),
            ("see secret://store/a", "see secret://store/a"),
        ] {
            assert_eq!(filled(text), expected, "{text}");
        }
    }

    #[test]
    fn half_a_reference_is_refused() {
        for text in ["secret://store", "a ${secret://store/a", "${secret://store/}", REDACTED] {
            assert!(SecretText::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_text_is_not_put_into_one() {
        let text = SecretText::parse("secret://store/a").unwrap();
        let error = text.fill(|_| Ok(SecretValue::new(&[0xff]))).unwrap_err();
        assert!(error.to_string().contains("secret://store/a"), "{error}");
    }

    proptest! {
        #[test]
        fn a_text_without_references_stays_as_it_is(text in "[^$]{0,40}") {
            prop_assume!(!text.starts_with(SCHEME) && text != REDACTED);
            prop_assert_eq!(filled(&text), text);
        }

        #[test]
        fn any_text_parses_or_is_refused(text in any::<String>()) {
            let _ = SecretText::parse(&text);
        }
    }
}
