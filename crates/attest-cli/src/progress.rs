//! Progress on stderr, where a person watches: never in a pipe or a file.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;

/// A bar that counts leaves.
pub struct Progress(ProgressBar);

impl Progress {
    pub fn new(what: &'static str, total: u64) -> Self {
        let bar = ProgressBar::new(total);
        if !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let style = "{msg} [{bar:30}] {human_pos}/{human_len} events, {per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what);
        Self(bar)
    }

    /// Something of unknown length.
    pub fn spinner(what: &'static str) -> Self {
        let bar = ProgressBar::new_spinner();
        if std::io::stderr().is_terminal() {
            bar.enable_steady_tick(std::time::Duration::from_millis(120));
        } else {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        bar.set_message(what);
        Self(bar)
    }

    pub fn advance(&self, leaves: u64) {
        self.0.inc(leaves);
    }

    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}
