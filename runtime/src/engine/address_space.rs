//! How much address space the process has left: what pools are sized by.

/// What is left, in bytes; `None` where the system does not tell.
#[cfg(target_os = "linux")]
pub(super) fn left() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let Stat { mapped, stack } = Stat::parse(&stat)?;
    // The stack lies at its upper end: 128 TiB on x86-64; on aarch64 from 512 GiB to 256 TiB, as the kernel was built.
    let all = stack.checked_next_power_of_two()?;
    let limit = rustix::process::getrlimit(rustix::process::Resource::As).current.unwrap_or(all);
    Some(all.min(limit).saturating_sub(mapped))
}

/// macOS has 128 TiB as well, and nothing that tells cheaply what of it is used.
#[cfg(not(target_os = "linux"))]
pub(super) fn left() -> Option<u64> {
    None
}

/// What `/proc/self/stat` says of the address space.
#[cfg(target_os = "linux")]
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// Field 23: bytes that are mapped or reserved.
    mapped: u64,
    /// Field 28: where the main thread's stack begins.
    stack: u64,
}

#[cfg(target_os = "linux")]
impl Stat {
    fn parse(stat: &str) -> Option<Self> {
        // The second field is the program's name in parentheses, and may have spaces and parentheses of its own.
        let (_, rest) = stat.rsplit_once(") ")?;
        let field = |number: usize| rest.split_ascii_whitespace().nth(number - 3)?.parse::<u64>().ok();
        let stack = field(28).filter(|stack| *stack != 0)?;
        Some(Self { mapped: field(23)?, stack })
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_after_the_program_s_name_whatever_that_is() {
        let numbers: Vec<String> = (4..=52).map(|field| (field * 1000).to_string()).collect();
        for name in ["coracle", "a b", "a) R 1 (b"] {
            let stat = format!("17 ({name}) S {}\n", numbers.join(" "));
            assert_eq!(Stat::parse(&stat), Some(Stat { mapped: 23_000, stack: 28_000 }), "{name}");
        }
        for broken in ["", "17 (a", "17 (a) S 1 2 3", "17 (a) S x"] {
            assert_eq!(Stat::parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn what_is_reserved_is_not_left() {
        const RESERVED: usize = 1 << 40;
        let before = left().expect("Linux tells");
        // SAFETY: a new mapping at an address that the kernel chooses; nothing reads or writes it.
        let mapping = unsafe {
            let flags = rustix::mm::MapFlags::NORESERVE;
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                RESERVED,
                rustix::mm::ProtFlags::empty(),
                flags | rustix::mm::MapFlags::PRIVATE,
            )
        };
        let mapping = mapping.expect("there is room for a TiB");
        let after = left().expect("Linux tells");
        // SAFETY: it is the mapping that was just made, and nobody has a reference into it.
        unsafe { rustix::mm::munmap(mapping, RESERVED) }.expect("it is mapped");
        // Other tests map memory meanwhile, but not as much.
        let less = i128::from(before) - i128::from(after);
        assert!((1 << 39..1 << 41).contains(&less), "{before} - {after}");
    }
}
