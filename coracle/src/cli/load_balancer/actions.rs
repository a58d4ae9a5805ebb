//! What becomes of requests: as typed, as the API has it, and in words.

use serde_json::{Value, json};

use super::{Client, Failure, target_group, text};
use crate::cli::args::ActionArgs;

/// The action that is asked for, if one is.
pub(super) async fn wanted(client: &Client, args: &ActionArgs) -> Result<Option<Value>, Failure> {
    if let Some(answer) = &args.fixed_response {
        let (code, body) = answer.split_once(':').unwrap_or((answer, ""));
        let config = json!({ "StatusCode": code, "MessageBody": body });
        return Ok(Some(json!({ "Type": "fixed-response", "FixedResponseConfig": config })));
    }
    if let Some(url) = &args.redirect {
        let mut config = parts(url);
        config["StatusCode"] = json!(if args.permanent { "HTTP_301" } else { "HTTP_302" });
        return Ok(Some(json!({ "Type": "redirect", "RedirectConfig": config })));
    }
    let mut groups = Vec::with_capacity(args.target_groups.len());
    for given in &args.target_groups {
        let (name, weight) = given.rsplit_once('=').unwrap_or((given, "1"));
        let weight: u32 = weight.parse().map_err(|_| {
            Failure::usage(format!(
                "--target-group: NAME or NAME=WEIGHT is expected, with a weight of 0 to 999, not {given:?}"
            ))
        })?;
        let arn = target_group::find(client, name).await?["TargetGroupArn"].take();
        groups.push(json!({ "TargetGroupArn": arn, "Weight": weight }));
    }
    Ok(match groups.as_mut_slice() {
        [] => None,
        [group] if group["Weight"] == 1 => {
            Some(json!({ "Type": "forward", "TargetGroupArn": group["TargetGroupArn"] }))
        }
        _ => Some(json!({ "Type": "forward", "ForwardConfig": { "TargetGroups": groups } })),
    })
}

/// The same where one must be.
pub(super) async fn required(client: &Client, args: &ActionArgs) -> Result<Value, Failure> {
    wanted(client, args)
        .await?
        .ok_or_else(|| Failure::usage("one of --target-group, --fixed-response and --redirect is required"))
}

/// `PROTOCOL://HOST[:PORT]/PATH[?QUERY]`, of which each part may be left out.
fn parts(url: &str) -> Value {
    let mut parts = json!({});
    let rest = match url.split_once("://") {
        Some((protocol, rest)) => {
            let placeholder = protocol.starts_with('#');
            parts["Protocol"] =
                json!(if placeholder { protocol.to_owned() } else { protocol.to_uppercase() });
            rest
        }
        None => url,
    };
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
    let (authority, path) =
        rest.split_once('/').map_or((rest, None), |(authority, path)| (authority, Some(path)));
    let (host, port) =
        authority.rsplit_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
    if !host.is_empty() {
        parts["Host"] = json!(host);
    }
    for (name, part) in [
        ("Port", port.map(str::to_owned)),
        ("Path", path.map(|path| format!("/{path}"))),
        ("Query", query.map(str::to_owned)),
    ] {
        if let Some(part) = part {
            parts[name] = json!(part);
        }
    }
    parts
}

/// An action in words.
pub(super) fn described(action: &Value, groups: &target_group::Names) -> String {
    let name = |arn: &Value| {
        let arn = text(arn);
        groups.get(&arn).cloned().unwrap_or(arn)
    };
    match action["Type"].as_str() {
        Some("fixed-response") => format!("answer {}", text(&action["FixedResponseConfig"]["StatusCode"])),
        Some("redirect") => {
            let config = &action["RedirectConfig"];
            let part = |field: &str, otherwise: &str| config[field].as_str().unwrap_or(otherwise).to_owned();
            format!(
                "redirect to {}://{}:{}{}",
                part("Protocol", "#{protocol}").to_lowercase(),
                part("Host", "#{host}"),
                part("Port", "#{port}"),
                part("Path", "/#{path}")
            )
        }
        _ => match action["ForwardConfig"]["TargetGroups"].as_array() {
            Some(weighted) => {
                let weighted = weighted
                    .iter()
                    .map(|group| format!("{} {}", name(&group["TargetGroupArn"]), text(&group["Weight"])));
                weighted.collect::<Vec<_>>().join(", ")
            }
            None => name(&action["TargetGroupArn"]),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_to_go_to_is_taken_apart_and_placeholders_stay() {
        for (url, expected) in [
            (
                "https://#{host}:443/#{path}?#{query}",
                json!({ "Protocol": "HTTPS", "Host": "#{host}", "Port": "443", "Path": "/#{path}", "Query": "#{query}" }),
            ),
            (
                "#{protocol}://www.example.com",
                json!({ "Protocol": "#{protocol}", "Host": "www.example.com" }),
            ),
            ("/new", json!({ "Path": "/new" })),
            (":9090", json!({ "Port": "9090" })),
        ] {
            assert_eq!(parts(url), expected, "{url}");
        }
    }
}
