//! The data plane over real sockets: real HTTP clients on one side, servers of the tests on the other.

mod bad_input;
mod chains;
mod drain;
mod http;
mod identity;
mod legacy;
mod modern;
mod per_session;
mod remote;
mod shared;
#[cfg(test)]
mod support;
