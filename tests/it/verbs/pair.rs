//! Two machines, and a line that is typed at each: for people at the one, for programs at the other.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use fairlead_tests::limits::COMMAND;
use fairlead_tests::{Cli, Daemon, Home, binary};
use serde_json::Value;
use tokio::io::AsyncWriteExt;

use super::masks::Masks;

/// The server of these tests, in the home of its machine.
const SERVER: &str = "test-server";

/// The two.
pub(super) struct Pair {
    pub(super) text: Machine,
    pub(super) json: Machine,
}

/// One of them: a home with a user in it, whose own files are nobody else's.
pub(super) struct Machine {
    home: HomeOf,
    cli: Cli,
}

enum HomeOf {
    Daemon(Box<Daemon>),
    Alone(Home),
}

impl Machine {
    async fn new(with_daemon: bool) -> Self {
        let home = Home::new().unwrap();
        let user = home.path().join("user");
        std::fs::create_dir_all(user.join(".config")).unwrap();
        // Nothing of the machine under the test is asked: no manager of services, no keyring.
        let tools = home.path().join("tools");
        std::fs::create_dir(&tools).unwrap();
        for name in ["systemctl", "loginctl", "secret-tool"] {
            let file = tools.join(name);
            std::fs::write(&file, "#!/bin/sh\ncase \"$*\" in *--property=Linger*) echo yes;; esac\n").unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        // Under a short name: how `list` shortens a long path would depend on where the checkout is.
        std::os::unix::fs::symlink(binary::test_server().unwrap(), home.path().join(SERVER)).unwrap();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let cli = Cli::new(&home).unwrap().env("HOME", &text(&user));
        let cli = cli.env("XDG_CONFIG_HOME", &text(&user.join(".config")));
        let cli = cli.env("PATH", &format!("{}:/usr/bin:/bin", text(&tools)));
        // Nor a cluster.
        let cli = cli.env("KUBECONFIG", &text(&home.path().join("kubeconfig")));
        let cli = cli.directory(home.path().to_owned());
        if !with_daemon {
            return Self { home: HomeOf::Alone(home), cli };
        }
        let (user, config) = (text(&user), text(&user.join(".config")));
        let env = [("HOME", user.as_str()), ("XDG_CONFIG_HOME", config.as_str())];
        let setup = fairlead_tests::Setup { env: &env, ..Default::default() };
        let daemon = Daemon::start_set_up(home, &setup).await.unwrap();
        Self { home: HomeOf::Daemon(Box::new(daemon)), cli }
    }

    pub(super) fn path(&self) -> PathBuf {
        match &self.home {
            HomeOf::Daemon(daemon) => daemon.home().path().to_owned(),
            HomeOf::Alone(home) => home.path().to_owned(),
        }
    }

    fn masks(&self) -> Masks {
        let mut masks = Masks::default();
        masks.exactly(self.path().join(SERVER).to_str().unwrap(), "[SERVER]");
        let plugins = binary::plugin("redact").unwrap().parent().unwrap().to_owned();
        masks.exactly(plugins.to_str().unwrap(), "[PLUGINS]");
        masks.exactly(binary::fairlead().unwrap().to_str().unwrap(), "[FAIRLEAD]");
        masks.exactly(self.path().to_str().unwrap(), "[HOME]");
        if let HomeOf::Daemon(daemon) = &self.home {
            masks.exactly(daemon.address(), "[ADDRESS]");
            masks.exactly(&format!("process {}", daemon.pid()), "process [PID]");
            masks.exactly(&format!("\"pid\": {}", daemon.pid()), "\"pid\": [PID]");
        }
        masks
    }

    /// What was typed, with status and both outputs.
    async fn run(&self, line: &str, input: &str, json: bool) -> String {
        let mut words: Vec<String> = line.split_whitespace().map(|word| self.fill(word)).collect();
        let shown = if json { line.replacen(" -- ", " --format json -- ", 1) } else { line.to_owned() };
        let shown = if json && shown == line { format!("{line} --format json") } else { shown };
        if json {
            let place = words.iter().position(|word| word == "--").unwrap_or(words.len());
            words.splice(place..place, ["--format".to_owned(), "json".to_owned()]);
        }
        let mut command = self.cli.command();
        command.args(&words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        let output = tokio::time::timeout(COMMAND, child.wait_with_output()).await.expect("an end in time").unwrap();
        let masks = self.masks();
        let mut text = format!("$ fairlead {shown}\n");
        for bytes in [&output.stdout, &output.stderr] {
            let is_stderr = std::ptr::eq(bytes, &output.stderr);
            if is_stderr && !bytes.is_empty() {
                text += "--- stderr\n";
            }
            for line in masks.apply(&String::from_utf8_lossy(bytes)).lines() {
                let _ = writeln!(text, "{}", line.trim_end());
            }
        }
        let code = output.status.code().map_or_else(|| "none".to_owned(), |code| code.to_string());
        text + &format!("--- status {code}\n")
    }

    fn fill(&self, word: &str) -> String {
        let server = self.path().join(SERVER);
        let mut word =
            word.replace("{server}", server.to_str().unwrap()).replace("{home}", self.path().to_str().unwrap());
        for name in ["tool-filter", "redact", "rate-limit", "toolbox"] {
            let hole = format!("{{{name}}}");
            if word.contains(&hole) {
                word = word.replace(&hole, binary::plugin(name).unwrap().to_str().unwrap());
            }
        }
        word
    }
}

impl Pair {
    /// With a daemon each.
    pub(super) async fn with_daemons() -> Self {
        Self { text: Machine::new(true).await, json: Machine::new(true).await }
    }

    /// Without any; a command may start one.
    pub(super) async fn bare() -> Self {
        Self { text: Machine::new(false).await, json: Machine::new(false).await }
    }

    /// Types a line at each. `{server}`, `{home}` and the name of a plugin in braces stand for paths.
    pub(super) async fn run(&self, line: &str) -> String {
        self.run_with(line, "").await
    }

    /// The same, and what is typed after it.
    pub(super) async fn run_with(&self, line: &str, input: &str) -> String {
        let (text, json) = tokio::join!(self.text.run(line, input, false), self.json.run(line, input, true));
        text + &json
    }

    /// The same for what would be long, or differs from checkout to checkout: the first line for people, and for programs
    /// the fields (of the first item).
    pub(super) async fn shape(&self, line: &str) -> String {
        let (text, json) = tokio::join!(self.text.run(line, "", false), self.json.run(line, "", true));
        let mut shape = String::new();
        for line in text.lines().take(2).chain(text.lines().last()) {
            let _ = writeln!(shape, "{line}");
        }
        let (typed, rest) = json.split_once('\n').unwrap();
        let (printed, status) = rest.rsplit_once("--- status").unwrap();
        let value: Value = serde_json::from_str(printed.split("--- stderr").next().unwrap()).unwrap();
        let item = value.as_array().and_then(|items| items.first()).unwrap_or(&value);
        let fields: Vec<&str> = item.as_object().unwrap().keys().map(String::as_str).collect();
        let _ = writeln!(shape, "{typed}\n{}", fields.join(" "));
        shape + "--- status" + status
    }

    /// Writes a file at each.
    pub(super) fn write(&self, path: &str, content: &str) {
        for machine in [&self.text, &self.json] {
            let path = machine.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
    }
}
