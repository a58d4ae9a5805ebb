//! CPU and memory sizes of tasks: the texts ECS accepts, and the combinations Fargate has.

use crate::error::OperationError;

/// CPU units in a core.
pub const UNITS_PER_VCPU: u32 = 1024;
/// Smallest and largest task-level cpu: "between 128 CPU units (0.125 vCPUs) and 196608 CPU units (192 vCPUs)".
const CPU_RANGE: std::ops::RangeInclusive<u32> = 128..=196_608;

/// CPU units from "256", "0.25 vCPU" or ".25vcpu".
pub(crate) fn parse_cpu(text: &str) -> Result<u32, OperationError> {
    let refuse = || {
        OperationError::client(format!(
            "Invalid 'cpu' setting for task: {text:?}. It must be CPU units between {} and {}, such as \"256\", or vCPUs, such as \"0.25 vCPU\".",
            CPU_RANGE.start(),
            CPU_RANGE.end()
        ))
    };
    let units = scaled(text, &[("vcpu", UNITS_PER_VCPU)]).ok_or_else(refuse)?;
    if CPU_RANGE.contains(&units) { Ok(units) } else { Err(refuse()) }
}

/// MiB from "512", "1 GB" or "0.5gb".
pub(crate) fn parse_memory(text: &str) -> Result<u32, OperationError> {
    scaled(text, &[("gb", 1024), ("mb", 1), ("mib", 1), ("gib", 1024)]).filter(|mib| *mib >= MINIMUM_MEMORY_MIB).ok_or_else(
        || {
            OperationError::client(format!(
                "Invalid 'memory' setting for task: {text:?}. It must be MiB of at least {MINIMUM_MEMORY_MIB}, such as \"512\", or GB, such as \"0.5 GB\"."
            ))
        },
    )
}

/// "The Docker daemon reserves a minimum of 6 MiB of memory for a container. So, don't specify less than 6 MiB".
pub(crate) const MINIMUM_MEMORY_MIB: u32 = 6;

/// A plain integer, or a decimal number with one of `units` after it.
fn scaled(text: &str, units: &[(&str, u32)]) -> Option<u32> {
    let text = text.trim().to_ascii_lowercase();
    if let Ok(plain) = text.parse::<u32>() {
        return Some(plain);
    }
    let (number, scale) =
        units.iter().find_map(|(unit, scale)| Some((text.strip_suffix(unit)?.trim(), *scale)))?;
    let value = number.parse::<f64>().ok()? * f64::from(scale);
    (value.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&value)).then(|| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be a whole number in range"
        )]
        let whole = value as u32;
        whole
    })
}

/// Whether Fargate has a size of `cpu` units and `memory` MiB.
pub(crate) fn is_fargate_size(cpu: u32, memory: u32) -> bool {
    let (smallest, largest, step) = match cpu {
        256 => return [512, 1024, 2048].contains(&memory),
        512 => (1024, 4096, 1024),
        1024 => (2048, 8192, 1024),
        2048 => (4096, 16_384, 1024),
        4096 => (8192, 30_720, 1024),
        8192 => (16_384, 61_440, 4096),
        16_384 => (32_768, 122_880, 8192),
        _ => return false,
    };
    (smallest..=largest).contains(&memory) && (memory - smallest).is_multiple_of(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_every_form_that_ecs_accepts() {
        for (text, units) in
            [("256", 256), ("0.25 vCPU", 256), (".25vcpu", 256), ("1 vCPU", 1024), (" 2vCPU ", 2048)]
        {
            assert_eq!(parse_cpu(text).unwrap(), units, "{text}");
        }
        for (text, mib) in [("512", 512), ("1GB", 1024), ("0.5 GB", 512), ("30 gb", 30_720), ("6", 6)] {
            assert_eq!(parse_memory(text).unwrap(), mib, "{text}");
        }
    }

    #[test]
    fn sizes_that_are_no_sizes_are_refused() {
        for text in
            ["", "x", "-1", "0", "127", "196609", "0.0001 vCPU", "vCPU", "1e99 vCPU", "NaN vCPU", "inf vCPU"]
        {
            assert!(parse_cpu(text).is_err(), "{text}");
        }
        for text in ["", "-1", "5", "one GB", "99999999999", "NaN GB"] {
            assert!(parse_memory(text).is_err(), "{text}");
        }
    }

    #[test]
    fn fargate_sizes_are_the_table_of_the_guide() {
        for (cpu, memory) in
            [(256, 512), (512, 4096), (1024, 3072), (4096, 30_720), (8192, 20_480), (16_384, 122_880)]
        {
            assert!(is_fargate_size(cpu, memory), "{cpu}/{memory}");
        }
        for (cpu, memory) in [
            (256, 1536),
            (256, 3072),
            (512, 512),
            (1024, 2560),
            (8192, 17_408),
            (300, 512),
            (16_384, 131_072),
        ] {
            assert!(!is_fargate_size(cpu, memory), "{cpu}/{memory}");
        }
    }
}
