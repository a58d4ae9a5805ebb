//! What requests see of a group: the usable targets and everything about picking one that can be made beforehand.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;

use super::algorithm::{Algorithm, Field, Turn};
use super::attributes::{Stickiness, TargetGroupAttributes};
use super::entry::{Entry, InFlight};
use super::retry::{Budget, Retry};
use crate::cookies::{self, SetCookies, Token};

/// What of a request a choice among targets may depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking<'a> {
    pub(crate) headers: &'a HeaderMap,
    pub(crate) client: IpAddr,
}

/// A snapshot, replaced as a whole at each change.
#[derive(Default)]
pub(super) struct Usable {
    pub(super) targets: Vec<Arc<Entry>>,
    /// `None`: there is no target.
    algorithm: Option<Box<dyn Algorithm>>,
    sticky: Option<Box<Sticky>>,
    retry: Option<Arc<Retry>>,
    timed: bool,
}

struct Sticky {
    /// The cookie with the token in it.
    cookie: &'static str,
    /// The application's cookie, without which ours means nothing.
    application: Option<Arc<str>>,
    by_token: HashMap<Token, usize>,
    /// For the answers of each target.
    set: Box<[Arc<SetCookies>]>,
}

impl Usable {
    pub(super) fn new(
        targets: Vec<Arc<Entry>>,
        weights: &[u32],
        turn: &Turn,
        budget: &Arc<Budget>,
        attributes: &TargetGroupAttributes,
    ) -> Self {
        let field = Field { targets: &targets, weights, turn };
        let algorithm = (!targets.is_empty()).then(|| attributes.algorithm.make(&field));
        let sticky =
            attributes.stickiness.as_ref().map(|stickiness| Box::new(Sticky::new(stickiness, &targets)));
        let policy = attributes.retry;
        let retry = (policy.attempts > 0).then(|| Arc::new(Retry { policy, budget: Arc::clone(budget) }));
        Self { targets, algorithm, sticky, retry, timed: attributes.latency_metrics }
    }

    /// The target whose turn it is, or the one this client is bound to. `None`: no target is usable, or the chosen one
    /// began to drain after this snapshot was made.
    pub(super) fn pick(&self, asking: &Asking<'_>) -> Option<InFlight> {
        let bound = self.sticky.as_ref().and_then(|sticky| sticky.bound(asking.headers));
        self.enter(match bound {
            Some(index) => index,
            None => self.turn(asking)?,
        })
    }

    fn turn(&self, asking: &Asking<'_>) -> Option<usize> {
        Some(self.algorithm.as_ref()?.pick(&self.targets, asking.client))
    }

    /// Claims the target at `index`.
    pub(super) fn enter(&self, index: usize) -> Option<InFlight> {
        let mut claim = self.targets[index].enter()?;
        if let Some(sticky) = &self.sticky {
            claim = claim.with_target_cookies(Arc::clone(&sticky.set[index]));
        }
        if let Some(retry) = &self.retry {
            claim = claim.with_retry(Arc::clone(retry));
        }
        Some(if self.timed { claim.timed() } else { claim })
    }
}

impl Sticky {
    fn new(stickiness: &Stickiness, targets: &[Arc<Entry>]) -> Self {
        let tokens: Vec<_> = targets.iter().map(|entry| Token::of(entry.core.id.as_str())).collect();
        let (cookie, application) = match stickiness {
            Stickiness::LbCookie(_) => ("AWSALB", None),
            Stickiness::AppCookie { name, .. } => ("AWSALBAPP-0", Some(Arc::clone(name))),
        };
        let set = |token: &Token| {
            Arc::new(match stickiness {
                Stickiness::LbCookie(duration) => SetCookies::pair(cookie, *token, duration.as_secs()),
                Stickiness::AppCookie { name, duration } => {
                    SetCookies::along_with(Arc::clone(name), cookie, *token, duration.as_secs())
                }
            })
        };
        let set = tokens.iter().map(set).collect();
        let by_token = tokens.into_iter().enumerate().map(|(index, token)| (token, index)).collect();
        Self { cookie, application, by_token, set }
    }

    /// The target this client is bound to, while it is usable.
    fn bound(&self, headers: &HeaderMap) -> Option<usize> {
        let token = Token::in_cookie(headers, self.cookie)?;
        if let Some(application) = &self.application {
            cookies::find(headers, application)?;
        }
        self.by_token.get(&token).copied()
    }
}
