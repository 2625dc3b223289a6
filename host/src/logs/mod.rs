//! Logs as files: one per server and one of the daemon, put aside when they grow and followed while they do.

mod follow;
mod rotate;
mod sink;

pub(crate) use follow::{Tail, open};
pub(crate) use rotate::{RotatingFile, SharedFile};
pub(crate) use sink::FileSink;
