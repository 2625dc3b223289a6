//! The list of verbs, from the program itself: each has a snapshot, help that says everything, a manual page, and is
//! completed by shells.

use std::collections::BTreeMap;
use std::process::Command;

use fairlead_tests::{Cli, Home, binary};
use insta::assert_snapshot;

use super::pair::Pair;

/// A command as the reference page tells of it: what it is for, and its arguments with their meanings.
#[derive(Debug, Default)]
struct Told {
    about: String,
    arguments: Vec<(String, String)>,
}

/// All commands by their words (`group create`), from `fairlead reference`.
async fn reference(cli: &Cli) -> BTreeMap<String, Told> {
    let page = cli.ok(["reference"]).await.unwrap().stdout;
    let page = page.split("\n## Environment variables").next().unwrap();
    let mut all = BTreeMap::new();
    for section in page.split("\n## `fairlead").skip(1) {
        let (words, rest) = section.split_once('`').unwrap();
        let about = rest.lines().find(|line| !line.is_empty()).unwrap_or_default().trim_end_matches('.').to_owned();
        let rows = rest.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |")?.split_once("` | "));
        let arguments = rows.map(|(name, meaning)| (name.to_owned(), meaning.to_owned())).collect();
        all.insert(words.trim().to_owned(), Told { about, arguments });
    }
    all
}

/// Those that do something, rather than hold others.
fn verbs(all: &BTreeMap<String, Told>) -> Vec<&str> {
    let holds = |words: &str| all.keys().any(|other| other.starts_with(&format!("{words} ")));
    all.keys().map(String::as_str).filter(|words| !words.is_empty() && !holds(words)).collect()
}

#[tokio::test]
async fn every_verb_has_a_snapshot() {
    let cli = Cli::new(&Home::new().unwrap()).unwrap();
    let directory = binary::root().join("tests/it/verbs");
    let sources: String = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    let all = reference(&cli).await;
    let verbs = verbs(&all);
    assert!(verbs.len() > 40, "{verbs:?}");
    let is_typed = |verb: &str| {
        ["run", "run_with", "shape"].iter().any(|function| {
            let typed = format!("pair.{function}(\"{verb}");
            // A line that only prepares something is no snapshot.
            let asserted = sources.lines().map(str::trim_start).filter(|line| !line.starts_with("pair."));
            let typed = asserted.filter_map(|line| line.split_once(&typed));
            typed.into_iter().any(|(_, rest)| rest.starts_with([' ', '"']))
        })
    };
    // Its snapshot is of what it looks at: what it finds differs between machines.
    let missing: Vec<&&str> = verbs.iter().filter(|verb| **verb != "doctor" && !is_typed(verb)).collect();
    assert!(missing.is_empty(), "no snapshot in tests/it/verbs: {missing:?}; `pair.run(\"VERB …\")` makes one");
}

#[tokio::test]
async fn help_tells_of_every_argument_what_the_reference_tells() {
    let home = Home::new().unwrap();
    let cli = Cli::new(&home).unwrap();
    let all = reference(&cli).await;
    let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    for (words, told) in &all {
        let line: Vec<&str> = words.split_whitespace().chain(["--help"]).collect();
        let output = cli.ok(&line).await.unwrap();
        assert_eq!(output.stderr, "", "{words}");
        let help = flat(&output.stdout);
        assert!(help.starts_with(&told.about), "{words}: {help}");
        assert!(help.contains(&format!("Usage: {}", format!("fairlead {words}").trim())), "{words}: {help}");
        for (name, meaning) in &told.arguments {
            assert!(!meaning.is_empty(), "{words} {name} means something");
            // Lists of values and defaults are worded otherwise there.
            let meaning =
                flat(meaning.split(": `").next().unwrap().split(" (default").next().unwrap()).replace("\\|", "|");
            for spelling in name.split(", ").map(|name| name.split(' ').next().unwrap()) {
                assert!(help.contains(spelling), "{words}: {spelling} is missing: {help}");
            }
            assert!(help.contains(meaning.trim_end()), "{words} {name}: `{meaning}` is missing: {help}");
        }
        for global in ["--home", "--config", "--format", "--quiet", "--help"] {
            assert!(help.contains(global), "{words}: {global}");
        }
        let short = cli.ok(words.split_whitespace().chain(["-h"])).await.unwrap();
        assert!(flat(&short.stdout).starts_with(&told.about), "{words}: {short}");
    }
}

#[tokio::test]
async fn a_line_that_is_not_understood_is_answered_with_status_2() {
    let pair = Pair::bare().await;
    assert_snapshot!(pair.run("zzz").await, @r#"
    $ fairlead zzz
    --- stderr
    error: unrecognized subcommand 'zzz'

    Usage: fairlead [OPTIONS] <COMMAND>

    For more information, try '--help'.
    --- status 2
    $ fairlead zzz --format json
    --- stderr
    {"error":"unrecognized subcommand 'zzz'","hint":"try `--help`"}
    --- status 2
    "#);
    assert_snapshot!(pair.run("rm").await, @r#"
    $ fairlead rm
    --- stderr
    error: the following required arguments were not provided:
      <NAME|--group <GROUP>|--label <KEY=VALUE>|--all>

    Usage: fairlead rm <NAME|--group <GROUP>|--label <KEY=VALUE>|--all>

    For more information, try '--help'.
    --- status 2
    $ fairlead rm --format json
    --- stderr
    {"error":"the following required arguments were not provided: <NAME|--group <GROUP>|--label <KEY=VALUE>|--all>","hint":"try `--help`"}
    --- status 2
    "#);
    assert_snapshot!(pair.run("status One").await, @r#"
    $ fairlead status One
    --- stderr
    error: invalid value 'One' for '<NAME>': `One` is not a name: use lower-case letters, digits and `-`, and begin and end with a letter or digit

    For more information, try '--help'.
    --- status 2
    $ fairlead status One --format json
    --- stderr
    {"error":"invalid value 'One' for '<NAME>': `One` is not a name: use lower-case letters, digits and `-`, and begin and end with a letter or digit","hint":"try `--help`"}
    --- status 2
    "#);
}

#[tokio::test]
async fn there_is_a_manual_page_for_every_command() {
    let pair = Pair::bare().await;
    let cli = Cli::new(&Home::new().unwrap()).unwrap();
    let all = reference(&cli).await;
    let written = pair.run("man --directory {home}/man").await;
    assert_snapshot!(written.replace(&format!("{} pages", all.len()), "[ALL] pages"), @r#"
    $ fairlead man --directory {home}/man
    --- stderr
    [ALL] pages in `[HOME]/man`
    --- status 0
    $ fairlead man --directory {home}/man --format json
    --- stderr
    {"note":"[ALL] pages in `[HOME]/man`"}
    --- status 0
    "#);
    for (words, told) in &all {
        let name = format!("fairlead {words}").trim().replace(' ', "-");
        let path = pair.text.path().join(format!("man/{name}.1"));
        let page = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}.1: {error}"));
        assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{page}");
        for (argument, _) in told.arguments.iter().filter(|(name, _)| name.starts_with('-')) {
            let flag = argument.split([',', ' ']).next().unwrap().replace('-', "\\-");
            assert!(page.contains(&flag), "{name}.1 has {flag}");
        }
    }
    let written = std::fs::read_dir(pair.text.path().join("man")).unwrap().count();
    assert_eq!(written, all.len(), "and no page for what there is not");
}

#[tokio::test]
async fn shells_complete_every_command() {
    let pair = Pair::bare().await;
    assert_snapshot!(pair.run("completion nushell").await, @r#"
    $ fairlead completion nushell
    --- stderr
    error: invalid value 'nushell' for '<SHELL>'
      [possible values: bash, elvish, fish, powershell, zsh]

    For more information, try '--help'.
    --- status 2
    $ fairlead completion nushell --format json
    --- stderr
    {"error":"invalid value 'nushell' for '<SHELL>' [possible values: bash, elvish, fish, powershell, zsh]","hint":"try `--help`"}
    --- status 2
    "#);
    let cli = Cli::new(&Home::new().unwrap()).unwrap();
    let all = reference(&cli).await;
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = cli.ok(["completion", shell]).await.unwrap().stdout;
        for words in all.keys().filter(|words| !words.is_empty()) {
            let last = words.rsplit(' ').next().unwrap();
            assert!(script.contains(last), "{shell}: {words}");
        }
        if shell == "bash" {
            let file = pair.text.path().join("completion.bash");
            std::fs::write(&file, &script).unwrap();
            let asked = format!(
                "source '{}'; COMP_WORDS=(fairlead group ''); COMP_CWORD=2; _fairlead fairlead '' group; echo \"${{COMPREPLY[@]}}\"",
                file.display()
            );
            let output = Command::new("bash").args(["-c", &asked]).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            for verb in ["create", "list", "rm"] {
                assert!(said.split_whitespace().any(|word| word == verb), "bash completes `group`: {said}");
            }
        }
    }
}
