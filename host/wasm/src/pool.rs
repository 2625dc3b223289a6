//! Instances of one attachment: made, lent for one call, kept warm or thrown away.
//!
//! A pool belongs to one attachment of one tenant, so a linear memory never sees two tenants. An instance is lent by value:
//! it comes back only after a call that ended well, and every other way (a trap, a deadline, a dropped future) drops it
//! where it is. That is the whole of cleaning up: there is no state in which a broken instance could be kept.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use fairlead_core::limits::CONFIGURE_MAX;
use fairlead_core::middleware::{Answer, Call, Fault, Interest, Verdict};
use fairlead_core::name::TenantName;
use fairlead_core::plugin::InstanceModel;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use wasmtime::Store;

use crate::bounds::{Bounds, Time};
use crate::engine::Engines;
use crate::fault;
use crate::limits::{CALLS_PER_INSTANCE, INSTANCE_AGE_MAX};
use crate::owner::Owner;
use crate::slots::{Keeper, Slot, Slots};
use crate::state::State;
use crate::v0_1::{Hooks, Prepared};

/// What an attachment may use, defaults applied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallLimits {
    pub(crate) memory_bytes: u64,
    pub(crate) cpu: Duration,
    pub(crate) wall: Duration,
    pub(crate) concurrency: usize,
}

/// The instances of one attachment.
pub(crate) struct Pool {
    engines: Arc<Engines>,
    slots: Arc<Slots>,
    plugin: Arc<Prepared>,
    owner: Arc<Owner>,
    config: String,
    limits: CallLimits,
    /// Where instances wait; none when each call gets a fresh one.
    idle: Option<ArrayQueue<Instance>>,
    turns: Semaphore,
    made: AtomicU32,
}

/// What a pool is made of.
pub(crate) struct PoolParts {
    pub(crate) engines: Arc<Engines>,
    pub(crate) slots: Arc<Slots>,
    pub(crate) plugin: Arc<Prepared>,
    pub(crate) owner: Arc<Owner>,
    pub(crate) config: String,
    pub(crate) limits: CallLimits,
    pub(crate) model: InstanceModel,
}

/// One configured instance. The slot is given free after the store is gone: fields drop in this order.
struct Instance {
    store: Store<State>,
    hooks: Hooks,
    born: Instant,
    calls_left: u32,
    /// Linear memory after `configure`.
    memory_at_birth: usize,
    _slot: Slot,
}

impl Pool {
    /// Makes the pool and its first instance, which also says what the attachment wants to be called for.
    pub(crate) async fn open(parts: PoolParts) -> Result<(Arc<Self>, Vec<Interest>), Fault> {
        let PoolParts { engines, slots, plugin, owner, config, limits, model } = parts;
        let idle = (model == InstanceModel::Warm).then(|| ArrayQueue::new(limits.concurrency));
        let turns = Semaphore::new(limits.concurrency);
        let made = AtomicU32::new(0);
        let pool = Arc::new(Self { engines, slots, plugin, owner, config, limits, idle, turns, made });
        let (instance, interests) = pool.engines.ticker.during(pool.make()).await?;
        pool.keep(instance);
        let keeper: Arc<dyn Keeper> = Arc::clone(&pool) as Arc<dyn Keeper>;
        pool.slots.register(Arc::downgrade(&keeper));
        Ok((pool, interests))
    }

    /// Asks an instance, and counts how it went.
    pub(crate) async fn call(&self, call: Call) -> Result<Answer, Fault> {
        self.owner.counts.call();
        let answered = self.engines.ticker.during(self.ask(call)).await;
        if let Err(fault) = &answered {
            self.owner.counts.fault(fault);
        }
        answered
    }

    pub(crate) fn owner(&self) -> &Arc<Owner> {
        &self.owner
    }

    pub(crate) fn idle(&self) -> usize {
        self.idle.as_ref().map_or(0, ArrayQueue::len)
    }

    async fn ask(&self, call: Call) -> Result<Answer, Fault> {
        let mut wall = self.limits.wall;
        let _turn = match self.turns.try_acquire() {
            Ok(turn) => turn,
            Err(_) => {
                let until = Instant::now() + wall;
                let turn = timeout_at(until, self.turns.acquire()).await;
                wall = until.saturating_duration_since(Instant::now());
                turn.map_err(|_| Fault::Overload)?.map_err(|_| Fault::Overload)?
            }
        };
        let mut instance = match self.warm() {
            Some(instance) => instance,
            None => self.make().await?.0,
        };
        instance.calls_left = instance.calls_left.saturating_sub(1);
        let time = Time::until_then(self.limits.cpu, self.limits.wall, Instant::now() + wall);
        match instance.call(call, time).await {
            Ok(verdict) => {
                let notes = instance.store.data_mut().end();
                self.keep(instance);
                Ok(Answer { verdict: verdict?, notes })
            }
            Err(error) => {
                let fault = fault::of(&error, &mut instance.store.data_mut().bounds);
                self.retire(instance);
                Err(fault)
            }
        }
    }

    /// A warm instance that is not due to be replaced.
    fn warm(&self) -> Option<Instance> {
        let idle = self.idle.as_ref()?;
        loop {
            let instance = idle.pop()?;
            if instance.born.elapsed() < INSTANCE_AGE_MAX {
                return Some(instance);
            }
            self.retire(instance);
        }
    }

    /// A fresh instance, configured.
    async fn make(&self) -> Result<(Instance, Vec<Interest>), Fault> {
        let until = Instant::now() + CONFIGURE_MAX;
        let slot = self.slots.take(&self.owner.scope.tenant, until).await.ok_or(Fault::Overload)?;
        let bounds = Bounds::new(CONFIGURE_MAX, CONFIGURE_MAX, self.limits.memory_bytes);
        let mut store = Store::new(&self.engines.plugins, State::new(Arc::clone(&self.owner), bounds));
        Bounds::enforce(&mut store, |state: &mut State| &mut state.bounds);
        let made = in_time(until, async {
            let hooks = self.plugin.instantiate(&mut store).await?;
            let interests = hooks.configure(&mut store, &self.config).await?;
            Ok((hooks, interests))
        });
        let (hooks, interests) = match made.await {
            Some(Ok((hooks, Ok(interests)))) => (hooks, interests),
            Some(Ok((_, Err(fault)))) => return Err(Fault::Instantiate(fault.to_string())),
            Some(Err(error)) => {
                let fault = fault::of(&error, &mut store.data_mut().bounds);
                return Err(Fault::Instantiate(fault.to_string()));
            }
            None => return Err(Fault::Instantiate(fault::deadline(CONFIGURE_MAX).to_string())),
        };
        self.owner.counts.created();
        let memory_at_birth = store.data().bounds.memory.bytes();
        let calls_left = jittered(self.made.fetch_add(1, Ordering::Relaxed));
        Ok((Instance { store, hooks, born: Instant::now(), calls_left, memory_at_birth, _slot: slot }, interests))
    }

    /// Keeps an instance for the next call, unless it is due to be replaced or each call gets a fresh one.
    fn keep(&self, instance: Instance) {
        let memory = &instance.store.data().bounds.memory;
        self.owner.counts.memory(memory.bytes());
        let grown =
            memory.bytes() > memory.bytes_max() / 2 && memory.bytes() > instance.memory_at_birth.saturating_mul(2);
        let back = match &self.idle {
            Some(idle) if instance.calls_left > 0 && !grown => idle.push(instance).err(),
            _ => Some(instance),
        };
        if let Some(instance) = back {
            self.retire(instance);
        }
    }

    /// Throws instances away that are due to be replaced and that nobody uses. Whoever calls next finds that out as well, but after a
    /// burst nobody may call for days, and what it made stays as large as it has become.
    pub(crate) fn retire_aged(&self) {
        let Some(idle) = &self.idle else { return };
        for _ in 0..idle.len() {
            match idle.pop() {
                Some(instance) if instance.born.elapsed() < INSTANCE_AGE_MAX => self.keep(instance),
                Some(instance) => self.retire(instance),
                None => return,
            }
        }
    }

    fn retire(&self, instance: Instance) {
        self.owner.counts.memory(instance.store.data().bounds.memory.bytes());
        self.owner.counts.retired();
        drop(instance);
    }
}

impl Keeper for Pool {
    fn tenant(&self) -> &TenantName {
        &self.owner.scope.tenant
    }

    fn give_back(&self) -> bool {
        match self.idle.as_ref().and_then(ArrayQueue::pop) {
            Some(instance) => {
                self.retire(instance);
                true
            }
            None => false,
        }
    }
}

impl Instance {
    async fn call(&mut self, call: Call, time: Time) -> wasmtime::Result<Result<Verdict, Fault>> {
        let Self { store, hooks, .. } = self;
        store.data_mut().bounds.time = time;
        store.set_epoch_deadline(1);
        match in_time(time.until(), hooks.call(store, call)).await {
            Some(answer) => answer,
            None => Err(wasmtime::Error::new(time.over())),
        }
    }
}

/// Runs `work` until it is done or `until` has come. Nearly all of it is done when it is looked at for the first time, so
/// a timer is made only for what is not.
async fn in_time<T>(until: Instant, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let first = std::future::poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
    match first {
        Poll::Ready(done) => Some(done),
        Poll::Pending => timeout_at(until, work).await.ok(),
    }
}

/// Calls until an instance is replaced, spread by a fifth either way, so that instances that were made together are not
/// all replaced together.
fn jittered(made: u32) -> u32 {
    let fifth = CALLS_PER_INSTANCE / 5;
    // Multiplying by the golden ratio spreads consecutive numbers evenly.
    let spread = made.wrapping_mul(2_654_435_769) % (2 * fifth);
    CALLS_PER_INSTANCE - fifth + spread
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_replaced_at_different_times_around_the_limit() {
        let lives: Vec<_> = (0..32).map(jittered).collect();
        assert!(lives.iter().all(|calls| (8_000..12_000).contains(calls)));
        let mut different = lives.clone();
        different.sort_unstable();
        different.dedup();
        assert!(different.len() > 28);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_done_in_time_is_given_up() {
        let until = Instant::now() + Duration::from_millis(5);
        assert_eq!(in_time(until, async { 1 }).await, Some(1));
        assert_eq!(in_time(until, std::future::pending::<()>()).await, None);
        assert_eq!(Instant::now(), until);
    }
}
