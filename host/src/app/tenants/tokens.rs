//! API tokens: made of random bits, shown once, and kept as nothing that one could be made of again.

use std::fmt::Write as _;

use fairlead_core::name::TenantName;
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::store::Change;
use fairlead_core::tenant::{Caller, TokenRecord};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use super::{Rules, Tenancy, no_tenant};
use crate::api::types::policy::{CreateToken, CreatedToken, TokenInfo, TokenList};
use crate::app::App;
use crate::limits::TOKENS_MAX;

/// What every token begins with, so that one that leaked is recognised by whoever searches for such things.
const PREFIX: &str = "flt";

/// Random bytes that name a token.
const ID_BYTES: usize = 6;

/// Random bytes that make it one.
const SECRET_BYTES: usize = 32;

impl Tenancy {
    /// Who comes with a token.
    pub(in crate::app) fn caller(&self, token: &str, now: Timestamp) -> Option<Caller> {
        let id = token.strip_prefix(PREFIX)?.strip_prefix('_')?.split_once('_')?.0;
        let rules = self.rules();
        let record = rules.tokens.get(id)?;
        let is_it = alike(record.hash.as_bytes(), hash(token).as_bytes()) && record.is_good(now);
        is_it.then(|| Caller { tenant: record.tenant.clone(), role: record.role, token: Some(record.id.clone()) })
    }
}

impl App {
    /// Who comes with a token.
    pub(crate) fn caller(&self, token: &str) -> Option<Caller> {
        self.tenancy.caller(token, self.clock.now())
    }

    /// Tokens, of one tenant or all, without what makes them tokens.
    pub(crate) fn tokens(&self, tenant: Option<&TenantName>) -> TokenList {
        let rules = self.tenancy.rules();
        let seen = |token: &&TokenRecord| tenant.is_none_or(|tenant| token.tenant.as_ref() == Some(tenant));
        let mut tokens: Vec<TokenInfo> = rules.tokens.values().filter(seen).map(info).collect();
        tokens.sort_by(|a, b| (&a.tenant, a.created).cmp(&(&b.tenant, b.created)));
        TokenList { tokens }
    }

    /// Makes a token.
    ///
    /// # Errors
    /// There is no such tenant, or there are too many tokens.
    pub(crate) async fn create_token(&self, request: CreateToken) -> Result<CreatedToken, Problem> {
        let _gate = self.tenancy.gate.write().await;
        let mut rules = Rules::clone(&self.tenancy.rules());
        if let Some(tenant) = request.tenant.as_ref().filter(|tenant| !rules.tenants.contains_key(*tenant)) {
            return Err(no_tenant(tenant)
                .at("/tenant")
                .hint(format!("declare it with `fairlead tenant create {tenant}`")));
        }
        if rules.tokens.len() >= TOKENS_MAX {
            let detail = format!("there are {TOKENS_MAX} tokens, which is the limit");
            return Err(Problem::new(ProblemKind::Conflict, detail).hint("withdraw some with `fairlead token rm`"));
        }
        let id = random::<ID_BYTES>()?;
        let token = format!("{PREFIX}_{id}_{}", random::<SECRET_BYTES>()?);
        let created = self.clock.now();
        let expires = request.expires_in_secs.map(|secs| created + SignedDuration::from_secs(secs.into()));
        let record = TokenRecord {
            id: id.clone(),
            tenant: request.tenant,
            role: request.role,
            description: request.description,
            hash: hash(&token),
            created,
            expires,
        };
        self.commit(&[Change::PutToken(record.clone())]).await?;
        let info = info(&record);
        rules.tokens.insert(id, record);
        self.tenancy.replace(rules);
        tracing::info!(token = info.id, role = %info.role, "a token is created");
        Ok(CreatedToken { info, token })
    }

    /// Withdraws a token: the next request that comes with it is refused.
    ///
    /// # Errors
    /// There is none that the tenant has, if one is named.
    pub(crate) async fn remove_token(&self, id: &str, tenant: Option<&TenantName>) -> Result<(), Problem> {
        let _gate = self.tenancy.gate.write().await;
        let mut rules = Rules::clone(&self.tenancy.rules());
        let is_its = |token: &&TokenRecord| tenant.is_none_or(|tenant| token.tenant.as_ref() == Some(tenant));
        if rules.tokens.get(id).filter(is_its).is_none() {
            return Err(Problem::new(ProblemKind::NotFound, format!("there is no token `{id}`"))
                .hint("`fairlead token list` shows what there is"));
        }
        self.commit(&[Change::RemoveToken(id.to_owned())]).await?;
        rules.tokens.remove(id);
        self.tenancy.replace(rules);
        tracing::info!(token = id, "a token is withdrawn");
        Ok(())
    }
}

fn info(record: &TokenRecord) -> TokenInfo {
    TokenInfo {
        id: record.id.clone(),
        tenant: record.tenant.clone(),
        role: record.role,
        description: record.description.clone(),
        created: record.created,
        expires: record.expires,
    }
}

fn random<const BYTES: usize>() -> Result<String, Problem> {
    let mut bytes = [0_u8; BYTES];
    getrandom::fill(&mut bytes)
        .map_err(|error| Problem::new(ProblemKind::Internal, format!("this machine has no random numbers: {error}")))?;
    Ok(hexadecimal(&bytes))
}

fn hash(token: &str) -> String {
    hexadecimal(&Sha256::digest(token.as_bytes()))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Takes the same time whatever differs.
fn alike(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_tokens_are_alike_and_none_can_be_made_of_what_is_kept() {
        let (one, other) = (random::<SECRET_BYTES>().unwrap(), random::<SECRET_BYTES>().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), 64);
        assert!(alike(hash(&one).as_bytes(), hash(&one).as_bytes()));
        assert!(!alike(hash(&one).as_bytes(), hash(&other).as_bytes()));
        assert!(!alike(b"", hash(&one).as_bytes()) && !hash(&one).contains(&one));
    }
}
