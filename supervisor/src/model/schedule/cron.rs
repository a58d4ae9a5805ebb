//! AWS's cron expressions: minutes, hours, day of month, month, day of week, year.

use jiff::civil::{Date, DateTime, Weekday, date};

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
const YEARS: (u16, u16) = (1970, 2199);
/// Days that are looked at: the 29th of February on one weekday comes again after 40 years at the latest.
const HORIZON: usize = 366 * 41;

/// A parsed expression.
#[derive(Clone, Debug)]
pub(super) struct Cron {
    minutes: u64,
    hours: u64,
    months: u64,
    days: Days,
    years: Vec<bool>,
}

#[derive(Clone, Debug)]
enum Days {
    OfMonth(Vec<DayOfMonth>),
    OfWeek(Vec<DayOfWeek>),
}

#[derive(Clone, Copy, Debug)]
enum DayOfMonth {
    In(u64),
    Last,
    LastWeekday,
    /// The weekday nearest to it, in the same month.
    Nearest(i8),
}

#[derive(Clone, Copy, Debug)]
enum DayOfWeek {
    In(u64),
    LastInMonth(u16),
    /// The weekday, and which of it in the month.
    Nth(u16, i8),
}

impl Cron {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, of_month, months, of_week, years] = fields[..] else {
            return Err(format!("has {} fields, not 6", fields.len()));
        };
        let days = match (of_month, of_week) {
            ("?", "?") => return Err("has ? as day of month and day of week".to_owned()),
            (of_month, "?") => Days::OfMonth(each(of_month, day_of_month)?),
            ("?", of_week) => Days::OfWeek(each(of_week, day_of_week)?),
            _ => return Err("needs ? as day of month or day of week".to_owned()),
        };
        let mut allowed = vec![false; usize::from(YEARS.1 - YEARS.0) + 1];
        for part in years.split(',') {
            for year in values(part, YEARS, &[])? {
                allowed[usize::from(year - YEARS.0)] = true;
            }
        }
        Ok(Self {
            minutes: set(minutes, (0, 59), &[])?,
            hours: set(hours, (0, 23), &[])?,
            months: set(months, (1, 12), &MONTHS)?,
            days,
            years: allowed,
        })
    }

    /// The times from the day of `start` on, in order.
    pub(super) fn times_from(&self, start: DateTime) -> impl Iterator<Item = DateTime> + '_ {
        let days = start.date().series(jiff::Span::new().days(1)).take(HORIZON);
        let (hours, minutes) = (self.hours, self.minutes);
        days.filter(|day| self.is_on(*day)).flat_map(move |day| {
            bits(hours).flat_map(move |hour| bits(minutes).map(move |minute| day.at(hour, minute, 0, 0)))
        })
    }

    fn is_on(&self, day: Date) -> bool {
        let year = u16::try_from(day.year()).ok().and_then(|year| year.checked_sub(YEARS.0));
        year.is_some_and(|year| self.years.get(usize::from(year)).copied().unwrap_or_default())
            && self.months >> day.month() & 1 == 1
            && match &self.days {
                Days::OfMonth(days) => days.iter().any(|of| of.is_on(day)),
                Days::OfWeek(days) => days.iter().any(|of| of.is_on(day)),
            }
    }
}

impl DayOfMonth {
    fn is_on(self, day: Date) -> bool {
        match self {
            Self::In(days) => days >> day.day() & 1 == 1,
            Self::Last => day.day() == day.days_in_month(),
            Self::LastWeekday => day.day() == near(day, day.days_in_month()),
            Self::Nearest(to) => to <= day.days_in_month() && day.day() == near(day, to),
        }
    }
}

impl DayOfWeek {
    fn is_on(self, day: Date) -> bool {
        let of_week = number_of(day.weekday());
        match self {
            Self::In(days) => days >> of_week & 1 == 1,
            Self::LastInMonth(wanted) => of_week == wanted && day.day() + 7 > day.days_in_month(),
            Self::Nth(wanted, nth) => of_week == wanted && (day.day() - 1) / 7 + 1 == nth,
        }
    }
}

/// The day of `month`'s month from Monday to Friday that is nearest to its day `to`.
fn near(month: Date, to: i8) -> i8 {
    let last = month.days_in_month();
    match date(month.year(), month.month(), to.min(last)).weekday() {
        Weekday::Saturday if to == 1 => 3,
        Weekday::Saturday => to - 1,
        Weekday::Sunday if to == last => to - 2,
        Weekday::Sunday => to + 1,
        _ => to,
    }
}

/// Sunday is 1.
fn number_of(weekday: Weekday) -> u16 {
    u16::try_from(weekday.to_sunday_one_offset()).unwrap_or_default()
}

fn each<T>(field: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    field.split(',').map(parse).collect()
}

fn day_of_month(part: &str) -> Result<DayOfMonth, String> {
    match part {
        "L" => Ok(DayOfMonth::Last),
        "LW" => Ok(DayOfMonth::LastWeekday),
        _ => match part.strip_suffix('W') {
            Some(day) => {
                let day = value(day, (1, 31), &[])?;
                Ok(DayOfMonth::Nearest(i8::try_from(day).unwrap_or(i8::MAX)))
            }
            None => Ok(DayOfMonth::In(set(part, (1, 31), &[])?)),
        },
    }
}

fn day_of_week(part: &str) -> Result<DayOfWeek, String> {
    const RANGE: (u16, u16) = (1, 7);
    if part == "L" {
        return Ok(DayOfWeek::In(1 << RANGE.1));
    }
    if let Some((day, nth)) = part.split_once('#') {
        let nth = value(nth, (1, 5), &[])?;
        return Ok(DayOfWeek::Nth(value(day, RANGE, &WEEKDAYS)?, i8::try_from(nth).unwrap_or(i8::MAX)));
    }
    match part.strip_suffix('L') {
        Some(day) => Ok(DayOfWeek::LastInMonth(value(day, RANGE, &WEEKDAYS)?)),
        None => Ok(DayOfWeek::In(set(part, RANGE, &WEEKDAYS)?)),
    }
}

/// A list of values as bits.
fn set(field: &str, range: (u16, u16), names: &[&str]) -> Result<u64, String> {
    let mut set = 0;
    for part in field.split(',') {
        set |= values(part, range, names)?.fold(0, |set, value| set | 1 << value);
    }
    Ok(set)
}

/// `*`, `5`, `1-5`, `0/15`, `*/15` or `1-30/5`.
fn values(
    part: &str,
    (least, most): (u16, u16),
    names: &[&str],
) -> Result<impl Iterator<Item = u16>, String> {
    let (span, step) = match part.split_once('/') {
        Some((span, step)) => (span, Some(value(step, (1, most.max(1)), &[])?)),
        None => (part, None),
    };
    let (from, to) = match span.split_once('-') {
        _ if span == "*" => (least, most),
        Some((from, to)) => (value(from, (least, most), names)?, value(to, (least, most), names)?),
        None => {
            let from = value(span, (least, most), names)?;
            (from, if step.is_some() { most } else { from })
        }
    };
    if from > to {
        return Err(format!("has the range {span:?}, which runs backwards"));
    }
    Ok((from..=to).step_by(step.unwrap_or(1).into()))
}

fn value(text: &str, (least, most): (u16, u16), names: &[&str]) -> Result<u16, String> {
    let named = names.iter().position(|name| name.eq_ignore_ascii_case(text));
    let number = match named {
        // Months and weekdays both begin with 1.
        Some(index) => u16::try_from(index + 1).ok(),
        None => text.parse().ok(),
    };
    number
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| format!("has {text:?} where {least} to {most} is allowed"))
}

fn bits(set: u64) -> impl Iterator<Item = i8> {
    (0_i8..60).filter(move |bit| set >> bit & 1 == 1)
}
