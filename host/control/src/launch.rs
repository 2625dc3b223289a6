//! Launching one workload, and what is said when that fails.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fairlead_core::secret::{self, SecretError, SecretText};
use fairlead_core::server::ServerSpec;
use fairlead_core::workload::{Launch, LaunchEnvironment, LaunchError, Unavailable, Workload};
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::ending::Reason;
use crate::gate::{Event, Prospect};
use crate::leftovers;
use crate::limits::{LAUNCH_MAX, NOT_READY_RETRY, START_WAIT_MAX};
use crate::server::{Pass, Server};
use crate::workload::{self, Held};

impl Server {
    /// Launches one workload and begins to keep it.
    pub(crate) async fn launch(self: &Arc<Self>, pass: Pass) -> Result<Held, Unavailable> {
        let launched = tokio::select! {
            launched = timeout(LAUNCH_MAX, self.start()) => launched,
            () = pass.end.cancelled() => return Err(Unavailable::Stopped),
        };
        match launched {
            Ok(Ok(workload)) => Ok(self.take_in(workload, pass).await),
            Ok(Err(error)) => Err(self.not_launched(not_launched(&error), prospect(&error))),
            Err(_) => {
                Err(self.not_launched(Reason::new(format!("did not start within {LAUNCH_MAX:?}")), Prospect::Open))
            }
        }
    }

    async fn start(&self) -> Result<Workload, LaunchError> {
        let launch = Launch {
            server: (*self.key).clone(),
            source: self.spec.source.clone(),
            env: self.environment().await?,
            port: self.port(),
            mark: Some(mark(&self.spec)),
        };
        self.ports.runtime.launch(&launch).await
    }

    /// The environment with the values of secrets in it. They are asked for at every launch and kept by nobody, so that a
    /// new value is taken by the next.
    async fn environment(&self) -> Result<LaunchEnvironment, LaunchError> {
        let mut environment = LaunchEnvironment::new();
        for (variable, text) in &self.spec.env {
            let not_had = |source| LaunchError::Secret { variable: variable.clone(), source };
            let text = SecretText::parse(text)
                .map_err(|error| not_had(SecretError::Unavailable(format!("no reference: {error}"))))?;
            let value = secret::reveal(&*self.ports.secrets, &self.key.tenant, &text).await.map_err(not_had)?;
            environment.insert(variable.clone(), value);
        }
        Ok(environment)
    }

    /// Launches in a task of its own: a caller that goes away half-way leaves nothing half done.
    pub(crate) async fn launch_detached(self: &Arc<Self>) -> Result<Held, Unavailable> {
        let pass = self.admit()?;
        let (give, get) = oneshot::channel();
        let server = Arc::clone(self);
        self.tasks.spawn(async move {
            // Whoever does not take it drops it, which ends it.
            let _ = give.send(server.launch(pass).await);
        });
        match timeout(START_WAIT_MAX, get).await {
            Ok(launched) => launched.unwrap_or(Err(Unavailable::Stopped)),
            Err(_) => {
                let reason = "it takes long to fetch or to start".to_owned();
                Err(Unavailable::NotReady { reason, retry_after: NOT_READY_RETRY })
            }
        }
    }

    async fn take_in(self: &Arc<Self>, workload: Workload, pass: Pass) -> Held {
        let leftover =
            leftovers::record(&*self.ports.store, &self.key, &*self.ports.runtime, workload.id.as_deref()).await;
        let number = self.launched.fetch_add(1, Ordering::Relaxed) + 1;
        self.apply(Event::Launched);
        self.say(number, if workload.handle.is_taken_over() { "taken over as it ran" } else { "started" });
        workload::keep(self, workload, leftover, number, pass)
    }

    /// Counts a launch that failed, and gives what to tell whoever wanted it.
    pub(crate) fn not_launched(self: &Arc<Self>, reason: Reason, prospect: Prospect) -> Unavailable {
        self.say(0, &format!("not started: {}", reason.full));
        let told = Unavailable::Failed(reason.public.clone());
        self.apply(Event::NotLaunched { reason, prospect });
        self.check().err().unwrap_or(told)
    }
}

/// The same for whatever is started alike. References to secrets go in, never their values: others can read a mark.
fn mark(spec: &ServerSpec) -> String {
    let started = serde_json::to_vec(&(&spec.source, &spec.transport, &spec.env)).unwrap_or_default();
    Sha256::digest(&started).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn not_launched(error: &LaunchError) -> Reason {
    let hint = match error {
        LaunchError::NotFound { hint, .. } => Some(hint.clone()),
        LaunchError::Start { source, .. } | LaunchError::Away { source, .. } => Some(chain(&**source)),
        LaunchError::Secret { source, .. } => {
            let hint = source.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
            let full = format!("{error}: {source}{hint}");
            return Reason { public: "a secret that it needs cannot be had".to_owned(), full };
        }
        LaunchError::Unsupported(_) => None,
    };
    // A client learns that it does not start, not what this machine has and has not.
    match hint {
        Some(hint) => Reason { public: "its program cannot be started".to_owned(), full: format!("{error}: {hint}") },
        None => Reason::new(error.to_string()),
    }
}

fn prospect(error: &LaunchError) -> Prospect {
    match error {
        LaunchError::NotFound { .. } | LaunchError::Unsupported(_) => Prospect::Lasting,
        LaunchError::Secret { source, .. } if source.is_lasting() => Prospect::Lasting,
        LaunchError::Secret { .. } | LaunchError::Start { .. } => Prospect::Open,
        LaunchError::Away { .. } => Prospect::Away,
    }
}

/// An error with its causes.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
