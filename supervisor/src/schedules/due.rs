//! When a schedule is to run next: a function of the schedule, how far it is, and the time.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::model::arn::fnv1a;
use crate::model::scheduled_run::{ScheduleRecord, ScheduleState};

/// Pause before the first further try of a run that was refused; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest of those pauses. With the default policy the tries go on for the whole day that they may.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// What is next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Next {
    /// Try the run of this time now. Those before it are done with, run or not.
    Run { scheduled_at: Timestamp, attempts: u32 },
    /// The run of this time was missed for too long.
    Missed { scheduled_at: Timestamp },
    /// Nothing until then.
    Wait(Timestamp),
    /// Nothing ever again.
    Over,
    /// Nothing while it is disabled.
    Never,
}

/// What is next for `record`. Of several runs that were missed only the newest is made up for.
pub(super) fn next(record: &ScheduleRecord, now: Timestamp) -> Next {
    if record.state == ScheduleState::Disabled {
        return Next::Never;
    }
    let oldest = now.earlier(Duration::from_secs(record.target.retry.event_age.into()));
    let newest = newest_passed(record, oldest, now);
    match (record.progress.retry, newest) {
        // A newer run takes the place of one that still fails.
        (Some(retry), Some(newest)) if newest > retry.scheduled_at => due(record, newest, now),
        (Some(retry), _) if now < retry.at => Next::Wait(retry.at),
        (Some(retry), _) => Next::Run { scheduled_at: retry.scheduled_at, attempts: retry.attempts },
        (None, Some(newest)) if newest < oldest => Next::Missed { scheduled_at: newest },
        (None, Some(newest)) => due(record, newest, now),
        (None, None) => match first_after(record, record.progress.done_until) {
            Some(at) => Next::Wait(place_in_window(record, at)),
            None => Next::Over,
        },
    }
}

fn due(record: &ScheduleRecord, scheduled_at: Timestamp, now: Timestamp) -> Next {
    let at = place_in_window(record, scheduled_at);
    if at > now { Next::Wait(at) } else { Next::Run { scheduled_at, attempts: 0 } }
}

/// The newest time that has come and is not done with. What is older than `oldest` is looked at only for whether there is any: a run a minute over
/// a year of down-time is half a million times, and all but the last day's are too late.
fn newest_passed(record: &ScheduleRecord, oldest: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let done = record.progress.done_until;
    let has_come = |at: &Timestamp| *at <= now;
    let mut newest = first_after(record, done).filter(has_come)?;
    // A moment less: a run that is just old enough counts.
    let recent = if done < oldest { oldest.earlier(Duration::from_millis(1)) } else { done };
    let mut next = first_after(record, recent);
    while let Some(at) = next.filter(has_come) {
        newest = at;
        next = first_after(record, at);
    }
    Some(newest)
}

/// The first time after `after` within the schedule's own dates.
fn first_after(record: &ScheduleRecord, after: Timestamp) -> Option<Timestamp> {
    if record.schedule.is_once() {
        // "EventBridge Scheduler ignores StartDate [and EndDate] for one-time schedules."
        return record.schedule.next(after, record.origin());
    }
    let at = record.schedule.next_from(after, record.origin())?;
    record.end_at.is_none_or(|end| at <= end).then_some(at)
}

/// Each run has a place of its own in the window, the same whenever it is asked for: a restart does not draw again.
fn place_in_window(record: &ScheduleRecord, at: Timestamp) -> Timestamp {
    let Some(minutes) = record.window else { return at };
    let seconds = u64::from(minutes) * 60;
    let digits = format!("{}/{}", record.name, at.seconds());
    at.after(Duration::from_secs(fnv1a(digits.as_bytes()) % seconds))
}

/// When a run that was refused for the `attempts`th time is tried again; `None` when it is given up.
pub(super) fn retry_at(
    record: &ScheduleRecord,
    scheduled_at: Timestamp,
    attempts: u32,
    now: Timestamp,
) -> Option<Timestamp> {
    let policy = record.target.retry;
    if attempts > policy.attempts {
        return None;
    }
    let pause =
        FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(attempts.saturating_sub(1))).min(LONGEST_PAUSE);
    let at = now.after(pause);
    (at.since(scheduled_at) <= Duration::from_secs(policy.event_age.into())).then_some(at)
}

#[cfg(test)]
mod tests;
