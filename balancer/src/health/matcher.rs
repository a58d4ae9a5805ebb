//! ELB's `Matcher`: `HttpCode` and `GrpcCode`.

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

/// The gRPC status codes that count as success: `12` (the default, as ALB's), `0,12` or `0-99`, within 0 to 99.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcMatcher(Vec<RangeInclusive<u16>>);

impl GrpcMatcher {
    /// Whether an answer with this `grpc-status` is a success.
    pub fn matches(&self, code: u16) -> bool {
        self.0.iter().any(|range| range.contains(&code))
    }
}

impl Default for GrpcMatcher {
    fn default() -> Self {
        Self(vec![12..=12])
    }
}

impl FromStr for Matcher {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let allowed = "a code from 200 to 499, a list such as 200,202 or a range such as 200-299";
        parse(text, 3..=3, ALLOWED)
            .map(Self)
            .ok_or_else(|| ConfigError::new("Matcher.HttpCode", text, allowed))
    }
}

impl FromStr for GrpcMatcher {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let allowed = "a code from 0 to 99, a list such as 0,12 or a range such as 0-99";
        parse(text, 1..=2, 0..=99)
            .map(Self)
            .ok_or_else(|| ConfigError::new("Matcher.GrpcCode", text, allowed))
    }
}

fn parse(
    text: &str,
    lengths: RangeInclusive<usize>,
    allowed: RangeInclusive<u16>,
) -> Option<Vec<RangeInclusive<u16>>> {
    let code = |text: &str| {
        // `parse` alone would take "+200".
        let digits = lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|code| digits && allowed.contains(code))
    };
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (code(first.trim())?, code(last.trim())?);
        (first <= last).then_some(first..=last)
    };
    text.split(',').map(range).collect()
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, &self.0)
    }
}

impl fmt::Display for GrpcMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, &self.0)
    }
}

fn write(f: &mut fmt::Formatter<'_>, ranges: &[RangeInclusive<u16>]) -> fmt::Result {
    for (index, range) in ranges.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        match (range.start(), range.end()) {
            (first, last) if first == last => write!(f, "{comma}{first}")?,
            (first, last) => write!(f, "{comma}{first}-{last}")?,
        }
    }
    Ok(())
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

    #[test]
    fn grpc_codes_are_from_0_to_99() {
        let matcher: GrpcMatcher = "0,12,20-99".parse().unwrap();
        assert!(matcher.matches(0) && matcher.matches(12) && matcher.matches(50) && !matcher.matches(14));
        assert_eq!(matcher.to_string(), "0,12,20-99");
        assert_eq!(GrpcMatcher::default().to_string(), "12");
        for text in ["", "100", "-1", "12-0", "+1"] {
            assert_eq!(text.parse::<GrpcMatcher>().unwrap_err().field(), "Matcher.GrpcCode", "{text:?}");
        }
    }
}
