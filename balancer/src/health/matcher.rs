//! ELB's `Matcher.HttpCode`.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use http::StatusCode;

use crate::ConfigError;

/// What ALB allows a matcher to name.
const ALLOWED: RangeInclusive<u16> = 200..=499;

/// The status codes that count as success: `200`, `200,202` or `200-299`, within 200 to 499 as ALB has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matcher(Vec<RangeInclusive<u16>>);

impl Matcher {
    /// Whether an answer with this status is a success.
    pub fn matches(&self, status: StatusCode) -> bool {
        self.0.iter().any(|range| range.contains(&status.as_u16()))
    }
}

impl Default for Matcher {
    fn default() -> Self {
        Self(vec![200..=200])
    }
}

impl FromStr for Matcher {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let wrong = || {
            ConfigError::new(
                "Matcher.HttpCode",
                text,
                "a code from 200 to 499, a list such as 200,202 or a range such as 200-299",
            )
        };
        let code = |text: &str| {
            // `parse` alone would take "+200".
            let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|code| digits && ALLOWED.contains(code))
        };
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (code(first.trim())?, code(last.trim())?);
            (first <= last).then_some(first..=last)
        };
        text.split(',').map(|part| range(part).ok_or_else(wrong)).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match (range.start(), range.end()) {
                (first, last) if first == last => write!(f, "{comma}{first}")?,
                (first, last) => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_codes_lists_and_ranges() {
        let matcher: Matcher = "200,204-206, 404".parse().unwrap();
        let matching: Vec<u16> =
            (100..600).filter(|code| matcher.matches(StatusCode::from_u16(*code).unwrap())).collect();
        assert_eq!(matching, [200, 204, 205, 206, 404]);
        assert_eq!(matcher.to_string(), "200,204-206,404");
    }

    #[test]
    fn refuses_what_elb_refuses() {
        for text in
            ["", "20", "2000", "abc", "199", "500", "200-", "-200", "299-200", "200,,201", "+200", "200;201"]
        {
            let error = text.parse::<Matcher>().unwrap_err();
            assert_eq!(error.field(), "Matcher.HttpCode", "{text:?}");
        }
    }
}
