//! How the developer commands speak: few styles, and none of them where nobody would see it.
//!
//! `anstream` decides about colour (terminal or not, `NO_COLOR`, `CLICOLOR_FORCE`), so the code only names meanings.

use anstyle::{AnsiColor, Style};

/// A heading.
pub(crate) const HEADING: Style = Style::new().bold();
/// It held.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// It did not.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// It was not tried.
pub(crate) const SKIPPED: Style = AnsiColor::Yellow.on_default().bold();
/// Worth having, not worth looking at first.
pub(crate) const FAINT: Style = Style::new().dimmed();

/// Prints a heading above the output of one step.
pub(crate) fn heading(text: &str) {
    anstream::println!("\n{HEADING}== {text}{HEADING:#}");
}
