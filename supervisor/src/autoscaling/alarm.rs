//! When an alarm is raised.

use super::step::Breach;
use crate::model::alarm::{Alarm, Comparison};

/// The breach of an alarm by the values of the last periods of 60 s, newest last: the last `evaluation_periods` values have at least
/// `datapoints_to_alarm` on the wrong side. Missing ones are on neither.
pub(super) fn breach(alarm: &Alarm, points: &[Option<f64>]) -> Option<Breach> {
    let minutes = usize::try_from(alarm.period / 60).unwrap_or(1).max(1);
    let mut values = Vec::new();
    for chunk in points.rchunks(minutes).take(alarm.evaluation_periods) {
        let known: Vec<f64> = chunk.iter().copied().flatten().collect();
        if let Some(value) = alarm.statistic.of(&known) {
            values.push(value);
        }
    }
    let wrong = |value: &f64| match alarm.comparison {
        Comparison::GreaterThanThreshold => *value > alarm.threshold,
        Comparison::GreaterThanOrEqualToThreshold => *value >= alarm.threshold,
        Comparison::LessThanThreshold => *value < alarm.threshold,
        Comparison::LessThanOrEqualToThreshold => *value <= alarm.threshold,
    };
    let breaching = values.iter().filter(|value| wrong(value)).count();
    (points.len() >= minutes * alarm.evaluation_periods && breaching >= alarm.datapoints_to_alarm)
        .then_some(Breach { alarm: alarm.name.clone(), points: values, threshold: alarm.threshold })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::alarm::Statistic;
    use crate::model::names::{ClusterName, ServiceName};
    use crate::model::scaling::Metric;

    fn alarm(evaluation_periods: usize, datapoints_to_alarm: usize) -> Alarm {
        Alarm {
            name: "high".to_owned(),
            metric: Metric::Cpu,
            description: None,
            cluster: ClusterName::parse("default").unwrap(),
            service: ServiceName::parse("web").unwrap(),
            comparison: Comparison::GreaterThanOrEqualToThreshold,
            threshold: 50.0,
            period: 60,
            evaluation_periods,
            datapoints_to_alarm,
            statistic: Statistic::Average,
            actions: Vec::new(),
            actions_enabled: true,
        }
    }

    #[test]
    fn m_of_n_periods_raise_it() {
        let points = [Some(60.0), Some(40.0), Some(50.0)];
        assert!(breach(&alarm(1, 1), &points).is_some(), "at the threshold counts here");
        assert!(breach(&alarm(3, 2), &points).is_some());
        assert!(breach(&alarm(3, 3), &points).is_none());
        assert!(breach(&alarm(4, 2), &points).is_none(), "not before so many periods have passed");
        assert!(breach(&alarm(1, 1), &[Some(60.0), None]).is_none(), "no data, no action");
    }

    #[test]
    fn longer_periods_are_made_of_minutes() {
        let mut alarm = alarm(1, 1);
        alarm.period = 120;
        assert!(breach(&alarm, &[Some(90.0), Some(30.0), Some(60.0)]).is_none(), "45 on average");
        alarm.statistic = Statistic::Maximum;
        assert!(breach(&alarm, &[Some(30.0), Some(60.0)]).is_some());
    }
}
