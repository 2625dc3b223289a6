//! The built-in patterns, written by hand.
//!
//! A regular expression engine small enough for a guest needs 20 to 100 nanoseconds for each byte, and a payload may be a
//! megabyte under a deadline of ten milliseconds. Secrets are made to be recognised by their first bytes. So one pass over
//! the text stops at an *anchor*, the rarest byte of such a beginning (the `J` of `eyJ`, the `_` of `ghp_`), and looks
//! around from there; in prose that is one byte of thirty.
//!
//! Everything that is matched begins and ends with an ASCII character, so each span lies on character boundaries.

use std::ops::Range;

use fairlead_plugin::prelude::*;

/// A built-in pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Builtin {
    /// Access key id of AWS: `AKIA…`, `ASIA…`.
    AwsAccessKey,
    /// Secret access key of AWS, when it stands behind its name: `aws_secret_access_key = …`.
    AwsSecretKey,
    /// Token of GitHub: `ghp_…`, `github_pat_…` and the like.
    GithubToken,
    /// Token of GitLab: `glpat-…`.
    GitlabToken,
    /// Token of Slack: `xoxb-…` and the like.
    SlackToken,
    /// Key of an API that begins with `sk-` or `sk_`, as those of many model and payment providers do.
    ApiKey,
    /// JSON Web Token.
    Jwt,
    /// Private key in PEM form, with everything up to its end.
    PrivateKey,
    /// What stands behind `Bearer`.
    BearerToken,
    /// Number of a payment card, checked by its check digit.
    CreditCard,
    /// Address of e-mail. Not looked for unless it is asked for.
    Email,
}

impl Builtin {
    /// What is looked for when the configuration does not say: everything that is a secret.
    pub const SECRETS: [Self; 10] = [
        Self::AwsAccessKey,
        Self::AwsSecretKey,
        Self::GithubToken,
        Self::GitlabToken,
        Self::SlackToken,
        Self::ApiKey,
        Self::Jwt,
        Self::PrivateKey,
        Self::BearerToken,
        Self::CreditCard,
    ];

    /// The name, as in a configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AwsAccessKey => "aws-access-key",
            Self::AwsSecretKey => "aws-secret-key",
            Self::GithubToken => "github-token",
            Self::GitlabToken => "gitlab-token",
            Self::SlackToken => "slack-token",
            Self::ApiKey => "api-key",
            Self::Jwt => "jwt",
            Self::PrivateKey => "private-key",
            Self::BearerToken => "bearer-token",
            Self::CreditCard => "credit-card",
            Self::Email => "email",
        }
    }

    /// Bytes at which this pattern must be tried.
    const fn anchors(self) -> &'static [u8] {
        match self {
            Self::AwsAccessKey => b"A",
            Self::AwsSecretKey => b"kK",
            Self::GithubToken => b"_",
            Self::GitlabToken | Self::PrivateKey => b"-",
            Self::SlackToken => b"x",
            Self::ApiKey => b"-_",
            Self::Jwt => b"J",
            Self::BearerToken => b"bB",
            Self::CreditCard => b"23456",
            Self::Email => b"@",
        }
    }

    /// The span of a find whose anchor is at `at`, or where it pays to try again: without that, a text made of beginnings
    /// (`eyJeyJeyJ…`) would cost the square of its length.
    fn find(self, text: &[u8], at: usize) -> Result<Range<usize>, usize> {
        match self {
            Self::ApiKey => api_key(text, at),
            Self::Jwt => jwt(text, at),
            other => other.find_here(text, at).ok_or(at + 1),
        }
    }

    fn find_here(self, text: &[u8], at: usize) -> Option<Range<usize>> {
        match self {
            Self::AwsAccessKey => {
                let rest = prefixed(text, at, &[b"AKIA", b"ASIA", b"ABIA", b"ACCA"])?;
                let end = run(text, rest, |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
                (end - rest == 16 && starts_word(text, at) && ends_word(text, end)).then_some(at..end)
            }
            Self::AwsSecretKey => {
                let before = [b"secret_access_".as_slice(), b"secretaccess", b"secret-access-"];
                let rest = insensitive(text, at, b"key")?;
                before.iter().find_map(|before| insensitive(text, at.checked_sub(before.len())?, before))?;
                let start = run(text, rest, |byte| matches!(byte, b' ' | b'\t' | b'=' | b':' | b'"' | b'\'' | b'\\'));
                let end = run(text, start, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'+' | b'='));
                (start > rest && end - start >= 40).then_some(start..end)
            }
            Self::GithubToken => {
                let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
                if let Some(start) = behind(text, at, &[b"github"]) {
                    return token(text, start, prefixed(text, at, &[b"_pat_"])?, 22, word);
                }
                token(text, behind(text, at, &[b"ghp", b"gho", b"ghu", b"ghs", b"ghr"])?, at + 1, 30, word)
            }
            Self::GitlabToken => token(text, behind(text, at, &[b"glpat"])?, at + 1, 20, base64_url),
            Self::SlackToken => {
                let rest = prefixed(text, at, &[b"xoxb-", b"xoxa-", b"xoxp-", b"xoxr-", b"xoxs-", b"xoxe-"])?;
                token(text, at, rest, 10, |byte| byte.is_ascii_alphanumeric() || byte == b'-')
            }
            Self::PrivateKey => private_key(text, at),
            Self::BearerToken => {
                let rest = insensitive(text, at, b"bearer")?;
                let start = run(text, rest, |byte| byte == b' ');
                let byte = |byte: u8| base64_url(byte) || matches!(byte, b'.' | b'~' | b'+' | b'/' | b'=');
                let end = run(text, start, byte);
                // A token, not the next word of a sentence.
                let mixed = text.get(start..end)?.iter().any(u8::is_ascii_digit);
                (start > rest && end - start >= 16 && mixed && starts_word(text, at)).then_some(start..end)
            }
            Self::CreditCard => credit_card(text, at),
            Self::Email => email(text, at),
            Self::ApiKey | Self::Jwt => self.find(text, at).ok(),
        }
    }
}

/// A set of built-in patterns, ready to search.
#[derive(Debug)]
pub struct Scanner {
    patterns: Vec<Builtin>,
    /// For each byte, the patterns whose anchor it is: one bit each.
    anchors: [u16; 256],
}

impl Scanner {
    /// Searches for these patterns.
    #[must_use]
    pub fn new(patterns: &[Builtin]) -> Self {
        let mut patterns = patterns.to_vec();
        patterns.sort_unstable();
        patterns.dedup();
        let mut anchors = [0; 256];
        for (bit, pattern) in patterns.iter().enumerate() {
            for byte in pattern.anchors() {
                if let Some(mask) = anchors.get_mut(usize::from(*byte)) {
                    *mask |= 1 << bit;
                }
            }
        }
        Self { patterns, anchors }
    }

    /// Calls `found` for each find, in the order of their anchors.
    pub fn scan(&self, text: &str, mut found: impl FnMut(Builtin, Range<usize>)) {
        let bytes = text.as_bytes();
        let mut quiet = vec![0; self.patterns.len()];
        let mut at = 0;
        while let Some(skip) = bytes.get(at..).and_then(|rest| rest.iter().position(|byte| self.mask(*byte) != 0)) {
            at += skip;
            let mask = byte(bytes, at).map_or(0, |byte| self.mask(byte));
            match self.hit(bytes, at, mask, &mut quiet) {
                Some((pattern, span)) => {
                    at = span.end.max(at + 1);
                    found(pattern, span);
                }
                None => at += 1,
            }
        }
    }

    fn hit(&self, text: &[u8], at: usize, mask: u16, quiet: &mut [usize]) -> Option<(Builtin, Range<usize>)> {
        let mut rest = mask;
        while rest != 0 {
            let bit = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            let (pattern, quiet) = (self.patterns.get(bit)?, quiet.get_mut(bit)?);
            if at < *quiet {
                continue;
            }
            match pattern.find(text, at) {
                Ok(span) => return Some((*pattern, span)),
                Err(next) => *quiet = next,
            }
        }
        None
    }

    fn mask(&self, byte: u8) -> u16 {
        self.anchors.get(usize::from(byte)).copied().unwrap_or_default()
    }
}

// === pieces ===

fn byte(text: &[u8], at: usize) -> Option<u8> {
    text.get(at).copied()
}

/// The end of the run of bytes that are wanted.
fn run(text: &[u8], start: usize, wanted: impl Fn(u8) -> bool) -> usize {
    let rest = text.get(start..).unwrap_or_default();
    start + rest.iter().position(|byte| !wanted(*byte)).unwrap_or(rest.len())
}

fn prefixed(text: &[u8], at: usize, prefixes: &[&[u8]]) -> Option<usize> {
    let rest = text.get(at..)?;
    prefixes.iter().find(|prefix| rest.starts_with(prefix)).map(|prefix| at + prefix.len())
}

/// Where one of these begins that ends right before `at`.
fn behind(text: &[u8], at: usize, words: &[&[u8]]) -> Option<usize> {
    let before = text.get(..at)?;
    words.iter().find(|word| before.ends_with(word)).map(|word| at - word.len())
}

fn insensitive(text: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    let end = at + word.len();
    text.get(at..end)?.eq_ignore_ascii_case(word).then_some(end)
}

const fn base64_url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn starts_word(text: &[u8], at: usize) -> bool {
    at.checked_sub(1).and_then(|before| byte(text, before)).is_none_or(|before| !before.is_ascii_alphanumeric())
}

fn ends_word(text: &[u8], end: usize) -> bool {
    byte(text, end).is_none_or(|after| !after.is_ascii_alphanumeric())
}

fn token(text: &[u8], at: usize, rest: usize, least: usize, wanted: impl Fn(u8) -> bool) -> Option<Range<usize>> {
    let end = run(text, rest, wanted);
    (end - rest >= least && starts_word(text, at)).then_some(at..end)
}

/// `sk-` begins words too; a key is long and has digits. What follows a failure can only be shorter, and fails as well.
fn api_key(text: &[u8], at: usize) -> Result<Range<usize>, usize> {
    let start = behind(text, at, &[b"sk"]).filter(|start| starts_word(text, *start)).ok_or(at + 1)?;
    let end = run(text, at + 1, base64_url);
    let digits = text.get(at..end).is_some_and(|key| key.iter().any(u8::is_ascii_digit));
    if end - at > 20 && digits { Ok(start..end) } else { Err(end) }
}

/// Three parts of base64url; header and payload are JSON objects, so both begin with `eyJ`. When no dot follows a header,
/// none follows another beginning within it.
fn jwt(text: &[u8], at: usize) -> Result<Range<usize>, usize> {
    let start = behind(text, at, &[b"ey"]).filter(|start| starts_word(text, *start)).ok_or(at + 1)?;
    let header_end = run(text, at, base64_url);
    let payload = prefixed(text, header_end, &[b".eyJ"]).ok_or(header_end)?;
    let payload_end = run(text, payload, base64_url);
    let signature = prefixed(text, payload_end, &[b"."]).ok_or(header_end)?;
    Ok(start..run(text, signature, base64_url))
}

/// From `-----BEGIN … PRIVATE KEY-----` to its end, or to the end of the text when the end is cut off.
fn private_key(text: &[u8], at: usize) -> Option<Range<usize>> {
    /// Longest label, with room.
    const LABEL_MAX: usize = 40;
    let rest = prefixed(text, at, &[b"-----BEGIN "])?;
    let label = run(text, rest, |byte| byte.is_ascii_uppercase() || byte == b' ');
    let whole = text.get(rest..label)?;
    let body = prefixed(text, label, &[b"-----"])?;
    if !whole.ends_with(b"PRIVATE KEY") || whole.len() > LABEL_MAX {
        return None;
    }
    let mut end = body;
    while let Some(skip) = text.get(end..).and_then(|rest| rest.iter().position(|byte| *byte == b'-')) {
        end += skip;
        if let Some(rest) = prefixed(text, end, &[b"-----END "]) {
            let label = run(text, rest, |byte| byte.is_ascii_uppercase() || byte == b' ');
            return Some(at..prefixed(text, label, &[b"-----"]).unwrap_or(label));
        }
        end += 1;
    }
    Some(at..text.len())
}

/// 13 to 19 digits with single blanks or hyphens between them, whose check digit is right.
fn credit_card(text: &[u8], at: usize) -> Option<Range<usize>> {
    let apart = |byte: u8| matches!(byte, b' ' | b'-');
    let before = at.checked_sub(1).and_then(|before| byte(text, before));
    // Not in the middle of a longer number, a decimal fraction or an identifier.
    if before.is_some_and(|before| before.is_ascii_alphanumeric() || matches!(before, b'.' | b'-' | b'_' | b'/' | b'+'))
    {
        return None;
    }
    let mut digits = [0_u8; 19];
    let mut count = 0;
    let mut end = at;
    let mut next = at;
    loop {
        match byte(text, next) {
            Some(digit @ b'0'..=b'9') => {
                *digits.get_mut(count)? = digit - b'0';
                count += 1;
                next += 1;
                end = next;
            }
            Some(between) if apart(between) && byte(text, next + 1).is_some_and(|b| b.is_ascii_digit()) => next += 1,
            _ => break,
        }
    }
    let digits = digits.get(..count)?;
    let after = byte(text, end);
    let cut = after.is_some_and(|after| after.is_ascii_alphanumeric() || matches!(after, b'_' | b'/'));
    (count >= 13 && !cut && luhn(digits)).then_some(at..end)
}

/// The check of ISO/IEC 7812.
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match (place % 2, u32::from(*digit)) {
            (0, digit) => digit,
            (_, digit) if digit > 4 => digit * 2 - 9,
            (_, digit) => digit * 2,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Noticed at its `@`: to the left a local part, to the right a domain with a dot.
fn email(text: &[u8], at: usize) -> Option<Range<usize>> {
    /// RFC 5321 §4.5.3.1.1.
    const LOCAL_PART_MAX: usize = 64;
    let local = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'%' | b'+' | b'-');
    let before = text.get(at.saturating_sub(LOCAL_PART_MAX)..at)?;
    let length = before.iter().rev().position(|byte| !local(*byte)).unwrap_or(before.len());
    let domain_end = run(text, at + 1, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
    let domain = text.get(at + 1..domain_end)?;
    let trailing = domain.iter().rev().position(|byte| byte.is_ascii_alphanumeric())?;
    let domain = domain.get(..domain.len() - trailing)?;
    let dot = domain.iter().rposition(|byte| *byte == b'.')?;
    let last = domain.get(dot + 1..)?;
    let valid = length > 0 && dot > 0 && last.len() >= 2 && last.iter().all(u8::is_ascii_alphabetic);
    valid.then(|| at - length..at + 1 + domain.len())
}
