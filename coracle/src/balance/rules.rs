//! Conditions and actions in the file. They name target groups; what they name is looked up when the file is applied.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use coracle_balancer::{
    Action, Condition, ConfigError, FixedResponse, Forward, Redirect, Routes, Rule, TargetGroup,
};

use super::config::{GroupConfig, ListenerFile, number, refused, required, seconds};
use crate::compose::ComposeError;
use crate::compose::reader::Field;

#[derive(Debug, Clone)]
pub(super) struct RuleConfig {
    priority: u32,
    conditions: Vec<Condition>,
    action: ActionConfig,
}

#[derive(Debug, Clone)]
pub(super) enum ActionConfig {
    Forward { groups: Vec<(String, u32)>, stickiness: Option<Duration> },
    Redirect(Redirect),
    FixedResponse(FixedResponse),
}

const CONDITIONS: [&str; 6] =
    ["host-header", "path-pattern", "http-header", "http-request-method", "query-string", "source-ip"];
const ACTIONS: [&str; 3] = ["forward", "redirect", "fixed-response"];

impl RuleConfig {
    pub(super) fn parse(
        field: &Field<'_>,
        groups: &BTreeMap<String, GroupConfig>,
    ) -> Result<Self, ComposeError> {
        let (mut priority, mut conditions, mut action) = (None, Vec::new(), None);
        for (key, value) in field.settings()? {
            match key {
                "priority" => priority = Some(number(&value, 1, 50_000)?),
                "conditions" => {
                    for item in value.items()? {
                        for (kind, values) in item.settings()? {
                            conditions.push(condition(kind, &values)?);
                        }
                    }
                }
                "action" => action = Some(ActionConfig::parse(&value, groups)?),
                _ => return Err(value.unsupported(&["priority", "conditions", "action"])),
            }
        }
        let rule = Self {
            priority: required(field, "priority", priority)?,
            conditions,
            action: required(field, "action", action)?,
        };
        // What conditions only show together, such as their number.
        let fixed = FixedResponse::new(200, None, "").map_err(|error| refused(field, &error))?;
        Rule::new(rule.priority, rule.conditions.clone(), Action::FixedResponse(fixed))
            .map_err(|error| refused(field, &error))?;
        Ok(rule)
    }
}

/// One value, or a list of them.
fn strings(field: &Field<'_>) -> Result<Vec<String>, ComposeError> {
    if field.is_list() {
        field.items()?.iter().map(Field::string).collect()
    } else {
        Ok(vec![field.string()?])
    }
}

fn condition(kind: &str, field: &Field<'_>) -> Result<Condition, ComposeError> {
    let plain = |make: fn(&[&str]) -> Result<Condition, ConfigError>| {
        let values = strings(field)?;
        let values: Vec<_> = values.iter().map(String::as_str).collect();
        make(&values).map_err(|error| refused(field, &error))
    };
    match kind {
        "host-header" => plain(|values| Condition::host_header(values.iter().copied())),
        "path-pattern" => plain(|values| Condition::path_pattern(values.iter().copied())),
        "http-request-method" => plain(|values| Condition::http_request_method(values.iter().copied())),
        "source-ip" => plain(|values| Condition::source_ip(values.iter().copied())),
        "http-header" => {
            let (mut name, mut values) = (None, None);
            for (key, value) in field.settings()? {
                match key {
                    "name" => name = Some(value.string()?),
                    "values" => values = Some(strings(&value)?),
                    _ => return Err(value.unsupported(&["name", "values"])),
                }
            }
            let (name, values) = (required(field, "name", name)?, required(field, "values", values)?);
            Condition::http_header(&name, values.iter().map(String::as_str))
                .map_err(|error| refused(field, &error))
        }
        "query-string" => {
            let items = if field.is_list() { field.items()? } else { vec![field.clone()] };
            let pairs = items.iter().map(parameter).collect::<Result<Vec<_>, _>>()?;
            Condition::query_string(pairs.iter().map(|(key, value)| (key.as_deref(), value.as_str())))
                .map_err(|error| refused(field, &error))
        }
        _ => Err(field.unsupported(&CONDITIONS)),
    }
}

fn parameter(field: &Field<'_>) -> Result<(Option<String>, String), ComposeError> {
    if !field.is_map() {
        return Ok((None, field.string()?));
    }
    let (mut key, mut value) = (None, None);
    for (name, field) in field.settings()? {
        match name {
            "key" => key = Some(field.string()?),
            "value" => value = Some(field.string()?),
            _ => return Err(field.unsupported(&["key", "value"])),
        }
    }
    Ok((key, required(field, "value", value)?))
}

impl ActionConfig {
    pub(super) fn parse(
        field: &Field<'_>,
        groups: &BTreeMap<String, GroupConfig>,
    ) -> Result<Self, ComposeError> {
        let settings = field.settings()?;
        let [(kind, value)] = &settings[..] else {
            return Err(field.error(format!("exactly one of {} is expected", ACTIONS.join(", "))));
        };
        match *kind {
            "forward" => forward(value, groups),
            "redirect" => redirect(value),
            "fixed-response" => fixed_response(value),
            _ => Err(value.unsupported(&ACTIONS)),
        }
    }

    fn action(&self, groups: &HashMap<String, Arc<TargetGroup>>) -> Result<Action, ConfigError> {
        let named = |name: &String| Arc::clone(&groups[name]);
        Ok(match self {
            Self::Forward { groups, stickiness: None } if groups.len() == 1 => named(&groups[0].0).into(),
            Self::Forward { groups, stickiness } => {
                let groups = groups.iter().map(|(name, weight)| (named(name), *weight)).collect();
                Action::Forward(Forward::weighted(groups, *stickiness)?)
            }
            Self::Redirect(redirect) => Action::Redirect(redirect.clone()),
            Self::FixedResponse(fixed) => Action::FixedResponse(fixed.clone()),
        })
    }
}

fn forward(field: &Field<'_>, groups: &BTreeMap<String, GroupConfig>) -> Result<ActionConfig, ComposeError> {
    let known = |field: &Field<'_>, name: &str| {
        let names = groups.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let message = || format!("{name:?} is not one of the target groups: {names}");
        groups.contains_key(name).then(|| name.to_owned()).ok_or_else(|| field.error(message()))
    };
    if !field.is_map() {
        let name = field.string()?;
        return Ok(ActionConfig::Forward { groups: vec![(known(field, &name)?, 1)], stickiness: None });
    }
    let (mut weighted, mut stickiness) = (Vec::new(), None);
    for (key, value) in field.settings()? {
        match key {
            "targetGroups" => {
                for (name, weight) in value.entries()? {
                    weighted.push((known(&weight, name)?, number(&weight, 0, 999)?));
                }
                if !(1..=5).contains(&weighted.len()) {
                    return Err(value.error("1 to 5 target groups are expected"));
                }
            }
            "stickiness" => {
                let duration = seconds(&value)?;
                if !(1..=604_800).contains(&duration.as_secs()) {
                    return Err(value.error("seconds from 1 to 604800 are expected"));
                }
                stickiness = Some(duration);
            }
            _ => return Err(value.unsupported(&["targetGroups", "stickiness"])),
        }
    }
    if weighted.is_empty() {
        return Err(field.error("targetGroups is missing"));
    }
    Ok(ActionConfig::Forward { groups: weighted, stickiness })
}

fn redirect(field: &Field<'_>) -> Result<ActionConfig, ComposeError> {
    let (mut status, mut parts) = ("HTTP_302".to_owned(), Vec::new());
    for (key, value) in field.settings()? {
        let part = match key {
            "statusCode" => {
                status = value.string()?;
                continue;
            }
            "protocol" => "Protocol",
            "host" => "Host",
            "port" => "Port",
            "path" => "Path",
            "query" => "Query",
            _ => {
                let supported = ["statusCode", "protocol", "host", "port", "path", "query"];
                return Err(value.unsupported(&supported));
            }
        };
        parts.push((part, value.string()?));
    }
    Redirect::new(&status, parts.iter().map(|(part, value)| (*part, value.as_str())))
        .map(ActionConfig::Redirect)
        .map_err(|error| refused(field, &error))
}

fn fixed_response(field: &Field<'_>) -> Result<ActionConfig, ComposeError> {
    let (mut status, mut content_type, mut body) = (None, None, String::new());
    for (key, value) in field.settings()? {
        match key {
            "statusCode" => status = Some(number(&value, 200, 599)?),
            "contentType" => content_type = Some(value.string()?),
            "messageBody" => body = value.string()?,
            _ => return Err(value.unsupported(&["statusCode", "contentType", "messageBody"])),
        }
    }
    let status = required(field, "statusCode", status)?;
    let status = u16::try_from(status).map_err(|_| field.error("statusCode is too large"))?;
    FixedResponse::new(status, content_type.as_deref(), &body)
        .map(ActionConfig::FixedResponse)
        .map_err(|error| refused(field, &error))
}

impl ListenerFile {
    /// What the balancer is to route by.
    pub(super) fn routes(&self, groups: &HashMap<String, Arc<TargetGroup>>) -> Result<Routes, ConfigError> {
        let rule = |rule: &RuleConfig| {
            Rule::new(rule.priority, rule.conditions.clone(), rule.action.action(groups)?)
        };
        let rules = self.rules.iter().map(rule).collect::<Result<Vec<_>, _>>()?;
        Routes::new(rules, self.default.action(groups)?)
    }

    pub(super) fn check(&self, field: &Field<'_>) -> Result<(), ComposeError> {
        let fixed = || FixedResponse::new(200, None, "").map(Action::FixedResponse);
        let rule = |rule: &RuleConfig| Rule::new(rule.priority, rule.conditions.clone(), fixed()?);
        let rules = self.rules.iter().map(rule).collect::<Result<Vec<_>, _>>();
        rules.and_then(|rules| Routes::new(rules, fixed()?)).map(drop).map_err(|error| refused(field, &error))
    }
}
