//! What a person asks of a server in an annotation, and what is answered to it in its record.
//!
//! An annotation, because whoever may change a server may decide about it, `kubectl` can write one, and an audit log has it. It is
//! read by whoever leads, who stores the answer in the very write that carries out what was asked: so each id is carried out once
//! or not at all, whoever dies when, and what was answered is what was done.

use fairlead_core::digest::Digest;
use fairlead_core::freshness::{Forecast, Hold, Wish};
use fairlead_core::problem::{Problem, ProblemKind};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::limits::{
    ANSWER_BYTES_MAX, ANSWERS_MAX, MESSAGE_BYTES_MAX, REQUEST_BY_BYTES_MAX, REQUEST_BYTES_MAX, REQUEST_ID_CHARS_MAX,
};
use crate::status::{RequestOutcome, RequestStatus, shortened};

/// The annotation.
pub const REQUEST: &str = "fairlead.dev/update-request";

/// What can be asked, by its word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Verb {
    Check,
    Plan,
    Apply,
    Approve,
    Hold,
    Resume,
    Rollback,
}

/// A request as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    id: String,
    #[serde(rename = "do")]
    verb: Verb,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// To be told what would be done, now or at another time.
    Plan(Option<Timestamp>),
    /// That something is done.
    Wish(Wish),
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Tells it from every other.
    pub id: String,
    /// Of which server, where it matters that it is not another of the same name.
    pub uid: Option<String>,
    /// Who asks, as they say.
    pub by: Option<String>,
    /// What is wanted.
    pub wanted: Wanted,
}

impl Request {
    /// Reads an annotation.
    ///
    /// # Errors
    /// Why it is no request.
    pub fn read(text: &str) -> Result<Self, String> {
        if text.len() > REQUEST_BYTES_MAX {
            return Err(format!("it has {} bytes, more than {REQUEST_BYTES_MAX}", text.len()));
        }
        let written: Written = serde_json::from_str(text).map_err(|error| shortened(error.to_string()))?;
        if !is_id(&written.id) {
            return Err(format!("`id` is not 1 to {REQUEST_ID_CHARS_MAX} letters, digits, `.`, `_` and `-`"));
        }
        written.check()?;
        let Written { id, verb, uid, digest, by, reason, until, at } = written;
        let who = by.clone().ok_or("`by` is missing: who says so");
        let wanted = match verb {
            Verb::Plan => Wanted::Plan(at),
            Verb::Check => Wanted::Wish(Wish::Check),
            Verb::Apply => Wanted::Wish(Wish::Apply(digest)),
            Verb::Approve => Wanted::Wish(Wish::Approve { digest, by: who? }),
            Verb::Hold => Wanted::Wish(Wish::Hold(Hold { by: who?, reason: reason.unwrap_or_default(), until })),
            Verb::Resume => Wanted::Wish(Wish::Resume(digest)),
            Verb::Rollback => Wanted::Wish(Wish::RollBack),
        };
        Ok(Self { id, uid, by, wanted })
    }

    /// The text that reads as this.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { id, uid, by, wanted } = self.clone();
        let says = |verb, by| Written { id, verb, uid, digest: None, by, reason: None, until: None, at: None };
        let written = match wanted {
            Wanted::Plan(at) => Written { at, ..says(Verb::Plan, by) },
            Wanted::Wish(Wish::Check) => says(Verb::Check, by),
            Wanted::Wish(Wish::Apply(digest)) => Written { digest, ..says(Verb::Apply, by) },
            Wanted::Wish(Wish::Approve { digest, by }) => Written { digest, ..says(Verb::Approve, Some(by)) },
            Wanted::Wish(Wish::Hold(Hold { by, reason, until })) => {
                let reason = Some(reason).filter(|reason| !reason.is_empty());
                Written { reason, until, ..says(Verb::Hold, Some(by)) }
            }
            Wanted::Wish(Wish::Resume(digest)) => Written { digest, ..says(Verb::Resume, by) },
            Wanted::Wish(Wish::RollBack) => says(Verb::Rollback, by),
        };
        serde_json::to_string(&written).unwrap_or_default()
    }
}

impl Written {
    /// What is said must mean something: who asks for something else than is done would not know.
    fn check(&self) -> Result<(), String> {
        let Self { verb, digest, by, reason, until, at, .. } = self;
        let takes: &[&str] = match verb {
            Verb::Check | Verb::Rollback => &["by"],
            Verb::Plan => &["at", "by"],
            Verb::Apply | Verb::Approve | Verb::Resume => &["digest", "by"],
            Verb::Hold => &["by", "reason", "until"],
        };
        let said = [
            ("digest", digest.is_some()),
            ("by", by.is_some()),
            ("reason", reason.is_some()),
            ("until", until.is_some()),
            ("at", at.is_some()),
        ];
        if let Some((name, _)) = said.iter().find(|(name, said)| *said && !takes.contains(name)) {
            return Err(format!("`{name}` means nothing here"));
        }
        let bounded = [("by", by, REQUEST_BY_BYTES_MAX), ("reason", reason, MESSAGE_BYTES_MAX)];
        for (name, text, most) in bounded {
            let Some(text) = text else { continue };
            if text.len() > most || text.chars().any(char::is_control) {
                return Err(format!("`{name}` is not a line of {most} bytes at most"));
            }
        }
        match by {
            Some(by) if by.trim().is_empty() => Err("`by` is empty: who says so".to_owned()),
            _ => Ok(()),
        }
    }
}

fn is_id(text: &str) -> bool {
    let may = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
    !text.is_empty() && text.len() <= REQUEST_ID_CHARS_MAX && text.chars().all(may)
}

/// What an annotation goes by, whether or not it is a request: its id, or one made of its words.
#[must_use]
pub fn id_of(text: &str) -> String {
    let bounded = Some(text).filter(|text| text.len() <= REQUEST_BYTES_MAX);
    let value = bounded.and_then(|text| serde_json::from_str::<Value>(text).ok());
    let id = value.as_ref().and_then(|value| value.get("id")).and_then(Value::as_str).filter(|id| is_id(id));
    id.map_or_else(|| format!("unread-{}", fingerprint(text)), str::to_owned)
}

/// Tells two texts apart, in sixteen digits.
fn fingerprint(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was not.
    Refused {
        /// Why, and what to do about it.
        problem: Problem,
    },
    /// What would be done.
    Planned {
        /// That; not kept for long.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        forecast: Option<Box<Forecast>>,
    },
    /// What a later version says.
    #[serde(other)]
    Other,
}

impl Outcome {
    /// It is not done. What there is to do about it is said as on one machine, of this namespace.
    #[must_use]
    pub fn refused(problem: Problem, namespace: &str) -> Self {
        let said = |text: String| shortened(there(&text, namespace));
        let Problem { kind, detail, hint, pointer } = problem;
        Self::Refused { problem: Problem { kind, detail: said(detail), hint: hint.map(said), pointer } }
    }

    /// It is no request.
    #[must_use]
    pub fn not_understood(why: &str) -> Self {
        let detail = shortened(format!("`{REQUEST}` cannot be carried out: {why}").replace(char::is_control, " "));
        let hint = "`{\"id\": \"any-new-word\", \"do\": \"check\"}` is one; `fairlead update --on-cluster` writes them";
        Self::Refused { problem: Problem::new(ProblemKind::BadRequest, detail).hint(hint) }
    }

    /// What would be done, without what makes it too long to be kept.
    #[must_use]
    pub fn planned(mut forecast: Forecast) -> Self {
        let is_long =
            |forecast: &Forecast| serde_json::to_string(forecast).is_ok_and(|text| text.len() > ANSWER_BYTES_MAX);
        while is_long(&forecast) && !forecast.trace.is_empty() {
            // The last line tells what decided.
            forecast.trace.remove(0);
        }
        let forecast = Some(Box::new(forecast)).filter(|forecast| !is_long(forecast));
        Self::Planned { forecast }
    }
}

/// A command that somebody is told to type, for a server of a cluster.
fn there(text: &str, namespace: &str) -> String {
    let mut said = String::new();
    for (at, part) in text.split('`').enumerate() {
        if at > 0 {
            said.push('`');
        }
        said.push_str(part);
        // Every other part stands between two of them.
        if at % 2 == 1 && part.starts_with("fairlead update ") && !part.contains("--on-cluster") {
            said.push_str(" --on-cluster ");
            said.push_str(namespace);
        }
    }
    said
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// To which request.
    pub id: String,
    /// Its words, as sixteen digits.
    words: String,
    /// When.
    pub at: Timestamp,
    /// What came of it.
    pub outcome: Outcome,
}

impl Answer {
    /// To these words.
    #[must_use]
    pub fn new(text: &str, outcome: Outcome, at: Timestamp) -> Self {
        Self { id: id_of(text), words: fingerprint(text), at, outcome }
    }

    /// The same, as short as a status has it.
    #[must_use]
    pub(crate) fn status(&self) -> RequestStatus {
        let (outcome, message) = match &self.outcome {
            Outcome::Refused { problem } => (RequestOutcome::Refused, problem.detail.clone()),
            Outcome::Planned { .. } => (RequestOutcome::Planned, String::new()),
            Outcome::Done | Outcome::Other => (RequestOutcome::Done, String::new()),
        };
        RequestStatus { id: self.id.clone(), outcome, message, at: self.at }
    }
}

/// The last answers, newest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Answers(Vec<Answer>);

/// What is known of an annotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nobody has answered.
    New,
    /// It was answered.
    Answered,
    /// Another one of the same id was.
    Used,
}

impl Answers {
    /// The last one.
    #[must_use]
    pub fn last(&self) -> Option<&Answer> {
        self.0.first()
    }

    /// The last one to this id.
    #[must_use]
    pub fn to(&self, id: &str) -> Option<&Answer> {
        self.0.iter().find(|answer| answer.id == id)
    }

    /// Whether nothing was ever answered.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How these words stand.
    pub(crate) fn standing(&self, text: &str) -> Standing {
        let (id, words) = (id_of(text), fingerprint(text));
        let mut same = self.0.iter().filter(|answer| answer.id == id).peekable();
        match (same.peek().is_some(), same.any(|answer| answer.words == words)) {
            (_, true) => Standing::Answered,
            (true, false) => Standing::Used,
            (false, false) => Standing::New,
        }
    }

    /// With another one. What was planned earlier is forgotten, that it was is not.
    pub(crate) fn with(&self, answer: Answer) -> Self {
        let mut all = self.0.clone();
        for earlier in &mut all {
            if let Outcome::Planned { forecast } = &mut earlier.outcome {
                *forecast = None;
            }
        }
        all.insert(0, answer);
        all.truncate(ANSWERS_MAX);
        Self(all)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};
    use serde_json::json;

    use super::*;

    fn digest() -> Digest {
        Digest::new(&format!("sha256:{:064}", 2)).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn text(request: &Value) -> String {
        request.to_string()
    }

    fn wishes() -> Vec<Wanted> {
        let hold = |reason: &str, until| Hold { by: "eve".to_owned(), reason: reason.to_owned(), until };
        let approve = |digest| Wish::Approve { digest, by: "eve".to_owned() };
        vec![
            Wanted::Plan(None),
            Wanted::Plan(Some(at(9))),
            Wanted::Wish(Wish::Check),
            Wanted::Wish(Wish::Apply(None)),
            Wanted::Wish(Wish::Apply(Some(digest()))),
            Wanted::Wish(approve(None)),
            Wanted::Wish(approve(Some(digest()))),
            Wanted::Wish(Wish::Hold(hold("", None))),
            Wanted::Wish(Wish::Hold(hold("release \"week\"", Some(at(9))))),
            Wanted::Wish(Wish::Resume(Some(digest()))),
            Wanted::Wish(Wish::RollBack),
        ]
    }

    #[test]
    fn what_is_written_is_what_is_read_and_goes_by_its_id() {
        for wanted in wishes() {
            let by = Some("eve".to_owned());
            let request = Request { id: "a-1".to_owned(), uid: Some("u".to_owned()), by, wanted };
            assert_eq!(Request::read(&request.text()).unwrap(), request);
            assert_eq!(id_of(&request.text()), "a-1");
            // An admission policy looks for exactly this.
            assert!(request.text().contains("\"by\":\"eve\""), "{}", request.text());
        }
    }

    #[test]
    fn what_is_no_request_is_told_why_and_still_goes_by_its_id_where_it_has_one() {
        let long = "x".repeat(REQUEST_BYTES_MAX);
        let nonsense = [
            (json!({"id": "1", "do": "explode"}), "unknown variant `explode`"),
            (json!({"id": "1", "do": "check", "dry": true}), "unknown field `dry`"),
            (json!({"id": "1", "do": "check", "digest": digest()}), "`digest` means nothing here"),
            (json!({"id": "1", "do": "approve"}), "`by` is missing"),
            (json!({"id": "1", "do": "approve", "by": " "}), "`by` is empty"),
            (json!({"id": "1", "do": "approve", "by": "a\nb"}), "`by` is not a line"),
            (
                json!({"id": "1", "do": "hold", "by": "eve", "reason": "x".repeat(MESSAGE_BYTES_MAX + 1)}),
                "`reason` is not",
            ),
            (json!({"id": "1", "do": "apply", "digest": "latest"}), "digest"),
            (json!({"do": "check"}), "missing field `id`"),
        ];
        for (request, why) in nonsense {
            let said = Request::read(&text(&request)).unwrap_err();
            assert!(said.contains(why), "{request}: {said}");
            assert_eq!(id_of(&text(&request)) == "1", request.get("id").is_some(), "{request}");
        }
        for request in ["", "check", "null", "[]", r#"{"id": "a b", "do": "check"}"#, long.as_str(), &"[".repeat(4000)]
        {
            assert!(Request::read(request).is_err(), "{request}");
            assert!(id_of(request).starts_with("unread-"), "{request}");
        }
        assert!(Request::read(r#"{"id": "1", "do": "approve", "by": "eve", "by": "root"}"#).is_err(), "who?");
        assert!(Request::read(r#"{"id": "1", "do": "approve", "by": "eve", "\u0062y": "root"}"#).is_err(), "who?");
    }

    #[test]
    fn words_that_were_answered_are_never_new_again_and_an_id_is_used_once() {
        let one = text(&json!({"id": "1", "do": "check"}));
        let other = text(&json!({"id": "1", "do": "rollback"}));
        let answers = Answers::default();
        assert_eq!(answers.standing(&one), Standing::New);
        let answers = answers.with(Answer::new(&one, Outcome::Done, at(1)));
        assert_eq!((answers.standing(&one), answers.standing(&other)), (Standing::Answered, Standing::Used));
        // Told that it is used, and from then on both are answered, in whatever order they are written again.
        let answers = answers.with(Answer::new(&other, Outcome::not_understood("used"), at(2)));
        assert_eq!((answers.standing(&one), answers.standing(&other)), (Standing::Answered, Standing::Answered));
        assert!(matches!(answers.to("1").unwrap().outcome, Outcome::Refused { .. }), "the last word");
        // Nonsense too.
        let answers = answers.with(Answer::new("nonsense", Outcome::not_understood("no"), at(3)));
        assert_eq!(answers.standing("nonsense"), Standing::Answered);
        let kept: Answers = serde_json::from_value(json!(answers)).unwrap();
        assert_eq!(kept, answers);
        let later = json!([{"id": "1", "words": "w", "at": at(1), "outcome": {"kind": "postponed", "until": 1}}]);
        let later: Answers = serde_json::from_value(later).unwrap();
        assert_eq!(later.to("1").unwrap().outcome, Outcome::Other, "of a later version");
    }

    #[test]
    fn answers_are_bounded_in_number_and_in_length() {
        let forecast: Forecast = serde_json::from_value(json!({
            "tenant": "team", "server": "docs", "at": at(1), "status": "up_to_date", "running": [], "newest": null,
            "effect": {"kind": "nothing"}, "trace": vec!["x".repeat(ANSWER_BYTES_MAX / 2); 4],
        }))
        .unwrap();
        let mut answers = Answers::default();
        for number in 0..ANSWERS_MAX + 5 {
            let asked = text(&json!({"id": number.to_string(), "do": "plan"}));
            answers = answers.with(Answer::new(&asked, Outcome::planned(forecast.clone()), at(1)));
        }
        assert_eq!(answers.0.len(), ANSWERS_MAX);
        let told = |answer: &Answer| matches!(&answer.outcome, Outcome::Planned { forecast: Some(_) });
        assert!(told(&answers.0[0]) && !answers.0[1..].iter().any(told), "the last one only");
        assert!(serde_json::to_string(&answers).unwrap().len() < 2 * ANSWER_BYTES_MAX);
    }

    #[test]
    fn a_command_that_is_advised_is_one_for_the_cluster() {
        let said = there("`fairlead update check docs` looks; `x` is `fairlead update plan --on-cluster a`", "team");
        let expected =
            "`fairlead update check docs --on-cluster team` looks; `x` is `fairlead update plan --on-cluster a`";
        assert_eq!(said, expected);
        assert_eq!(there("no command", "team"), "no command");
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_or_refused_and_has_an_id(text in any::<String>()) {
            let _ = Request::read(&text);
            assert!(is_id(&id_of(&text)));
            let answered = Answers::default().with(Answer::new(&text, Outcome::Done, at(1)));
            assert_eq!(answered.standing(&text), Standing::Answered);
        }
    }
}
