//! Waiting for a condition, with a deadline. There is no other waiting in these tests.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Longest wait for something that normally takes well under a second.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Asks `condition` again and again until it yields a value; fails after [`PATIENCE`].
///
/// # Errors
/// The condition's own error, or that `what` did not come true in time.
pub fn wait_until<T>(what: &str, mut condition: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        if started.elapsed() > PATIENCE {
            bail!("waited {} s for {what}, in vain", PATIENCE.as_secs());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}
