//! Which of the header fields a proxy has to do something about are there: one pass over the names instead of a lookup
//! for each, because most messages have none of them.

use http::header::{HeaderMap, HeaderName};

/// A set of header fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fields(u16);

impl Fields {
    const NONE: Self = Self(0);
    pub(crate) const CONNECTION: Self = Self(1);
    pub(crate) const TRANSFER_ENCODING: Self = Self(1 << 1);
    pub(crate) const TE: Self = Self(1 << 2);
    pub(crate) const UPGRADE: Self = Self(1 << 3);
    pub(crate) const KEEP_ALIVE: Self = Self(1 << 4);
    pub(crate) const PROXY_CONNECTION: Self = Self(1 << 5);
    pub(crate) const EXPECT: Self = Self(1 << 6);
    pub(crate) const X_FORWARDED_FOR: Self = Self(1 << 7);
    /// Any name with an underscore in it.
    pub(crate) const UNDERSCORED: Self = Self(1 << 8);

    /// What is of one hop only, by definition (RFC 9110, 7.6.1).
    pub(crate) const HOP_BY_HOP: Self = Self(
        Self::CONNECTION.0
            | Self::TRANSFER_ENCODING.0
            | Self::TE.0
            | Self::UPGRADE.0
            | Self::KEEP_ALIVE.0
            | Self::PROXY_CONNECTION.0,
    );

    pub(crate) fn of(headers: &HeaderMap) -> Self {
        headers.keys().fold(Self::NONE, |fields, name| Self(fields.0 | Self::of_name(name).0))
    }

    fn of_name(name: &HeaderName) -> Self {
        match name.as_str() {
            "connection" => Self::CONNECTION,
            "transfer-encoding" => Self::TRANSFER_ENCODING,
            "te" => Self::TE,
            "upgrade" => Self::UPGRADE,
            "keep-alive" => Self::KEEP_ALIVE,
            "proxy-connection" => Self::PROXY_CONNECTION,
            "expect" => Self::EXPECT,
            "x-forwarded-for" => Self::X_FORWARDED_FOR,
            other if other.as_bytes().contains(&b'_') => Self::UNDERSCORED,
            _ => Self::NONE,
        }
    }

    /// Whether any of `others` is among them.
    pub(crate) fn any(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_there_and_nothing_else() {
        let fields = |names: &[&str]| {
            let name = |name: &&str| HeaderName::from_bytes(name.as_bytes()).unwrap();
            Fields::of(&names.iter().map(|text| (name(text), http::HeaderValue::from_static("x"))).collect())
        };
        assert_eq!(fields(&["host", "user-agent", "x-forwarded-proto", "trailer"]), Fields::NONE);
        assert_eq!(fields(&["Host", "TE"]), Fields::TE);
        assert_eq!(fields(&["content_length"]), Fields::UNDERSCORED);
        let hop_by_hop =
            ["connection", "transfer-encoding", "te", "upgrade", "keep-alive", "proxy-connection"];
        assert_eq!(fields(&hop_by_hop), Fields::HOP_BY_HOP);
        assert!(fields(&["expect", "x-forwarded-for"]).any(Fields::EXPECT));
    }
}
