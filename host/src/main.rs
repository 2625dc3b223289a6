//! The binary.
mod config;
mod limits;
mod store;
fn main() {}
