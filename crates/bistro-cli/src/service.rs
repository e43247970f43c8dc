//! What systemd is told, or whoever else gives a `NOTIFY_SOCKET`: ready, what the loop is doing, that it moves, stopping.
//! Without such a socket nothing happens.

use std::time::Duration;

use bistro_node::Pulse;
use sd_notify::NotifyState;

/// Time between two looks at the pulse; less where systemd's watchdog wants to hear more often.
const LOOK: Duration = Duration::from_secs(1);

/// Says that the program is ready. From then on, until the process ends: what the loop is doing, and to systemd's watchdog
/// that it moves, as long as it has beaten within `patience`. A thread of its own, as the program's own watchdog is.
pub fn start(pulse: Pulse, patience: Duration) -> std::io::Result<()> {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return Ok(());
    }
    tell(&[NotifyState::Ready]);
    let watched = sd_notify::watchdog_enabled();
    let pause = watched.map_or(LOOK, |within| LOOK.min(within / 2));
    let watch = move || {
        let mut told = "";
        loop {
            tell(&news(&pulse, patience, watched.is_some(), &mut told));
            std::thread::sleep(pause);
        }
    };
    std::thread::Builder::new().name("service".into()).spawn(watch).map(|_| ())
}

/// Says that the program was asked to end, and does so.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// What there is to say now; `told` is the last activity that was said.
fn news(pulse: &Pulse, patience: Duration, watched: bool, told: &mut &'static str) -> Vec<NotifyState<'static>> {
    let mut news = Vec::new();
    let doing = pulse.last().doing;
    if *told != doing {
        *told = doing;
        news.push(NotifyState::Status(doing));
    }
    if watched && pulse.stalled(patience).is_none() {
        news.push(NotifyState::Watchdog);
    }
    news
}

fn tell(news: &[NotifyState<'_>]) {
    if news.is_empty() {
        return;
    }
    if let Err(error) = sd_notify::notify(news) {
        tracing::debug!(%error, "the service manager does not listen");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use bistro_core::ports::Clock;

    use super::*;

    #[derive(Default)]
    struct FakeClock(AtomicU64);

    #[async_trait::async_trait]
    impl Clock for FakeClock {
        fn unix_millis(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }

        async fn sleep(&self, _: Duration) {}
    }

    #[test]
    fn a_loop_that_stands_still_feeds_no_watchdog_and_an_activity_is_told_once() {
        let clock = Arc::new(FakeClock::default());
        let (pulse, patience, mut told) = (Pulse::new(clock.clone()), Duration::from_mins(1), "");
        let mut say = |pulse: &Pulse, watched| -> Vec<String> {
            news(pulse, patience, watched, &mut told).iter().map(ToString::to_string).collect()
        };
        pulse.beat("training");
        assert_eq!(say(&pulse, true), ["STATUS=training", "WATCHDOG=1"]);
        assert_eq!(say(&pulse, true), ["WATCHDOG=1"]);
        assert!(say(&pulse, false).is_empty(), "nobody watches");
        clock.0.store(60_001, Ordering::Relaxed);
        assert!(say(&pulse, true).is_empty());
        pulse.beat("uploading");
        assert_eq!(say(&pulse, true), ["STATUS=uploading", "WATCHDOG=1"]);
    }
}
