//! What was typed about a container image: the reference, and the flags that only an image has.

use std::path::{Component, Path, PathBuf};

use fairlead_core::image::{ImageReference, ImageSource, PullPolicy, Resources, Sessions};
use fairlead_core::package::{PackageReference, PackageSource};
use fairlead_core::permission::{PermissionError, PermissionProfile};
use fairlead_core::server::Source;
use fairlead_core::signature::ImageVerification;

use crate::cli::Failure;
use crate::yaml;

/// Flags of servers in containers: images, and packages of which an image is built.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Container images")]
pub(super) struct ImageArgs {
    /// What the server may touch beyond itself: `none`, `network`, or a JSON file with a permission profile; `none` by
    /// default
    #[arg(long, value_name = "NAME|FILE")]
    permission_profile: Option<String>,
    /// Directory or file of this machine that the server sees; it may write unless `:ro` is said (repeatable)
    #[arg(long, short = 'v', value_name = "PATH[:TARGET][:ro]")]
    volume: Vec<String>,
    /// When the image is fetched; when it is missing by default
    #[arg(long, value_enum)]
    pull: Option<PullArg>,
    /// What is done about the signature of the image; what the daemon is set to by default, which may be more and not less
    #[arg(long, value_enum, value_name = "WHAT")]
    image_verification: Option<VerificationArg>,
    /// Memory that the server may use (`512m`, `2g`)
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    memory: Option<u64>,
    /// Processors that the server may use (`0.5`, `2`)
    #[arg(long, value_name = "NUMBER", value_parser = millis)]
    cpus: Option<u32>,
    /// Where the sessions of a stdio server are: each in a container, which is the default, or in one container a process each
    #[arg(long, value_enum)]
    sessions: Option<SessionsArg>,
    /// User that the server runs as; by default that of its image
    #[arg(long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Container engine: its name or its address; by default the first that answers
    #[arg(long, value_name = "ENGINE")]
    engine: Option<String>,
    /// Image that a package is built on; by default the one that is configured for packages of its kind
    #[arg(long, value_name = "IMAGE")]
    base_image: Option<ImageReference>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum PullArg {
    /// Before every launch
    Always,
    /// When the engine does not have it
    Missing,
    /// Never
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum SessionsArg {
    /// A container each
    Apart,
    /// A process each, in one container
    Together,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum VerificationArg {
    /// What is wrong with it is said, and the image runs
    Warn,
    /// An image that no known key has signed does not run
    Enabled,
    /// Nobody looks
    Disabled,
}

impl From<VerificationArg> for ImageVerification {
    fn from(argument: VerificationArg) -> Self {
        match argument {
            VerificationArg::Warn => Self::Warn,
            VerificationArg::Enabled => Self::Enabled,
            VerificationArg::Disabled => Self::Disabled,
        }
    }
}

impl ImageArgs {
    /// A flag that was given, for a source that has no use for it.
    pub(super) fn given(&self) -> Option<&'static str> {
        let given = [
            (self.permission_profile.is_some(), "--permission-profile"),
            (!self.volume.is_empty(), "--volume"),
            (self.pull.is_some(), "--pull"),
            (self.image_verification.is_some(), "--image-verification"),
            (self.memory.is_some(), "--memory"),
            (self.cpus.is_some(), "--cpus"),
            (self.sessions.is_some(), "--sessions"),
            (self.user.is_some(), "--user"),
            (self.engine.is_some(), "--engine"),
            (self.base_image.is_some(), "--base-image"),
        ];
        given.into_iter().find_map(|(given, flag)| given.then_some(flag))
    }

    /// A flag that only packages have.
    pub(super) fn given_for_packages(&self) -> Option<&'static str> {
        self.base_image.is_some().then_some("--base-image")
    }

    /// A package. What it shares with an image is read as that of an image.
    ///
    /// # Errors
    /// The reference is none, or the profile cannot be read.
    pub(super) fn package(&self, reference: &str, args: &[String]) -> Result<PackageSource, Failure> {
        let package = PackageReference::new(reference).map_err(|error| Failure::usage(error.to_string()))?;
        let like = self.source("package", args)?;
        Ok(PackageSource {
            args: like.args,
            base: self.base_image.clone(),
            pull: like.pull,
            verification: like.verification,
            engine: like.engine,
            user: like.user,
            permissions: like.permissions,
            resources: like.resources,
            ..PackageSource::new(package)
        })
    }

    /// What was typed, put over what an entry of a registry says.
    ///
    /// # Errors
    /// The profile cannot be read, or the server runs in no container.
    pub(super) fn adjust(&self, source: &mut Source) -> Result<(), Failure> {
        let Some(flag) = self.given() else { return Ok(()) };
        let typed = self.source("entry", &[])?;
        let (permissions, pull, engine, user, resources) = match source {
            Source::Image(image) => {
                (&mut image.permissions, &mut image.pull, &mut image.engine, &mut image.user, &mut image.resources)
            }
            Source::Package(package) => {
                package.base.clone_from(&self.base_image);
                (
                    &mut package.permissions,
                    &mut package.pull,
                    &mut package.engine,
                    &mut package.user,
                    &mut package.resources,
                )
            }
            _ => return Err(Failure::usage(format!("`{flag}` is for servers in containers"))),
        };
        if self.permission_profile.is_some() {
            *permissions = typed.permissions;
        }
        (*pull, *engine, *user, *resources) = (typed.pull, typed.engine, typed.user, typed.resources);
        Ok(())
    }

    /// The source.
    ///
    /// # Errors
    /// The reference is none, or the profile cannot be read.
    pub(super) fn source(&self, reference: &str, args: &[String]) -> Result<ImageSource, Failure> {
        let reference = ImageReference::new(reference).map_err(|error| {
            Failure::usage(error.to_string()).hint(
                "SOURCE is an image (`mcp/time`), a package (`npx://name`) or a Wasm component (`./server.wasm`); a command \
                 goes after `--`",
            )
        })?;
        let defaults = Resources::default();
        Ok(ImageSource {
            args: args.to_vec(),
            pull: match self.pull {
                Some(PullArg::Always) => PullPolicy::Always,
                Some(PullArg::Missing) | None => PullPolicy::Missing,
                Some(PullArg::Never) => PullPolicy::Never,
            },
            verification: self.image_verification.map(Into::into),
            engine: self.engine.clone(),
            user: self.user.clone(),
            permissions: self.permissions()?,
            resources: Resources {
                memory_bytes_max: self.memory.unwrap_or(defaults.memory_bytes_max),
                cpu_millis_max: self.cpus.unwrap_or(defaults.cpu_millis_max),
                sessions: match self.sessions {
                    Some(SessionsArg::Together) => Sessions::Together,
                    Some(SessionsArg::Apart) | None => Sessions::Apart,
                },
                ..defaults
            },
            ..ImageSource::new(reference)
        })
    }
}

impl ImageArgs {
    /// The profile, and what `--volume` adds to it.
    fn permissions(&self) -> Result<PermissionProfile, Failure> {
        let mut permissions =
            self.permission_profile.as_deref().map_or_else(|| Ok(PermissionProfile::none()), profile)?;
        for text in &self.volume {
            let (mount, writable) = volume(text)?;
            if writable { permissions.write.push(mount) } else { permissions.read.push(mount) }
        }
        permissions.granted().map_err(|error| unusable(&error))?;
        Ok(permissions)
    }
}

/// `PATH[:TARGET][:ro|rw]` as a profile writes it, and whether the server may write.
fn volume(text: &str) -> Result<(String, bool), Failure> {
    let expected = || Failure::usage(format!("`--volume {text}`: expected PATH[:TARGET][:ro]"));
    let (path, writable) = match text.strip_suffix(":ro") {
        Some(path) => (path, false),
        None => (text.strip_suffix(":rw").unwrap_or(text), true),
    };
    let (source, target) = match path.split_once(':') {
        Some((source, target)) => (source, Some(target)),
        None => (path, None),
    };
    if source.is_empty() || target.is_some_and(str::is_empty) {
        return Err(expected());
    }
    // The daemon works elsewhere: what was typed is meant from here.
    let source = std::path::absolute(source)
        .ok()
        .and_then(|path| without_dots(&path)?.to_str().map(str::to_owned))
        .ok_or_else(expected)?;
    Ok((target.map_or_else(|| source.clone(), |target| format!("{source}:{target}")), writable))
}

/// The path without `.` and `..`. Links are the daemon's to follow.
fn without_dots(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(clean.pop()),
            Component::CurDir => {}
            component => clean.push(component),
        }
    }
    clean.is_absolute().then_some(clean)
}

/// A built-in profile, or one from a file. What it grants is decided here too, so that nothing is fetched in vain.
fn profile(named: &str) -> Result<PermissionProfile, Failure> {
    let is_written = |extension: &str| ["json", "yaml", "yml"].contains(&extension);
    let extension = Path::new(named).extension().and_then(|extension| extension.to_str());
    let is_file = named.contains('/') || extension.is_some_and(is_written);
    let profile =
        if is_file { read(named)? } else { PermissionProfile::builtin(named).map_err(|error| unusable(&error))? };
    profile.granted().map_err(|error| unusable(&error))?;
    Ok(profile)
}

fn read(file: &str) -> Result<PermissionProfile, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::new(format!("read permission profile `{file}`: {error}")))?;
    yaml::one(&text).map_err(|reason| Failure::usage(format!("permission profile `{file}`: {reason}")))
}

fn unusable(error: &PermissionError) -> Failure {
    let failure = Failure::usage(error.to_string());
    match error {
        PermissionError::NoSuchBuiltin { .. } => failure.hint("a file is named with its path: `./profile.json`"),
        _ => failure,
    }
}

/// `512m`, `2g`, or bytes.
fn bytes(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let (digits, unit) = lower.split_at(lower.bytes().take_while(u8::is_ascii_digit).count());
    let shift = match unit {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return Err("expected a size like `512m` or `2g`".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "expected a size like `512m` or `2g`".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "it is too large".to_owned())
}

/// Thousandths of a processor, from a decimal number: exact, where a floating-point number would round.
fn millis(text: &str) -> Result<u32, String> {
    let expected = || "expected a number like `0.5` or `2`, with at most three decimals".to_owned();
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(part) || part.len() > 3 {
        return Err(expected());
    }
    let whole: u32 = whole.parse().map_err(|_| expected())?;
    let part: u32 = format!("{part:0<3}").parse().map_err(|_| expected())?;
    let millis = whole.checked_mul(1_000).and_then(|millis| millis.checked_add(part)).ok_or_else(expected)?;
    if millis == 0 { Err("it must be more than zero".to_owned()) } else { Ok(millis) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_two() {
        for (text, expected) in [("512m", 512 << 20), ("2G", 2 << 30), ("1KiB", 1024), ("77", 77), ("3b", 3)] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "m", "1.5g", "-1", "1t", "99999999999g"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn processors_are_exact_to_the_thousandth() {
        for (text, expected) in [("2", 2_000), ("0.5", 500), ("1.25", 1_250), ("0.001", 1)] {
            assert_eq!(millis(text), Ok(expected), "{text}");
        }
        for text in ["", ".5", "1.", "0", "0.0001", "-1", "1e3", "x", "9999999999"] {
            assert!(millis(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_volume_is_what_was_typed_from_here() {
        let here = std::env::current_dir().unwrap();
        let here = here.to_str().unwrap();
        for (text, mount, writable) in [
            ("/a", "/a".to_owned(), true),
            ("/a:/b", "/a:/b".to_owned(), true),
            ("/a:/b:rw", "/a:/b".to_owned(), true),
            ("/a:ro", "/a".to_owned(), false),
            ("/a/./b/../c:/d:ro", "/a/c:/d".to_owned(), false),
            (".:/work", format!("{here}:/work"), true),
            ("x", format!("{here}/x"), true),
        ] {
            assert_eq!(volume(text).unwrap(), (mount, writable), "{text}");
        }
        for text in ["", ":/a", "/a:", ":ro"] {
            assert!(volume(text).is_err(), "{text}");
        }
        let args = ImageArgs { volume: vec!["/a:/proc".to_owned()], ..ImageArgs::default() };
        assert!(args.permissions().unwrap_err().message.contains("`/proc`"));
    }

    #[test]
    fn a_profile_is_built_in_or_a_file_and_never_half_granted() {
        assert_eq!(profile("network").unwrap(), PermissionProfile::network());
        assert!(profile("all").unwrap_err().message.contains("no built-in permission profile `all`"));
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("p.json");
        std::fs::write(&file, r#"{"read":["/etc/hosts"]}"#).unwrap();
        assert_eq!(profile(file.to_str().unwrap()).unwrap().read, ["/etc/hosts"]);
        std::fs::write(&file, r#"{"network":{"outbound":{"allow_host":["example.test"]}}}"#).unwrap();
        assert!(profile(file.to_str().unwrap()).unwrap_err().message.contains("not enforced yet"));
        std::fs::write(&file, r#"{"privileged":true}"#).unwrap();
        assert!(profile(file.to_str().unwrap()).is_err());
        assert!(profile("./nowhere.json").unwrap_err().message.contains("nowhere.json"));
    }
}
