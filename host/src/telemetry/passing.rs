//! What passes through the data plane, as lines in a log of its server: what did not end well, or everything.
//!
//! For whoever asks why a client was refused and has no collector of traces. A line has names, codes and times, as all
//! telemetry here: never arguments, results or headers.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fairlead_core::logs::{LogLine, LogSink, LogSource};
use fairlead_core::middleware::Phase;
use fairlead_core::name::ServerKey;
use fairlead_core::telemetry::{Began, Observation, Telemetry, TraceContext};

/// Which exchanges have a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Passing {
    /// Those that were rejected or failed, and those in which a plugin had a fault.
    #[default]
    Failures,
    /// All.
    All,
}

/// Writes lines, and tells whoever else wants to know.
pub(crate) struct PassingLog {
    which: Passing,
    sink: Arc<dyn LogSink>,
    next: Option<Arc<dyn Telemetry>>,
}

impl PassingLog {
    /// In front of `next`.
    #[must_use]
    pub(crate) fn new(which: Passing, sink: Arc<dyn LogSink>, next: Option<Arc<dyn Telemetry>>) -> Self {
        Self { which, sink, next }
    }
}

impl std::fmt::Debug for PassingLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PassingLog").field("which", &self.which).field("next", &self.next).finish_non_exhaustive()
    }
}

impl Telemetry for PassingLog {
    fn begin(&self, began: Began<'_>) -> Box<dyn Observation> {
        Box::new(Exchange {
            which: self.which,
            sink: Arc::clone(&self.sink),
            next: self.next.as_ref().map(|next| next.begin(began)),
            server: began.server.clone(),
            method: began.method.to_owned(),
            target: began.target.map(str::to_owned),
            began: Instant::now(),
            faults: String::new(),
            failure: None,
        })
    }
}

/// One exchange under way.
struct Exchange {
    which: Passing,
    sink: Arc<dyn LogSink>,
    next: Option<Box<dyn Observation>>,
    server: ServerKey,
    method: String,
    target: Option<String>,
    began: Instant,
    faults: String,
    failure: Option<String>,
}

impl Observation for Exchange {
    fn context(&self) -> Option<TraceContext> {
        self.next.as_ref()?.context()
    }

    fn asked(&mut self, attachment: &str, phase: Phase, took: Duration, fault: Option<&'static str>) {
        if let Some(fault) = fault {
            // Writing to a string cannot fail.
            let _ = write!(self.faults, "; plugin {attachment}: {fault} after {:.1} ms", millis(took));
        }
        if let Some(next) = &mut self.next {
            next.asked(attachment, phase, took, fault);
        }
    }

    fn failed(&mut self, error_type: &str) {
        self.failure = Some(error_type.to_owned());
        if let Some(next) = &mut self.next {
            next.failed(error_type);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.which == Passing::Failures && self.failure.is_none() && self.faults.is_empty() {
            return;
        }
        let target = self.target.as_deref().map(|target| format!(" {target}")).unwrap_or_default();
        let outcome = self.failure.as_deref().unwrap_or("good");
        let took = millis(self.began.elapsed());
        let text = format!("{}{target}: {outcome} after {took:.1} ms{}", self.method, self.faults);
        // A client chose the method and the name: one line is one exchange, whatever they hold.
        let text = text.replace(|character: char| character.is_control(), " ");
        self.sink.write(LogLine { server: &self.server, source: &LogSource::Proxy, workload: 0, text: &text });
    }
}

fn millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use fairlead_core::name::{ServerName, TenantName};
    use fairlead_core::telemetry::TraceParent;
    use parking_lot::Mutex;

    use super::*;

    #[derive(Default)]
    struct Lines(Mutex<Vec<String>>);

    impl LogSink for Lines {
        fn write(&self, line: LogLine<'_>) {
            assert_eq!(*line.source, LogSource::Proxy);
            self.0.lock().push(line.text.to_owned());
        }
    }

    fn told(which: Passing, tell: impl FnOnce(&mut dyn Observation)) -> Vec<String> {
        let lines = Arc::new(Lines::default());
        let log = PassingLog::new(which, Arc::clone(&lines) as _, None);
        let server = ServerKey { tenant: TenantName::default(), name: ServerName::new("a").unwrap() };
        let mut observation = log.begin(Began {
            server: &server,
            method: "tools/call",
            target: Some("ec\nho"),
            request_id: Some("7"),
            protocol_version: None,
            network_transport: "pipe",
            trace: TraceParent::default(),
        });
        tell(&mut *observation);
        drop(observation);
        let lines = lines.0.lock();
        // Times differ.
        lines.iter().map(|line| line.split(" after ").next().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn what_ends_well_has_a_line_only_where_all_have() {
        assert_eq!(told(Passing::Failures, |_| {}), Vec::<String>::new());
        assert_eq!(told(Passing::All, |_| {}), ["tools/call ec ho: good"]);
    }

    #[test]
    fn a_rejection_and_a_fault_have_one() {
        assert_eq!(told(Passing::Failures, |it| it.failed("4030")), ["tools/call ec ho: 4030"]);
        let fault = told(Passing::Failures, |it| it.asked("guard", Phase::Request, Duration::ZERO, Some("trap")));
        assert_eq!(fault, ["tools/call ec ho: good"]);
    }
}
