//! The author's loop: what `fairlead plugin new`, `build`, `validate`, `test`, `run` and `bench` are made of.
//!
//! A room of its own because it shares nothing with the daemon but the plugin host: an author needs no daemon, and a plugin
//! that is being written must not get near one that serves.

pub(crate) mod bench;
pub(crate) mod build;
pub(crate) mod cases;
pub(crate) mod language;
pub(crate) mod lint;
pub(crate) mod message;
pub(crate) mod outcome;
mod project;
pub(crate) mod sdk;
pub(crate) mod template;
pub(crate) mod workbench;
