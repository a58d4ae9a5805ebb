//! Limits and policies of a listener in the file.

use std::path::Path;

use coracle_balancer::{AccessLogFormat, HeaderPolicy, Limits, MinimumRate, Rate, TransferRates};

use super::config::{number, seconds};
use super::insight::AccessLogFile;
use crate::compose::ComposeError;
use crate::compose::reader::Field;

pub(super) fn limits(field: &Field<'_>) -> Result<(Limits, TransferRates), ComposeError> {
    let (mut limits, mut rates) = (Limits::default(), TransferRates::default());
    for (key, value) in field.settings()? {
        match key {
            "connections" => limits.connections = Some(number(&value, 1, 10_000_000)?),
            "connectionsPerClient" => limits.connections_per_client = Some(number(&value, 1, 10_000_000)?),
            "requests" => limits.requests = Some(number(&value, 1, 10_000_000)?),
            "requestsPerClient" => limits.requests_per_client = Some(number(&value, 1, 10_000_000)?),
            "rate" => limits.rate = Some(rate(&value)?),
            "ratePerClient" => limits.rate_per_client = Some(rate(&value)?),
            "bodyBytes" => limits.body = Some(number(&value, 0, u32::MAX)?.into()),
            // hyper wants room for 8 KiB.
            "headerBytes" => limits.header_bytes = Some(number(&value, 8_192, 1_048_576)?),
            "headerFields" => limits.header_fields = Some(number(&value, 1, 1_000)?),
            "receiveRate" => rates.receive = minimum_rate(&value)?,
            "sendRate" => rates.send = minimum_rate(&value)?,
            _ => {
                let supported = [
                    "connections",
                    "connectionsPerClient",
                    "requests",
                    "requestsPerClient",
                    "rate",
                    "ratePerClient",
                    "bodyBytes",
                    "headerBytes",
                    "headerFields",
                    "receiveRate",
                    "sendRate",
                ];
                return Err(value.unsupported(&supported));
            }
        }
    }
    Ok((limits, rates))
}

/// `{bytesPerSecond: 240, grace: 60}`; 0 bytes are no minimum.
fn minimum_rate(field: &Field<'_>) -> Result<Option<MinimumRate>, ComposeError> {
    let mut minimum = MinimumRate::default();
    for (key, value) in field.settings()? {
        match key {
            "bytesPerSecond" => minimum.bytes_per_second = number(&value, 0, 1_000_000_000)?,
            "grace" => minimum.grace = seconds(&value)?,
            _ => return Err(value.unsupported(&["bytesPerSecond", "grace"])),
        }
    }
    Ok((minimum.bytes_per_second > 0).then_some(minimum))
}

/// `100`, or `{perSecond: 100, burst: 200}`; without a burst it is a second's worth.
fn rate(field: &Field<'_>) -> Result<Rate, ComposeError> {
    const MOST: u32 = 1_000_000;
    if !field.is_map() {
        let per_second = number(field, 1, MOST)?;
        return Ok(Rate { per_second, burst: per_second });
    }
    let (mut per_second, mut burst) = (None, None);
    for (key, value) in field.settings()? {
        match key {
            "perSecond" => per_second = Some(number(&value, 1, MOST)?),
            "burst" => burst = Some(number(&value, 1, MOST)?),
            _ => return Err(value.unsupported(&["perSecond", "burst"])),
        }
    }
    let per_second = super::config::required(field, "perSecond", per_second)?;
    Ok(Rate { per_second, burst: burst.unwrap_or(per_second) })
}

pub(super) fn policy(field: &Field<'_>) -> Result<HeaderPolicy, ComposeError> {
    field.parsed(|text| match text {
        "append" => Ok(HeaderPolicy::Append),
        "preserve" => Ok(HeaderPolicy::Preserve),
        "remove" => Ok(HeaderPolicy::Remove),
        _ => Err(format!("append, preserve or remove is expected, not {text:?}")),
    })
}

pub(super) fn access_log(field: &Field<'_>, directory: &Path) -> Result<AccessLogFile, ComposeError> {
    let (mut path, mut format) = (None, AccessLogFormat::Alb);
    for (key, value) in field.settings()? {
        match key {
            "path" => path = Some(value.string()?),
            "format" => {
                format = value.parsed(|text| match text {
                    "alb" => Ok(AccessLogFormat::Alb),
                    "json" => Ok(AccessLogFormat::Json),
                    _ => Err(format!("alb or json is expected, not {text:?}")),
                })?;
            }
            _ => return Err(value.unsupported(&["path", "format"])),
        }
    }
    let path = super::config::required(field, "path", path)?;
    Ok(AccessLogFile { path: (path != "-").then(|| directory.join(path)), format })
}
