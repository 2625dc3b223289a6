//! What a person wants of a server, considered and carried out.

use fairlead_core::freshness::{Forecast, Freshness, Situation, Trigger, Wish, command};
use fairlead_core::name::ServerKey;

use super::engine::{CommandError, Engine};
use crate::limits::COMMAND_TRIES;

/// What a wish comes to. Nothing is stored of it yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Considered {
    /// Revision of the record that it was considered on.
    pub revision: u64,
    /// What the record becomes; none: what is wanted is under way.
    pub next: Option<Freshness>,
    /// What the policies choose, where that was left to them.
    pub forecast: Option<Forecast>,
}

impl Engine {
    /// Considers a wish, for whoever stores what comes of it together with something else: if the record has another revision by
    /// then, it has to be considered again. [`touch`](Self::touch) makes the engine look at what was stored.
    ///
    /// # Errors
    /// There is no such server, it does not fit, or the store failed.
    pub async fn consider(&self, key: &ServerKey, wish: &Wish) -> Result<Considered, CommandError> {
        let subject = self.subject(key)?;
        let record = self.ports.store.load(key).await?;
        let deployed = self.ports.roller.deployed(key).await?.revision;
        let forecast = match wish.asks_policies() {
            true => Some(self.forecast_of(&subject, &record, Trigger::Operator, None).await),
            false => None,
        };
        let moment = self.moment(&subject);
        let effect = forecast.as_ref().map(|forecast| &forecast.effect);
        let at = Situation { server: &key.name, record: &record, deployed, effect, now: moment.now };
        let mut next = None;
        for event in wish.events(&at)? {
            next = Some(command(next.as_ref().unwrap_or(&record), event, &moment)?);
        }
        Ok(Considered { revision: record.revision, next, forecast })
    }

    /// Carries out what a person wants, and says what that was.
    ///
    /// # Errors
    /// There is no such server, it does not fit, the store failed, or others changed the record each time.
    pub async fn carry_out(&self, key: &ServerKey, wish: &Wish) -> Result<Considered, CommandError> {
        for _ in 0..COMMAND_TRIES {
            let considered = self.consider(key, wish).await?;
            let Some(next) = &considered.next else { return Ok(considered) };
            if self.ports.store.swap(key, considered.revision, next).await? {
                self.touch(key);
                return Ok(considered);
            }
        }
        Err(CommandError::Busy(key.clone()))
    }
}
