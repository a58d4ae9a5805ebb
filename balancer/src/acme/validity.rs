//! From when until when a certificate is valid: two fields of its DER (RFC 5280, 4.1), which no library here tells.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

const SEQUENCE: u8 = 0x30;
/// `[0]`, the version.
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Validity {
    /// Of the first certificate.
    pub(super) fn of_pem(pem: &[u8]) -> Option<Self> {
        Self::of(CertificateDer::pem_slice_iter(pem).next()?.ok()?.as_ref())
    }

    fn of(der: &[u8]) -> Option<Self> {
        let certificate = Der(der).value(SEQUENCE)?;
        let mut fields = Der(Der(certificate).value(SEQUENCE)?);
        let (mut tag, mut field) = fields.next()?;
        if tag == VERSION {
            (tag, field) = fields.next()?;
        }
        // serialNumber, signature, issuer, validity
        for _ in 0..3 {
            (tag, field) = fields.next()?;
        }
        let mut times = Der(if tag == SEQUENCE { field } else { return None });
        Some(Self { not_before: time(times.next()?)?, not_after: time(times.next()?)? })
    }

    pub(super) fn contains(&self, now: SystemTime) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    /// Until two thirds of its life are over. `None`: they are.
    pub(super) fn until_renewal(&self, now: SystemTime) -> Option<Duration> {
        let life = self.not_after.duration_since(self.not_before).unwrap_or_default();
        let renewal = self.not_before + life * 2 / 3;
        renewal.duration_since(now).ok().filter(|left| !left.is_zero())
    }
}

/// Elements, one behind the other.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // So many bytes of length; no certificate needs more than four.
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }

    fn value(mut self, expected: u8) -> Option<&'a [u8]> {
        self.next().and_then(|(tag, value)| (tag == expected).then_some(value))
    }
}

/// `YYMMDDHHMMSSZ`, "where YY is greater than or equal to 50, the year SHALL be interpreted as 19YY", or with four digits.
fn time((tag, text): (u8, &[u8])) -> Option<SystemTime> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let text = match tag {
        UTC_TIME if text.len() == 12 => {
            let century = if text < "50" { "20" } else { "19" };
            format!("{century}{text}")
        }
        GENERALIZED_TIME if text.len() == 14 => text.to_owned(),
        _ => return None,
    };
    let civil = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", &text).ok()?;
    let seconds = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second();
    match u64::try_from(seconds) {
        Ok(after) => UNIX_EPOCH.checked_add(Duration::from_secs(after)),
        Err(_) => UNIX_EPOCH.checked_sub(Duration::from_secs(seconds.unsigned_abs())),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn of(from: (i32, u8, u8), to: (i32, u8, u8)) -> Validity {
        let mut params = CertificateParams::new(["a.test".to_owned()]).unwrap();
        params.not_before = date_time_ymd(from.0, from.1, from.2);
        params.not_after = date_time_ymd(to.0, to.1, to.2);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Validity::of(certificate.der()).unwrap()
    }

    fn day(number: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(number * 86_400)
    }

    #[test]
    fn both_ends_are_read_from_a_certificate() {
        // 2026-01-01 is day 20,454; 1970 is two digits of 19YY, and 2050 and later four digits.
        assert_eq!(
            of((2026, 1, 1), (2026, 4, 1)),
            Validity { not_before: day(20_454), not_after: day(20_544) }
        );
        assert_eq!(of((1970, 1, 2), (2050, 1, 1)), Validity { not_before: day(1), not_after: day(29_220) });
    }

    #[test]
    fn a_third_of_its_life_is_left_to_renew_it_in() {
        let validity = of((2026, 1, 1), (2026, 4, 1));
        assert_eq!(validity.until_renewal(day(20_454)), Some(Duration::from_secs(60 * 86_400)));
        assert_eq!(validity.until_renewal(day(20_514)), None);
        assert_eq!(validity.until_renewal(day(30_000)), None);
        assert!(validity.contains(day(20_500)) && !validity.contains(day(20_600)));
    }

    #[test]
    fn what_is_no_certificate_has_none() {
        for der in [&b""[..], b"\x30", b"\x30\x84\xff\xff\xff\xff", b"\x30\x03\x30\x01\x02", b"\x30\x80"] {
            assert_eq!(Validity::of(der), None, "{der:?}");
        }
        assert_eq!(time((UTC_TIME, b"261301000000Z")), None);
        assert_eq!(time((UTC_TIME, b"2601010000Z")), None);
    }
}
