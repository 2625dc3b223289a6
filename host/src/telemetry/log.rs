//! What the daemon says about itself: to standard error when a person started it, to its log file when it was started in
//! the background. Spans are made where requests come in; here is only where they go.

use std::io::{self, IsTerminal as _};
use std::path::Path;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::config::{LogFormat, Settings};
use crate::logs::{RotatingFile, SharedFile};

/// Why nothing is logged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TelemetryError {
    /// The filter makes no sense.
    #[error("`{filter}` says nothing about what to log")]
    Filter {
        /// The filter.
        filter: String,
        /// Why.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// The log file cannot be written.
    #[error("open the log file")]
    File(#[source] io::Error),
}

/// Starts logging, into a file if one is named.
///
/// # Errors
/// The filter or the file cannot be used.
pub(crate) fn start(settings: &Settings, file: Option<&Path>) -> Result<(), TelemetryError> {
    let filter = EnvFilter::builder()
        .parse(&settings.log)
        .map_err(|source| TelemetryError::Filter { filter: settings.log.clone(), source })?;
    let (writer, ansi) = match file {
        Some(path) => {
            let file = RotatingFile::open(path).map_err(TelemetryError::File)?;
            (BoxMakeWriter::new(SharedFile::new(file)), false)
        }
        None => (BoxMakeWriter::new(io::stderr), io::stderr().is_terminal() && !settings.no_color),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(ansi);
    match settings.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
