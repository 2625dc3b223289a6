//! Faults on purpose: places where a test lets a task panic, to see what that takes with it.
//!
//! A place calls [`point`] with its name; whoever composes the daemon may [`install`] what then happens. Only a build with
//! debug assertions has any of it: in a release a point is nothing at all, so that no variable and no file can break a
//! daemon that people use.

#[cfg(debug_assertions)]
static INJECTOR: std::sync::OnceLock<fn(&'static str)> = std::sync::OnceLock::new();

/// Says what happens at every point from now on. The first to say so is heard.
#[cfg(debug_assertions)]
pub fn install(injector: fn(&'static str)) {
    let _ = INJECTOR.set(injector);
}

/// A place of this name is reached.
#[inline]
pub fn point(name: &'static str) {
    #[cfg(debug_assertions)]
    if let Some(injector) = INJECTOR.get() {
        injector(name);
    }
    #[cfg(not(debug_assertions))]
    let _ = name;
}
