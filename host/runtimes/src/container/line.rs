//! Who makes a container next: in the order of coming, or of the announcements before it, and few at a time.
//!
//! A place to make containers in is scarce, and what is done before one is needed takes of differing length: an engine is asked
//! for an image, which is there or is fetched. So whoever comes stands in line at once, and does that while it stands there. The
//! first in line takes the next place that is free and stays the first until the engine has made its container, so that
//! containers are made in this order; they start beside each other.
//!
//! Nobody is waited for for long: whoever fetches an image has left the line and comes back to its end, and so has whoever is
//! not ready soon. Without that, one engine that hangs would hold back the servers of another.

use std::collections::BTreeMap;
use std::sync::Arc;

use fairlead_core::name::ServerKey;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::limits::{LAUNCH_LINE_PATIENCE, LAUNCHES_AT_ONCE_MAX};

/// The line before the places.
pub(super) struct Line {
    places: Arc<Semaphore>,
    queue: Mutex<Queue>,
}

/// By number, which says in what order they came.
#[derive(Default)]
struct Queue {
    next: u64,
    waiting: BTreeMap<u64, Waiting>,
}

struct Waiting {
    server: ServerKey,
    stage: Stage,
    /// When this stage began.
    since: Instant,
}

enum Stage {
    /// Somebody said that it would come.
    Announced,
    /// It is here, and not ready.
    Preparing,
    /// It waits to be the first, and then for a place.
    Ready(Arc<Notify>),
    /// It has its place, and the engine makes its container.
    Making,
}

impl Stage {
    /// Whether those behind it wait for something that could be without end.
    fn wears_patience(&self) -> bool {
        !matches!(self, Self::Ready(_))
    }
}

/// Whose turn it is, to one that is ready.
enum Turn {
    Mine,
    /// Somebody's who may wait for a place as long as it takes.
    Other,
    /// Somebody's who loses it then.
    OtherUntil(Instant),
}

impl Line {
    /// An empty one.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { places: Arc::new(Semaphore::new(LAUNCHES_AT_ONCE_MAX)), queue: Mutex::default() })
    }

    /// Keeps a place in line for the next launch of a server, which comes soon.
    pub(super) fn announce(&self, server: &ServerKey) {
        let mut queue = self.queue.lock();
        if queue.announced(server).is_none() {
            queue.push(server.clone(), Stage::Announced);
        }
    }

    /// Stands in line: where it was announced, or at the end.
    pub(super) fn join(self: &Arc<Self>, server: &ServerKey) -> Ticket {
        let mut queue = self.queue.lock();
        let number = match queue.announced(server) {
            Some(number) => {
                queue.pass_to(number, Stage::Preparing);
                number
            }
            None => queue.push(server.clone(), Stage::Preparing),
        };
        Ticket { line: Arc::clone(self), server: server.clone(), number }
    }
}

impl Queue {
    fn push(&mut self, server: ServerKey, stage: Stage) -> u64 {
        let number = self.next;
        self.next += 1;
        self.waiting.insert(number, Waiting { server, stage, since: Instant::now() });
        number
    }

    fn announced(&self, server: &ServerKey) -> Option<u64> {
        let is = |waiting: &Waiting| matches!(waiting.stage, Stage::Announced) && waiting.server == *server;
        self.waiting.iter().find(|(_, waiting)| is(waiting)).map(|(number, _)| *number)
    }

    /// False if it is not in line any more.
    fn pass_to(&mut self, number: u64, stage: Stage) -> bool {
        let Some(waiting) = self.waiting.get_mut(&number) else { return false };
        (waiting.stage, waiting.since) = (stage, Instant::now());
        true
    }

    fn remove(&mut self, number: u64) {
        if self.waiting.remove(&number).is_some() {
            self.call();
        }
    }

    /// Tells the first that is ready to look whose turn it is: those behind it have nothing to gain by looking.
    fn call(&self) {
        let ready = self.waiting.values().find_map(|waiting| match &waiting.stage {
            Stage::Ready(called) => Some(called),
            _ => None,
        });
        if let Some(called) = ready {
            called.notify_one();
        }
    }

    /// Whose turn it is; whoever was waited for for too long is out.
    fn turn_of(&mut self, number: u64) -> Turn {
        while let Some((first, waiting)) = self.waiting.first_key_value() {
            if *first == number {
                return Turn::Mine;
            }
            if !waiting.stage.wears_patience() {
                return Turn::Other;
            }
            let until = waiting.since + LAUNCH_LINE_PATIENCE;
            if Instant::now() < until {
                return Turn::OtherUntil(until);
            }
            self.waiting.pop_first();
            self.call();
        }
        Turn::Mine
    }
}

/// One that stands in line. Dropping it is to leave.
pub(super) struct Ticket {
    line: Arc<Line>,
    server: ServerKey,
    number: u64,
}

impl Ticket {
    /// Lets the others pass: there is something to do that takes long, or the container is made.
    pub(super) fn leave(&self) {
        self.line.queue.lock().remove(self.number);
    }

    /// Ready when a container may be made, in the place that is given. The line stands still until the ticket
    /// [leaves](Self::leave) it.
    pub(super) async fn turn(&mut self) -> Option<OwnedSemaphorePermit> {
        let called = Arc::new(Notify::new());
        {
            let mut queue = self.line.queue.lock();
            if !queue.pass_to(self.number, Stage::Ready(Arc::clone(&called))) {
                self.number = queue.push(self.server.clone(), Stage::Ready(Arc::clone(&called)));
            }
        }
        loop {
            let turn = self.line.queue.lock().turn_of(self.number);
            match turn {
                Turn::Mine => break,
                Turn::Other => called.notified().await,
                // In time or not: it is looked at again.
                Turn::OtherUntil(until) => drop(timeout_at(until, called.notified()).await),
            }
        }
        // An error would mean that there are no places any more, which nobody says.
        let place = Arc::clone(&self.line.places).acquire_owned().await.ok();
        let mut queue = self.line.queue.lock();
        queue.pass_to(self.number, Stage::Making);
        queue.call();
        place
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fairlead_core::name::{ServerName, TenantName};
    use tokio::task::JoinSet;
    use tokio::time::{sleep, timeout};

    use super::*;

    fn key(name: &str) -> ServerKey {
        ServerKey { tenant: TenantName::default(), name: ServerName::new(name).unwrap() }
    }

    fn numbered(number: usize) -> ServerKey {
        key(&format!("server-{number:02}"))
    }

    const LOOK: Duration = Duration::from_millis(100);

    /// Nobody waits for so long who does not wait for ever.
    const LONG: Duration = LAUNCH_LINE_PATIENCE.saturating_mul(10);

    /// To the millisecond in which timers are counted.
    fn is_patience(elapsed: Duration) -> bool {
        (LAUNCH_LINE_PATIENCE..=LAUNCH_LINE_PATIENCE + Duration::from_millis(2)).contains(&elapsed)
    }

    #[tokio::test(start_paused = true)]
    async fn containers_are_made_in_the_order_of_announcements_however_long_each_takes_to_be_ready() {
        let line = Line::new();
        (0..50).for_each(|number| line.announce(&numbered(number)));
        let made = Arc::new(Mutex::new(Vec::new()));
        let mut launches = JoinSet::new();
        // The last comes first, and the first of every seven takes longest.
        for number in (0..50).rev() {
            let (line, made) = (Arc::clone(&line), Arc::clone(&made));
            launches.spawn(async move {
                let mut ticket = line.join(&numbered(number));
                sleep(LOOK * u32::try_from(7 - number % 7).unwrap()).await;
                let place = ticket.turn().await;
                sleep(LOOK / 10).await;
                made.lock().push(number);
                ticket.leave();
                sleep(LOOK * 3).await;
                drop(place);
            });
        }
        while let Some(launched) = launches.join_next().await {
            launched.unwrap();
        }
        assert_eq!(*made.lock(), (0..50).collect::<Vec<_>>());
        assert!(line.queue.lock().waiting.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_given_only_when_one_is_free_and_to_whoever_came_first() {
        let line = Line::new();
        let mut held = Vec::new();
        for number in 0..LAUNCHES_AT_ONCE_MAX {
            let mut ticket = line.join(&numbered(number));
            held.push(ticket.turn().await.unwrap());
        }
        let tickets = [line.join(&key("first")), line.join(&key("second"))];
        let mut waiting = JoinSet::new();
        for (mut ticket, name) in tickets.into_iter().zip(["first", "second"]).rev() {
            waiting.spawn(async move {
                let place = ticket.turn().await;
                (name, place)
            });
        }
        assert!(timeout(LONG, waiting.join_next()).await.is_err(), "all places are taken");
        held.pop();
        let (name, place) = waiting.join_next().await.unwrap().unwrap();
        assert_eq!(name, "first", "no time that it waited for a place is held against it");
        assert!(timeout(LONG, waiting.join_next()).await.is_err(), "there was one");
        drop(place);
        assert_eq!(waiting.join_next().await.unwrap().unwrap().0, "second");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_for_one_that_does_not_come_than_patience_lasts() {
        let line = Line::new();
        // Ten that never come, and ten that hang while they look for their image.
        (0..10).for_each(|number| line.announce(&numbered(number)));
        let hanging: Vec<_> = (10..20).map(|number| line.join(&numbered(number))).collect();
        let began = Instant::now();
        let mut ticket = line.join(&key("ready"));
        assert!(timeout(LONG, ticket.turn()).await.unwrap().is_some());
        assert!(is_patience(began.elapsed()), "of all together: {:?}", began.elapsed());
        drop(ticket);
        for mut late in hanging {
            assert!(late.turn().await.is_some(), "whoever was passed by comes later");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_leaves_lets_others_pass_at_once_and_comes_back_to_the_end() {
        let line = Line::new();
        let mut pulling = line.join(&key("pulling"));
        let mut making = line.join(&key("making"));
        let began = Instant::now();
        pulling.leave();
        let _place = making.turn().await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
        let back = timeout(LAUNCH_LINE_PATIENCE / 2, pulling.turn());
        assert!(back.await.is_err(), "the other's container is being made");
        drop(making);
        assert!(pulling.turn().await.is_some());
        assert!(began.elapsed() < LAUNCH_LINE_PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_while_its_container_is_made_is_passed_by() {
        let line = Line::new();
        let mut hangs = line.join(&key("hangs"));
        let _place = hangs.turn().await.unwrap();
        let began = Instant::now();
        let (mut next, mut last) = (line.join(&key("next")), line.join(&key("last")));
        let both = async {
            tokio::join!(
                async {
                    let place = next.turn().await;
                    next.leave();
                    place
                },
                last.turn(),
            )
        };
        let _places = timeout(LONG, both).await.unwrap();
        assert!(is_patience(began.elapsed()), "{:?}", began.elapsed());
    }
}
