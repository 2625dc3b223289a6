//! What a server does not see of a directory that is mounted for it, in the language of `.gitignore`.
//!
//! A directory of a project holds keys beside code, and a mount gives all of it. An ignore file names what stays hidden. The
//! language is the one that everybody knows, rule by rule: the last pattern that matches decides, `!` takes back, a `/` in the
//! middle ties a pattern to the root, one at the end asks for a directory, `**` crosses directories. What lies in a hidden
//! directory is hidden with it.
//!
//! Lines come from files that others may have written, so matching takes time that grows with the product of the lengths and
//! no faster: a backtracking matcher would stand still at a line of stars.

use crate::limits::{IGNORE_LINE_BYTES_MAX, IGNORE_PATTERNS_MAX};

/// The patterns of one or several ignore files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

/// Why a text is no ignore file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct IgnoreError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    shows: bool,
    directories_only: bool,
    segments: Vec<Segment>,
}

/// What stands between two slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    /// `**`: any number of directories.
    AnyDepth,
    /// Anything else, as its characters.
    Name(Vec<Glob>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Glob {
    Exactly(char),
    /// `?`
    One,
    /// `*`
    Any,
    /// `[a-z]`
    Among {
        ranges: Vec<(char, char)>,
        negated: bool,
    },
}

impl Ignore {
    /// Adds the patterns of a file. Over those that are there already they decide.
    ///
    /// # Errors
    /// It has more or longer patterns than anybody needs.
    pub fn add(&mut self, text: &str) -> Result<(), IgnoreError> {
        for (at, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let refused = |reason| IgnoreError { line: at + 1, reason };
            if line.len() > IGNORE_LINE_BYTES_MAX {
                return Err(refused("it is longer than any path"));
            }
            let Some(pattern) = Pattern::parse(line) else { continue };
            if self.patterns.len() == IGNORE_PATTERNS_MAX {
                return Err(refused("there are too many patterns"));
            }
            self.patterns.push(pattern);
        }
        Ok(())
    }

    /// Whether nothing can be hidden.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.iter().all(|pattern| pattern.shows)
    }

    /// Whether what lies at `path` below the root is hidden. The directories above it were asked before, and are not: what is
    /// in a hidden one is hidden with it.
    #[must_use]
    pub fn hides(&self, path: &str, is_directory: bool) -> bool {
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        let decides = self.patterns.iter().rev().find(|pattern| pattern.matches(&names, is_directory));
        decides.is_some_and(|pattern| !pattern.shows)
    }
}

impl Pattern {
    /// `None` for a comment, a blank line, and what matches nothing.
    fn parse(line: &str) -> Option<Self> {
        let line = without_trailing_spaces(line.strip_suffix('\r').unwrap_or(line));
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        let (shows, line) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest));
        let (directories_only, line) = line.strip_suffix('/').map_or((false, line), |rest| (true, rest));
        let mut segments: Vec<Segment> = Vec::new();
        let (anchored, line) = line.strip_prefix('/').map_or((line.contains('/'), line), |rest| (true, rest));
        if !anchored {
            segments.push(Segment::AnyDepth);
        }
        for part in line.split('/') {
            match part {
                "" => return None,
                "**" => segments.push(Segment::AnyDepth),
                part => segments.push(Segment::Name(globs(part)?)),
            }
        }
        Some(Self { shows, directories_only, segments })
    }

    fn matches(&self, names: &[&str], is_directory: bool) -> bool {
        if self.directories_only && !is_directory {
            return false;
        }
        // `reached[n]`: the segments so far can take the first n names.
        let mut reached = vec![false; names.len() + 1];
        if let Some(start) = reached.first_mut() {
            *start = true;
        }
        let last = self.segments.len().saturating_sub(1);
        for (at, segment) in self.segments.iter().enumerate() {
            match segment {
                // `a/**` is what is in `a`, not `a` itself.
                Segment::AnyDepth => {
                    let mut open = false;
                    for taken in &mut reached {
                        let was = *taken;
                        *taken = open || (was && at != last);
                        open |= was;
                    }
                }
                Segment::Name(globs) => {
                    let mut before = false;
                    for (taken, name) in reached.iter_mut().zip(std::iter::once(None).chain(names.iter().map(Some))) {
                        let was =
                            std::mem::replace(taken, before && name.is_some_and(|name| name_matches(globs, name)));
                        before = was;
                    }
                }
            }
        }
        reached.last().copied().unwrap_or_default()
    }
}

/// A space at the end counts only behind a backslash.
fn without_trailing_spaces(line: &str) -> &str {
    let trimmed = line.trim_end_matches([' ', '\t']);
    match trimmed.strip_suffix('\\') {
        Some(before) if trimmed.len() < line.len() && !before.ends_with('\\') => {
            line.get(..=trimmed.len()).unwrap_or(trimmed)
        }
        _ => trimmed,
    }
}

/// `None` for what matches nothing: a backslash or a bracket that is never closed.
fn globs(part: &str) -> Option<Vec<Glob>> {
    let mut globs = Vec::new();
    let mut rest = part.chars();
    while let Some(c) = rest.next() {
        globs.push(match c {
            '\\' => Glob::Exactly(rest.next()?),
            '?' => Glob::One,
            '*' => Glob::Any,
            '[' => among(&mut rest)?,
            c => Glob::Exactly(c),
        });
    }
    Some(globs)
}

fn among(rest: &mut std::str::Chars<'_>) -> Option<Glob> {
    let mut negated = false;
    let mut ranges: Vec<(char, char)> = Vec::new();
    let mut first = true;
    loop {
        let c = match rest.next()? {
            '!' | '^' if first && !negated => {
                negated = true;
                continue;
            }
            ']' if !first => return Some(Glob::Among { ranges, negated }),
            '\\' => rest.next()?,
            c => c,
        };
        first = false;
        let mut ahead = rest.clone();
        match (ahead.next(), ahead.next()) {
            (Some('-'), Some(end)) if end != ']' => {
                *rest = ahead;
                let end = if end == '\\' { rest.next()? } else { end };
                ranges.push((c, end));
            }
            _ => ranges.push((c, c)),
        }
    }
}

/// The two-pointer match: a star is given one character more when what follows it fails.
fn name_matches(globs: &[Glob], name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    let (mut glob, mut at) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(c) = name.get(at) {
        match globs.get(glob) {
            Some(Glob::Any) => {
                star = Some((glob, at));
                glob += 1;
            }
            Some(one) if one.takes(*c) => {
                glob += 1;
                at += 1;
            }
            _ => {
                let Some((of_star, from)) = star else { return false };
                star = Some((of_star, from + 1));
                (glob, at) = (of_star + 1, from + 1);
            }
        }
    }
    globs.get(glob..).is_some_and(|rest| rest.iter().all(|glob| *glob == Glob::Any))
}

impl Glob {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Exactly(one) => *one == c,
            Self::One => true,
            Self::Any => false,
            Self::Among { ranges, negated } => ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != *negated,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ignore(text: &str) -> Ignore {
        let mut ignore = Ignore::default();
        ignore.add(text).unwrap();
        ignore
    }

    /// Whether it or a directory above it is.
    fn is_hidden(ignore: &Ignore, path: &str) -> bool {
        let whole = path.trim_end_matches('/');
        let mut above = whole.match_indices('/').map(|(at, _)| whole.split_at(at).0);
        above.any(|directory| ignore.hides(directory, true)) || ignore.hides(whole, path.ends_with('/'))
    }

    /// Pattern, path (a `/` at its end says directory), hidden.
    const AS_GIT_DOES: &[(&str, &str, bool)] = &[
        (".env", ".env", true),
        (".env", "deep/er/.env", true),
        (".env", ".env.local", false),
        (".env*", "a/.env.local", true),
        ("/.env", ".env", true),
        ("/.env", "a/.env", false),
        ("secrets/", "secrets/", true),
        ("secrets/", "a/secrets/", true),
        ("secrets/", "secrets", false),
        ("a/b", "a/b", true),
        ("a/b", "x/a/b", false),
        ("a/*", "a/b", true),
        ("a/*", "a/b/c", true),
        ("/a/*.x", "a/b.x/c", true),
        ("**/b", "b", true),
        ("**/b", "a/x/b", true),
        ("a/**", "a/", false),
        ("a/**", "a/b", true),
        ("a/**", "a/b/c", true),
        ("a/**/b", "a/b", true),
        ("a/**/b", "a/x/y/b", true),
        ("a/**/b", "ab", false),
        ("*.key", "id.key", true),
        ("*.key", ".key", true),
        ("*.key", "key", false),
        ("?.key", "ab.key", false),
        ("[a-c].key", "b.key", true),
        ("[!a-c].key", "b.key", false),
        ("[!a-c].key", "x.key", true),
        ("[]x].key", "].key", true),
        ("[a.key", "[a.key", false),
        ("\\#a", "#a", true),
        ("#a", "#a", false),
        ("\\!a", "!a", true),
        ("a ", "a", true),
        ("a\\ ", "a ", true),
        ("a**b", "axxb", true),
        ("*.log\n!keep.log", "keep.log", false),
        ("!keep.log\n*.log", "keep.log", true),
    ];

    #[test]
    fn patterns_mean_what_they_mean_to_git() {
        for (patterns, path, hidden) in AS_GIT_DOES {
            assert_eq!(is_hidden(&ignore(patterns), path), *hidden, "{patterns:?} {path:?}");
        }
    }

    /// The table above, against git itself where there is one.
    #[test]
    fn git_agrees() {
        let Ok(directory) = tempfile_directory() else { return };
        let git = |args: &[&str]| std::process::Command::new("git").args(args).current_dir(&directory).output();
        if !git(&["init", "-q"]).is_ok_and(|output| output.status.success()) {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI has git");
            let _ = std::fs::remove_dir_all(&directory);
            eprintln!("skipped: there is no git");
            return;
        }
        for (patterns, path, hidden) in AS_GIT_DOES {
            std::fs::write(directory.join(".gitignore"), patterns).unwrap();
            let place = directory.join(path.trim_end_matches('/'));
            if path.ends_with('/') {
                std::fs::create_dir_all(&place).unwrap();
            }
            let output = git(&["check-ignore", "-q", "--no-index", "--", path.trim_end_matches('/')]).unwrap();
            assert_eq!(output.status.code() == Some(0), *hidden, "{patterns:?} {path:?}");
            if path.ends_with('/') {
                std::fs::remove_dir_all(directory.join(path.split('/').next().unwrap())).unwrap();
            }
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }

    fn tempfile_directory() -> std::io::Result<std::path::PathBuf> {
        let directory = std::env::temp_dir().join(format!("fairlead-ignore-{}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        Ok(directory)
    }

    #[test]
    fn one_character_is_one_and_not_one_byte_as_for_git() {
        assert!(ignore("é?").hides("éü", false));
    }

    #[test]
    fn a_line_of_stars_takes_no_time() {
        let stars = "*a".repeat(IGNORE_LINE_BYTES_MAX / 2);
        assert!(!ignore(&stars).hides(&"a".repeat(255), false));
        let deep = "**/a/".repeat(IGNORE_LINE_BYTES_MAX / 5);
        assert!(!ignore(&deep).hides(&"a/".repeat(500), true));
    }

    #[test]
    fn what_nobody_needs_is_refused_and_never_cut() {
        let mut all = Ignore::default();
        assert_eq!(all.add(&format!("a\n{}", "x".repeat(IGNORE_LINE_BYTES_MAX + 1))).unwrap_err().line, 2);
        assert!(Ignore::default().add(&"a\n".repeat(IGNORE_PATTERNS_MAX + 1)).is_err());
    }

    proptest! {
        #[test]
        fn a_name_hides_itself_at_every_depth(path in proptest::collection::vec("[a-z.]{1,8}", 1..6)) {
            let name = path.last().unwrap();
            prop_assert!(ignore(name).hides(&path.join("/"), false));
            let anchored = format!("/{}", path.join("/"));
            prop_assert!(ignore(&anchored).hides(&path.join("/"), true));
            let taken_back = format!("{name}\n!{name}");
            prop_assert!(!ignore(&taken_back).hides(&path.join("/"), false));
        }
    }
}
