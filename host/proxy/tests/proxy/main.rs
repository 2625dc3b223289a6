//! The data plane over real sockets: real HTTP clients on one side, servers of the tests on the other.

mod bad_input;
mod chains;
mod drain;
mod elder;
mod http;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod legacy;
mod modern;
mod per_session;
#[cfg(test)]
mod remote;
mod shared;
mod stdio_client;
mod succession;
#[cfg(test)]
mod support;
