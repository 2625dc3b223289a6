//! Log records of plugins: into the host's own trace, and to whoever reads the log of the server.

use fairlead_core::logs::{LogLine, LogSource};
use fairlead_core::middleware::Call;
use tracing::{enabled, event};

use crate::limits::{LOG_FIELD_BYTES_MAX, LOG_FIELDS_MAX, LOG_MESSAGE_BYTES_MAX};
use crate::owner::Owner;
use crate::text;
use crate::v0_1::Level;

/// Records of plugins have a target of their own, so that a filter can name them.
const TARGET: &str = "fairlead::plugin";

/// What a guest says.
pub(crate) struct Record<'a> {
    pub(crate) level: Level,
    pub(crate) message: &'a str,
    pub(crate) fields: &'a [(String, String)],
}

/// Whether anybody would see a record of this level.
pub(crate) fn wanted(owner: &Owner, level: Level) -> bool {
    let traced = match level {
        Level::Trace => enabled!(target: TARGET, tracing::Level::TRACE),
        Level::Debug => enabled!(target: TARGET, tracing::Level::DEBUG),
        Level::Info => enabled!(target: TARGET, tracing::Level::INFO),
        Level::Warn => enabled!(target: TARGET, tracing::Level::WARN),
        Level::Error => enabled!(target: TARGET, tracing::Level::ERROR),
    };
    traced || (owner.services.logs.is_some() && !matches!(level, Level::Trace | Level::Debug))
}

/// Writes a record, within the bounds of the attachment.
pub(crate) fn write(owner: &Owner, call: Option<&Call>, record: &Record<'_>) {
    if !wanted(owner, record.level) {
        return;
    }
    let Some(dropped) = owner.gate.pass() else { return };
    let message = text::head(record.message, LOG_MESSAGE_BYTES_MAX);
    let fields = fields(record.fields);
    macro_rules! at {
        ($level:ident) => {
            event!(
                target: TARGET,
                tracing::Level::$level,
                fairlead.plugin.name = %owner.plugin,
                fairlead.attachment = %owner.scope.attachment,
                fairlead.tenant = %owner.scope.tenant,
                fields = %fields,
                dropped,
                "{message}"
            )
        };
    }
    match record.level {
        Level::Trace => at!(TRACE),
        Level::Debug => at!(DEBUG),
        Level::Info => at!(INFO),
        Level::Warn => at!(WARN),
        Level::Error => at!(ERROR),
    }
    if let (Some(sink), Some(call)) = (&owner.services.logs, call)
        && !matches!(record.level, Level::Trace | Level::Debug)
    {
        let word = match record.level {
            Level::Error => "error",
            Level::Warn => "warn",
            _ => "info",
        };
        let text = if fields.is_empty() { format!("{word} {message}") } else { format!("{word} {message} {fields}") };
        let source = LogSource::Plugin(owner.scope.attachment.clone());
        sink.write(LogLine {
            server: &call.server,
            source: &source,
            workload: 0,
            text: &text.replace(['\n', '\r'], " "),
        });
    }
}

fn fields(fields: &[(String, String)]) -> String {
    let bound = |text| text::head(text, LOG_FIELD_BYTES_MAX);
    let mut line = String::new();
    for (name, value) in fields.iter().take(LOG_FIELDS_MAX) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(bound(name));
        line.push('=');
        line.push_str(&format!("{:?}", bound(value)));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_bounded_in_number_and_length() {
        let many: Vec<_> = (0..40).map(|n| (format!("n{n}"), "v".repeat(4_000))).collect();
        let line = fields(&many);
        assert!(line.starts_with("n0=\"vvv"));
        assert_eq!(line.split(' ').count(), LOG_FIELDS_MAX);
        assert!(line.len() < LOG_FIELDS_MAX * (LOG_FIELD_BYTES_MAX + 8));
    }

    #[test]
    fn a_value_cannot_begin_a_line_of_its_own() {
        assert_eq!(fields(&[("a".to_owned(), "1\n2".to_owned())]), r#"a="1\n2""#);
    }
}
