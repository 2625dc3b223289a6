//! `chain explain`: a request led through the chain of a server in the real host, without the server.
//!
//! Each plugin gets instances of its own and a copy of its state, which are thrown away afterwards: a rate limiter says
//! what it would say, and its count stays as it is.

use std::sync::Arc;
use std::time::Instant;

use fairlead_core::BoxFuture;
use fairlead_core::chain::{Chain, Link, covers};
use fairlead_core::kv::KvScope;
use fairlead_core::middleware::{Answer, Call, Fault, Interest, Middleware, Phase, Rejection, Verdict};
use fairlead_core::name::ServerKey;
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_proxy::{Rehearsed, rehearse};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::api::types::policy::{ExplainChain, ExplainedCall, ExplainedLink, Explanation};
use crate::app::App;
use crate::app::chain::{Builder, Purpose, place_at};
use crate::app::servers::not_found;
use crate::store::REHEARSAL;

impl App {
    /// What the chain of a server makes of a request.
    ///
    /// # Errors
    /// There is no such server, or the request is none.
    pub(crate) async fn explain(&self, request: ExplainChain) -> Result<Explanation, Problem> {
        let key = ServerKey { tenant: request.tenant, name: request.server };
        let spec = self.slots.look(&key, |managed| managed.record.spec.clone()).ok_or_else(|| not_found(&key))?;
        let _turn = self.tenancy.rehearsing.lock().await;
        let rules = self.tenancy.rules();
        let mut builder = Builder::new(&self.plugins, &self.tenancy.bindings, &rules);
        let purpose = Purpose::Rehearsal { place: REHEARSAL };
        let chain = builder.build_for(purpose, &key, &spec).await?;
        let scopes: Vec<_> = chain.links().iter().map(|link| scope(&key, link)).collect();
        for real in &scopes {
            self.kv.copy(real, &KvScope { place: format!("{REHEARSAL}{}", real.place), ..real.clone() });
        }
        let heard = Arc::new(Mutex::new(Vec::new()));
        let rehearsed = rehearse(
            Arc::new(recorded(&chain, &heard)),
            &key,
            &request.request.to_string(),
            request.answer.as_ref().map(ToString::to_string).as_deref(),
            &request.headers,
        )
        .await;
        for real in &scopes {
            self.kv.forget(&key.tenant, &format!("{REHEARSAL}{}", real.place));
        }
        let rehearsed = rehearsed.map_err(|reason| Problem::new(ProblemKind::Invalid, reason).at("/request"))?;
        Ok(explanation(&chain, std::mem::take(&mut *heard.lock()), rehearsed))
    }
}

/// The place of the state of a link.
fn scope(key: &ServerKey, link: &Link) -> KvScope {
    KvScope { tenant: key.tenant.clone(), place: place_at(link.level, &key.name), attachment: link.name.clone() }
}

/// What a plugin was asked and said: the position of its link, and the call.
type Heard = Arc<Mutex<Vec<(usize, ExplainedCall)>>>;

/// The same chain, whose links write down what they are asked.
fn recorded(chain: &Chain, heard: &Heard) -> Chain {
    let link = |(at, link): (usize, &Link)| Link {
        name: link.name.clone(),
        level: link.level,
        failure_mode: link.failure_mode,
        revision: Arc::clone(&link.revision),
        middleware: Arc::new(Recorder { at, inner: Arc::clone(&link.middleware), heard: Arc::clone(heard) }),
    };
    Chain::new(chain.links().iter().enumerate().map(link).collect())
}

struct Recorder {
    at: usize,
    inner: Arc<dyn Middleware>,
    heard: Heard,
}

impl Middleware for Recorder {
    fn interests(&self) -> &[Interest] {
        self.inner.interests()
    }

    fn call(&self, call: Call) -> BoxFuture<'_, Result<Answer, Fault>> {
        Box::pin(async move {
            let phase = word(call.subject.phase()).to_owned();
            let began = Instant::now();
            let answered = self.inner.call(call).await;
            let micros = began.elapsed().as_secs_f64() * 1e6;
            let (verdict, detail) = told(&answered);
            let call = ExplainedCall { phase, verdict: verdict.to_owned(), detail, micros };
            self.heard.lock().push((self.at, call));
            answered
        })
    }
}

fn told(answered: &Result<Answer, Fault>) -> (&'static str, Option<Value>) {
    match answered {
        Err(fault) => ("fault", Some(json!({"kind": fault.kind(), "reason": fault.to_string()}))),
        Ok(answer) => match &answer.verdict {
            Verdict::Next => ("next", None),
            Verdict::Patch(operations) => {
                let operation = |operation: &fairlead_core::middleware::PatchOperation| json!({"pointer": operation.pointer, "value": operation.value.as_deref().map(parsed)});
                ("edit", Some(operations.iter().map(operation).collect()))
            }
            Verdict::Replace(payload) => ("edit", Some(json!([{"pointer": "", "value": parsed(payload)}]))),
            Verdict::Respond(result) => ("respond", Some(parsed(result))),
            Verdict::Reject(rejection) => ("reject", Some(error(rejection))),
        },
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

fn error(rejection: &Rejection) -> Value {
    let mut error = json!({"code": rejection.code, "message": rejection.message});
    if let Some(fields) = error.as_object_mut() {
        fields.extend(rejection.data.as_deref().map(|data| ("data".to_owned(), parsed(data))));
        fields.extend(rejection.retry_after_ms.map(|ms| ("retryAfterMs".to_owned(), ms.into())));
    }
    error
}

fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Request => "request",
        Phase::Response => "response",
        Phase::Error => "error",
        Phase::Event => "event",
    }
}

fn explanation(chain: &Chain, heard: Vec<(usize, ExplainedCall)>, rehearsed: Rehearsed) -> Explanation {
    let Rehearsed { method, target, params, answer } = rehearsed;
    let link = |(at, link): (usize, &Link)| {
        let wants = |phase: &Phase| {
            let interests = link.middleware.interests();
            interests.iter().any(|interest| covers(interest, &method, target.as_deref(), *phase))
        };
        let phases = [Phase::Request, Phase::Response, Phase::Error];
        ExplainedLink {
            level: link.level,
            name: link.name.to_string(),
            revision: link.revision.to_string(),
            wants: phases.iter().filter(|phase| wants(phase)).map(|phase| word(*phase).to_owned()).collect(),
            asked: heard.iter().filter(|(of, _)| *of == at).map(|(_, call)| call.clone()).collect(),
        }
    };
    Explanation {
        links: chain.links().iter().enumerate().map(link).collect(),
        reaches_server: params.is_some(),
        params: params.filter(|params| !params.is_empty()).map(|params| parsed(&params)),
        answer: answer.map(|answer| match answer {
            Ok(result) => json!({"result": parsed(&result)}),
            Err(rejection) => json!({"error": error(&rejection)}),
        }),
        method,
        target,
    }
}
