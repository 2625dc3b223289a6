//! One exchange (a request, its events, its answer) on its way through a chain.

use std::sync::Arc;

use bytes::Bytes;
use fairlead_core::chain::Link;
use fairlead_core::jsonrpc::{Envelope, INTERNAL_ERROR, Kind, METHOD_NOT_FOUND, rejection_of};
use fairlead_core::middleware::{
    Call, Fault, Head, HeaderSource, Headers, Identity, Notes, Origin, Phase, Rejection, Subject, moment,
};
use fairlead_core::name::ServerKey;
use fairlead_core::plugin::FailureMode;
use fairlead_core::telemetry::TraceContext;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use super::plan::{ChainSet, Plan};
use super::seniority::Seniority;
use super::verdict::{Effect, apply};
use crate::deadline::within;
use crate::limits::HOOK_GUARD;
use crate::watch::{Watch, carry_in_params};

/// Headers that a middleware never sees.
const CREDENTIALS: [&str; 7] =
    ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "mcp-session-id", "last-event-id"];

/// Where an exchange comes from; worked out for the middleware only when one is asked.
#[derive(Debug, Default)]
pub(crate) struct Provenance {
    pub(crate) headers: HeaderMap,
    pub(crate) request_id: Option<Bytes>,
    pub(crate) session: Option<Arc<str>>,
    pub(crate) protocol_version: Option<Arc<str>>,
}

impl Provenance {
    fn origin(self) -> Arc<Origin> {
        Arc::new(Origin {
            request_id: self.request_id,
            session: self.session,
            protocol_version: self.protocol_version,
            headers: Headers::of(Arc::new(Shown(self.headers))),
        })
    }
}

/// The headers of a client without its credentials.
#[derive(Debug)]
struct Shown(HeaderMap);

impl HeaderSource for Shown {
    fn header(&self, name: &str) -> Option<&str> {
        self.0.get(name).filter(|_| !CREDENTIALS.contains(&name))?.to_str().ok()
    }
}

/// What goes back to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A result (JSON text).
    Result(Bytes),
    /// An error.
    Error(Rejection),
}

/// What the chain decided about a request.
#[derive(Debug)]
pub(crate) enum Decision {
    /// On to the server, with other `params` if there are some.
    Forward(Option<Bytes>),
    /// The server never sees it.
    Answer(Outcome),
}

/// What the chain made of an answer.
#[derive(Debug)]
pub(crate) enum Returned {
    /// Nothing: the bytes of the server go on.
    Untouched,
    /// Something else.
    Changed(Outcome),
}

/// What the chain decided about a message of the server.
#[derive(Debug)]
pub(crate) enum EventDecision {
    /// On to the client as it is.
    Pass,
    /// On to the client with other `params`.
    Change(Bytes),
    /// The client never sees it; a question is answered with the rejection.
    Drop(Rejection),
}

/// One exchange.
pub(crate) struct Exchange {
    set: Arc<ChainSet>,
    plan: Arc<Plan>,
    server: Arc<ServerKey>,
    provenance: Provenance,
    /// The same for middleware, as soon as one is asked.
    origin: Option<Arc<Origin>>,
    notes: Notes,
    seniority: Seniority,
    /// What the request is about, as the links from this position on see it; a link further out may have changed it.
    targets: Vec<(usize, Option<Arc<str>>)>,
    watch: Watch,
}

impl Exchange {
    /// Begins an exchange for a request or notification. `provenance` is only asked for when some link takes part.
    pub(crate) fn begin(
        set: Arc<ChainSet>,
        server: &Arc<ServerKey>,
        message: &Envelope,
        provenance: impl FnOnce() -> Provenance,
    ) -> Self {
        let mut exchange = Self::ambient(set, server, message.method(), Provenance::default());
        let idle = exchange.is_idle();
        if !idle {
            exchange.targets.push((0, message.target().map(|target| target.as_ref().into())));
        }
        if !idle || exchange.set.wants_events() {
            exchange.provenance = provenance();
        }
        exchange
    }

    /// An exchange without a request, for what a server says unasked.
    pub(crate) fn ambient(set: Arc<ChainSet>, server: &Arc<ServerKey>, method: &str, provenance: Provenance) -> Self {
        Self {
            plan: set.plan(method),
            set,
            server: Arc::clone(server),
            provenance,
            origin: None,
            notes: Notes::default(),
            seniority: Seniority::default(),
            targets: Vec::new(),
            watch: None,
        }
    }

    /// Tells somebody how it goes from here on.
    pub(crate) fn watched(mut self, watch: Watch) -> Self {
        self.watch = watch;
        self
    }

    /// Who is told, when something else than this exchange sees its end.
    pub(crate) fn take_watch(&mut self) -> Watch {
        self.watch.take()
    }

    /// What a server that is asked over HTTP gets in its headers.
    pub(crate) fn trace_context(&self) -> Option<TraceContext> {
        self.watch.as_ref()?.context()
    }

    /// It ended otherwise than with an answer.
    pub(crate) fn broke_off(&mut self, how: &str) {
        if let Some(watch) = &mut self.watch {
            watch.failed(how);
        }
    }

    fn ended(&mut self, outcome: &Outcome) {
        if let (Some(watch), Outcome::Error(rejection)) = (&mut self.watch, outcome) {
            watch.failed(&rejection.code.to_string());
        }
    }

    fn is_idle(&self) -> bool {
        self.plan.steps(Phase::Request).is_empty() && !self.plan.wants_answer()
    }

    /// Whether any link wants to see the answer or what comes before it on the stream.
    pub(crate) fn wants_stream(&self) -> bool {
        self.plan.wants_answer() || self.set.wants_events()
    }

    /// Whether any link wants to see the answer.
    pub(crate) fn wants_answer(&self) -> bool {
        self.plan.wants_answer()
    }

    /// What the request is about after all changes; only known when some link takes part.
    pub(crate) fn target(&self) -> Option<&Arc<str>> {
        self.targets.last().and_then(|(_, target)| target.as_ref())
    }

    fn target_at(&self, link: usize) -> Option<Arc<str>> {
        let seen = self.targets.iter().rev().find(|(from, _)| *from <= link);
        seen.and_then(|(_, target)| target.clone())
    }

    /// Who calls, as far as the chain has established it.
    pub(crate) fn identity(&self) -> Option<&Identity> {
        self.notes.identity.as_ref()
    }

    /// Whoever opened the session: known from the beginning, and only the outermost level may have it otherwise.
    pub(crate) fn of(mut self, identity: Option<&Identity>) -> Self {
        self.notes.identity = identity.cloned();
        self.seniority = identity.map(|_| Seniority::knowing()).unwrap_or_default();
        self
    }

    /// The headers that middleware wants on the request to the server.
    pub(crate) fn upstream_headers(&self) -> HeaderMap {
        let pairs = self.notes.upstream_headers.iter().filter_map(|(name, value)| {
            let mut value = HeaderValue::from_bytes(value.reveal()).ok()?;
            value.set_sensitive(true);
            Some((name.parse::<HeaderName>().ok()?, value))
        });
        pairs.collect()
    }

    /// Asks at a moment that has no message: nothing can be changed or answered, only refused.
    pub(crate) async fn moment(&mut self, params: &Bytes) -> Result<(), Rejection> {
        let plan = Arc::clone(&self.plan);
        for step in plan.steps(Phase::Request).iter().filter(|step| step.covers(None)) {
            if let Effect::Reject(rejection) =
                self.consult(step.link, &plan.method, None, Subject::Request(params.clone())).await
                && let (Outcome::Error(rejection), _) = self.outward(step.link, Outcome::Error(rejection)).await
            {
                return Err(rejection);
            }
        }
        Ok(())
    }

    /// From the outermost link to the innermost. What goes on carries the context of its trace.
    pub(crate) async fn request(&mut self, message: &Envelope) -> Decision {
        let decision = self.decide(message).await;
        match (decision, self.trace_context()) {
            (Decision::Forward(params), Some(context)) => {
                let own = message.params();
                let text = params.as_ref().or(own.as_ref()).and_then(|params| std::str::from_utf8(params).ok());
                Decision::Forward(carry_in_params(text, &context).or(params))
            }
            (Decision::Answer(outcome), _) => {
                self.ended(&outcome);
                Decision::Answer(outcome)
            }
            (decision, None) => decision,
        }
    }

    async fn decide(&mut self, message: &Envelope) -> Decision {
        if is_ours(message) {
            return Decision::Answer(Outcome::Error(ours()));
        }
        let plan = Arc::clone(&self.plan);
        let steps = plan.steps(Phase::Request);
        if steps.is_empty() {
            return Decision::Forward(None);
        }
        let mut params = message.params().unwrap_or_default();
        let mut changed = false;
        for step in steps {
            let target = self.target_at(step.link);
            if !step.covers(target.as_deref()) {
                continue;
            }
            match self.consult(step.link, &plan.method, target, Subject::Request(params.clone())).await {
                Effect::Next => {}
                Effect::Payload(new) => {
                    (params, changed) = (new, true);
                    self.retarget(step.link + 1, message, &params);
                }
                Effect::Respond(result) => {
                    return Decision::Answer(self.outward(step.link, Outcome::Result(result)).await.0);
                }
                Effect::Reject(rejection) => {
                    return Decision::Answer(self.outward(step.link, Outcome::Error(rejection)).await.0);
                }
            }
        }
        Decision::Forward(changed.then_some(params))
    }

    /// The links further in see what a changed request is about now.
    fn retarget(&mut self, from: usize, message: &Envelope, params: &Bytes) {
        if self.target().is_none() && message.target().is_none() {
            return;
        }
        let changed = std::str::from_utf8(params)
            .ok()
            .and_then(|params| Envelope::parse(message.rewrite().params(params).finish()).ok());
        let target = changed.and_then(|message| message.target().map(|target| target.as_ref().into()));
        self.targets.push((from, target));
    }

    /// An answer of the server, from the innermost link to the outermost.
    pub(crate) async fn answer(&mut self, answer: &Envelope) -> Returned {
        let is_wanted = self.plan.wants_answer();
        let outcome = match answer.kind() {
            Kind::Response if is_wanted => answer.result().map(Outcome::Result),
            Kind::Error if is_wanted || self.watch.is_some() => {
                answer.error().and_then(rejection_of).map(Outcome::Error)
            }
            _ => None,
        };
        let Some(outcome) = outcome else { return Returned::Untouched };
        let (outcome, is_changed) = self.outward(usize::MAX, outcome).await;
        self.ended(&outcome);
        if is_changed { Returned::Changed(outcome) } else { Returned::Untouched }
    }

    /// An error of our own (the server could not be reached), as if the server had sent it.
    pub(crate) async fn failure(&mut self, rejection: Rejection) -> Outcome {
        let outcome = self.outward(usize::MAX, Outcome::Error(rejection)).await.0;
        self.ended(&outcome);
        outcome
    }

    /// Outward from below link `from`. The flag says whether anything was changed.
    async fn outward(&mut self, from: usize, mut outcome: Outcome) -> (Outcome, bool) {
        let plan = Arc::clone(&self.plan);
        let (response, error) = (plan.steps(Phase::Response), plan.steps(Phase::Error));
        let last = response.iter().chain(error).map(|step| step.link + 1).max().unwrap_or(0).min(from);
        let mut changed = false;
        for link in (0..last).rev() {
            let (steps, subject) = match &outcome {
                Outcome::Result(result) => (response, Subject::Response(result.clone())),
                Outcome::Error(rejection) => (error, Subject::Error(rejection.clone())),
            };
            let Some(step) = steps.iter().find(|step| step.link == link) else { continue };
            let target = self.target_at(link);
            if !step.covers(target.as_deref()) {
                continue;
            }
            outcome = match self.consult(link, &plan.method, target, subject).await {
                Effect::Next => continue,
                Effect::Payload(result) | Effect::Respond(result) => Outcome::Result(result),
                Effect::Reject(rejection) => Outcome::Error(rejection),
            };
            changed = true;
        }
        (outcome, changed)
    }

    /// A message that the server sends on a stream, from the innermost link to the outermost.
    pub(crate) async fn event(&mut self, message: &Envelope) -> EventDecision {
        if !self.set.wants_events() {
            return EventDecision::Pass;
        }
        if is_ours(message) {
            return EventDecision::Drop(ours());
        }
        let plan = self.set.plan(message.method());
        let steps = plan.steps(Phase::Event);
        if steps.is_empty() {
            return EventDecision::Pass;
        }
        let target: Option<Arc<str>> = message.target().map(|target| target.as_ref().into());
        let mut params = message.params().unwrap_or_default();
        let mut changed = false;
        for step in steps.iter().rev().filter(|step| step.covers(target.as_deref())) {
            match self.consult(step.link, &plan.method, target.clone(), Subject::Event(params.clone())).await {
                Effect::Next | Effect::Respond(_) => {}
                Effect::Payload(new) => (params, changed) = (new, true),
                Effect::Reject(rejection) => return EventDecision::Drop(rejection),
            }
        }
        if changed { EventDecision::Change(params) } else { EventDecision::Pass }
    }

    /// Asks one link. A fault becomes what its failure mode says.
    async fn consult(&mut self, link: usize, method: &Arc<str>, target: Option<Arc<str>>, subject: Subject) -> Effect {
        let set = Arc::clone(&self.set);
        let Some((entry, state)) = set.link(link) else { return Effect::Next };
        let phase = subject.phase();
        let asked_at = self.watch.as_ref().map(|_| Instant::now());
        let admitted = state.breaker.lock().admit(Instant::now().into_std());
        let result = if admitted {
            let head = Head { method: Arc::clone(method), target };
            let result = self.call(entry, head, subject).await;
            if state.breaker.lock().record(Instant::now().into_std(), result.is_err()) {
                tracing::warn!(server = %self.server, plugin = %entry.name, "circuit breaker opened");
            }
            result
        } else {
            Err(Fault::CircuitOpen)
        };
        if let (Some(watch), Some(asked_at)) = (&mut self.watch, asked_at) {
            watch.asked(entry.name.as_str(), phase, asked_at.elapsed(), result.as_ref().err().map(Fault::kind));
        }
        let fault = match result {
            Ok(effect) => return effect,
            Err(fault) => fault,
        };
        let open = entry.failure_mode == FailureMode::Open;
        state.count_fault(open);
        let correlation = correlation();
        tracing::warn!(
            server = %self.server, plugin = %entry.name, revision = %entry.revision, method = %method,
            correlation, passed = open, error = %fault, "middleware failed",
        );
        if open {
            return Effect::Next;
        }
        Effect::Reject(Rejection {
            code: INTERNAL_ERROR,
            message: format!("middleware `{}` failed and the message was refused", entry.name),
            data: Some(format!(
                "{{\"kind\":\"{}\",\"plugin\":\"{}\",\"correlation\":\"{correlation}\"}}",
                fault.kind(),
                entry.name
            )),
            retry_after_ms: None,
        })
    }

    async fn call(&mut self, link: &Link, head: Head, subject: Subject) -> Result<Effect, Fault> {
        let provenance = &mut self.provenance;
        let origin = Arc::clone(self.origin.get_or_insert_with(|| std::mem::take(provenance).origin()));
        let notes = std::mem::take(&mut self.notes);
        // A fault loses the notes with the instance that held them; a copy is made only when there is something in them.
        let backup = (notes != Notes::default()).then(|| notes.clone());
        let before = subject.clone();
        let call = Call { server: Arc::clone(&self.server), head, origin, notes, subject };
        let answered = within(HOOK_GUARD, link.middleware.call(call)).await;
        let guard_ms = u64::try_from(HOOK_GUARD.as_millis()).unwrap_or(u64::MAX);
        match answered.unwrap_or(Err(Fault::Deadline(guard_ms))).and_then(|answer| apply(answer, before)) {
            Ok((effect, notes)) => {
                self.notes = notes;
                self.seniority.settle(link.level, backup.as_ref(), &mut self.notes);
                Ok(effect)
            }
            Err(fault) => {
                self.notes = backup.unwrap_or_default();
                Err(fault)
            }
        }
    }
}

/// Whether somebody uses a name under which the host asks middleware itself. It would be taken for a moment that never was, and
/// a guard that asks for every method of MCP would not see it.
fn is_ours(message: &Envelope) -> bool {
    message.method().starts_with(moment::PREFIX)
}

fn ours() -> Rejection {
    Rejection {
        code: METHOD_NOT_FOUND,
        message: format!("methods that begin with `{}` are no methods of MCP", moment::PREFIX),
        data: None,
        retry_after_ms: None,
    }
}

/// Ties what a client was told to the line in the log.
fn correlation() -> String {
    let mut bytes = [0_u8; 8];
    // Without random numbers the text is only less useful.
    let _ = getrandom::fill(&mut bytes);
    format!("{:016x}", u64::from_le_bytes(bytes))
}
