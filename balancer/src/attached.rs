//! What goes along with an answer to its last byte, where something is configured that wants to know.

use bytes::Bytes;
use http_body::Frame;

use crate::access_log::Pending;
use crate::limits::Permit;
use crate::trace::Served;

/// Dropped with the answer: then the request is over.
#[derive(Debug, Default)]
pub(crate) struct Attached {
    pub(crate) permit: Option<Permit>,
    pub(crate) log: Option<Pending>,
    pub(crate) trace: Option<Served>,
}

impl Attached {
    pub(crate) fn frame(&mut self, frame: &Frame<Bytes>) {
        if let (Some(log), Some(data)) = (&mut self.log, frame.data_ref()) {
            log.sent(data.len());
        }
    }
}
