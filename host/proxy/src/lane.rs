//! A bounded queue from one place to another, by count and by bytes.
//!
//! Not a channel of tokio's: those reserve memory for dozens of messages up front (a request rarely sees more than its
//! reply), count messages rather than bytes, and cannot promise room for one particular message. Here the last message, the
//! reply, always finds room, so that whoever must not wait never has to choose between waiting and losing it.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// A queue with any number of senders and one receiver.
pub(crate) struct Lane<T> {
    state: Mutex<State<T>>,
    arrived: Notify,
    room: Notify,
    items_max: usize,
    bytes_max: usize,
}

struct State<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    /// Nothing more is taken.
    closed: bool,
}

impl<T> Lane<T> {
    pub(crate) fn new(items_max: usize, bytes_max: usize) -> Self {
        let state = State { items: VecDeque::new(), bytes: 0, closed: false };
        Self { state: Mutex::new(state), arrived: Notify::new(), room: Notify::new(), items_max, bytes_max }
    }

    /// Puts an item in if there is room; gives it back if not. A closed lane swallows it.
    pub(crate) fn try_push(&self, item: T, bytes: usize) -> Result<(), T> {
        let mut state = self.state.lock();
        if state.closed {
            return Ok(());
        }
        let full = state.items.len() >= self.items_max || state.bytes.saturating_add(bytes) > self.bytes_max;
        if full && !state.items.is_empty() {
            return Err(item);
        }
        state.bytes += bytes;
        state.items.push_back((item, bytes));
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// Puts an item in as soon as there is room.
    pub(crate) async fn push(&self, mut item: T, bytes: usize) {
        loop {
            let room = self.room.notified();
            match self.try_push(item, bytes) {
                Ok(()) => return,
                Err(back) => item = back,
            }
            room.await;
        }
    }

    /// Puts the last item in, room or not, and closes the lane. Only the first last item counts.
    pub(crate) fn push_last(&self, item: T) {
        let mut state = self.state.lock();
        if !state.closed {
            state.items.push_back((item, 0));
        }
        state.closed = true;
        drop(state);
        self.arrived.notify_one();
        self.room.notify_waiters();
    }

    /// Takes nothing more; what is in it can still be received.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.arrived.notify_one();
        self.room.notify_waiters();
    }

    /// The next item; `None` once the lane is closed and empty. Only one task may wait here.
    pub(crate) async fn recv(&self) -> Option<T> {
        loop {
            let arrived = self.arrived.notified();
            {
                let mut state = self.state.lock();
                if let Some((item, bytes)) = state.items.pop_front() {
                    state.bytes -= bytes;
                    drop(state);
                    self.room.notify_waiters();
                    return Some(item);
                }
                if state.closed {
                    return None;
                }
            }
            arrived.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn items_come_out_in_order_and_the_last_one_always_fits() {
        let lane = Lane::new(2, 10);
        assert!(lane.try_push(1, 5).is_ok());
        assert!(lane.try_push(2, 5).is_ok());
        assert_eq!(lane.try_push(3, 0), Err(3));
        lane.push_last(4);
        lane.push_last(5);
        assert!(lane.try_push(6, 0).is_ok(), "swallowed");
        assert_eq!(
            [lane.recv().await, lane.recv().await, lane.recv().await, lane.recv().await],
            [Some(1), Some(2), Some(4), None]
        );
    }

    #[test]
    fn one_item_larger_than_the_bound_passes_an_empty_lane() {
        let lane = Lane::new(2, 10);
        assert!(lane.try_push(1, 100).is_ok());
        assert_eq!(lane.try_push(2, 1), Err(2));
    }

    #[tokio::test]
    async fn a_sender_waits_until_there_is_room() {
        let lane = Arc::new(Lane::new(1, 10));
        lane.push(1, 1).await;
        let sender = async {
            lane.push(2, 1).await;
            lane.push(3, 1).await;
            lane.close();
        };
        let receiver = async {
            let mut seen = Vec::new();
            while let Some(item) = lane.recv().await {
                seen.push(item);
            }
            seen
        };
        let ((), seen) = tokio::join!(sender, receiver);
        assert_eq!(seen, [1, 2, 3]);
    }
}
