//! Target groups and their targets as Prometheus reads them (text format 0.0.4).

use std::fmt::Write as _;
use std::sync::Arc;

use crate::target_group::BOUNDS;
use crate::{TargetDescription, TargetGroup, TargetState};

/// Everything that is counted of these groups. Latencies are of groups with `coracle.metrics.latency.enabled` only.
pub fn prometheus(groups: &[Arc<TargetGroup>]) -> String {
    let groups: Vec<_> = groups.iter().map(|group| (group.name(), group.targets())).collect();
    let mut text = Text(String::new());
    text.by_state(&groups);
    let numbers: [(&str, &str, &str, Number); 6] = [
        ("requests_total", "counter", "Requests given to the target.", |target| target.counters.requests),
        ("requests_in_flight", "gauge", "Requests it has now.", |target| target.counters.in_flight),
        ("failures_total", "counter", "Requests it did not answer.", |target| target.counters.failures),
        ("retries_total", "counter", "Requests that had reached another target before.", |target| {
            target.counters.retries
        }),
        ("ejections_total", "counter", "Times it was set aside for failing.", |target| {
            target.ejections.into()
        }),
        ("ejected", "gauge", "1 while it is set aside for failing.", |target| target.ejected.into()),
    ];
    for (name, kind, help, value) in numbers {
        text.head(name, kind, help);
        for_each(&groups, |group, target| text.sample(name, &[group, target.id.as_str()], value(target)));
    }
    text.responses(&groups);
    text.latencies(&groups);
    text.0
}

/// One number of a target.
type Number = fn(&TargetDescription) -> u64;

type Groups<'a> = [(&'a str, Vec<TargetDescription>)];

fn for_each(groups: &Groups<'_>, mut each: impl FnMut(&str, &TargetDescription)) {
    for (group, targets) in groups {
        targets.iter().for_each(|target| each(group, target));
    }
}

const LABELS: [&str; 2] = ["target_group", "target"];

struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP coracle_target_{name} {help}"));
        self.line(format_args!("# TYPE coracle_target_{name} {kind}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        writeln!(self.0, "{line}").ok();
    }

    fn sample(&mut self, name: &str, values: &[&str], value: u64) {
        self.labelled(name, &LABELS, values, &value.to_string());
    }

    fn labelled(&mut self, name: &str, labels: &[&str], values: &[&str], value: &str) {
        let pairs = labels.iter().zip(values).map(|(label, value)| format!("{label}=\"{}\"", escaped(value)));
        let pairs = pairs.collect::<Vec<_>>().join(",");
        self.line(format_args!("coracle_target_{name}{{{pairs}}} {value}"));
    }

    fn by_state(&mut self, groups: &Groups<'_>) {
        let states = [
            TargetState::Initial,
            TargetState::Healthy,
            TargetState::Unhealthy,
            TargetState::Unused,
            TargetState::Draining,
            TargetState::Unavailable,
        ];
        self.line(format_args!("# HELP coracle_target_group_targets Targets of the group by state."));
        self.line(format_args!("# TYPE coracle_target_group_targets gauge"));
        for (group, targets) in groups {
            for state in states {
                let count = targets.iter().filter(|target| target.state == state).count();
                let group = escaped(group);
                self.line(format_args!(
                    "coracle_target_group_targets{{target_group=\"{group}\",state=\"{state}\"}} {count}"
                ));
            }
        }
    }

    fn responses(&mut self, groups: &Groups<'_>) {
        self.head("responses_total", "counter", "Answers it gave, by the class of their status.");
        for_each(groups, |group, target| {
            let counters = &target.counters;
            for (class, count) in [
                ("2xx", counters.responses_2xx),
                ("3xx", counters.responses_3xx),
                ("4xx", counters.responses_4xx),
                ("5xx", counters.responses_5xx),
            ] {
                let labels = [LABELS[0], LABELS[1], "code"];
                let values = [group, target.id.as_str(), class];
                self.labelled("responses_total", &labels, &values, &count.to_string());
            }
        });
    }

    fn latencies(&mut self, groups: &Groups<'_>) {
        let name = "response_seconds";
        self.head(name, "histogram", "Time from the request to the head of the answer.");
        for_each(groups, |group, target| {
            let (histogram, id) = (&target.latency, target.id.as_str());
            if histogram.count() == 0 {
                return;
            }
            let bounds = BOUNDS.iter().map(|bound| bound.as_secs_f64().to_string());
            let mut sum = 0;
            for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(histogram.counts) {
                sum += count;
                let labels = [LABELS[0], LABELS[1], "le"];
                self.labelled(&format!("{name}_bucket"), &labels, &[group, id, &bound], &sum.to_string());
            }
            let seconds = histogram.sum.as_secs_f64().to_string();
            self.labelled(&format!("{name}_sum"), &LABELS, &[group, id], &seconds);
            self.sample(&format!("{name}_count"), &[group, id], sum);
        });
    }
}

/// Of a label's value: "backslash, double-quote and line feed have to be escaped".
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n")
}
