//! The daemon as a service, with a tool that writes down what it is told: a machine under test has no session of systemd.

#![cfg(target_os = "linux")]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use fairlead_tests::{Cli, Home};

struct Machine {
    home: Home,
    tools: PathBuf,
}

impl Machine {
    fn new(systemctl: &str) -> Self {
        let home = Home::new().unwrap();
        let tools = home.path().join("tools");
        std::fs::create_dir(&tools).unwrap();
        for name in ["systemctl", "loginctl"] {
            let file = tools.join(name);
            std::fs::write(&file, format!("#!/bin/sh\necho {name} \"$@\" >> {}/asked\n{systemctl}\n", tools.display()))
                .unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { home, tools }
    }

    fn cli(&self) -> Cli {
        let user = self.home.path().join("user");
        let path = format!("{}:/usr/bin:/bin", self.tools.display());
        let cli = Cli::new(&self.home).unwrap().env("HOME", user.to_str().unwrap()).env("PATH", &path);
        cli.env("XDG_CONFIG_HOME", user.join(".config").to_str().unwrap())
    }

    fn asked(&self) -> String {
        std::fs::read_to_string(self.tools.join("asked")).unwrap_or_default()
    }

    fn unit(&self) -> PathBuf {
        self.home.path().join("user/.config/systemd/user/fairlead.service")
    }
}

#[tokio::test]
async fn a_service_is_installed_shown_and_removed() {
    let machine = Machine::new("case \"$*\" in *--property=Linger*) echo yes;; esac");
    let cli = machine.cli();
    let before = cli.json(["service", "status"]).await.unwrap();
    assert_eq!(before["installed"], false, "{before}");
    cli.ok(["service", "install"]).await.unwrap();
    let unit = std::fs::read_to_string(machine.unit()).unwrap();
    assert!(unit.contains("\"serve\" \"--home\"") && unit.contains("WantedBy=default.target"), "{unit}");
    let asked = machine.asked();
    for step in ["daemon-reload", "enable fairlead.service", "restart fairlead.service"] {
        assert!(asked.contains(&format!("systemctl --user {step}")), "{step}:\n{asked}");
    }
    let now = cli.json(["service", "status"]).await.unwrap();
    assert!(now["installed"] == true && now["active"] == true && now["startsAtBoot"] == true, "{now}");
    cli.ok(["service", "uninstall"]).await.unwrap();
    assert!(!machine.unit().exists());
    assert!(machine.asked().contains("systemctl --user disable --now fairlead.service"), "{}", machine.asked());
    let again = cli.run(["service", "uninstall"]).await.unwrap();
    assert!(again.code == Some(1) && again.stderr.contains("not installed"), "{again}");
}

#[tokio::test]
async fn where_nobody_looks_after_services_nothing_is_written() {
    let machine = Machine::new("echo 'Failed to connect to bus' >&2; exit 1");
    let refused = machine.cli().run(["service", "install"]).await.unwrap();
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("systemd does not look after services of this user"), "{refused}");
    assert!(refused.stderr.contains("Failed to connect to bus") && refused.stderr.contains("hint:"), "{refused}");
    assert!(!machine.unit().exists());
}
