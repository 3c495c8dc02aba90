//! How long the head of a request may take, for hyper.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt;
use tokio::time;

/// The timer of one connection.
///
/// hyper sets an alarm whenever it begins to wait for a request's head and drops it when the head is there: with every
/// request, and it hardly ever goes off. To enter each among the runtime's timers and to take it out again would cost
/// more than to find the answer. So the connection has one alarm, which stays: if it goes off before the time that is
/// meant by now, it is set anew.
#[derive(Clone, Default)]
pub(crate) struct HeadTimer(Arc<Mutex<Option<Pin<Box<time::Sleep>>>>>);

impl rt::Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn rt::Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(HeadSleep { deadline: deadline.into(), timer: self.clone() })
    }

    fn now(&self) -> Instant {
        time::Instant::now().into()
    }
}

/// Until `deadline`. To be polled by the connection's task alone, since that is whom the alarm wakes.
struct HeadSleep {
    deadline: time::Instant,
    timer: HeadTimer,
}

impl rt::Sleep for HeadSleep {}

impl Future for HeadSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()> {
        let mut alarm = self.timer.0.lock().unwrap_or_else(PoisonError::into_inner);
        let alarm = match &mut *alarm {
            None => alarm.insert(Box::pin(time::sleep_until(self.deadline))),
            // It has been polled, so it will wake the task, and before this one ends.
            Some(alarm) if !alarm.is_elapsed() && alarm.deadline() <= self.deadline => return Poll::Pending,
            Some(alarm) => {
                if alarm.deadline() != self.deadline {
                    alarm.as_mut().reset(self.deadline);
                }
                alarm
            }
        };
        alarm.as_mut().poll(task)
    }
}

#[cfg(test)]
mod tests {
    use hyper::rt::Timer as _;

    use super::*;

    fn is_set(timer: &HeadTimer) -> bool {
        timer.0.lock().unwrap().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn each_sleep_ends_in_its_time() {
        let timer = HeadTimer::default();
        let begin = time::Instant::now();
        let seconds = |count| begin + Duration::from_secs(count);
        assert!(!is_set(&timer), "not before it is needed");

        timer.sleep_until(seconds(10).into()).await;
        assert_eq!(time::Instant::now(), seconds(10));
        timer.sleep(Duration::from_secs(5)).await;
        assert_eq!(time::Instant::now(), seconds(15));
        timer.sleep_until(seconds(3).into()).await;
        assert_eq!(time::Instant::now(), seconds(15), "what is past is over at once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_sleep_that_follows_dropped_ones_ends_in_its_time_all_the_same() {
        let timer = HeadTimer::default();
        let begin = time::Instant::now();
        for second in 0..100 {
            let dropped = timer.sleep(Duration::from_secs(10));
            assert!(time::timeout(Duration::from_secs(1), dropped).await.is_err(), "{second}");
        }
        timer.sleep(Duration::from_secs(10)).await;
        assert_eq!(time::Instant::now(), begin + Duration::from_secs(110));

        // An earlier end than that for which the alarm is set.
        let mut late = timer.sleep(Duration::from_mins(1));
        assert!(time::timeout(Duration::from_secs(1), &mut late).await.is_err());
        timer.sleep(Duration::from_secs(1)).await;
        assert_eq!(time::Instant::now(), begin + Duration::from_secs(112));
        late.await;
        assert_eq!(time::Instant::now(), begin + Duration::from_secs(170));
    }
}
