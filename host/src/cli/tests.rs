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
fn what_is_not_understood_is_said_to_programs_as_well() {
    let object = |args: &[&str]| {
        let error = Cli::try_parse_from(std::iter::once(&"fairlead").chain(args)).unwrap_err();
        serde_json::to_string(&Failure::of_usage(&error)).unwrap()
    };
    let all = [object(&["run", "--tool", "a", "--", "cat"]), object(&["stop"]), object(&["stop", "My_Server"])];
    insta::assert_snapshot!(all.join("\n"), @r#"
    {"error":"unexpected argument '--tool' found","hint":"a similar argument exists: '--tools'; to pass '--tool' as a value, use '-- --tool'"}
    {"error":"the following required arguments were not provided: <NAME|--group <GROUP>|--label <KEY=VALUE>|--all>","hint":"try `--help`"}
    {"error":"invalid value 'My_Server' for '[NAME]...': `My_Server` is not a name: use lower-case letters, digits and `-`, and begin and end with a letter or digit","hint":"try `--help`"}
    "#);
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
    let args = run_args(&["--transport", "streamable-http", "--", "cat"]);
    let failure = run::try_create_for_tests(&args).unwrap_err();
    assert_eq!(failure.message, "`--target-port` is missing");
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
      "desired": "running",
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
fn what_is_no_image_is_said_before_anything_is_fetched() {
    let refused = |args: &[&str]| {
        let failure = run::try_create_for_tests(&run_args(args)).unwrap_err();
        format!("{} {}: {}\n", failure.code, failure.message, failure.hint.unwrap_or_default())
    };
    let all = [
        refused(&["npx"]),
        refused(&["./server"]),
        refused(&["none.wasm"]),
        refused(&["My Image"]),
        refused(&["--memory", "1g", "none.wasm"]),
        refused(&["--user", "1", "--", "cat"]),
        refused(&["--permission-profile", "all", "mcp/time"]),
        refused(&[]),
    ];
    insta::assert_snapshot!(all.concat(), @r"
    2 `npx` is a command, not an image: a command of this machine goes after `--`: `fairlead run -- npx`
    1 there is no file `./server`: a command of this machine goes after `--`: `fairlead run -- ./server`
    1 there is no file `none.wasm`: give the path of a Wasm component
    2 `My Image` is no image reference: the repository has lower-case letters, digits and single `.`, `_` or `-` between them: SOURCE is an image (`mcp/time`), a package (`npx://name`) or a Wasm component (`./server.wasm`); a command goes after `--`
    2 `--memory` is for servers in containers: a command of this machine is not isolated, and a Wasm component always is
    2 `--user` is for servers in containers: a command of this machine is not isolated, and a Wasm component always is
    2 there is no built-in permission profile `all`: there are `none` and `network`: a file is named with its path: `./profile.json`
    2 there is nothing to run: name an image (`fairlead run mcp/time`), a component (`fairlead run ./server.wasm`) or a command (`fairlead run -- npx -y package`)
    ");
}

fn run_args(args: &[&str]) -> run::Args {
    let cli = Cli::try_parse_from(["fairlead", "run"].iter().chain(args)).unwrap();
    let Command::Run(args) = cli.command else { panic!("{cli:?}") };
    *args
}

#[test]
fn flags_become_a_container() {
    let mut args = vec!["--permission-profile", "network", "--pull", "always", "--memory", "256m", "--cpus", "0.5"];
    args.extend(["--user", "1000:1000", "--engine", "docker", "mcp/time:1", "--", "--utc"]);
    let create = run::create_for_tests(&run_args(&args));
    insta::assert_snapshot!(serde_json::to_string_pretty(&create.spec.source).unwrap(), @r#"
    {
      "kind": "image",
      "reference": "mcp/time:1",
      "args": [
        "--utc"
      ],
      "pull": "always",
      "engine": "docker",
      "user": "1000:1000",
      "permissions": {
        "name": "network",
        "network": {
          "outbound": {
            "insecure_allow_all": true
          },
          "inbound": {}
        }
      },
      "resources": {
        "memoryBytesMax": 268435456,
        "cpuMillisMax": 500,
        "processesMax": 512
      }
    }
    "#);
    let plain = run::create_for_tests(&run_args(&["mcp/time"]));
    let expected = fairlead_core::image::ImageSource::new("mcp/time".parse().unwrap());
    assert_eq!(plain.spec.source, fairlead_core::server::Source::Image(Box::new(expected)));
}

#[test]
fn a_limit_that_is_none_is_refused() {
    assert!(refused(&["run", "--memory", "much", "a"]).contains("expected a size like `512m`"));
    assert!(refused(&["run", "--cpus", "0", "a"]).contains("more than zero"));
}
