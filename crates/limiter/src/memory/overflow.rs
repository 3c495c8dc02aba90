//! Where newcomers are counted for whom there is no room.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::{DigestKey, Limit, Timestamp};

use super::entry::Entry;
use super::saving::Named;
use super::window::Window;

/// Windows that newcomers share, for each limit.
const PLACES: u64 = 1024;

/// What a place's windows are saved under: this, the place, and which limit.
const PREFIX: &str = "overflow";

/// Windows that newcomers share while there is no room for their own: those of one network share one, and which other
/// networks share it, nobody outside can tell or choose. So whoever has filled the memory is refused together with one
/// in a thousand others, not with all of them. To forget somebody's window instead would let them start afresh.
pub(super) struct Overflow {
    /// The same after a restart, for these windows are saved as well.
    places: DigestKey,
    /// There have been some; as a rule there never are, and nobody needs to look.
    is_used: AtomicBool,
    windows: Box<[Mutex<Place>]>,
}

/// Each limit has windows of its own.
type Kind = (u32, Duration);

/// The windows of one place.
type Place = Vec<(Kind, Named)>;

impl Overflow {
    pub(super) fn new(places: DigestKey) -> Self {
        Self { places, is_used: AtomicBool::new(false), windows: (0..PLACES).map(|_| Mutex::default()).collect() }
    }

    /// The window for a newcomer of this network.
    pub(super) fn entry(&self, network: &str, limit: Limit) -> Named {
        let place = self.place(network);
        self.at(place, (limit.count, limit.window), || {
            let name = format!("{PREFIX}:{place}:{}:{}", limit.count, limit.window.as_millis());
            (name.into(), Arc::default())
        })
    }

    /// What a newcomer begins with who gets a window of its own: it may be among those who are counted in the shared
    /// one. To start from nothing would admit up to twice the limit.
    pub(super) fn beginning(&self, network: &str, limit: Limit, now: Timestamp) -> Option<Window> {
        if !self.is_used.load(Ordering::Acquire) {
            return None;
        }
        let windows = self.lock(self.place(network));
        let (_, (_, entry)) = windows.iter().find(|(kind, _)| *kind == (limit.count, limit.window))?;
        entry.copied(now)
    }

    /// Puts a window back that was saved under this name; `false` if it is none of these.
    pub(super) fn restore(&self, name: &str, window: &Window) -> bool {
        let mut parts = name.split(':');
        let (Some(PREFIX), Some(place), Some(count), Some(millis), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return false;
        };
        let (Ok(place), Ok(count), Ok(millis)) = (place.parse::<u64>(), count.parse(), millis.parse()) else {
            return false;
        };
        let named = || (name.into(), Arc::new(Entry::with(window.clone())));
        let _: Named = self.at(place % PLACES, (count, Duration::from_millis(millis)), named);
        true
    }

    /// Drops those that are idle.
    pub(super) fn sweep(&self, now: Timestamp) {
        if !self.is_used.load(Ordering::Acquire) {
            return;
        }
        for place in 0..PLACES {
            let mut windows = self.lock(place);
            // Not while somebody has it in hand: they would count where nobody looks any more.
            windows.retain(|(_, (_, entry))| Arc::strong_count(entry) > 1 || entry.drop_if_idle(now).is_none());
            windows.shrink_to_fit();
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Named> {
        (0..PLACES)
            .flat_map(|place| self.lock(place).iter().map(|(_, named)| named.clone()).collect::<Vec<_>>())
            .collect()
    }

    fn at(&self, place: u64, kind: Kind, make: impl FnOnce() -> Named) -> Named {
        let mut windows = self.lock(place);
        if let Some((_, named)) = windows.iter().find(|(own, _)| *own == kind) {
            return named.clone();
        }
        let named = make();
        windows.push((kind, named.clone()));
        self.is_used.store(true, Ordering::Release);
        named
    }

    fn place(&self, network: &str) -> u64 {
        let digest = self.places.digest(&[network]);
        let (first, _) = digest.as_bytes().split_first_chunk().expect("a digest has 32 bytes");
        u64::from_le_bytes(*first) % PLACES
    }

    fn lock(&self, place: u64) -> MutexGuard<'_, Place> {
        let place = usize::try_from(place).unwrap_or(0);
        self.windows[place].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
