//! How a workload ended, what that says of its server, and the sentence that tells it.
//!
//! Not every end is a failure, and not every failure is the server's. A process whose stdin was closed may end as it
//! likes. One that dies before it said anything cannot come up, and neither will the next. One that dies in the middle of a
//! session was probably killed by what its client sent; if that closed the door for all, any client could deny a server to
//! the others.

use std::time::Duration;

use fairlead_core::workload::Exit;

use crate::limits::SILENT_END_AFTER;

/// What is known of a workload when it has ended.
#[derive(Debug, Clone)]
pub(crate) struct Ending {
    /// How.
    pub(crate) exit: Exit,
    /// From its launch.
    pub(crate) lived: Duration,
    /// It ended while somebody still wanted it: nobody had closed its stdin or asked it to end.
    pub(crate) by_itself: bool,
    /// It had written something to its standard output: it had come up.
    pub(crate) spoke: bool,
    /// It is the server, not one session's share of it.
    pub(crate) resident: bool,
}

/// How much an end counts against the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// Nothing is wrong.
    None,
    /// One session lost its process: a crash. Many of them in a row count as a failure.
    Crash,
    /// The server does not come up, or went down.
    Failure,
}

impl Ending {
    /// What this end counts, when `others` says whether the server is serving somebody else at this moment: then it can
    /// come up, and the end counts one step less.
    pub(crate) fn weight(&self, others: bool) -> Weight {
        let weight = self.own_weight();
        match weight {
            Weight::Failure if others && !self.resident => Weight::Crash,
            Weight::Crash if others => Weight::None,
            _ => weight,
        }
    }

    fn own_weight(&self) -> Weight {
        let success = self.exit == Exit::Code(0);
        if !self.by_itself {
            Weight::None
        } else if self.resident {
            Weight::Failure
        } else if self.spoke {
            if success { Weight::None } else { Weight::Crash }
        } else if success && self.lived >= SILENT_END_AFTER {
            Weight::None
        } else {
            Weight::Failure
        }
    }

    /// The sentence, with what the workload wrote last.
    pub(crate) fn reason(&self, last_words: Option<&str>) -> Reason {
        let silent = if self.spoke || self.resident { "" } else { ", without a word on its standard output" };
        let told = format!("{} after {}{silent}", self.exit, seconds(self.lived));
        Reason::with_detail(told, last_words)
    }
}

/// A duration as people say it.
fn seconds(duration: Duration) -> String {
    match duration.as_secs() {
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        secs @ 60..7_200 => format!("{} min", secs / 60),
        secs => format!("{} h", secs / 3_600),
    }
}

/// Why, as two texts: what a client may read, and what whoever runs the server may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reason {
    /// Without anything that the server wrote: that may hold what is not for clients.
    pub(crate) public: String,
    /// Everything.
    pub(crate) full: String,
}

impl Reason {
    /// The same for both.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        let public = text.into();
        Self { full: public.clone(), public }
    }

    /// With a detail that is not for clients.
    pub(crate) fn with_detail(public: String, detail: Option<&str>) -> Self {
        let full = match detail {
            Some(detail) => format!("{public}: {detail}"),
            None => public.clone(),
        };
        Self { public, full }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ending() -> Ending {
        Ending {
            exit: Exit::Code(1),
            lived: Duration::from_millis(300),
            by_itself: true,
            spoke: false,
            resident: false,
        }
    }

    #[test]
    fn what_was_asked_to_end_may_end_as_it_likes() {
        for exit in [Exit::Code(0), Exit::Code(1), Exit::Signal(15), Exit::Fault("trap".to_owned())] {
            for (spoke, resident) in [(false, false), (true, false), (false, true)] {
                let ending = Ending { exit: exit.clone(), by_itself: false, spoke, resident, ..ending() };
                assert_eq!(ending.weight(false), Weight::None);
            }
        }
    }

    #[test]
    fn who_dies_without_a_word_cannot_come_up() {
        assert_eq!(ending().weight(false), Weight::Failure);
        assert_eq!(Ending { exit: Exit::Code(0), ..ending() }.weight(false), Weight::Failure, "no server at all");
        assert_eq!(Ending { lived: Duration::from_secs(3_600), ..ending() }.weight(false), Weight::Failure);
    }

    #[test]
    fn who_leaves_in_peace_has_not_failed() {
        let gone = Ending { exit: Exit::Code(0), ..ending() };
        assert_eq!(Ending { spoke: true, ..gone.clone() }.weight(false), Weight::None);
        assert_eq!(Ending { lived: SILENT_END_AFTER, ..gone }.weight(false), Weight::None);
    }

    #[test]
    fn a_session_that_crashes_is_not_the_servers_failure() {
        let crash = Ending { spoke: true, exit: Exit::Signal(11), ..ending() };
        assert_eq!(crash.weight(false), Weight::Crash);
        assert_eq!(crash.weight(true), Weight::None, "others are being served");
        assert_eq!(ending().weight(true), Weight::Crash, "others are being served, so it can come up");
    }

    #[test]
    fn a_resident_server_fails_whenever_it_ends_by_itself() {
        for exit in [Exit::Code(0), Exit::Code(1)] {
            let ending = Ending { exit, resident: true, spoke: true, lived: Duration::from_secs(9_999), ..ending() };
            assert_eq!(ending.weight(true), Weight::Failure);
        }
    }

    #[test]
    fn the_sentence_says_how_when_and_what_was_written_but_not_to_clients() {
        let reason = Ending { spoke: true, ..ending() }.reason(Some("no API key"));
        assert_eq!(reason.full, "exited with status 1 after 0.3 s: no API key");
        assert_eq!(reason.public, "exited with status 1 after 0.3 s");
        let reason = Ending { exit: Exit::Signal(9), lived: Duration::from_secs(7_300), ..ending() }.reason(None);
        assert_eq!(reason.full, "was ended by signal 9 after 2 h, without a word on its standard output");
    }
}
