//! Middleware that does what a test says, and remembers what it was asked.

use std::sync::Arc;

use fairlead_core::BoxFuture;
use fairlead_core::chain::{Level, Link};
use fairlead_core::middleware::{
    Answer, Call, Fault, Interest, Middleware, Notes, Phase, Phases, Rejection, Subject, Verdict,
};
use fairlead_core::name::AttachmentName;
use fairlead_core::plugin::FailureMode;
use parking_lot::Mutex;

type Script = dyn Fn(&Call, &mut Notes) -> Result<Verdict, Fault> + Send + Sync;

/// Phase, method, target and payload of a call.
type Asked = (Phase, String, Option<String>, String);

pub(crate) struct Scripted {
    interests: Vec<Interest>,
    script: Box<Script>,
    pub(crate) seen: Mutex<Vec<Asked>>,
    /// Session and the header `x-test` of each call.
    pub(crate) calls: Mutex<Vec<(Option<String>, Option<String>)>>,
}

impl Scripted {
    pub(crate) fn new(
        method: &str,
        phases: &[Phase],
        script: impl Fn(&Call, &mut Notes) -> Result<Verdict, Fault> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Self::for_target(method, None, phases, script)
    }

    pub(crate) fn for_target(
        method: &str,
        target: Option<&str>,
        phases: &[Phase],
        script: impl Fn(&Call, &mut Notes) -> Result<Verdict, Fault> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let phases = phases.iter().fold(Phases::NONE, |phases, phase| phases.with(*phase));
        let interest = Interest { method: method.to_owned(), target: target.map(ToOwned::to_owned), phases };
        Arc::new(Self {
            interests: vec![interest],
            script: Box::new(script),
            seen: Mutex::default(),
            calls: Mutex::default(),
        })
    }

    pub(crate) fn phases(&self) -> Vec<Phase> {
        self.seen.lock().iter().map(|(phase, ..)| *phase).collect()
    }
}

impl Middleware for Scripted {
    fn interests(&self) -> &[Interest] {
        &self.interests
    }

    fn call(&self, mut call: Call) -> BoxFuture<'_, Result<Answer, Fault>> {
        Box::pin(async move {
            let payload = match &call.subject {
                Subject::Request(bytes) | Subject::Response(bytes) | Subject::Event(bytes) => {
                    String::from_utf8(bytes.to_vec()).unwrap()
                }
                Subject::Error(rejection) => rejection.message.clone(),
            };
            let target = call.head.target.as_deref().map(ToOwned::to_owned);
            self.seen.lock().push((call.subject.phase(), call.head.method.to_string(), target, payload));
            let origin = &call.origin;
            self.calls.lock().push((
                origin.session.as_deref().map(ToOwned::to_owned),
                origin.headers.get("x-test").map(ToOwned::to_owned),
            ));
            for hidden in ["authorization", "mcp-session-id"] {
                assert_eq!(origin.headers.get(hidden), None);
            }
            let mut notes = std::mem::take(&mut call.notes);
            let verdict = (self.script)(&call, &mut notes)?;
            Ok(Answer { verdict, notes })
        })
    }
}

pub(crate) fn link(name: &str, level: Level, failure_mode: FailureMode, middleware: &Arc<Scripted>) -> Link {
    Link {
        name: AttachmentName::new(name).unwrap(),
        level,
        failure_mode,
        revision: "test".into(),
        middleware: Arc::clone(middleware) as Arc<dyn Middleware>,
    }
}

pub(crate) fn rejection(code: i64, message: &str) -> Rejection {
    Rejection { code, message: message.to_owned(), data: None, retry_after_ms: None }
}
