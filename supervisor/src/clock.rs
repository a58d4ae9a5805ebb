//! Wall-clock times, as ECS writes them: seconds since 1970 as a number.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// A moment, in seconds since 1970-01-01 UTC with a resolution of a millisecond.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(f64);

impl Timestamp {
    /// The moment `since_epoch` after 1970-01-01 UTC.
    pub fn from_epoch(since_epoch: Duration) -> Self {
        Self((since_epoch.as_secs_f64() * 1000.0).round() / 1000.0)
    }

    /// Seconds since 1970-01-01 UTC.
    pub fn seconds(self) -> f64 {
        self.0
    }

    /// The moment that much later.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self::from_epoch(Duration::try_from_secs_f64(self.0).unwrap_or_default() + time)
    }

    /// Milliseconds since 1970-01-01 UTC: the moment exactly.
    pub fn millis(self) -> i64 {
        #[expect(clippy::cast_possible_truncation, reason = "milliseconds since 1970 fit by far")]
        let millis = (self.0 * 1000.0).round() as i64;
        millis
    }

    /// The moment `by` before this one, and not before 1970.
    #[must_use]
    pub fn earlier(self, by: Duration) -> Self {
        Self::from_epoch(Duration::try_from_secs_f64(self.0).unwrap_or_default().saturating_sub(by))
    }

    /// Time from `earlier` to this moment; zero when `earlier` is later, as after the host's clock was set back.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::try_from_secs_f64(self.0 - earlier.0).unwrap_or_default()
    }
}

/// Where timestamps come from. Waiting and measuring is tokio's business; this is only for what people read.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    Host,
    Tokio { epoch: Duration, origin: Instant },
}

impl Clock {
    /// The host's clock.
    pub fn host() -> Self {
        Self(Source::Host)
    }

    /// A clock that reads `epoch` (since 1970) now and goes on with tokio's, so that it stands still with a paused test.
    pub fn starting_at(epoch: Duration) -> Self {
        Self(Source::Tokio { epoch, origin: Instant::now() })
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_epoch(match &self.0 {
            Source::Host => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            Source::Tokio { epoch, origin } => *epoch + origin.elapsed(),
        })
    }
}
