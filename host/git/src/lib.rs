//! Files of git repositories.
