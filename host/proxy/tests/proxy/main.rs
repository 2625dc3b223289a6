//! The data plane over real sockets: real HTTP clients on one side, servers of the tests on the other.

mod bad_input;
mod chains;
mod drain;
#[cfg(test)]
mod elder;
#[cfg(test)]
mod examine;
#[cfg(test)]
mod health;
mod http;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod legacy;
mod modern;
mod per_session;
#[cfg(test)]
mod remote;
#[cfg(test)]
mod replicas;
mod shared;
#[cfg(test)]
mod stdio_client;
#[cfg(test)]
mod succession;
#[cfg(test)]
mod support;
