//! Finding the program: in `PATH` of the workload, or where its path says.
//!
//! Spawning would find it too, but answers everything with "no such file or directory": the program, its working directory
//! and the interpreter of a script alike. A person who mistyped one of them has to be told which.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use fairlead_core::workload::LaunchError;
use rustix::fs::{Access, access};

use super::environment::Environment;

/// Where programs are looked for when the environment has no `PATH`.
const PATH_FALLBACK: &str = "/usr/local/bin:/usr/bin:/bin";

/// Programs that people name and do not always have, with where they come from.
const COMES_FROM: &[(&[&str], &str)] = &[
    (&["npx", "npm", "node"], "it comes with Node.js (https://nodejs.org)"),
    (&["uvx", "uv"], "it comes with uv (https://docs.astral.sh/uv)"),
    (&["python", "python3", "pipx"], "it comes with Python (https://www.python.org)"),
    (&["deno"], "it comes with Deno (https://deno.com)"),
    (&["bun", "bunx"], "it comes with Bun (https://bun.sh)"),
    (&["docker"], "it comes with Docker (https://docs.docker.com)"),
];

/// The working directory: the given one, or the user's home. The daemon's own is an accident of how it was started.
pub(super) fn directory(given: Option<&Path>, environment: &Environment) -> Result<PathBuf, LaunchError> {
    let home = || environment.get(OsStr::new("HOME")).map(PathBuf::from).filter(|home| home.is_dir());
    let Some(given) = given else {
        return Ok(home().unwrap_or_else(|| PathBuf::from("/")));
    };
    if given.is_dir() {
        return Ok(given.to_owned());
    }
    Err(LaunchError::NotFound {
        what: given.display().to_string(),
        hint: "the working directory of the server is not there".to_owned(),
    })
}

/// The file to execute.
pub(super) fn find(program: &str, directory: &Path, environment: &Environment) -> Result<PathBuf, LaunchError> {
    if program.contains('/') {
        let path = directory.join(program);
        return match executable(&path) {
            Ok(()) => Ok(path),
            Err(error) => Err(not_executable(program, &path, error)),
        };
    }
    let path = environment.get(OsStr::new("PATH")).map_or(OsStr::new(PATH_FALLBACK), |path| path);
    let mut forbidden = None;
    for candidate in std::env::split_paths(path).map(|entry| directory.join(entry).join(program)) {
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => forbidden = Some((candidate, error)),
            Err(_) => {}
        }
    }
    match forbidden {
        Some((path, error)) => Err(not_executable(program, &path, error)),
        None => Err(LaunchError::NotFound { what: program.to_owned(), hint: hint(program) }),
    }
}

/// Why a program that was found did not start.
pub(super) fn not_started(program: &str, path: &Path, error: io::Error) -> LaunchError {
    let error = match error.kind() {
        // It was there a moment ago, so it is a script whose interpreter is not.
        io::ErrorKind::NotFound if path.exists() => {
            io::Error::new(error.kind(), "the interpreter that its first line names was not found")
        }
        _ => error,
    };
    LaunchError::Start { what: program.to_owned(), source: Box::new(error) }
}

fn executable(path: &Path) -> io::Result<()> {
    if path.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(access(path, Access::EXEC_OK)?)
}

fn not_executable(program: &str, path: &Path, error: io::Error) -> LaunchError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => LaunchError::NotFound {
            what: path.display().to_string(),
            hint: "a path with `/` is taken from the working directory of the server".to_owned(),
        },
        io::ErrorKind::PermissionDenied => LaunchError::Start {
            what: path.display().to_string(),
            source: Box::new(io::Error::new(error.kind(), "it is not executable (`chmod +x` makes it so)")),
        },
        _ => LaunchError::Start { what: program.to_owned(), source: Box::new(error) },
    }
}

fn hint(program: &str) -> String {
    match COMES_FROM.iter().find(|(programs, _)| programs.contains(&program)) {
        Some((_, from)) => format!("is it installed? {from}; the daemon looks in the PATH that it was started with"),
        None => {
            "is it installed? The daemon looks in the PATH that it was started with; a full path always works".into()
        }
    }
}
