use super::*;
use crate::model::names::ClusterName;
use crate::model::schedule::Schedule;
use crate::model::scheduled_run::{AfterCompletion, Progress, Retry, RetryPolicy, RunTarget};

fn time(text: &str) -> Timestamp {
    let millis = text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
    Timestamp::from_epoch(Duration::from_millis(u64::try_from(millis).unwrap()))
}

/// Created at the beginning of 2026.
fn schedule(expression: &str) -> ScheduleRecord {
    let created_at = time("2026-01-01T00:00:00Z");
    ScheduleRecord {
        name: "nightly".to_owned(),
        schedule: Schedule::parse(expression, None).unwrap(),
        target: RunTarget {
            cluster: ClusterName::default(),
            task_definition: "report".to_owned(),
            count: 1,
            input: None,
            retry: RetryPolicy::default(),
            role_arn: None,
            group: None,
            launch_type: None,
            propagate_tags: None,
            enable_execute_command: None,
            tags: Vec::new(),
            capacity_provider_strategy: None,
            stored: Default::default(),
        },
        state: ScheduleState::Enabled,
        description: None,
        start_at: None,
        end_at: None,
        window: None,
        after_completion: AfterCompletion::None,
        created_at,
        modified_at: created_at,
        client_token: None,
        progress: Progress {
            done_until: created_at.earlier(Duration::from_millis(1)),
            retry: None,
            invocations: Default::default(),
        },
    }
}

fn run(at: &str) -> Next {
    Next::Run { scheduled_at: time(at), attempts: 0 }
}

#[test]
fn a_rate_begins_at_once_or_with_its_start() {
    let mut record = schedule("rate(5 minutes)");
    assert_eq!(next(&record, record.created_at), run("2026-01-01T00:00:00Z"));
    record.progress.done_until = record.created_at;
    assert_eq!(next(&record, record.created_at), Next::Wait(time("2026-01-01T00:05:00Z")));
    let mut record = schedule("rate(1 day)");
    record.start_at = Some(time("2026-01-02T06:00:00Z"));
    assert_eq!(next(&record, record.created_at), Next::Wait(time("2026-01-02T06:00:00Z")));
}

#[test]
fn of_several_that_were_missed_the_newest_is_made_up_for() {
    let record = schedule("cron(0 3 * * ? *)");
    assert_eq!(next(&record, time("2026-01-01T02:59:59Z")), Next::Wait(time("2026-01-01T03:00:00Z")));
    assert_eq!(next(&record, time("2026-01-05T02:00:00Z")), run("2026-01-04T03:00:00Z"));
    assert_eq!(next(&record, time("2026-01-05T03:00:00Z")), run("2026-01-05T03:00:00Z"));
    let yearly = next(&schedule("rate(1 minute)"), time("2027-01-01T00:00:30Z"));
    assert_eq!(yearly, run("2027-01-01T00:00:00Z"));
}

#[test]
fn what_is_older_than_the_event_age_is_not_made_up_for() {
    let mut record = schedule("cron(0 3 * * ? *)");
    record.target.retry.event_age = 3600;
    assert_eq!(next(&record, time("2026-01-05T04:00:00Z")), run("2026-01-05T03:00:00Z"));
    assert!(matches!(next(&record, time("2026-01-05T04:00:01Z")), Next::Missed { .. }));
    let mut once = schedule("at(2026-01-01T01:00:00)");
    assert_eq!(next(&once, time("2026-01-02T01:00:00Z")), run("2026-01-01T01:00:00Z"));
    let missed = Next::Missed { scheduled_at: time("2026-01-01T01:00:00Z") };
    assert_eq!(next(&once, time("2026-01-02T01:00:01Z")), missed);
    once.progress.done_until = time("2026-01-02T01:00:01Z");
    assert_eq!(next(&once, time("2026-01-02T01:00:01Z")), Next::Over);
}

#[test]
fn nothing_is_run_after_the_end_or_while_disabled() {
    let mut record = schedule("cron(0 3 * * ? *)");
    record.end_at = Some(time("2026-01-02T03:00:00Z"));
    assert_eq!(next(&record, time("2026-01-02T12:00:00Z")), run("2026-01-02T03:00:00Z"));
    record.progress.done_until = time("2026-01-02T03:00:00Z");
    assert_eq!(next(&record, time("2026-01-02T12:00:00Z")), Next::Over);
    record.state = ScheduleState::Disabled;
    assert_eq!(next(&record, time("2026-01-02T12:00:00Z")), Next::Never);
}

#[test]
fn a_run_has_one_place_in_its_window() {
    let mut record = schedule("cron(0 3 * * ? *)");
    record.window = Some(60);
    let Next::Wait(place) = next(&record, time("2026-01-01T00:00:00Z")) else { panic!("it waits") };
    assert!(place >= time("2026-01-01T03:00:00Z") && place < time("2026-01-01T04:00:00Z"), "{place:?}");
    assert_eq!(next(&record, time("2026-01-01T03:00:00Z")), Next::Wait(place));
    assert_eq!(next(&record, place), run("2026-01-01T03:00:00Z"));
    let other = ScheduleRecord { name: "other".to_owned(), ..record.clone() };
    assert_ne!(next(&other, time("2026-01-01T00:00:00Z")), Next::Wait(place));
}

#[test]
fn a_refused_run_is_tried_again_until_the_next_one_takes_its_place() {
    let mut record = schedule("cron(0 * * * ? *)");
    let one = time("2026-01-01T01:00:00Z");
    record.progress.done_until = one;
    let retry = Retry { scheduled_at: one, attempts: 3, at: time("2026-01-01T01:00:07Z") };
    record.progress.retry = Some(retry);
    assert_eq!(next(&record, time("2026-01-01T01:00:05Z")), Next::Wait(retry.at));
    assert_eq!(next(&record, retry.at), Next::Run { scheduled_at: one, attempts: 3 });
    assert_eq!(next(&record, time("2026-01-01T02:00:00Z")), run("2026-01-01T02:00:00Z"));
}

#[test]
fn pauses_double_up_to_ten_minutes_and_the_policy_ends_them() {
    let mut record = schedule("cron(0 3 * * ? *)");
    let at = time("2026-01-01T03:00:00Z");
    let pause = |record: &ScheduleRecord, attempts, now: Timestamp| {
        retry_at(record, at, attempts, now).map(|then| then.since(now).as_secs())
    };
    assert_eq!([1, 2, 5, 30].map(|attempts| pause(&record, attempts, at)), [1, 2, 16, 600].map(Some));
    assert_eq!(pause(&record, 1, at.after(Duration::from_secs(86_400))), None);
    record.target.retry = RetryPolicy { event_age: 60, attempts: 2 };
    assert_eq!([2, 3].map(|attempts| pause(&record, attempts, at)), [Some(2), None]);
    record.target.retry = RetryPolicy { event_age: 60, attempts: 0 };
    assert_eq!(pause(&record, 1, at), None);
}
