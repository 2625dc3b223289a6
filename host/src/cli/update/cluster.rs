//! `update … --on-cluster NAMESPACE`: the same about servers of a cluster, asked of the operator that leads there.

use fairlead_core::freshness::{Forecast, Hold as Held, Wish};
use fairlead_core::name::{ServerName, TenantName};
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_operator::ask::{AskError, Door, Looked};
use fairlead_operator::freshness::{Answer, Outcome, Request, Wanted};

use super::{Approve, Command, Digests, Hold, Plan, Servers, print_plan, show, show_history, until, user};
use crate::api::types::{UpdateInfo, UpdatePlan};
use crate::cli::{Context, Failure};

/// Whoever types, and where.
struct Asker<'a> {
    door: Door,
    namespace: &'a TenantName,
    context: &'a Context,
}

/// Runs one of them.
///
/// # Errors
/// There is no such server, or what was asked was refused, or nobody answers.
pub(super) async fn run(command: &Command, namespace: &TenantName, context: &Context) -> Result<(), Failure> {
    let door = Door::open(namespace.clone()).await.map_err(failed)?;
    let asker = Asker { door, namespace, context };
    match command {
        Command::Status(some) => {
            let mut servers = Vec::new();
            for name in asker.names(some).await? {
                servers.push(asker.info(asker.door.look(&name).await.map_err(failed)?));
            }
            show(&servers, some.name.is_some(), context)
        }
        Command::History(one) => {
            show_history(&asker.info(asker.door.look(&one.target.name).await.map_err(failed)?), context)
        }
        Command::Check(some) => asker.check(some).await,
        Command::Plan(plan) => asker.plan(plan).await,
        Command::Apply(Digests { one, digest }) => {
            asker.tell(&one.target.name, Wish::Apply(digest.clone()), None).await
        }
        Command::Resume(Digests { one, digest }) => {
            asker.tell(&one.target.name, Wish::Resume(digest.clone()), None).await
        }
        Command::Approve(Approve { digests: Digests { one, digest }, by }) => {
            let by = asker.by(by.as_ref()).await;
            let wish = Wish::Approve { digest: digest.clone(), by: by.clone() };
            asker.tell(&one.target.name, wish, Some(by)).await
        }
        Command::Hold(Hold { one, reason, duration, by }) => {
            let (by, until) = (asker.by(by.as_ref()).await, until(*duration)?);
            let wish = Wish::Hold(Held { by: by.clone(), reason: reason.clone(), until });
            asker.tell(&one.target.name, wish, Some(by)).await
        }
        Command::Rollback(one) => asker.tell(&one.target.name, Wish::RollBack, None).await,
        Command::Set(_) => Err(Failure::usage("what is in a document is changed there: `spec.updates`")),
    }
}

impl Asker<'_> {
    async fn names(&self, some: &Servers) -> Result<Vec<ServerName>, Failure> {
        match &some.name {
            Some(name) => Ok(vec![name.clone()]),
            None => self.door.names().await.map_err(failed),
        }
    }

    /// Who says so: as it was typed, as the cluster has it, or as this machine has it.
    async fn by(&self, typed: Option<&String>) -> String {
        match typed {
            Some(typed) => typed.clone(),
            None => self.door.whoami().await.unwrap_or_else(user),
        }
    }

    async fn ask(&self, name: &ServerName, wanted: Wanted, by: Option<String>) -> Result<(Answer, Looked), Failure> {
        let by = match by {
            Some(by) => by,
            None => self.by(None).await,
        };
        let request = Request { id: fresh_id()?, uid: None, by: Some(by), wanted };
        let answered = self.door.ask(name, &request, &|text| self.context.output.progress(text)).await;
        self.context.output.progress_done();
        let (answer, looked) = answered.map_err(failed)?;
        match answer.outcome {
            Outcome::Refused { problem } => Err(problem.into()),
            _ => Ok((answer, looked)),
        }
    }

    async fn tell(&self, name: &ServerName, wish: Wish, by: Option<String>) -> Result<(), Failure> {
        let (_, looked) = self.ask(name, Wanted::Wish(wish), by).await?;
        show(&[self.info(looked)], true, self.context)
    }

    async fn check(&self, some: &Servers) -> Result<(), Failure> {
        let mut servers = Vec::new();
        for name in self.names(some).await? {
            let (answer, looked) = self.ask(&name, Wanted::Wish(Wish::Check), None).await?;
            let checked = self.door.checked(&answer, looked, &|text| self.context.output.progress(text)).await;
            self.context.output.progress_done();
            servers.push(self.info(checked.map_err(failed)?));
        }
        show(&servers, some.name.is_some(), self.context)
    }

    async fn plan(&self, plan: &Plan) -> Result<(), Failure> {
        let mut servers: Vec<Forecast> = Vec::new();
        for name in self.names(&plan.some).await? {
            let (answer, _) = self.ask(&name, Wanted::Plan(plan.at), None).await?;
            match answer.outcome {
                Outcome::Planned { forecast: Some(forecast) } => servers.push(*forecast),
                _ => return Err(unkept(&name).into()),
            }
        }
        print_plan(&UpdatePlan { servers }, self.context)
    }

    fn info(&self, looked: Looked) -> UpdateInfo {
        UpdateInfo {
            tenant: self.namespace.clone(),
            server: looked.name,
            view: looked.view,
            candidates: looked.record.candidates,
            history: looked.record.attempts,
            approvals: looked.record.approvals,
        }
    }
}

fn unkept(name: &ServerName) -> Problem {
    Problem::new(
        ProblemKind::Unavailable,
        format!("the plan for `{name}` is too long to be told, or another was asked for"),
    )
    .hint("ask again")
}

/// An id that no other request has.
fn fresh_id() -> Result<String, Failure> {
    let mut random = [0_u8; 16];
    getrandom::fill(&mut random).map_err(|error| Failure::new(format!("random numbers: {error}")))?;
    Ok(format!("{:032x}", u128::from_be_bytes(random)))
}

fn failed(error: AskError) -> Failure {
    Failure { hint: error.hint(), ..Failure::chain(&error) }
}
