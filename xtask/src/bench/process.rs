//! The memory of a server process, as Linux tells.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often a peak is looked for.
const INTERVAL: Duration = Duration::from_millis(5);

/// The private memory of a process in MB: neither shared buffers nor files. None where there is no
/// /proc.
pub fn private_mb(process: i32) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kilobytes / 1024.0)
}

/// Looks for the peak of a process's private memory until it is asked.
pub struct Peak {
    stop: Arc<AtomicBool>,
    sampler: JoinHandle<f64>,
}

impl Peak {
    pub fn watch(process: i32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let sampler = std::thread::spawn(move || {
            let mut peak = 0.0_f64;
            while !stopped.load(Ordering::Relaxed) {
                peak = peak.max(private_mb(process).unwrap_or(0.0));
                std::thread::sleep(INTERVAL);
            }
            peak
        });
        Self { stop, sampler }
    }

    /// The greatest value seen, in MB.
    pub fn end(self) -> f64 {
        self.stop.store(true, Ordering::Relaxed);
        // The sampler cannot panic; if it did, no memory was seen.
        self.sampler.join().unwrap_or(f64::NAN)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_peak_is_seen_after_it_is_gone() {
        let process = i32::try_from(std::process::id()).unwrap();
        let before = private_mb(process).unwrap();
        let peak = Peak::watch(process);
        let block = vec![1_u8; 64 << 20];
        std::thread::sleep(10 * INTERVAL);
        drop(std::hint::black_box(block));
        assert!(peak.end() > before + 60.0);
    }
}
