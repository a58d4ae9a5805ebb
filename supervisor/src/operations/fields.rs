//! Short requests' checks that several operations share.

use crate::error::OperationError;
use crate::model::names::quoted;

/// ECS: "up to 36 letters (uppercase and lowercase), numbers, hyphens, and underscores" and in fact any visible ASCII up to 64.
const MAX_CLIENT_TOKEN: usize = 64;
/// ECS: `startedBy` "up to 128 letters (uppercase and lowercase), numbers, hyphens (-), forward slash (/), and underscores (_)".
const MAX_STARTED_BY: usize = 128;

pub(super) fn client_token(token: Option<String>) -> Result<Option<String>, OperationError> {
    match token {
        Some(token)
            if token.is_empty()
                || token.len() > MAX_CLIENT_TOKEN
                // The token becomes the last part of a key.
                || !token.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/') =>
        {
            Err(OperationError::invalid(format!(
                "clientToken must have 1 to {MAX_CLIENT_TOKEN} visible ASCII characters and no /, but was {}",
                quoted(&token)
            )))
        }
        token => Ok(token),
    }
}

pub(super) fn started_by(started_by: Option<String>) -> Result<Option<String>, OperationError> {
    match started_by {
        Some(text) if text.chars().count() > MAX_STARTED_BY => {
            Err(OperationError::invalid(format!("startedBy can have at most {MAX_STARTED_BY} characters.")))
        }
        text => Ok(text),
    }
}

/// Parts of a description that a caller asked for with `include`.
pub(super) fn includes(include: &[String], known: &[&str], wanted: &str) -> Result<bool, OperationError> {
    if let Some(unknown) = include.iter().find(|part| !known.contains(&part.as_str())) {
        return Err(OperationError::invalid(format!(
            "include must be of {}, but was {}",
            known.join(", "),
            quoted(unknown)
        )));
    }
    Ok(include.iter().any(|part| part == wanted))
}
