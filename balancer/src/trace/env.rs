//! Tracing as OpenTelemetry's environment variables configure it:
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>.

use http::{HeaderName, HeaderValue};

use super::TracingConfig;
use crate::ConfigError;

const SAMPLERS: &str = "always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off or parentbased_traceidratio";

impl TracingConfig {
    /// Of a collector for all kinds of data: traces go to `/v1/traces` under its URL, unless that is where it leads.
    ///
    /// # Errors
    ///
    /// It is no `http` or `https` URL.
    pub fn of_collector(url: &str) -> Result<Self, ConfigError> {
        const PATH: &str = "/v1/traces";
        let base = url.trim_end_matches('/');
        if base.ends_with(PATH) { Self::new(base) } else { Self::new(&format!("{base}{PATH}")) }
    }

    /// From `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` or `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_HEADERS`,
    /// `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`. `None` without an
    /// endpoint, and where `OTEL_SDK_DISABLED` is `true` or `OTEL_TRACES_EXPORTER` is `none`. Every sampler lets the caller's
    /// decision stand.
    ///
    /// # Errors
    ///
    /// Names the variable that is malformed.
    pub fn from_env(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, ConfigError> {
        // "The SDK MUST interpret an empty value of an environment variable the same way as when the variable is unset."
        let variable =
            |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|it| !it.is_empty());
        let is = |name: &str, value: &str| variable(name).is_some_and(|it| it.eq_ignore_ascii_case(value));
        if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
            return Ok(None);
        }
        let (traces, all) = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT");
        let mut config = match (variable(traces), variable(all)) {
            (Some(url), _) => Self::new(&url).map_err(|error| error.of(traces))?,
            (None, Some(url)) => Self::of_collector(&url).map_err(|error| error.of(all))?,
            (None, None) => return Ok(None),
        };
        if let Some(text) = variable("OTEL_EXPORTER_OTLP_HEADERS") {
            let wrong = || {
                ConfigError::new(
                    "OTEL_EXPORTER_OTLP_HEADERS",
                    &text,
                    "a list of NAME=VALUE, with commas between",
                )
            };
            for (name, value) in pairs(&text).ok_or_else(wrong)? {
                let name = HeaderName::try_from(name).map_err(|_malformed| wrong())?;
                let mut value = HeaderValue::try_from(value).map_err(|_malformed| wrong())?;
                value.set_sensitive(true);
                config.headers.push((name, value));
            }
        }
        if let Some(text) = variable("OTEL_RESOURCE_ATTRIBUTES") {
            let wrong = || {
                ConfigError::new(
                    "OTEL_RESOURCE_ATTRIBUTES",
                    &text,
                    "a list of KEY=VALUE, with commas between",
                )
            };
            config.resource = pairs(&text).ok_or_else(wrong)?;
            // "OTEL_SERVICE_NAME takes precedence", and it is a default here.
            let named = config.resource.iter().position(|(key, _)| key == "service.name");
            if let Some(index) = named {
                config.service_name = config.resource.swap_remove(index).1;
            }
        }
        if let Some(name) = variable("OTEL_SERVICE_NAME") {
            config.service_name = name;
        }
        config.sample_ratio = match variable("OTEL_TRACES_SAMPLER").as_deref() {
            None | Some("always_on" | "parentbased_always_on") => 1.0,
            Some("always_off" | "parentbased_always_off") => 0.0,
            Some("traceidratio" | "parentbased_traceidratio") => match variable("OTEL_TRACES_SAMPLER_ARG") {
                None => 1.0,
                Some(text) => sample_ratio(&text).map_err(|error| error.of("OTEL_TRACES_SAMPLER_ARG"))?,
            },
            Some(other) => return Err(ConfigError::new("OTEL_TRACES_SAMPLER", other, SAMPLERS)),
        };
        Ok(Some(config))
    }
}

/// A share of requests as text.
///
/// # Errors
///
/// It is no number from 0 to 1.
pub(super) fn sample_ratio(text: &str) -> Result<f64, ConfigError> {
    let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| ConfigError::new("sampleRatio", text, "a number from 0 to 1"))
}

/// `a=b,c=d`, the values percent-encoded (W3C Baggage).
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items
        .map(|item| {
            let (key, value) = item.split_once('=')?;
            Some((key.trim().to_owned(), percent_decoded(value.trim())?))
        })
        .collect()
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<Option<TracingConfig>, ConfigError> {
        TracingConfig::from_env(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn an_endpoint_turns_it_on() {
        assert_eq!(from(&[]), Ok(None));
        assert_eq!(from(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), Ok(None));
        let config = from(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b, x=1"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=edge,region=eu"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ]);
        let config = config.unwrap().unwrap();
        assert_eq!(config.endpoint, "http://collector:4318/v1/traces");
        assert_eq!((config.headers[0].0.as_str(), config.headers[0].1.as_bytes()), ("api-key", &b"a b"[..]));
        assert_eq!((config.service_name.as_str(), config.sample_ratio), ("edge", 0.25));
        assert_eq!(config.resource, [("region".to_owned(), "eu".to_owned())]);
        let own = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces/path"),
            ("OTEL_SERVICE_NAME", "mine"),
        ];
        let config = from(&own).unwrap().unwrap();
        assert_eq!(
            (config.endpoint.to_string().as_str(), config.service_name.as_str()),
            ("https://traces/path", "mine")
        );
        for off in [("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_TRACES_EXPORTER", "none")] {
            assert_eq!(from(&[own[0], off]), Ok(None));
        }
    }

    #[test]
    fn what_is_malformed_is_named() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a");
        for (variable, value) in [
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4318"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a=%zz"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ] {
            assert_eq!(from(&[endpoint, (variable, value)]).unwrap_err().field(), variable);
        }
        let ratio = [endpoint, ("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")];
        assert_eq!(
            from(&ratio).unwrap_err().to_string(),
            "OTEL_TRACES_SAMPLER_ARG: \"2\" is not a number from 0 to 1"
        );
    }
}
