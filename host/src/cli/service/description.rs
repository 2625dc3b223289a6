//! The files that describe the service: a unit of systemd, a property list of launchd. Text from values, so that a test can
//! read them whole.

use std::path::Path;

/// Name of the unit.
pub(super) const UNIT: &str = "fairlead.service";

/// Label of the property list.
pub(super) const LABEL: &str = "dev.fairlead.fairlead";

/// What is said of the service.
#[derive(Debug)]
pub(super) struct Description<'a> {
    pub(super) program: &'a Path,
    pub(super) home: Option<&'a Path>,
    pub(super) config: Option<&'a Path>,
    /// Where commands are looked up: a service gets none of the user's own, and would not find `npx`.
    pub(super) path: &'a str,
    pub(super) log: &'a Path,
}

impl Description<'_> {
    fn command(&self) -> Vec<String> {
        let mut command = vec![self.program.display().to_string(), "serve".to_owned()];
        for (flag, value) in [("--home", self.home), ("--config", self.config)] {
            if let Some(value) = value {
                command.extend([flag.to_owned(), value.display().to_string()]);
            }
        }
        command
    }

    /// For systemd.
    pub(super) fn unit(&self) -> String {
        let command: Vec<String> = self.command().iter().map(|word| quoted(word)).collect();
        format!(
            "[Unit]\n\
             Description=Fairlead, which runs MCP servers\n\
             \n\
             [Service]\n\
             Type=exec\n\
             ExecStart={}\n\
             Environment={}\n\
             # It drains, then ends its servers; systemd ends what is left.\n\
             KillMode=mixed\n\
             TimeoutStopSec=60\n\
             Restart=on-failure\n\
             RestartSec=2\n\
             # 3: another daemon has the same home.\n\
             RestartPreventExitStatus=3\n\
             UMask=0077\n\
             \n\
             [Install]\n\
             WantedBy=default.target\n",
            command.join(" ").replace('$', "$$"),
            quoted(&format!("PATH={}", self.path)),
        )
    }

    /// For launchd.
    pub(super) fn plist(&self) -> String {
        let arguments: String =
            self.command().iter().map(|word| format!("    <string>{}</string>\n", escaped(word))).collect();
        let (path, log) = (escaped(self.path), escaped(&self.log.display().to_string()));
        format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>Label</key>
  <string>{LABEL}</string>
  <key>ProgramArguments</key>
  <array>
{arguments}  </array>
  <key>EnvironmentVariables</key>
  <dict>
    <key>PATH</key>
    <string>{path}</string>
  </dict>
  <key>RunAtLoad</key>
  <true/>
  <key>KeepAlive</key>
  <dict>
    <key>SuccessfulExit</key>
    <false/>
  </dict>
  <key>ExitTimeOut</key>
  <integer>60</integer>
  <key>Umask</key>
  <integer>63</integer>
  <key>StandardErrorPath</key>
  <string>{log}</string>
</dict>
</plist>
"#
        )
    }
}

/// A word of systemd's: `%` begins a specifier, and quotes and backslashes are escaped.
fn quoted(word: &str) -> String {
    let escaped = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
    format!("\"{escaped}\"")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description() -> Description<'static> {
        Description {
            program: Path::new("/opt/fair lead/fairlead"),
            home: Some(Path::new("/home/a/100%/$x")),
            config: None,
            path: "/usr/bin:/home/a/<b>",
            log: Path::new("/home/a/daemon.log"),
        }
    }

    #[test]
    fn a_unit_says_what_to_start_and_what_not_to_start_again() {
        insta::assert_snapshot!(description().unit(), @r#"
        [Unit]
        Description=Fairlead, which runs MCP servers

        [Service]
        Type=exec
        ExecStart="/opt/fair lead/fairlead" "serve" "--home" "/home/a/100%%/$$x"
        Environment="PATH=/usr/bin:/home/a/<b>"
        # It drains, then ends its servers; systemd ends what is left.
        KillMode=mixed
        TimeoutStopSec=60
        Restart=on-failure
        RestartSec=2
        # 3: another daemon has the same home.
        RestartPreventExitStatus=3
        UMask=0077

        [Install]
        WantedBy=default.target
        "#);
    }

    #[test]
    fn a_property_list_says_the_same() {
        insta::assert_snapshot!(description().plist(), @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
        <plist version="1.0">
        <dict>
          <key>Label</key>
          <string>dev.fairlead.fairlead</string>
          <key>ProgramArguments</key>
          <array>
            <string>/opt/fair lead/fairlead</string>
            <string>serve</string>
            <string>--home</string>
            <string>/home/a/100%/$x</string>
          </array>
          <key>EnvironmentVariables</key>
          <dict>
            <key>PATH</key>
            <string>/usr/bin:/home/a/&lt;b&gt;</string>
          </dict>
          <key>RunAtLoad</key>
          <true/>
          <key>KeepAlive</key>
          <dict>
            <key>SuccessfulExit</key>
            <false/>
          </dict>
          <key>ExitTimeOut</key>
          <integer>60</integer>
          <key>Umask</key>
          <integer>63</integer>
          <key>StandardErrorPath</key>
          <string>/home/a/daemon.log</string>
        </dict>
        </plist>
        "#);
    }
}
