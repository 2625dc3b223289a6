//! With a real engine: what a container is given, how its pipes behave, and that nothing of it stays behind.

mod adoption;
mod escape;
mod hardening;
mod lifecycle;
mod overlays;
mod podman;
mod ports;
mod pull;
mod scene;
mod search;
mod together;

use super::*;
