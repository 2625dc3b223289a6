//! The languages that plugins are begun in. Others are welcome: whatever targets a world of the contract is loaded.

/// A language with an SDK.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Language {
    /// Rust: the smallest and fastest
    #[default]
    Rust,
    /// JavaScript or TypeScript, in QuickJS
    #[value(name = "js", aliases = ["javascript", "ts", "typescript"])]
    JavaScript,
    /// Python, in CPython
    #[value(alias = "py")]
    Python,
}

impl Language {
    /// All of them.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 3] = [Self::Rust, Self::JavaScript, Self::Python];

    /// Where its SDK lies in a checkout, and in a copy.
    pub(crate) const fn sdk(self) -> &'static str {
        match self {
            Self::Rust => "sdk/rust",
            Self::JavaScript => "sdk/js",
            Self::Python => "sdk/python",
        }
    }
}
