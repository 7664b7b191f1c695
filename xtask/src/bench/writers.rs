//! Sessions that write at a steady pace while something else is measured, and how long each of their statements took.
//!
//! A time counts from when the statement was due: one that had to wait for another one before it has waited.

use super::server::Server;
use anyhow::{Result, anyhow};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two statements of a writer: what a server does beside them is measured, not how five processes share two cores.
const PACE: Duration = Duration::from_millis(10);

/// When a statement was due, and its milliseconds.
type Statement = (Instant, f64);

pub struct Writers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Vec<Statement>>>>,
}

impl Writers {
    /// Each repeats a statement with one parameter, an integer from 1 to `rows`, in autocommit.
    pub fn start(
        server: &Server,
        database: &str,
        count: u32,
        statement: &'static str,
        rows: i32,
    ) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for writer in 0..count {
            let mut client = server.session(database)?;
            let stop = Arc::clone(&stop);
            threads.push(std::thread::spawn(move || {
                let statement = client.prepare(statement)?;
                let mut all = Vec::new();
                let mut row = i32::try_from(writer)? * rows / i32::try_from(count)?;
                let mut due = Instant::now();
                while !stop.load(Ordering::Relaxed) {
                    row = (row + 7_919) % rows;
                    due += PACE;
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    client.execute(&statement, &[&(row + 1)])?;
                    all.push((due, due.elapsed().as_secs_f64() * 1e3));
                }
                Ok(all)
            }));
        }
        Ok(Self { stop, threads })
    }

    /// Ends them; gives all statements that succeeded, none of which may fail.
    pub fn end(self) -> Result<Vec<Statement>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for thread in self.threads {
            let statements = thread.join().map_err(|_| anyhow!("a writer panicked"))?;
            all.extend(statements?);
        }
        Ok(all)
    }
}
