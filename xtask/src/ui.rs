//! What a person sees while something takes long: a spinner on a terminal, plain lines elsewhere.
//! Everything goes to stderr; stdout is for results.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Without a terminal, a step that still runs says so this often.
const HEARTBEAT: Duration = Duration::from_mins(1);

/// One announced piece of work. It failed unless [`Step::done`] says otherwise.
pub struct Step {
    title: String,
    started: Instant,
    bar: Option<ProgressBar>,
    last_beat: Instant,
    ended: bool,
}

impl Step {
    pub fn start(title: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template(
                "{spinner:.cyan} {prefix} {elapsed:.dim}  {wide_msg:.dim}",
            ) {
                bar.set_style(style);
            }
            bar.set_prefix(title.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if bar.is_none() {
            eprintln!("… {title}");
        }
        let now = Instant::now();
        Self {
            title: title.to_owned(),
            started: now,
            bar,
            last_beat: now,
            ended: false,
        }
    }

    /// Shows what the work is doing right now.
    pub fn progress(&mut self, message: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(message.to_owned()),
            None if self.last_beat.elapsed() >= HEARTBEAT => {
                self.last_beat = Instant::now();
                let time = seconds(self.started.elapsed());
                eprintln!("  {} still runs after {time}: {message}", self.title);
            }
            None => {}
        }
    }

    pub fn done(mut self) -> Duration {
        self.end("✓")
    }

    pub fn failed(mut self) -> Duration {
        self.end("✗")
    }

    fn end(&mut self, mark: &str) -> Duration {
        self.ended = true;
        let elapsed = self.started.elapsed();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        eprintln!("{mark} {} ({})", self.title, seconds(elapsed));
        elapsed
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.ended {
            self.end("✗");
        }
    }
}

/// A duration as people say it: `0.4 s`, `12 s`, `3 min 20 s`.
pub fn seconds(duration: Duration) -> String {
    let whole = duration.as_secs();
    if whole < 10 {
        format!("{:.1} s", duration.as_secs_f64())
    } else if whole < 120 {
        format!("{whole} s")
    } else {
        format!("{} min {:02} s", whole / 60, whole % 60)
    }
}

pub fn note(text: &str) {
    eprintln!("  {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_naturally() {
        assert_eq!(seconds(Duration::from_millis(420)), "0.4 s");
        assert_eq!(seconds(Duration::from_secs(42)), "42 s");
        assert_eq!(seconds(Duration::from_secs(200)), "3 min 20 s");
    }
}
