//! Trace context between services: <https://www.w3.org/TR/trace-context/>.

use http::{HeaderMap, HeaderName, HeaderValue};

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// `version "-" trace-id "-" parent-id "-" trace-flags`.
const LENGTH: usize = 55;

/// Which span of which trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Context {
    /// Never 0.
    pub(super) trace: u128,
    /// Never 0.
    pub(super) span: u64,
    pub(super) sampled: bool,
}

impl Context {
    /// What a caller says. `None`: nothing, or nothing that can be understood.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        Self::parse(value.to_str().ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let (known, rest) = text.split_at_checked(LENGTH)?;
        let mut fields = known.split('-');
        let version = hex(fields.next()?, 2)?;
        // "Version 255 is invalid"; a higher one may go on, but begins as this one does.
        let goes_on = version > 0 && rest.starts_with('-');
        if version == 255 || !(rest.is_empty() || goes_on) {
            return None;
        }
        let trace = hex(fields.next()?, 32).filter(|id| *id != 0)?;
        let span = u64::try_from(hex(fields.next()?, 16)?).ok().filter(|id| *id != 0)?;
        let sampled = hex(fields.next()?, 2)? & 1 == 1;
        fields.next().is_none().then_some(Self { trace, span, sampled })
    }

    /// The first span of a new trace, of which `ratio` are sampled.
    pub(super) fn root(ratio: f64) -> Self {
        let trace = loop {
            let id = fastrand::u128(..);
            if id != 0 {
                break id;
            }
        };
        Self { trace, span: span_id(), sampled: fastrand::f64() < ratio }
    }

    /// The next span of the same trace.
    pub(super) fn child(self) -> Self {
        Self { span: span_id(), ..self }
    }

    pub(super) fn put_into(self, headers: &mut HeaderMap) {
        let text = format!("00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled));
        headers.insert(TRACEPARENT, HeaderValue::try_from(text).expect("digits and dashes"));
    }
}

fn span_id() -> u64 {
    fastrand::u64(1..)
}

/// "All characters … MUST be lowercase".
fn hex(text: &str, digits: usize) -> Option<u128> {
    let lowercase = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != digits || !text.bytes().all(lowercase) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_specification_gives_as_examples_is_understood() {
        let trace = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
        let context = Context { trace, span: 0x00f0_67aa_0ba9_02b7, sampled: true };
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(Context::parse(text), Some(context));
        let mut headers = HeaderMap::new();
        context.put_into(&mut headers);
        assert_eq!(headers[TRACEPARENT], text);
        assert_eq!(Context::of(&headers), Some(context));
        headers.append(TRACEPARENT, HeaderValue::from_static("x"));
        assert_eq!(Context::of(&headers), None, "two of them");
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03-what-the-future-will-be-like";
        assert_eq!(Context::parse(later), Some(context));
    }

    #[test]
    fn what_is_malformed_is_not() {
        for text in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.what",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0é",
        ] {
            assert_eq!(Context::parse(text), None, "{text}");
        }
    }

    #[test]
    fn new_traces_are_sampled_by_the_ratio() {
        let sampled = |ratio| (0..10_000).filter(|_| Context::root(ratio).sampled).count();
        assert_eq!((sampled(0.0), sampled(1.0)), (0, 10_000));
        assert!((700..1_300).contains(&sampled(0.1)));
    }
}
