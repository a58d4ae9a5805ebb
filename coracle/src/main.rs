//! The `coracle` command. All it can do is in the library and in `cli`.

mod cli;

/// A request makes some fifty small allocations in its guest's host functions, which the system's allocator spends a tenth of the
/// request on. Without huge pages: one for each thread's first allocation is a millisecond of zeroing before the first answer. The library leaves the choice to the program that it is part of.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
