//! What may stand behind a message's body.

use bytes::Bytes;
use http::HeaderName;
use http::header;
use http_body::Frame;

/// RFC 9110, 6.5.1: "Many fields cannot be processed outside the header section because their evaluation is necessary prior
/// to receiving the content, such as those that describe message framing, routing, authentication, request modifiers,
/// response controls, or content format." A recipient that merges trailers into the header would read them as if the
/// balancer had let them through there, so they are taken off.
const FORBIDDEN: [HeaderName; 37] = [
    // framing, and what is of one hop only
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::TRAILER,
    header::TE,
    header::CONNECTION,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    // routing, and who the client is
    header::HOST,
    header::MAX_FORWARDS,
    header::FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-port"),
    // authentication
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::WWW_AUTHENTICATE,
    header::PROXY_AUTHENTICATE,
    header::COOKIE,
    header::SET_COOKIE,
    // request modifiers
    header::EXPECT,
    header::RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::IF_RANGE,
    // response controls
    header::AGE,
    header::CACHE_CONTROL,
    header::DATE,
    header::EXPIRES,
    header::LOCATION,
    header::RETRY_AFTER,
    header::VARY,
    // content format
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
];

/// The frame, without what may not be in trailers.
pub(crate) fn cleaned(frame: Frame<Bytes>) -> Frame<Bytes> {
    if frame.is_data() {
        return frame;
    }
    match frame.into_trailers() {
        Ok(mut trailers) => {
            for name in &FORBIDDEN {
                trailers.remove(name);
            }
            Frame::trailers(trailers)
        }
        Err(other) => other,
    }
}
