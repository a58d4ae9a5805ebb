//! How long targets take to answer, counted in buckets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets but the last, which has none: from an in-process call to a report.
pub(crate) const BOUNDS: [Duration; 14] = [
    Duration::from_micros(100),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(10),
];

/// Answers by the time from the request to the answer's head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatencyHistogram {
    /// Answers per bucket, the last without an upper bound.
    pub(crate) counts: [u64; BOUNDS.len() + 1],
    /// The time of all of them together.
    pub sum: Duration,
}

impl LatencyHistogram {
    /// How many answers there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// One data-plane thread's share of a histogram.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Recorder {
    pub(super) fn record(&self, latency: Duration) {
        let bucket = BOUNDS.partition_point(|bound| *bound < latency);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    pub(super) fn add_to(&self, histogram: &mut LatencyHistogram) {
        for (sum, count) in histogram.counts.iter_mut().zip(&self.counts) {
            *sum += count.load(Ordering::Relaxed);
        }
        histogram.sum += Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_in_the_first_bucket_that_holds_it() {
        let recorder = Recorder::default();
        for latency in
            [Duration::ZERO, BOUNDS[0], BOUNDS[0] + Duration::from_nanos(1), Duration::from_secs(60)]
        {
            recorder.record(latency);
        }
        let mut histogram = LatencyHistogram::default();
        recorder.add_to(&mut histogram);
        assert_eq!((histogram.counts[0], histogram.counts[1]), (2, 1));
        assert_eq!((histogram.counts[BOUNDS.len()], histogram.count()), (1, 4));
        assert_eq!(histogram.sum.as_secs(), 60);
    }
}
