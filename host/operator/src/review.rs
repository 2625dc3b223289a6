//! Who a client of a registry server is, and whether they may read it: the cluster is asked, and nobody else knows.
//!
//! Two questions to the API server for each token: whose it is (`TokenReview`, for an audience that is this registry's alone, so
//! that a token shown here opens nothing elsewhere, and one for the API server opens nothing here), and whether they may `get`
//! `mcpregistries/entries` of this very `MCPRegistry` (`SubjectAccessReview`). The subresource and not the object: whoever reads
//! the object sees where its sources are and which Secrets they use, and that is not what readers of a catalogue are to see.
//!
//! Answers are believed for [`REVIEW_KEEP`], and remembered by the digest of the token. Without an answer nobody is let in, and is
//! told that it is not their token that is wrong.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fairlead_core::BoxFuture;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{Api, PostParams};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::controller::{OperatorError, connect};
use crate::crd::{GROUP, VERSION};
use crate::limits::{
    REVIEW_CALL_MAX, REVIEW_KEEP, REVIEW_MAX, REVIEW_TOKEN_BYTES_MAX, REVIEWS_AT_ONCE, REVIEWS_KNOWN_MAX,
};
use crate::registry::audience;

/// What becomes of somebody who shows a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// They may read.
    Admitted,
    /// They are somebody, and may not.
    Refused,
    /// The token is nobody's, or not for this registry.
    Stranger,
    /// The cluster does not say.
    Unanswered,
}

/// Why the cluster does not say.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No answer.
    #[error("{what}: no answer within {wait:?}")]
    Silent {
        /// What was asked.
        what: &'static str,
        /// For how long was waited.
        wait: Duration,
    },
    /// A refusal, or no connection.
    #[error("{what}")]
    Failed {
        /// What was asked.
        what: &'static str,
        /// Why there is no answer.
        #[source]
        source: Box<kube::Error>,
    },
}

/// Asks who somebody is and what they may. A port of its own, so that what is made of answers needs no cluster to be tested.
pub trait Asking: Send + Sync {
    /// Whose token this is, where it is good here.
    ///
    /// # Errors
    /// There is no answer.
    fn who<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Option<UserInfo>, AskError>>;

    /// Whether somebody may read the registry.
    ///
    /// # Errors
    /// There is no answer.
    fn may(&self, user: UserInfo) -> BoxFuture<'_, Result<bool, AskError>>;
}

type Sum = [u8; 32];

struct Known {
    verdict: Verdict,
    until: Instant,
}

/// Reviews whoever comes to one registry.
pub struct Reviewer {
    asking: Box<dyn Asking>,
    known: Mutex<HashMap<Sum, Known>>,
    room: Semaphore,
    /// The cluster answered the last time.
    is_answered: AtomicBool,
}

impl std::fmt::Debug for Reviewer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reviewer").finish_non_exhaustive()
    }
}

// === impl Reviewer ===

impl Reviewer {
    /// The reviewer of an `MCPRegistry` in the cluster that this program runs in, or that the kubeconfig names. Nothing is asked yet.
    ///
    /// # Errors
    /// There is no cluster.
    pub async fn find(namespace: &str, name: &str) -> Result<Self, OperatorError> {
        let client = connect().await?.client;
        Ok(Self::new(Box::new(OfCluster {
            tokens: Api::all(client.clone()),
            accesses: Api::all(client),
            audience: audience(namespace, name),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })))
    }

    /// One that asks as it is told.
    #[must_use]
    pub fn new(asking: Box<dyn Asking>) -> Self {
        let room = Semaphore::new(REVIEWS_AT_ONCE);
        Self { asking, known: Mutex::default(), room, is_answered: AtomicBool::new(true) }
    }

    /// What becomes of somebody who shows this token.
    pub async fn review(&self, token: &str) -> Verdict {
        if token.is_empty() || token.len() > REVIEW_TOKEN_BYTES_MAX {
            return Verdict::Stranger;
        }
        let sum: Sum = Sha256::digest(token.as_bytes()).into();
        if let Some(verdict) = self.known(&sum) {
            return verdict;
        }
        let answered = timeout(REVIEW_MAX, self.ask(&sum, token)).await;
        let answered = answered.unwrap_or(Err(AskError::Silent { what: "wait for a turn", wait: REVIEW_MAX }));
        // Said once, and not for each request that meets it.
        if self.is_answered.swap(answered.is_ok(), Ordering::Relaxed) != answered.is_ok() {
            match &answered {
                Ok(_) => tracing::info!("the cluster tells again who clients are"),
                Err(error) => {
                    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
                    tracing::warn!(%error, source, "nobody is let in: the cluster does not tell who clients are");
                }
            }
        }
        answered.unwrap_or(Verdict::Unanswered)
    }

    async fn ask(&self, sum: &Sum, token: &str) -> Result<Verdict, AskError> {
        // Never closed.
        let _turn = self.room.acquire().await;
        // Somebody may have shown the same meanwhile.
        if let Some(verdict) = self.known(sum) {
            return Ok(verdict);
        }
        let asked = Instant::now();
        let verdict = match self.asking.who(token).await? {
            None => Verdict::Stranger,
            Some(user) => {
                let name = user.username.clone().unwrap_or_default();
                let verdict = if self.asking.may(user).await? { Verdict::Admitted } else { Verdict::Refused };
                tracing::debug!(user = name, ?verdict, "reviewed");
                verdict
            }
        };
        self.learn(*sum, Known { verdict, until: asked + REVIEW_KEEP });
        Ok(verdict)
    }

    fn known(&self, sum: &Sum) -> Option<Verdict> {
        let known = self.known.lock();
        known.get(sum).filter(|known| Instant::now() < known.until).map(|known| known.verdict)
    }

    fn learn(&self, sum: Sum, learnt: Known) {
        // Strangers can make up as many tokens as they like, and leave half of the room to others.
        let room = if learnt.verdict == Verdict::Stranger { REVIEWS_KNOWN_MAX / 2 } else { REVIEWS_KNOWN_MAX };
        let (mut known, now) = (self.known.lock(), Instant::now());
        if known.len() >= room {
            known.retain(|_, known| now < known.until);
        }
        if known.len() < room {
            known.insert(sum, learnt);
        }
    }
}

/// The API server of a cluster.
struct OfCluster {
    tokens: Api<TokenReview>,
    accesses: Api<SubjectAccessReview>,
    audience: String,
    namespace: String,
    name: String,
}

impl Asking for OfCluster {
    fn who<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Option<UserInfo>, AskError>> {
        Box::pin(async move {
            let spec = TokenReviewSpec { token: Some(token.to_owned()), audiences: Some(vec![self.audience.clone()]) };
            let review = TokenReview { spec, ..TokenReview::default() };
            let params = PostParams::default();
            let status = in_time("review a token", self.tokens.create(&params, &review)).await?.status;
            let status = status.filter(|status| status.authenticated == Some(true));
            // An authenticator that knows no audiences says none, and means its own.
            let is_ours = |audiences: &Option<Vec<String>>| audiences.iter().flatten().any(|it| *it == self.audience);
            Ok(status.filter(|status| is_ours(&status.audiences)).and_then(|status| status.user))
        })
    }

    fn may(&self, user: UserInfo) -> BoxFuture<'_, Result<bool, AskError>> {
        Box::pin(async move {
            let wanted = ResourceAttributes {
                group: Some(GROUP.to_owned()),
                version: Some(VERSION.to_owned()),
                resource: Some("mcpregistries".to_owned()),
                subresource: Some("entries".to_owned()),
                verb: Some("get".to_owned()),
                namespace: Some(self.namespace.clone()),
                name: Some(self.name.clone()),
                ..ResourceAttributes::default()
            };
            let spec = SubjectAccessReviewSpec {
                user: user.username,
                uid: user.uid,
                groups: user.groups,
                extra: user.extra,
                resource_attributes: Some(wanted),
                non_resource_attributes: None,
            };
            let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
            let params = PostParams::default();
            let status = in_time("review an access", self.accesses.create(&params, &review)).await?.status;
            Ok(status.is_some_and(|status| status.allowed && status.denied != Some(true)))
        })
    }
}

async fn in_time<T>(what: &'static str, call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, AskError> {
    match timeout(REVIEW_CALL_MAX, call).await {
        Ok(answer) => answer.map_err(|source| AskError::Failed { what, source: Box::new(source) }),
        Err(_) => Err(AskError::Silent { what, wait: REVIEW_CALL_MAX }),
    }
}

#[cfg(test)]
mod asked;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use futures_util::future::join_all;

    use super::*;

    /// Knows tokens that begin with `user` and lets those in that end with `reader`; counts what it is asked.
    #[derive(Default)]
    struct Script {
        asked: Arc<AtomicUsize>,
        is_away: Arc<AtomicBool>,
        is_mute: bool,
    }

    impl Asking for Script {
        fn who<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Option<UserInfo>, AskError>> {
            Box::pin(async move {
                self.asked.fetch_add(1, Ordering::Relaxed);
                if self.is_mute {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
                if self.is_away.load(Ordering::Relaxed) {
                    return Err(AskError::Silent { what: "review a token", wait: REVIEW_CALL_MAX });
                }
                let user = UserInfo { username: Some(token.to_owned()), ..UserInfo::default() };
                Ok(token.starts_with("user").then_some(user))
            })
        }

        fn may(&self, user: UserInfo) -> BoxFuture<'_, Result<bool, AskError>> {
            Box::pin(async move { Ok(user.username.is_some_and(|name| name.ends_with("reader"))) })
        }
    }

    fn reviewer() -> (Reviewer, Arc<AtomicUsize>, Arc<AtomicBool>) {
        let script = Script::default();
        let (asked, is_away) = (Arc::clone(&script.asked), Arc::clone(&script.is_away));
        (Reviewer::new(Box::new(script)), asked, is_away)
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_believed_for_its_time_and_no_longer() {
        let (reviewer, asked, is_away) = reviewer();
        let tokens =
            [("user-reader", Verdict::Admitted), ("user", Verdict::Refused), ("nobody-reader", Verdict::Stranger)];
        for (token, verdict) in tokens {
            assert_eq!(reviewer.review(token).await, verdict, "{token}");
        }
        is_away.store(true, Ordering::Relaxed);
        tokio::time::advance(REVIEW_KEEP - Duration::from_millis(10)).await;
        for (token, verdict) in tokens {
            assert_eq!(reviewer.review(token).await, verdict, "{token}");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 3);
        tokio::time::advance(Duration::from_millis(10)).await;
        for (token, _) in tokens {
            assert_eq!(reviewer.review(token).await, Verdict::Unanswered, "{token}");
        }
        is_away.store(false, Ordering::Relaxed);
        assert_eq!(reviewer.review("user-reader").await, Verdict::Admitted, "what was not answered is not kept");
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_that_says_nothing_is_not_waited_for_for_ever_however_many_come() {
        let reviewer = Reviewer::new(Box::new(Script { is_mute: true, ..Script::default() }));
        let begun = Instant::now();
        let tokens: Vec<String> = (0..REVIEWS_AT_ONCE * 2).map(|token| format!("user{token}")).collect();
        for verdict in join_all(tokens.iter().map(|token| reviewer.review(token))).await {
            assert_eq!(verdict, Verdict::Unanswered);
        }
        assert!(begun.elapsed() <= REVIEW_MAX, "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_come_at_once_with_one_token_cost_little_more_than_one() {
        let (reviewer, asked, _) = reviewer();
        let verdicts = join_all((0..REVIEWS_AT_ONCE * 10).map(|_| reviewer.review("user-reader"))).await;
        assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Admitted));
        assert!(asked.load(Ordering::Relaxed) <= REVIEWS_AT_ONCE, "{asked:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn made_up_tokens_fill_no_more_than_half_of_the_memory_and_long_ones_are_not_asked_about() {
        let (reviewer, asked, _) = reviewer();
        for token in 0..REVIEWS_KNOWN_MAX {
            let sum = Sha256::digest(token.to_string()).into();
            reviewer.learn(sum, Known { verdict: Verdict::Stranger, until: Instant::now() + REVIEW_KEEP });
        }
        assert_eq!(reviewer.known.lock().len(), REVIEWS_KNOWN_MAX / 2);
        assert_eq!(reviewer.review("user-reader").await, Verdict::Admitted);
        assert_eq!(reviewer.review("user-reader").await, Verdict::Admitted);
        assert_eq!(asked.load(Ordering::Relaxed), 1, "there was room for it");
        assert_eq!(reviewer.review(&"user".repeat(REVIEW_TOKEN_BYTES_MAX)).await, Verdict::Stranger);
        assert_eq!(reviewer.review("").await, Verdict::Stranger);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }
}
