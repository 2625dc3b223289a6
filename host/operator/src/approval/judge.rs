//! The judgement: a server, and what registries say of the entry that it names.
//!
//! One registry that approves is enough: two catalogues in a namespace are two teams', and neither is above the other. What is
//! compared is where the server comes from. Arguments, environment and profile are answers of whoever made it, not of the entry.

use fairlead_core::cluster::ClusterSpec;
use fairlead_core::document::ServerDocument;
use fairlead_core::image::ImageReference;
use fairlead_core::registry::{ANNOTATION_ENTRY, EntryStatus, Offer, Offered};
use fairlead_core::server::Source;
use serde_json::Value;

use super::{Answer, EntryName};
use crate::desired::{BACKEND, Observed, Server};
use crate::status::{Condition, ConditionType, Finding, Reason, Truth};

/// What is said of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It names no entry.
    Nothing,
    /// Nobody knows yet: what was said before of this entry stays, and where nobody knows which one it is, of whichever.
    Later(Option<EntryName>),
    /// This.
    Found(Finding),
}

/// What one registry's answer comes to, the one that decides first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Says {
    Approved,
    Withdrawn,
    Differs,
    Unavailable,
    Missing,
}

/// Holds a server against its entry.
pub(crate) fn judge(server: &Server, observed: &Observed) -> Judgement {
    // Which entry it names, and what it runs, is not known then.
    let Ok(document) = &server.document else { return Judgement::Later(None) };
    let Some(text) = document.spec.annotations.get(ANNOTATION_ENTRY) else { return Judgement::Nothing };
    let Some(entry) = EntryName::read(text) else {
        let message = format!("`{text}` names no entry: write NAME@VERSION into the annotation `{ANNOTATION_ENTRY}`");
        return found(Truth::False, Reason::EntryNotFound, message);
    };
    if observed.answers.is_empty() {
        let message = format!("there is no MCPRegistry in the namespace that could know `{entry}`");
        return found(Truth::Unknown, Reason::NoRegistry, message);
    }
    let runs = Runs::of(document);
    let known = observed.answers.iter().filter_map(|(registry, answer)| Some((registry, answer.as_ref()?)));
    let mut said: Vec<(Says, String)> = known
        .map(|(registry, answer)| {
            let (says, what) = weigh(answer, &runs);
            (says, format!("`{registry}`: {what}"))
        })
        .collect();
    said.sort();
    let Some((first, _)) = said.first() else { return Judgement::Later(Some(entry)) };
    let is_asked = observed.answers.values().all(Option::is_some);
    let (truth, reason) = match first {
        Says::Approved => (Truth::True, Reason::EntryApproved),
        // Another one may approve.
        _ if !is_asked => return Judgement::Later(Some(entry)),
        Says::Withdrawn => (Truth::False, Reason::EntryWithdrawn),
        Says::Differs => (Truth::False, Reason::EntryDiffers),
        Says::Unavailable => (Truth::Unknown, Reason::RegistryUnavailable),
        Says::Missing => (Truth::False, Reason::EntryNotFound),
    };
    // Whoever reads that it is approved need not know who does not have it.
    let is_told = |says: &Says| truth != Truth::True || *says <= Says::Differs;
    let told: Vec<String> = said.into_iter().filter(|(says, _)| is_told(says)).map(|(_, what)| what).collect();
    found(truth, reason, format!("{entry}: {}", told.join("; ")))
}

/// Whether what was said is about an entry: it begins with the name of that, or ends with it where no registry was there.
pub(crate) fn is_about(said: &Condition, entry: &EntryName) -> bool {
    said.message.starts_with(&format!("{entry}: ")) || said.message.ends_with(&format!("`{entry}`"))
}

fn found(truth: Truth, reason: Reason, message: String) -> Judgement {
    Judgement::Found(Finding::new(ConditionType::RegistryEntryApproved, truth, reason, message))
}

fn weigh(answer: &Answer, runs: &Runs<'_>) -> (Says, String) {
    match answer {
        Answer::Unavailable(why) => (Says::Unavailable, why.clone()),
        Answer::Missing => (Says::Missing, "it has no such entry".to_owned()),
        Answer::Offered(offered) if offered.status != EntryStatus::Active => {
            (Says::Withdrawn, format!("the entry is {}", offered.status.name()))
        }
        Answer::Offered(offered) => match runs.is_offered(offered) {
            true => (Says::Approved, "the entry is active, and the server is what it says".to_owned()),
            false => (Says::Differs, format!("the entry offers {}, and the server runs {runs}", told(offered))),
        },
    }
}

fn told(offered: &Offered) -> String {
    match offered.offers.as_slice() {
        [] => "nothing that can be run".to_owned(),
        offers => offers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

/// What a server runs in a cluster.
enum Runs<'a> {
    Image(&'a str),
    Remote(&'a str),
    /// What only a machine has.
    Other,
}

impl std::fmt::Display for Runs<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Image(image) => write!(f, "the image `{image}`"),
            Self::Remote(url) => write!(f, "the server at `{url}`"),
            Self::Other => f.write_str("what is of one machine"),
        }
    }
}

impl<'a> Runs<'a> {
    fn of(document: &'a ServerDocument) -> Self {
        match &document.spec.source {
            Source::Image(image) => Self::Image(laid_over(&document.cluster).unwrap_or(image.reference.as_str())),
            Source::Remote(remote) => Self::Remote(&remote.url),
            Source::Command { .. } | Source::Wasm { .. } | Source::Package(_) => Self::Other,
        }
    }

    fn is_offered(&self, offered: &Offered) -> bool {
        offered.offers.iter().any(|offer| match (self, offer) {
            (Self::Image(runs), Offer::Image(offer)) => {
                ImageReference::new(runs).is_ok_and(|runs| is_image(&runs, offer))
            }
            (Self::Remote(runs), Offer::Remote(offer)) => fits(&opaque(runs), offer),
            _ => false,
        })
    }
}

/// The image that a pod template puts in the place of the server's own.
fn laid_over(cluster: &ClusterSpec) -> Option<&str> {
    let containers = cluster.pod_template_spec.as_ref()?.pointer("/spec/containers")?.as_array()?;
    let ours = containers.iter().find(|container| container.get("name").and_then(Value::as_str) == Some(BACKEND))?;
    ours.get("image").and_then(Value::as_str)
}

/// Whether an image is the one that an entry names. Whoever pins a digest of a tag says more than the entry does, and nobody here
/// knows what the tag named then.
fn is_image(runs: &ImageReference, offer: &ImageReference) -> bool {
    if runs.repository() != offer.repository() {
        return false;
    }
    match (offer.digest(), runs.digest()) {
        (Some(offer), runs) => runs == Some(offer),
        (None, Some(_)) if runs.tag().is_none() => true,
        (None, _) => tag(runs) == tag(offer),
    }
}

fn tag(image: &ImageReference) -> &str {
    image.tag().unwrap_or("latest")
}

/// An address in which references of secrets are one character each: they stand for values of variables.
fn opaque(url: &str) -> String {
    let mut pieces = url.split("${");
    let mut opaque = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        opaque.push('$');
        opaque.push_str(piece.split_once('}').map_or(piece, |(_, rest)| rest));
    }
    opaque
}

/// Whether an address is one of a template. What stands for a variable stays in its place: it has no `/`, so that no host becomes
/// another; only a template that begins with a variable leaves to it where that leads.
fn fits(url: &str, template: &str) -> bool {
    let literals = literals(template);
    let [first, between @ .., last] = literals.as_slice() else { return url == template };
    if first.is_empty() {
        return url.len() > last.len() && url.ends_with(last);
    }
    let Some(mut rest) = url.strip_prefix(first) else { return false };
    // The first place at which a literal stands is as good as any later one: what lies between the two can be of the next value, or
    // could not be of this one either.
    for literal in between {
        let Some((_, after)) = variable(rest, |value| value.find(literal)).map(|at| rest.split_at(at)) else {
            return false;
        };
        rest = after.strip_prefix(literal).unwrap_or_default();
    }
    let end = rest.len().checked_sub(last.len()).filter(|_| rest.ends_with(last));
    let value = end.and_then(|end| rest.get(..end));
    value.is_some_and(is_value)
}

/// Where the value of a variable ends with which a text begins. It has one character at least.
fn variable(text: &str, find: impl FnOnce(&str) -> Option<usize>) -> Option<usize> {
    let one = text.chars().next()?.len_utf8();
    let end = one + find(text.get(one..)?)?;
    text.get(..end).is_some_and(is_value).then_some(end)
}

fn is_value(text: &str) -> bool {
    !text.is_empty() && !text.contains(['/', '?', '#', '@', '\\'])
}

/// What stands around the variables of a template: one more than there are of these.
fn literals(template: &str) -> Vec<&str> {
    let (mut literals, mut rest) = (Vec::new(), template);
    while let Some((literal, (_, after))) =
        rest.split_once('{').and_then(|(it, rest)| Some((it, rest.split_once('}')?)))
    {
        literals.push(literal);
        rest = after;
    }
    literals.push(rest);
    literals
}

#[cfg(test)]
mod tests;
