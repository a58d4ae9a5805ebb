//! Passive health checks: a target that fails one request after the other gets none for a while, whatever its health
//! checks say.

use std::time::Duration;

use tokio::time::Instant;

use super::attributes::number;
use crate::ConfigError;

const CONSECUTIVE: &str = "coracle.outlier_detection.consecutive_failures";
const BASE: &str = "coracle.outlier_detection.base_ejection_seconds";
const MOST: &str = "coracle.outlier_detection.max_ejection_percent";

/// Longest ejection, and how long a target has to be good for its next one to be a first one again. Envoy: 300 s.
const LONGEST: Duration = Duration::from_secs(300);

/// When a target is ejected. Off by default; numbers are Envoy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutlierDetection {
    /// `coracle.outlier_detection.consecutive_failures`: 5xx answers and requests without an answer in a row. 0 (off) to
    /// 1,000.
    pub consecutive_failures: u32,
    /// `coracle.outlier_detection.base_ejection_seconds`: the first ejection lasts so long, the next one twice as long, and
    /// so on up to 300 s. 1 to 300 s; 30 s by default.
    pub base_ejection: Duration,
    /// `coracle.outlier_detection.max_ejection_percent`: of the usable targets no more are ejected at once, but one always
    /// may be, unless it is the only one. 1 to 100; 10 by default.
    pub max_ejection_percent: u32,
}

impl Default for OutlierDetection {
    fn default() -> Self {
        Self { consecutive_failures: 0, base_ejection: Duration::from_secs(30), max_ejection_percent: 10 }
    }
}

impl OutlierDetection {
    pub(super) const KEYS: [&str; 3] = [CONSECUTIVE, BASE, MOST];

    /// False if the key is none of its own.
    pub(super) fn set(&mut self, key: &str, value: &str) -> Result<bool, ConfigError> {
        match key {
            CONSECUTIVE => self.consecutive_failures = number(key, value, 0..=1000)?,
            BASE => self.base_ejection = Duration::from_secs(number(key, value, 1..=300)?.into()),
            MOST => self.max_ejection_percent = number(key, value, 1..=100)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub(super) fn pairs(&self) -> [(&'static str, String); 3] {
        [
            (CONSECUTIVE, self.consecutive_failures.to_string()),
            (BASE, self.base_ejection.as_secs().to_string()),
            (MOST, self.max_ejection_percent.to_string()),
        ]
    }

    /// How many of so many usable targets may be ejected at once.
    pub(super) fn most_of(&self, usable: usize) -> usize {
        let part = usable * self.max_ejection_percent as usize / 100;
        part.max(1).min(usable.saturating_sub(1))
    }
}

/// The ejections of one target.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ejections {
    until: Option<Instant>,
    /// In a row, for the length of the next one.
    row: u32,
    pub(super) total: u32,
}

impl Ejections {
    pub(super) fn is_ejected(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }

    /// Ejects, and tells for how long.
    pub(super) fn begin(&mut self, detection: &OutlierDetection) -> Duration {
        if self.until.is_some_and(|until| until.elapsed() > LONGEST) {
            self.row = 0;
        }
        self.row += 1;
        self.total += 1;
        let length = (detection.base_ejection * self.row).min(LONGEST);
        self.until = Some(Instant::now() + length);
        length
    }
}
