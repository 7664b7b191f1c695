//! The machine under the figures, as far as Linux tells.

use std::fs;

/// The machine's memory in MB; none where there is no /proc.
pub fn memory_mb() -> Option<u64> {
    field("/proc/meminfo", "MemTotal:")?
        .split(' ')
        .next()?
        .parse()
        .ok()
        .map(|kilobytes: u64| kilobytes / 1024)
}

/// In one line: processor, cores, memory, kernel.
pub fn describe() -> String {
    let processor =
        field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".into());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = memory_mb().map_or("unknown".into(), |megabytes| {
        format!("{} GB", (megabytes + 512) / 1024)
    });
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{processor}, {cores} cores, {memory} of memory, {} {}",
        std::env::consts::OS,
        kernel.trim()
    )
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim_start_matches([' ', '\t', ':']).trim().to_owned())
}
