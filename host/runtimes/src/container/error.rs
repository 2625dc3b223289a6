//! Why a container was not started, or an engine not found: for a person, with what to do about it.

use std::fmt;
use std::time::Duration;

use fairlead_core::permission::PermissionError;
use fairlead_core::signature::SignatureError;
use fairlead_core::workload::LaunchError;

use super::engines::Tried;
use super::recipe::BuildFileError;
use crate::limits::ENGINE_MESSAGE_BYTES_MAX;

/// Why an engine did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// Nothing answers anywhere.
    #[error("no container engine answers ({})", summary(.tried))]
    NoEngine {
        /// Where one was looked for.
        tried: Vec<Tried>,
    },
    /// The engine that the server is on, or that was asked for, does not answer.
    #[error("container engine `{wanted}` does not answer ({})", summary(.tried))]
    NoSuchEngine {
        /// Which.
        wanted: String,
        /// What was found instead.
        tried: Vec<Tried>,
    },
    /// The connection failed, or broke.
    #[error("{doing}: container engine `{engine}` is out of reach")]
    EngineAway {
        /// Which.
        engine: String,
        /// What was asked of it.
        doing: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It did not answer in time.
    #[error("{doing}: container engine `{engine}` did not answer within {limit:?}")]
    Timeout {
        /// Which.
        engine: String,
        /// What was asked of it.
        doing: &'static str,
        /// How long was waited.
        limit: Duration,
    },
    /// It refused.
    #[error("{doing}: container engine `{engine}` refused with status {status}: {message}")]
    Refused {
        /// Which.
        engine: String,
        /// What was asked of it.
        doing: &'static str,
        /// HTTP status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// There is no such image where it was looked for.
    #[error("image `{reference}` was not found: {message}")]
    ImageNotFound {
        /// The image.
        reference: String,
        /// What the registry or the engine said.
        message: String,
    },
    /// The engine does not have the image and may not fetch it.
    #[error("image `{reference}` is not on container engine `{engine}`, and its pull policy is `never`")]
    ImageAbsent {
        /// The image.
        reference: String,
        /// Which engine.
        engine: String,
    },
    /// The registry does not give the image to us.
    #[error("registry `{registry}` refuses to give image `{reference}`: {message}")]
    PullDenied {
        /// The image.
        reference: String,
        /// Whose it is.
        registry: String,
        /// What the registry said.
        message: String,
    },
    /// This machine may have the image, and the tenant may not.
    #[error("image `{reference}` is not for tenant `{tenant}`: {message}")]
    NotOfTenant {
        /// The image.
        reference: String,
        /// Who asked for it.
        tenant: String,
        /// What the registry said.
        message: String,
    },
    /// The pull failed in another way.
    #[error("pull image `{reference}`: {message}")]
    Pull {
        /// The image.
        reference: String,
        /// What the engine said.
        message: String,
    },
    /// No index has such a package or version.
    #[error("package `{package}` was not found\n{said}")]
    PackageNotFound {
        /// The package.
        package: String,
        /// What the package manager said.
        said: String,
    },
    /// An image could not be built of a package.
    #[error("build an image of `{package}`: {message}")]
    Build {
        /// The package.
        package: String,
        /// What went wrong.
        message: String,
    },
    /// A file that the settings of builds name.
    #[error(transparent)]
    BuildFile(#[from] BuildFileError),
    /// Credentials for a registry could not be had.
    #[error("credentials for registry `{registry}`: {message}")]
    Credentials {
        /// Which.
        registry: String,
        /// What went wrong; never a secret.
        message: String,
    },
    /// Nothing may run that nobody vouches for.
    #[error("image `{reference}` may not run: {source}")]
    NotVouched {
        /// The image.
        reference: String,
        /// Why nobody does.
        source: SignatureError,
    },
    /// The permission profile cannot be granted.
    #[error(transparent)]
    Permission(#[from] PermissionError),
    /// A mount cannot be granted.
    #[error("mount `{path}`: {reason}")]
    Mount {
        /// The path on this machine.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What an ignore file hides cannot be hidden for certain.
    #[error("ignore file for `{path}`: {reason}")]
    Ignore {
        /// The ignore file, or what it is about.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A resource limit that no engine accepts.
    #[error("{0}")]
    Resources(&'static str),
    /// Nothing could reach the server.
    #[error("the server listens on port {port} and its permission profile closes the network: {reason}")]
    OutOfReach {
        /// The port in the container.
        port: u16,
        /// Why that does not go together here.
        reason: &'static str,
    },
    /// A server with a closed network cannot be reached for want of a porter.
    #[error("the way into a container without a network: {reason}")]
    Door {
        /// What went wrong.
        reason: String,
    },
    /// The daemon is going down.
    #[error("the launch was given up")]
    Abandoned,
    /// The container has no such program.
    #[error("the command of the container was not found in its image: {message}")]
    CommandNotFound {
        /// What the engine said.
        message: String,
    },
}

impl ContainerError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoEngine { .. } => {
                "install and start Podman, Docker, Colima, Rancher Desktop or OrbStack, or set \
                 FAIRLEAD_CONTAINER_ENGINE=unix:///path/to/socket; `fairlead doctor` tells what was tried"
            }
            Self::NoSuchEngine { .. } => "start that engine, or move the server to another one",
            Self::EngineAway { .. } | Self::Timeout { .. } => {
                "see whether the engine runs and whether you may use its socket; the server is started again when it answers"
            }
            Self::ImageNotFound { .. } => "check the spelling of the name and the tag",
            Self::ImageAbsent { .. } => "pull the image yourself, or set the pull policy to `missing`",
            Self::PackageNotFound { .. } => "check the spelling of the name and the version",
            Self::BuildFile(_) => "correct the `[build]` settings",
            Self::NotVouched { source: SignatureError::Registry(error), .. } => error.hint(),
            Self::NotVouched { .. } => {
                "sign it with `cosign sign --key`, and name the public key in `[[images.keys]]` of the configuration"
            }
            Self::NotOfTenant { .. } => {
                "what this machine is logged in with is for tenant `default` alone; use an image that needs no login"
            }
            Self::PullDenied { .. } => "check the spelling, and log in to the registry with `docker login`",
            Self::Credentials { .. } => "log in to the registry again with `docker login`",
            Self::OutOfReach { .. } => "use the permission profile `network`, or a server that speaks stdio",
            Self::Ignore { .. } => "correct the ignore file, or mount less: what it hides must be hidden for certain",
            Self::CommandNotFound { .. } => "leave the command out to run the image's own",
            Self::Refused { .. }
            | Self::Pull { .. }
            | Self::Build { .. }
            | Self::Door { .. }
            | Self::Permission(_)
            | Self::Mount { .. }
            | Self::Resources(_)
            | Self::Abandoned => return None,
        })
    }

    /// Whether the connection is at fault, so that the engine should be looked for anew.
    pub(super) fn is_connection(&self) -> bool {
        matches!(self, Self::EngineAway { .. } | Self::Timeout { .. })
    }

    /// As the port has it. What trying again cannot mend is never `Start`, so that supervision does not try: a registry
    /// that is asked with a wrong password again and again locks the account.
    pub(super) fn launching(self, image: &str) -> LaunchError {
        let hint = self.hint();
        match &self {
            Self::ImageNotFound { .. } => {
                LaunchError::NotFound { what: image.to_owned(), hint: hint.unwrap_or_default().to_owned() }
            }
            // What a registry did not say now it may say later.
            Self::NotVouched { source: SignatureError::Registry(_), .. } => {
                LaunchError::Start { what: image.to_owned(), source: Box::new(self) }
            }
            Self::NotVouched { .. }
            | Self::ImageAbsent { .. }
            | Self::PullDenied { .. }
            | Self::NotOfTenant { .. }
            | Self::CommandNotFound { .. }
            | Self::PackageNotFound { .. }
            | Self::BuildFile(_) => LaunchError::NotFound { what: image.to_owned(), hint: advised(&self, hint) },
            Self::Permission(_)
            | Self::Mount { .. }
            | Self::Ignore { .. }
            | Self::Resources(_)
            | Self::OutOfReach { .. } => LaunchError::Unsupported(advised(&self, hint)),
            Self::NoEngine { .. } | Self::NoSuchEngine { .. } | Self::EngineAway { .. } | Self::Timeout { .. } => {
                LaunchError::Away { what: image.to_owned(), source: Box::new(self) }
            }
            _ => LaunchError::Start { what: image.to_owned(), source: Box::new(self) },
        }
    }

    /// What bollard says, in our words.
    pub(super) fn of_engine(engine: &str, doing: &'static str, error: bollard::errors::Error) -> Self {
        use bollard::errors::Error;

        let engine = engine.to_owned();
        match error {
            Error::DockerResponseServerError { status_code: status, message } => {
                Self::Refused { engine, doing, status, message: quoted(&message) }
            }
            error => Self::EngineAway { engine, doing, source: Box::new(error) },
        }
    }
}

fn advised(error: &ContainerError, hint: Option<&str>) -> String {
    hint.map_or_else(|| error.to_string(), |hint| format!("{error}; {hint}"))
}

/// What an engine said: on one line, without control characters, of bounded length.
pub(super) fn quoted(message: &str) -> String {
    let mut quoted = String::new();
    for word in message.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if quoted.len() + word.len() >= ENGINE_MESSAGE_BYTES_MAX {
            quoted.push_str(" …");
            break;
        }
        if !quoted.is_empty() {
            quoted.push(' ');
        }
        quoted.push_str(word);
    }
    quoted
}

/// One line about what was tried: engines that are simply not installed are counted, not listed.
fn summary(tried: &[Tried]) -> impl fmt::Display + '_ {
    struct Summary<'a>(&'a [Tried]);

    impl fmt::Display for Summary<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            for tried in self.0.iter().filter(|tried| !tried.outcome.is_absent()) {
                write!(f, "{} at {}: {}; ", tried.name, tried.address, tried.outcome)?;
            }
            let absent = self.0.iter().filter(|tried| tried.outcome.is_absent()).count();
            write!(f, "{absent} places without a socket")
        }
    }

    Summary(tried)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_engine_says_stays_on_one_line_and_short() {
        assert_eq!(quoted("a\n\u{1b}[31mb\t c"), "a [31mb c");
        assert!(quoted(&"word ".repeat(10_000)).len() <= ENGINE_MESSAGE_BYTES_MAX + 4);
    }
}
