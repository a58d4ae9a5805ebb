//! Where spans go, in the file.

use coracle_balancer::TracingConfig;
use http::{HeaderName, HeaderValue};

use super::config::{refused, required};
use crate::compose::ComposeError;
use crate::compose::reader::Field;

pub(super) fn tracing(field: &Field<'_>) -> Result<TracingConfig, ComposeError> {
    let (mut endpoint, mut headers, mut sample_ratio, mut service_name) = (None, Vec::new(), None, None);
    for (key, value) in field.settings()? {
        match key {
            "endpoint" => {
                let config = TracingConfig::of_collector(&value.string()?);
                endpoint = Some(config.map_err(|error| refused(&value, &error))?);
            }
            "sampleRatio" => sample_ratio = Some(value),
            "serviceName" => service_name = Some(value.string()?),
            "headers" => {
                for (name, text) in value.entries()? {
                    headers.push(header(name, &text)?);
                }
            }
            _ => return Err(value.unsupported(&["endpoint", "sampleRatio", "serviceName", "headers"])),
        }
    }
    let mut config = required(field, "endpoint", endpoint)?;
    if let Some(ratio) = sample_ratio {
        config.set_sample_ratio(&ratio.string()?).map_err(|error| refused(&ratio, &error))?;
    }
    config.service_name = service_name.unwrap_or(config.service_name);
    config.headers = headers;
    Ok(config)
}

fn header(name: &str, value: &Field<'_>) -> Result<(HeaderName, HeaderValue), ComposeError> {
    let malformed = || value.error(format!("{name} is not a header field, or its value cannot be sent"));
    let name = HeaderName::try_from(name).map_err(|_malformed| malformed())?;
    let mut value_sent = HeaderValue::try_from(value.string()?).map_err(|_malformed| malformed())?;
    value_sent.set_sensitive(true);
    Ok((name, value_sent))
}
