//! Small values of Compose's own notation.

use std::{path::Path, time::Duration};

const MIB: f64 = 1024.0 * 1024.0;

/// `1.5` processors as ECS's units, of which 1024 are a core.
pub(super) fn cpus(text: &str) -> Result<u32, String> {
    let wanted = || format!("a number of cores from 0.125 to 192 is expected, such as 0.25, not {text:?}");
    let cores: f64 = text.parse().map_err(|_| wanted())?;
    // ECS's range for a task.
    if !(0.125..=192.0).contains(&cores) {
        return Err(wanted());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 128 to 196608, see above"
    )]
    Ok((cores * 1024.0).round() as u32)
}

/// `64M`, `0.5gb` or a number of bytes, as whole MiB, rounded up.
pub(super) fn memory(text: &str) -> Result<u32, String> {
    let wanted = || format!("an amount of memory is expected, such as 64M or 1G, not {text:?}");
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| wanted())?;
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0 / MIB,
        "k" | "kb" | "ki" | "kib" => 1.0 / 1024.0,
        "m" | "mb" | "mi" | "mib" => 1.0,
        "g" | "gb" | "gi" | "gib" => 1024.0,
        _ => return Err(wanted()),
    };
    let mib = (number * factor).ceil();
    // ECS's least for a container.
    if !(6.0..=f64::from(u32::MAX)).contains(&mib) {
        return Err(format!("at least 6M of memory are expected, not {text:?}"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    Ok(mib as u32)
}

/// `1m30s`, `500ms` and the like.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wanted = || format!("a duration is expected, such as 30s or 1m30s, not {text:?}");
    let (mut total, mut rest) = (Duration::ZERO, text);
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wanted)?;
        let (number, after) = rest.split_at(unit_at);
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let seconds = match unit {
            "us" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wanted()),
        };
        let number: f64 = number.parse().map_err(|_| wanted())?;
        total += Duration::try_from_secs_f64(number * seconds).map_err(|_| wanted())?;
        rest = next;
    }
    if text.is_empty() { Err(wanted()) } else { Ok(total) }
}

/// How many tasks a service may have: ECS's own quota.
pub(super) fn replicas(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(count) if count <= crate::MAX_REPLICAS => Ok(count),
        _ => Err(format!("a number from 0 to {} is expected, not {text:?}", crate::MAX_REPLICAS)),
    }
}

/// A name that may be a cluster's.
pub(super) fn project_name(text: &str) -> Result<String, String> {
    let valid = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.len() <= 200
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_');
    valid.then(|| text.to_owned()).ok_or_else(|| {
        format!("a project's name has lower-case letters, digits, - and _, and starts with a letter or digit; not {text:?}")
    })
}

/// A project without a name has its directory's, without what a name may not have.
pub(super) fn project_name_of(directory: &Path) -> Result<String, String> {
    let base = directory.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let kept: String = base
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-' || *c == '_')
        .collect();
    project_name(kept.trim_start_matches(['-', '_'])).map_err(|_| {
        format!("the directory {} gives no project name; add `name:` to the file", directory.display())
    })
}

/// ECS's rule for the names of services and containers.
pub(super) fn service_name(text: &str) -> Result<String, String> {
    let valid = (1..=200).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    valid
        .then(|| text.to_owned())
        .ok_or_else(|| "a service's name has up to 200 letters, digits, - and _".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_become_units_of_ecs() {
        let table =
            [("0.25", Ok(256)), ("1", Ok(1024)), ("1.5", Ok(1536)), ("0.125", Ok(128)), ("192", Ok(196_608))];
        for (text, units) in table {
            assert_eq!(cpus(text), units, "{text}");
        }
        for text in ["0", "0.1", "-1", "1e9", "NaN", "inf", "half", ""] {
            assert!(cpus(text).is_err(), "{text}");
        }
    }

    #[test]
    fn memory_is_rounded_up_to_whole_mebibytes() {
        let table = [
            ("64M", 64),
            ("64mb", 64),
            ("64MiB", 64),
            ("1g", 1024),
            ("0.5G", 512),
            ("10485761", 11),
            ("10000k", 10),
        ];
        for (text, mib) in table {
            assert_eq!(memory(text), Ok(mib), "{text}");
        }
        for text in ["", "0", "M", "-1M", "64X", "1e30G", "64 apples", "5M", "1"] {
            assert!(memory(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_have_units() {
        let table = [("30s", 30_000), ("1m30s", 90_000), ("500ms", 500), ("1.5s", 1500), ("2h", 7_200_000)];
        for (text, millis) in table {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "30", "s", "30 s", "1d", "-1s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_directory_s_name_is_made_a_project_s() {
        for (directory, name) in [("/a/shop", "shop"), ("/a/My Shop.v2", "myshopv2"), ("/a/_x", "x")] {
            assert_eq!(project_name_of(Path::new(directory)).as_deref(), Ok(name));
        }
        assert!(project_name_of(Path::new("/")).is_err());
        assert!(project_name_of(Path::new("/ü")).is_err());
    }

    #[test]
    fn replicas_are_bounded() {
        assert_eq!((replicas("0"), replicas("5000")), (Ok(0), Ok(5000)));
        for text in ["-1", "5001", "1000000000", "1.5", "many"] {
            assert!(replicas(text).is_err(), "{text}");
        }
    }
}
