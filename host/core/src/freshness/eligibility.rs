//! Whether a server is looked after at all, and if not, why: each condition is named, so that a user can see which one to
//! change.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Composition;
use crate::server::Source;
use crate::status::{Desired, ServerPhase};

/// The two toggles of a server. Off and off is what a stored server without them had: it existed before the feature.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct UpdateToggles {
    /// Check for image updates.
    pub check: bool,
    /// Reinstall automatically. Means nothing while `check` is off, and is kept.
    pub auto_reinstall: bool,
}

impl UpdateToggles {
    /// What a newly created server has.
    #[must_use]
    pub const fn for_new() -> Self {
        Self { check: true, auto_reinstall: true }
    }
}

/// How a server is kept fresh, as somebody wants it to be. All off is what a server without it has: it was there before
/// anybody could say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct UpdateSpec {
    /// Check for image updates.
    pub check: bool,
    /// Reinstall automatically. Means nothing while `check` is off, and is kept.
    pub auto_reinstall: bool,
    /// There may be only one of it at a time: the old one is stopped before the new one is started, which then is not tried
    /// beside it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub single_instance: bool,
    /// A person is to reinstall it: until it was restarted, nothing is checked.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub manual_reinstall: bool,
    /// How its own update policies decide together; absent: the innermost chooses, and all must agree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compose: Option<Composition>,
}

impl UpdateSpec {
    /// What a newly created server has.
    #[must_use]
    pub const fn for_new() -> Self {
        let UpdateToggles { check, auto_reinstall } = UpdateToggles::for_new();
        Self { check, auto_reinstall, single_instance: false, manual_reinstall: false, compose: None }
    }

    /// The two toggles.
    #[must_use]
    pub const fn toggles(&self) -> UpdateToggles {
        UpdateToggles { check: self.check, auto_reinstall: self.auto_reinstall }
    }
}

/// Why a server is not checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ineligible {
    /// It comes from nothing that changes: a command of this machine.
    NotAnArtifact,
    /// Its image is only on this machine: no OCI registry can be asked.
    LocalImage,
    /// Its toggle is off.
    CheckOff,
    /// Somebody stopped it.
    Stopped,
    /// It has not come up yet.
    Pending,
    /// It does not come up.
    InError,
    /// A person is to reinstall it.
    ManualReinstall,
    /// Its tenant or an operator has disabled it.
    Disabled,
}

/// What eligibility looks at.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// Where it comes from.
    pub source: &'a Source,
    /// Its image has a name that an OCI registry knows.
    pub resolvable: bool,
    /// Its toggles.
    pub toggles: UpdateToggles,
    /// What is wanted.
    pub desired: Desired,
    /// What is.
    pub phase: ServerPhase,
    /// Marked for manual reinstall.
    pub manual_reinstall: bool,
    /// Disabled.
    pub disabled: bool,
}

/// All reasons against a check, most lasting first; none: it is eligible.
#[must_use]
pub fn reasons(standing: &Standing<'_>) -> Vec<Ineligible> {
    let artifact = !matches!(standing.source, Source::Command { .. });
    let pending = matches!(standing.phase, ServerPhase::Starting | ServerPhase::Stopping);
    let in_error = matches!(standing.phase, ServerPhase::Failed | ServerPhase::BackingOff);
    let wanted = standing.desired == Desired::Running;
    let found = [
        (!artifact, Ineligible::NotAnArtifact),
        (artifact && !standing.resolvable, Ineligible::LocalImage),
        (!standing.toggles.check, Ineligible::CheckOff),
        (standing.disabled, Ineligible::Disabled),
        (standing.manual_reinstall, Ineligible::ManualReinstall),
        (!wanted, Ineligible::Stopped),
        (wanted && pending, Ineligible::Pending),
        (wanted && in_error, Ineligible::InError),
    ];
    found.into_iter().filter(|(holds, _)| *holds).map(|(_, reason)| reason).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{ImageReference, ImageSource};

    fn image() -> Source {
        Source::Image(Box::new(ImageSource::new(ImageReference::new("ghcr.io/a/b:1").unwrap())))
    }

    fn standing(source: &Source) -> Standing<'_> {
        Standing {
            source,
            resolvable: true,
            toggles: UpdateToggles::for_new(),
            desired: Desired::Running,
            phase: ServerPhase::Running,
            manual_reinstall: false,
            disabled: false,
        }
    }

    #[test]
    fn f4_a_running_container_with_its_check_on_is_eligible() {
        assert_eq!(reasons(&standing(&image())), []);
    }

    #[test]
    fn f4_a_command_of_the_machine_is_not() {
        let command = Source::Command { program: "a".to_owned(), args: Vec::new(), directory: None };
        assert_eq!(reasons(&standing(&command)), [Ineligible::NotAnArtifact]);
    }

    #[test]
    fn f4_an_image_that_no_registry_knows_is_not() {
        assert_eq!(reasons(&Standing { resolvable: false, ..standing(&image()) }), [Ineligible::LocalImage]);
    }

    #[test]
    fn f4_a_check_that_is_off_is_not_made() {
        let toggles = UpdateToggles { check: false, auto_reinstall: true };
        assert_eq!(reasons(&Standing { toggles, ..standing(&image()) }), [Ineligible::CheckOff]);
    }

    #[test]
    fn f4_a_stopped_server_is_not() {
        let image = image();
        let stopped = Standing { desired: Desired::Stopped, phase: ServerPhase::Stopped, ..standing(&image) };
        assert_eq!(reasons(&stopped), [Ineligible::Stopped]);
    }

    #[test]
    fn f4_a_server_that_is_pending_is_not() {
        for phase in [ServerPhase::Starting, ServerPhase::Stopping] {
            assert_eq!(reasons(&Standing { phase, ..standing(&image()) }), [Ineligible::Pending]);
        }
    }

    #[test]
    fn f4_a_server_in_error_is_not() {
        for phase in [ServerPhase::Failed, ServerPhase::BackingOff] {
            assert_eq!(reasons(&Standing { phase, ..standing(&image()) }), [Ineligible::InError]);
        }
    }

    #[test]
    fn f4_a_server_marked_for_manual_reinstall_is_not() {
        assert_eq!(reasons(&Standing { manual_reinstall: true, ..standing(&image()) }), [Ineligible::ManualReinstall]);
    }

    #[test]
    fn f4_a_disabled_server_is_not() {
        assert_eq!(reasons(&Standing { disabled: true, ..standing(&image()) }), [Ineligible::Disabled]);
    }

    #[test]
    fn f1_both_toggles_are_on_for_new_servers_and_off_for_those_that_were_there_before() {
        assert_eq!(UpdateToggles::for_new(), UpdateToggles { check: true, auto_reinstall: true });
        assert_eq!(UpdateSpec::for_new().toggles(), UpdateToggles::for_new());
        let stored: UpdateSpec = serde_json::from_str("{}").unwrap();
        assert_eq!(stored.toggles(), UpdateToggles { check: false, auto_reinstall: false });
    }
}
