//! What a person wants done about the updates of a server, and which events that is: the same wherever it is asked, of a daemon or of
//! whoever leads in a cluster.

use jiff::Timestamp;

use super::facts::Trigger;
use super::forecast::Effect;
use super::record::{Freshness, Hold};
use super::step::Event;
use super::{Plan, after};
use crate::digest::Digest;
use crate::limits::APPROVAL_KEEPS;
use crate::name::ServerName;
use crate::problem::{Problem, ProblemKind};

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Look now what is newest.
    Check,
    /// Update: to what the policies choose, or, whatever they say, to a digest that is offered.
    Apply(Option<Digest>),
    /// Yes to a digest, or to what is newest.
    Approve {
        /// To what.
        digest: Option<Digest>,
        /// Whose.
        by: String,
    },
    /// No to every update.
    Hold(Hold),
    /// That no is taken back; with a digest, one that failed may be tried again.
    Resume(Option<Digest>),
    /// Back to what was well before.
    RollBack,
}

/// What a wish meets.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// Whose server, for what is said about it.
    pub server: &'a ServerName,
    /// What is known of it.
    pub record: &'a Freshness,
    /// Revision of what is deployed.
    pub deployed: u64,
    /// What the policies would do on a person's word; asked for where they choose.
    pub effect: Option<&'a Effect>,
    /// Now.
    pub now: Timestamp,
}

impl Wish {
    /// Whether it is left to the policies what is done.
    #[must_use]
    pub fn asks_policies(&self) -> bool {
        matches!(self, Self::Apply(None))
    }

    /// The events, in their order; none: what is wanted is under way.
    ///
    /// # Errors
    /// There is nothing that it could be about.
    pub fn events(&self, at: &Situation<'_>) -> Result<Vec<Event>, Problem> {
        Ok(match self {
            Self::Check => vec![Event::Asked(Trigger::Operator)],
            Self::Apply(None) => chosen(at)?,
            Self::Apply(Some(pin)) => vec![Event::Ordered(Box::new(Plan::to(pin.clone())), at.deployed)],
            Self::Approve { digest, by } => {
                let pin = digest.clone().or_else(|| newer(at.record)).ok_or_else(|| nothing_newer(at.server))?;
                vec![Event::Approved { pin, by: by.clone(), expires: after(at.now, APPROVAL_KEEPS) }]
            }
            Self::Hold(hold) => vec![Event::Held(hold.clone())],
            Self::Resume(pin) => pin.iter().cloned().map(Event::Retried).chain([Event::Unheld]).collect(),
            Self::RollBack => vec![Event::RollBack(at.deployed)],
        })
    }
}

/// What the policies choose.
fn chosen(at: &Situation<'_>) -> Result<Vec<Event>, Problem> {
    match at.effect {
        Some(Effect::Update(plan)) => Ok(vec![Event::Ordered(Box::new(plan.clone()), at.deployed)]),
        Some(Effect::Rollback { .. }) => Ok(vec![Event::RollBack(at.deployed)]),
        Some(Effect::UnderWay { .. }) => Ok(Vec::new()),
        effect => Err(Problem::new(ProblemKind::Conflict, not_applied(effect))
            .hint("`fairlead update plan` tells more; `--digest` takes one whatever the policies say")),
    }
}

/// What is newest, if it does not run.
fn newer(record: &Freshness) -> Option<Digest> {
    record.check.newest.clone().filter(|newest| !record.check.running.digests.contains(newest))
}

fn nothing_newer(server: &ServerName) -> Problem {
    Problem::new(ProblemKind::Conflict, format!("nothing newer is known of `{server}`"))
        .hint(format!("`fairlead update check {server}` looks"))
}

/// Why nothing was applied.
fn not_applied(effect: Option<&Effect>) -> String {
    match effect {
        Some(Effect::Hold { detail, .. }) if !detail.is_empty() => format!("it is held back: {detail}"),
        Some(Effect::Hold { .. }) => "it is held back".to_owned(),
        Some(Effect::NotEligible { .. }) => "the server is out of service".to_owned(),
        _ => "there is nothing to update to".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::freshness::HoldReason;

    fn digest(number: u8) -> Digest {
        Digest::new(&format!("sha256:{number:064}")).unwrap()
    }

    fn events(wish: &Wish, record: &Freshness, effect: Option<&Effect>) -> Result<Vec<Event>, Problem> {
        let server = ServerName::new("docs").unwrap();
        let at = Situation { server: &server, record, deployed: 7, effect, now: Timestamp::UNIX_EPOCH };
        wish.events(&at)
    }

    fn record() -> Freshness {
        let mut record = Freshness::default();
        record.check.newest = Some(digest(2));
        record.check.running.digests = vec![digest(1)];
        record
    }

    #[test]
    fn a_yes_is_to_what_is_newest_unless_a_digest_is_named_and_it_keeps_for_a_week() {
        let wish = |digest| Wish::Approve { digest, by: "eve".to_owned() };
        let expires = after(Timestamp::UNIX_EPOCH, APPROVAL_KEEPS);
        let yes = |pin| vec![Event::Approved { pin, by: "eve".to_owned(), expires }];
        assert_eq!(events(&wish(None), &record(), None).unwrap(), yes(digest(2)));
        assert_eq!(events(&wish(Some(digest(1))), &record(), None).unwrap(), yes(digest(1)));
        let mut fresh = record();
        fresh.check.running.digests.push(digest(2));
        let refused = events(&wish(None), &fresh, None).unwrap_err();
        assert_eq!(refused.detail, "nothing newer is known of `docs`");
    }

    #[test]
    fn what_policies_choose_is_done_and_what_they_do_not_is_refused_with_the_reason() {
        let apply = |effect: &Effect| events(&Wish::Apply(None), &record(), Some(effect));
        let plan = Plan::to(digest(2));
        assert_eq!(apply(&Effect::Update(plan.clone())).unwrap(), [Event::Ordered(Box::new(plan), 7)]);
        assert_eq!(apply(&Effect::Rollback { pin: digest(1) }).unwrap(), [Event::RollBack(7)]);
        let hold = Effect::Hold { reason: HoldReason::TooYoung, detail: "wait".to_owned(), pin: None, until: None };
        assert_eq!(apply(&hold).unwrap_err().detail, "it is held back: wait");
        assert_eq!(apply(&Effect::Nothing).unwrap_err().detail, "there is nothing to update to");
        assert!(events(&Wish::Apply(None), &record(), None).is_err(), "nobody asked them");
    }

    #[test]
    fn a_digest_that_failed_is_pardoned_before_the_no_is_taken_back() {
        let resumed = events(&Wish::Resume(Some(digest(2))), &record(), None).unwrap();
        assert_eq!(resumed, [Event::Retried(digest(2)), Event::Unheld]);
        assert_eq!(events(&Wish::Resume(None), &record(), None).unwrap(), [Event::Unheld]);
    }
}
