//! The parser, seen from outside: what is accepted, what is refused and how.

use clap::{CommandFactory as _, Parser as _};

use super::*;

fn refused(args: &[&str]) -> String {
    let error = Cli::try_parse_from(std::iter::once(&"fairlead").chain(args)).unwrap_err();
    error.render().to_string()
}

#[test]
fn the_parser_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn an_unknown_flag_is_refused_with_a_suggestion() {
    insta::assert_snapshot!(refused(&["run", "--tool", "a", "--", "cat"]), @r"
    error: unexpected argument '--tool' found

      tip: a similar argument exists: '--tools'
      tip: to pass '--tool' as a value, use '-- --tool'

    Usage: fairlead run [OPTIONS] SOURCE [-- ARGS...]
           fairlead run [OPTIONS] -- COMMAND [ARGS...]

    For more information, try '--help'.
    ");
}

#[test]
fn an_unknown_command_is_refused_with_a_suggestion() {
    assert!(refused(&["stat"]).contains("'status'"), "{}", refused(&["stat"]));
}

#[test]
fn a_name_that_is_none_is_refused_with_the_reason() {
    let text = refused(&["stop", "My_Server"]);
    assert!(text.contains("`My_Server` is not a name"), "{text}");
}

#[test]
fn a_port_is_needed_where_http_is_spoken() {
    let text = refused(&["run", "--transport", "streamable-http", "--", "cat"]);
    assert!(text.contains("--target-port"), "{text}");
}

#[test]
fn what_follows_the_dashes_belongs_to_the_server() {
    let cli = Cli::try_parse_from(["fairlead", "run", "--name", "a", "--", "cat", "--name", "b"]).unwrap();
    let Command::Run(args) = cli.command else { panic!("{cli:?}") };
    let create = run::create_for_tests(&args);
    insta::assert_snapshot!(serde_json::to_string(&create.name).unwrap(), @r#""a""#);
    let fairlead_core::server::Source::Command { program, args, .. } = create.spec.source else { panic!() };
    assert_eq!((program.as_str(), args.as_slice()), ("cat", &["--name".to_owned(), "b".to_owned()][..]));
}

#[test]
fn flags_become_a_server() {
    let cli = Cli::try_parse_from([
        "fairlead",
        "run",
        "--tenant",
        "t",
        "-e",
        "A=1=2",
        "-e",
        "B",
        "--tools",
        "x,y",
        "--label",
        "team=a",
        "--isolation",
        "shared",
        "--transport",
        "streamable-http",
        "--target-port",
        "9000",
        "--",
        "cat",
    ])
    .unwrap();
    let Command::Run(args) = cli.command else { panic!("{cli:?}") };
    let mut create = run::create_for_tests(&args);
    if let fairlead_core::server::Source::Command { directory, .. } = &mut create.spec.source {
        *directory = None;
    }
    insta::assert_snapshot!(serde_json::to_string_pretty(&create).unwrap(), @r#"
    {
      "tenant": "t",
      "spec": {
        "source": {
          "kind": "command",
          "program": "cat",
          "args": []
        },
        "transport": {
          "kind": "streamable-http",
          "port": 9000,
          "path": "/mcp"
        },
        "isolation": "shared",
        "env": {
          "A": "1=2",
          "B": "from B"
        },
        "tools": [
          "x",
          "y"
        ],
        "labels": {
          "team": "a"
        }
      }
    }
    "#);
}

#[test]
fn a_file_that_is_not_there_is_taken_for_a_forgotten_dash() {
    let cli = Cli::try_parse_from(["fairlead", "run", "npx"]).unwrap();
    let Command::Run(args) = cli.command else { panic!("{cli:?}") };
    let failure = run::try_create_for_tests(&args).unwrap_err();
    assert_eq!(failure.message, "there is no file `npx`");
    assert!(failure.hint.unwrap().contains("`fairlead run -- npx`"));
}
