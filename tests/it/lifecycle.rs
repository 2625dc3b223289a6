//! The life of a server: run, list, status, logs, stop, start, restart, rm; and what happens when it crashes.
