//! A queue that serves networks in turn, so that nobody waits for all that one of them has asked for.
//!
//! It is bounded: when it is full, the network that has most in it gives way. And nothing is done twice at a time that
//! one of the two would have spared the other: of one network, and of tokens that begin alike, one is served at a time.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Those who wait at most, all networks together: some 200 KiB.
const CAPACITY: usize = 1_024;

/// An IPv4 /24 or an IPv6 /48, which is what one customer of a provider has at most; `None` for nobody knows where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Network(Option<IpAddr>);

impl Network {
    pub(super) fn of(ip: Option<IpAddr>) -> Self {
        Self(ip.map(|ip| match ip.to_canonical() {
            IpAddr::V4(ip) => IpAddr::V4((ip.to_bits() >> 8 << 8).into()),
            IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() >> 80 << 80).into()),
        }))
    }
}

/// There is no room, because of those who ask from the same network.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

pub(super) struct FairQueue {
    /// How many are served at a time.
    at_once: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Networks that wait, each once, that whose turn is next first.
    in_turn: VecDeque<Network>,
    /// Who waits in each of them, in the order in which they came.
    waiting: HashMap<Network, VecDeque<Waiting>>,
    len: usize,
    next_ticket: u64,
    /// What is being served.
    served: HashSet<Network>,
    subjects: HashSet<Arc<str>>,
}

struct Waiting {
    ticket: u64,
    subject: Arc<str>,
    /// Told when its turn has come; dropped when it has to give way.
    turn: oneshot::Sender<()>,
}

impl FairQueue {
    pub(super) fn new(at_once: usize) -> Arc<Self> {
        Arc::new(Self { at_once: at_once.max(1), state: Mutex::default() })
    }

    /// The asker's turn, which ends when it is dropped. Whoever stops waiting leaves the queue.
    ///
    /// # Errors
    /// When the queue is full, and no other network has more in it than this one.
    pub(super) async fn turn(self: &Arc<Self>, network: Network, subject: &str) -> Result<Turn, Full> {
        let (turn, told) = oneshot::channel();
        let subject: Arc<str> = subject.into();
        let mut place = {
            let mut state = self.lock();
            if state.len >= CAPACITY && !state.make_room(network) {
                return Err(Full);
            }
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            state.push(network, Waiting { ticket, subject: Arc::clone(&subject), turn });
            state.serve(self.at_once);
            Turn { queue: Arc::clone(self), network, subject, ticket, told: Some(told) }
        };
        let outcome = match &mut place.told {
            Some(told) => told.await,
            None => Ok(()),
        };
        // Who was told to give way has left the queue; who was told to go on is served until the turn is dropped.
        place.told = None;
        if outcome.is_err() {
            place.ticket = GAVE_WAY;
            return Err(Full);
        }
        Ok(place)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// No ticket: nothing is to be given back.
const GAVE_WAY: u64 = u64::MAX;

impl State {
    fn push(&mut self, network: Network, waiting: Waiting) {
        self.len += 1;
        let of_network = self.waiting.entry(network).or_default();
        if of_network.is_empty() {
            self.in_turn.push_back(network);
        }
        of_network.push_back(waiting);
    }

    /// Sends the last of the network away that has most in the queue, unless it is `newcomer`'s.
    fn make_room(&mut self, newcomer: Network) -> bool {
        let own = self.waiting.get(&newcomer).map_or(0, VecDeque::len);
        let most = self.waiting.iter().max_by_key(|(_, of_network)| of_network.len());
        let Some((&fullest, of_fullest)) = most.filter(|(_, of_network)| of_network.len() > own + 1) else {
            return false;
        };
        let Some(last) = of_fullest.back().map(|last| last.ticket) else { return false };
        self.leave(fullest, last)
    }

    /// Takes one who waits out of the queue; false if they do not wait.
    fn leave(&mut self, network: Network, ticket: u64) -> bool {
        let Some(of_network) = self.waiting.get_mut(&network) else { return false };
        // Tickets grow towards the end.
        let Ok(place) = of_network.binary_search_by_key(&ticket, |waiting| waiting.ticket) else { return false };
        of_network.remove(place);
        self.len -= 1;
        if of_network.is_empty() {
            self.waiting.remove(&network);
            self.in_turn.retain(|other| *other != network);
        }
        true
    }

    /// Gives turns to those who are next.
    fn serve(&mut self, at_once: usize) {
        while self.served.len() < at_once {
            let may_be_served = |network: &Network| {
                let next = self.waiting.get(network).and_then(VecDeque::front);
                !self.served.contains(network) && next.is_some_and(|next| !self.subjects.contains(&next.subject))
            };
            // One that has to wait for what is being served stays where it is: it is next when that is done.
            let Some(place) = self.in_turn.iter().position(may_be_served) else { return };
            let Some(network) = self.in_turn.remove(place) else { return };
            let Some(of_network) = self.waiting.get_mut(&network) else { continue };
            let next = of_network.pop_front();
            if of_network.is_empty() {
                self.waiting.remove(&network);
            } else {
                self.in_turn.push_back(network);
            }
            let Some(Waiting { subject, turn, .. }) = next else { continue };
            self.len -= 1;
            // Who has gone away leaves under the same lock, so somebody hears this.
            if turn.send(()).is_ok() {
                self.served.insert(network);
                self.subjects.insert(subject);
            }
        }
    }
}

/// A place in the queue, and then the turn.
pub(super) struct Turn {
    queue: Arc<FairQueue>,
    network: Network,
    subject: Arc<str>,
    ticket: u64,
    /// `None` once it is the turn.
    told: Option<oneshot::Receiver<()>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.ticket == GAVE_WAY {
            return;
        }
        let mut state = self.queue.lock();
        // Whoever goes away may have been told between their last look and now.
        let is_turn = self.told.as_mut().is_none_or(|told| told.try_recv().is_ok());
        if is_turn {
            state.served.remove(&self.network);
            state.subjects.remove(&self.subject);
        } else {
            state.leave(self.network, self.ticket);
        }
        state.serve(self.queue.at_once);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt as _;
    use tokio::task::{JoinSet, yield_now};

    use super::*;

    fn network(number: u16) -> Network {
        Network::of(Some(format!("2001:db8:{number:x}::1").parse().unwrap()))
    }

    /// Somebody who waits, and has asked already.
    fn ask(queue: &Arc<FairQueue>, from: u16, subject: &str) -> impl Future<Output = Result<Turn, Full>> + use<> {
        let (queue, subject) = (Arc::clone(queue), subject.to_owned());
        let mut asking = Box::pin(async move { queue.turn(network(from), &subject).await });
        let now = asking.as_mut().now_or_never();
        async move {
            match now {
                Some(outcome) => outcome,
                None => asking.await,
            }
        }
    }

    #[test]
    fn a_network_is_a_48_or_a_24() {
        let of = |text: &str| Network::of(Some(text.parse().unwrap()));
        assert_eq!(of("2001:db8:1:ffff::1"), of("2001:db8:1::"));
        assert_ne!(of("2001:db8:1::1"), of("2001:db8:2::1"));
        assert_eq!(of("192.0.2.255"), of("::ffff:192.0.2.0"));
        assert_ne!(of("192.0.2.1"), of("192.0.3.1"));
        assert_ne!(Network::of(None), of("::"));
    }

    #[tokio::test]
    async fn networks_are_served_in_turn_and_each_in_order() {
        let queue = FairQueue::new(1);
        let first = ask(&queue, 1, "a").await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut all = JoinSet::new();
        for (from, count) in [(1, 5), (2, 3), (3, 1)] {
            for number in 0..count {
                let (asking, order) = (ask(&queue, from, &format!("{from} {number}")), Arc::clone(&order));
                all.spawn(async move {
                    let _turn = asking.await.unwrap();
                    order.lock().unwrap().push((from, number));
                });
            }
        }
        drop(first);
        while all.join_next().await.is_some() {}
        let expected = [(1, 0), (2, 0), (3, 0), (1, 1), (2, 1), (1, 2), (2, 2), (1, 3), (1, 4)];
        assert_eq!(*order.lock().unwrap(), expected);
    }

    #[tokio::test]
    async fn one_of_a_network_and_one_of_a_subject_is_served_at_a_time() {
        let queue = FairQueue::new(4);
        let first = ask(&queue, 1, "a").await.unwrap();
        let mut same_network = Box::pin(ask(&queue, 1, "b"));
        let mut same_subject = Box::pin(ask(&queue, 2, "a"));
        let other = ask(&queue, 3, "c").await.unwrap();
        assert!(same_network.as_mut().now_or_never().is_none() && same_subject.as_mut().now_or_never().is_none());
        drop(other);
        assert!(same_network.as_mut().now_or_never().is_none() && same_subject.as_mut().now_or_never().is_none());
        drop(first);
        assert!(same_network.await.is_ok() && same_subject.await.is_ok());
    }

    #[tokio::test]
    async fn a_full_queue_sends_those_away_who_fill_it() {
        let queue = FairQueue::new(1);
        let first = ask(&queue, 9, "first").await.unwrap();
        let mut flood: Vec<_> = (0..CAPACITY).map(|number| ask(&queue, 1, &number.to_string())).collect();
        assert_eq!(ask(&queue, 1, "one more").await.err(), Some(Full));
        let somebody = ask(&queue, 2, "good");
        assert_eq!(queue.lock().len, CAPACITY);
        assert_eq!(flood.pop().unwrap().await.err(), Some(Full), "the last of them made room");
        drop(first);
        drop(flood.remove(0).await.unwrap());
        drop(somebody.await.unwrap());
        drop(flood);
        let state = queue.lock();
        assert!(state.len == 0 && state.waiting.is_empty() && state.in_turn.is_empty());
        assert!(state.served.is_empty() && state.subjects.is_empty());
    }

    #[tokio::test]
    async fn whoever_goes_away_is_waited_for_no_more() {
        let queue = FairQueue::new(1);
        let first = ask(&queue, 1, "a").await.unwrap();
        let (gone, told_and_gone, stays) = (ask(&queue, 1, "b"), ask(&queue, 2, "c"), ask(&queue, 3, "d"));
        drop(gone);
        // Network 1 has nobody left, so the turn goes to network 2, where nobody hears of it any more.
        drop(first);
        assert!(queue.lock().served.contains(&network(2)));
        drop(told_and_gone);
        drop(stays.await.unwrap());
        assert!(queue.lock().served.is_empty());
    }

    /// With real parallelism: while one network always has hundreds in the queue, whoever comes from elsewhere is served
    /// after the check that is being made and one more.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn one_network_delays_others_by_a_bounded_number_of_checks() {
        let queue = FairQueue::new(1);
        let (begun, is_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut flood = JoinSet::new();
        for number in 0..600 {
            let (queue, begun, is_over) = (Arc::clone(&queue), Arc::clone(&begun), Arc::clone(&is_over));
            flood.spawn(async move {
                while is_over.load(Ordering::SeqCst) == 0 {
                    let _turn = queue.turn(network(1), &number.to_string()).await.unwrap();
                    begun.fetch_add(1, Ordering::SeqCst);
                    yield_now().await;
                }
            });
        }
        for round in 0..2_000_u16 {
            let asking = ask(&queue, 2, "good");
            let before = begun.load(Ordering::SeqCst);
            let turn = asking.await.unwrap();
            // Nobody else begins while this one has the turn.
            let waited_for = begun.load(Ordering::SeqCst) - before;
            drop(turn);
            assert!(waited_for <= 2, "round {round}: {waited_for}");
        }
        is_over.store(1, Ordering::SeqCst);
        while let Some(done) = flood.join_next().await {
            done.unwrap();
        }
        assert_eq!(queue.lock().len, 0);
    }
}
