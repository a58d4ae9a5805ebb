//! When something is to happen: `at(...)`, `rate(...)` and `cron(...)` as Application Auto Scaling and EventBridge Scheduler read them.

mod cron;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::OperationError;
use cron::Cron;

/// Longest expression that is looked at.
const MAX_LENGTH: usize = 256;

/// A schedule with its time zone.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Text", into = "Text")]
pub struct Schedule {
    text: Text,
    zone: TimeZone,
    kind: Kind,
}

/// A schedule as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Text {
    expression: String,
    #[serde(default = "utc")]
    timezone: String,
}

#[derive(Clone, Debug)]
enum Kind {
    At(DateTime),
    /// Seconds.
    Rate(u32),
    Cron(Box<Cron>),
}

fn utc() -> String {
    "UTC".to_owned()
}

impl Schedule {
    /// Reads an expression, in a time zone of the IANA database or UTC. Errors say what is allowed.
    pub fn parse(expression: &str, timezone: Option<&str>) -> Result<Self, OperationError> {
        let name = timezone.unwrap_or("UTC");
        let zone = match name {
            "UTC" | "Etc/UTC" => TimeZone::UTC,
            name => TimeZone::get(name).map_err(|_| {
                OperationError::invalid(format!("The time zone {name:?} is not in the IANA database."))
            })?,
        };
        let refuse = |why: &str| {
            OperationError::invalid(format!(
                "The schedule expression {:?} {why}. Allowed are at(yyyy-mm-ddThh:mm:ss), rate(value unit) and cron(minutes hours day-of-month month day-of-week year).",
                expression.chars().take(MAX_LENGTH).collect::<String>()
            ))
        };
        if expression.len() > MAX_LENGTH {
            return Err(refuse("is too long"));
        }
        let inside = |name: &str| expression.trim().strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')');
        let kind = if let Some(at) = inside("at") {
            let at = at.trim();
            let at = at.strip_suffix('Z').unwrap_or(at);
            Kind::At(at.parse().map_err(|_| refuse("is no date and time"))?)
        } else if let Some(rate) = inside("rate") {
            Kind::Rate(parse_rate(rate).map_err(refuse)?)
        } else if let Some(fields) = inside("cron") {
            Kind::Cron(Box::new(Cron::parse(fields).map_err(|why| refuse(&why))?))
        } else {
            return Err(refuse("is none"));
        };
        Ok(Self { text: Text { expression: expression.to_owned(), timezone: name.to_owned() }, zone, kind })
    }

    /// As it was written.
    pub fn expression(&self) -> &str {
        &self.text.expression
    }

    /// The name of its time zone.
    pub fn timezone(&self) -> &str {
        &self.text.timezone
    }

    /// Whether it happens once only.
    pub fn is_once(&self) -> bool {
        matches!(self.kind, Kind::At(_))
    }

    /// The first time after `after`. A rate counts from `origin`. `None`: never again.
    pub fn next(&self, after: Timestamp, origin: Timestamp) -> Option<Timestamp> {
        match &self.kind {
            Kind::At(at) => self.moment(*at).filter(|at| *at > after),
            Kind::Rate(seconds) => {
                // In whole milliseconds: a quotient that is rounded down by a hair would name the same time for ever.
                let rate = i64::from(*seconds) * 1000;
                let passed = (after.millis() - origin.millis()).div_euclid(rate).max(0);
                let next = u64::try_from(origin.millis() + (passed + 1) * rate).ok()?;
                Some(Timestamp::from_epoch(std::time::Duration::from_millis(next)))
            }
            Kind::Cron(cron) => {
                #[expect(clippy::cast_possible_truncation, reason = "milliseconds since 1970 fit by far")]
                let local = jiff::Timestamp::from_millisecond((after.seconds() * 1000.0) as i64).ok()?;
                let local = local.to_zoned(self.zone.clone()).datetime();
                cron.times_from(local).filter_map(|time| self.moment(time)).find(|time| *time > after)
            }
        }
    }

    /// The first time after `after` and not before `origin`, which is a rate's first time itself.
    pub fn next_from(&self, after: Timestamp, origin: Timestamp) -> Option<Timestamp> {
        let before = origin.earlier(std::time::Duration::from_millis(1));
        match &self.kind {
            Kind::Rate(_) if after < origin => Some(origin),
            _ => self.next(if after < before { before } else { after }, origin),
        }
    }

    /// A time that the clocks skip is the one behind the gap; of one that comes twice it is the first.
    fn moment(&self, time: DateTime) -> Option<Timestamp> {
        let millis = self.zone.to_timestamp(time).ok()?.as_millisecond();
        Some(Timestamp::from_epoch(std::time::Duration::from_millis(u64::try_from(millis).ok()?)))
    }
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl TryFrom<Text> for Schedule {
    type Error = OperationError;

    fn try_from(text: Text) -> Result<Self, OperationError> {
        Self::parse(&text.expression, Some(&text.timezone))
    }
}

impl From<Schedule> for Text {
    fn from(schedule: Schedule) -> Self {
        schedule.text
    }
}

/// "value: A positive number. unit: minute, minutes, hour, hours, day, days": the singular with 1 only.
fn parse_rate(text: &str) -> Result<u32, &'static str> {
    let (value, unit) = text.trim().split_once(' ').ok_or("lacks a unit")?;
    let value: u32 = value.parse().ok().filter(|value| *value > 0).ok_or("needs a positive whole number")?;
    let seconds = match (unit.trim(), value) {
        ("minute", 1) | ("minutes", 2..) => 60,
        ("hour", 1) | ("hours", 2..) => 3600,
        ("day", 1) | ("days", 2..) => 86_400,
        _ => return Err("needs minute, hour or day with 1, and minutes, hours or days with more"),
    };
    value.checked_mul(seconds).ok_or("is too rare")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        let millis = text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
        Timestamp::from_epoch(std::time::Duration::from_millis(u64::try_from(millis).unwrap()))
    }

    #[track_caller]
    fn next(expression: &str, zone: &str, after: &str, expected: &str) {
        let schedule = Schedule::parse(expression, Some(zone)).unwrap();
        let origin = time("2026-01-01T00:00:00Z");
        let expected = (!expected.is_empty()).then(|| time(expected));
        assert_eq!(schedule.next(time(after), origin), expected, "{expression}");
    }

    #[test]
    fn at_happens_once() {
        next("at(2026-11-27T08:00:00)", "UTC", "2026-01-01T00:00:00Z", "2026-11-27T08:00:00Z");
        next("at(2026-11-27T08:00:00)", "UTC", "2026-11-27T08:00:00Z", "");
        next("at(2026-11-27T08:00:00)", "America/New_York", "2026-01-01T00:00:00Z", "2026-11-27T13:00:00Z");
    }

    #[test]
    fn a_rate_counts_from_its_origin() {
        next("rate(1 hour)", "UTC", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z");
        next("rate(5 minutes)", "UTC", "2026-01-01T00:07:00Z", "2026-01-01T00:10:00Z");
        next("rate(2 days)", "UTC", "2025-06-01T00:00:00Z", "2026-01-03T00:00:00Z");
    }

    #[test]
    fn a_rate_never_names_the_same_time_twice() {
        let schedule = Schedule::parse("rate(1 minute)", None).unwrap();
        let origin = Timestamp::from_epoch(std::time::Duration::from_millis(1_767_225_600_123));
        let mut at = schedule.next_from(origin.earlier(std::time::Duration::from_secs(9)), origin).unwrap();
        assert_eq!(at, origin);
        for _ in 0..10_000 {
            let next = schedule.next(at, origin).unwrap();
            assert_eq!(next.millis() - at.millis(), 60_000);
            at = next;
        }
    }

    #[test]
    fn cron_is_amazons() {
        let from = "2026-11-24T12:00:00Z"; // a Tuesday
        next("cron(0 10 * * ? *)", "UTC", from, "2026-11-25T10:00:00Z");
        next("cron(15 12 * * ? *)", "UTC", from, "2026-11-24T12:15:00Z");
        next("cron(0 18 ? * MON-FRI *)", "UTC", from, "2026-11-24T18:00:00Z");
        next("cron(0 8 1 * ? *)", "UTC", from, "2026-12-01T08:00:00Z");
        next("cron(0/15 * * * ? *)", "UTC", from, "2026-11-24T12:15:00Z");
        next("cron(0 0 L * ? *)", "UTC", from, "2026-11-30T00:00:00Z");
        next("cron(0 0 ? * 6L *)", "UTC", from, "2026-11-27T00:00:00Z"); // the last Friday
        next("cron(0 9 ? * 2#1 *)", "UTC", from, "2026-12-07T09:00:00Z"); // the first Monday
        next("cron(0 0 15W * ? 2027)", "UTC", from, "2027-01-15T00:00:00Z");
        next("cron(0 0 15W 8 ? *)", "UTC", from, "2027-08-16T00:00:00Z"); // the 15th is a Sunday
        next("cron(0 0 29 FEB ? *)", "UTC", from, "2028-02-29T00:00:00Z");
        next("cron(0 0 1 1 ? 2025)", "UTC", from, "");
        next("cron(0 0 31 2 ? *)", "UTC", from, "");
        // Clocks go from 02:00 to 03:00 on 2027-03-14.
        next("cron(30 2 14 3 ? *)", "America/New_York", from, "2027-03-14T07:30:00Z");
    }

    #[test]
    fn what_is_none_is_refused_and_told_what_is_allowed() {
        for expression in [
            "",
            "every minute",
            "rate(5 minute)",
            "rate(0 minutes)",
            "rate(1 week)",
            "at(tomorrow)",
            "cron(* * * * *)",
            "cron(0 0 * * * *)",
            "cron(60 0 * * ? *)",
            "cron(0 0 ? * ? *)",
            "cron(0 0 1 13 ? *)",
            "cron(0 0 ? * 8 *)",
            "cron(0 0 5-1 * ? *)",
            "cron(0/0 0 * * ? *)",
        ] {
            let error = Schedule::parse(expression, None).expect_err(expression).to_string();
            assert!(error.contains("cron(minutes"), "{error}");
        }
        assert!(Schedule::parse("rate(1 day)", Some("Mars/Olympus")).is_err());
    }

    #[test]
    fn it_survives_being_stored() {
        let schedule = Schedule::parse("cron(0 10 * * ? *)", Some("Europe/Berlin")).unwrap();
        let stored = serde_json::to_string(&schedule).unwrap();
        assert_eq!(serde_json::from_str::<Schedule>(&stored).unwrap(), schedule);
    }
}
