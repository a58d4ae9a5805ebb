//! Numbers and truths that come as text: ELBv2's protocol writes forms, where everything is text.

use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{Deserializer, Error, Visitor};

/// A value, or a text that reads as one.
pub(crate) fn value<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr,
{
    deserializer.deserialize_any(Lenient(PhantomData))
}

struct Lenient<T>(PhantomData<T>);

impl<T: FromStr> Lenient<T> {
    fn read<E: Error>(value: impl Display) -> Result<Option<T>, E> {
        let text = value.to_string();
        let kind = std::any::type_name::<T>().rsplit(':').next().unwrap_or_default();
        text.parse()
            .map(Some)
            .map_err(|_| E::custom(format_args!("invalid value: {text:?}, expected {kind}")))
    }
}

impl<T: FromStr> Visitor<'_> for Lenient<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, a truth, or a text that is one")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Self::read(text)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Self::read(number)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Self::read(number)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        Self::read(number)
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<Self::Value, E> {
        Self::read(truth)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    struct Given {
        #[serde(default, deserialize_with = "super::value")]
        port: Option<u16>,
        #[serde(default, deserialize_with = "super::value")]
        enabled: Option<bool>,
    }

    #[test]
    fn a_number_may_be_text_and_nothing_else_may() {
        for json in [r#"{"port":80,"enabled":true}"#, r#"{"port":"80","enabled":"true"}"#] {
            let given: Given = serde_json::from_str(json).unwrap();
            assert_eq!((given.port, given.enabled), (Some(80), Some(true)), "{json}");
        }
        assert_eq!(serde_json::from_str::<Given>(r#"{"port":null}"#).unwrap().port, None);
        for json in
            [r#"{"port":"x"}"#, r#"{"port":70000}"#, r#"{"port":-1}"#, r#"{"port":[]}"#, r#"{"enabled":1}"#]
        {
            assert!(serde_json::from_str::<Given>(json).is_err(), "{json}");
        }
    }
}
