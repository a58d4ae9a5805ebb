//! The action that sends a request to a target: one group, or several by weight.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::cookies::{SetCookies, Token};
use crate::target_group::{Asking, InFlight};
use crate::turns::Turns;
use crate::{ConfigError, TargetGroup};

/// AWS: "target groups per action".
const MAX_GROUPS: usize = 5;
/// AWS: "The range is 0 to 999".
const WEIGHTS: RangeInclusive<u32> = 0..=999;
/// AWS: "The range is 1-604800 seconds (7 days)".
pub(crate) const STICKINESS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(604_800);
/// ALB's name of the cookie that binds a client to a group.
const COOKIE: &str = "AWSALBTG";

/// ALB's `forward`: to one target group, or to several, each by its weight.
#[derive(Debug)]
pub struct Forward(Kind);

#[derive(Debug)]
enum Kind {
    One(Arc<TargetGroup>),
    Weighted(Box<Weighted>),
}

#[derive(Debug)]
struct Weighted {
    groups: Box<[Weight]>,
    /// `None`: all weights are 0, nobody gets requests.
    turns: Option<Turns>,
    turn: CachePadded<AtomicU64>,
    sticky: bool,
}

#[derive(Debug)]
struct Weight {
    group: Arc<TargetGroup>,
    weight: u32,
    token: Token,
    /// With stickiness.
    cookies: Option<Arc<SetCookies>>,
}

impl From<Arc<TargetGroup>> for Forward {
    fn from(group: Arc<TargetGroup>) -> Self {
        Self(Kind::One(group))
    }
}

impl Forward {
    /// To several groups by weight, with ALB's limits: 1 to 5 groups, weights 0 to 999. With `stickiness`, 1 s to 7 days, a
    /// client stays with the group its first request went to, as long as that has a weight.
    ///
    /// # Errors
    ///
    /// Names the field that is out of its limits.
    pub fn weighted(
        groups: Vec<(Arc<TargetGroup>, u32)>,
        stickiness: Option<Duration>,
    ) -> Result<Self, ConfigError> {
        if !(1..=MAX_GROUPS).contains(&groups.len()) {
            return Err(ConfigError::new("ForwardConfig.TargetGroups", groups.len(), "1 to 5 groups"));
        }
        if let Some((_, weight)) = groups.iter().find(|(_, weight)| !WEIGHTS.contains(weight)) {
            return Err(ConfigError::new("ForwardConfig.TargetGroups.Weight", weight, "from 0 to 999"));
        }
        if let Some(duration) = stickiness.filter(|duration| !STICKINESS.contains(duration)) {
            let field = "ForwardConfig.TargetGroupStickinessConfig.DurationSeconds";
            return Err(ConfigError::new(field, duration.as_secs_f64(), "from 1 to 604800"));
        }
        let turns = Turns::new(&groups.iter().map(|(_, weight)| *weight).collect::<Vec<_>>());
        let groups = groups.into_iter().map(|(group, weight)| {
            let token = Token::of(group.arn().unwrap_or_else(|| group.name()));
            let cookies = |duration: Duration| Arc::new(SetCookies::pair(COOKIE, token, duration.as_secs()));
            Weight { group, weight, token, cookies: stickiness.map(cookies) }
        });
        Ok(Self(Kind::Weighted(Box::new(Weighted {
            groups: groups.collect(),
            turns,
            turn: CachePadded::default(),
            sticky: stickiness.is_some(),
        }))))
    }

    pub(super) fn groups(&self) -> Box<dyn Iterator<Item = &Arc<TargetGroup>> + '_> {
        match &self.0 {
            Kind::One(group) => Box::new(std::iter::once(group)),
            Kind::Weighted(weighted) => Box::new(weighted.groups.iter().map(|weight| &weight.group)),
        }
    }

    /// The groups that get requests.
    pub(crate) fn with_requests(&self) -> Box<dyn Iterator<Item = &Arc<TargetGroup>> + '_> {
        match &self.0 {
            Kind::One(group) => Box::new(std::iter::once(group)),
            Kind::Weighted(weighted) => {
                let some = weighted.groups.iter().filter(|weight| weight.weight > 0);
                Box::new(some.map(|weight| &weight.group))
            }
        }
    }

    /// The target whose turn it is, claimed. Else the group that has none, if one was chosen: as on ALB another group does
    /// not step in.
    pub(crate) fn pick(&self, asking: &Asking<'_>) -> Result<InFlight, Option<Arc<TargetGroup>>> {
        match &self.0 {
            Kind::One(group) => group.pick(asking).ok_or_else(|| Some(Arc::clone(group))),
            Kind::Weighted(weighted) => {
                let chosen = weighted.choose(asking).ok_or(None)?;
                let claim = chosen.group.pick(asking).ok_or_else(|| Some(Arc::clone(&chosen.group)))?;
                Ok(match &chosen.cookies {
                    Some(cookies) => claim.with_group_cookies(Arc::clone(cookies)),
                    None => claim,
                })
            }
        }
    }
}

impl Weighted {
    fn choose(&self, asking: &Asking<'_>) -> Option<&Weight> {
        let turns = self.turns.as_ref()?;
        if self.sticky
            && let Some(token) = Token::in_cookie(asking.headers, COOKIE)
            && let Some(bound) = self.groups.iter().find(|weight| weight.token == token && weight.weight > 0)
        {
            return Some(bound);
        }
        self.groups.get(turns.at(self.turn.fetch_add(1, Ordering::Relaxed)))
    }
}
