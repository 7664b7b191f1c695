//! Child processes: short ones whose output is wanted, long ones that write a log.
//!
//! A long child leads a process group of its own, so that an interrupt ends all it started.

use crate::{interrupt, ui};
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How many lines of a log are shown when its command failed.
const TAIL: usize = 40;
/// How long an interrupted child may take to end by itself.
const GRACE: Duration = Duration::from_secs(15);

/// Runs a short command and gives its standard output.
pub fn capture(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{} failed ({}): {}",
            describe(command),
            output.status,
            stderr.trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a short command succeeds; its output is of no interest.
pub fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs a long command under a spinner; its output goes to `log`, whose end is shown on failure.
pub fn logged(title: &str, log: &Path, command: &mut Command) -> Result<Duration> {
    let mut step = ui::Step::start(title);
    match logged_in(&mut step, log, command) {
        Ok(status) if status.success() => Ok(step.done()),
        Ok(status) => {
            step.failed();
            show_tail(log, TAIL);
            bail!(
                "{} failed ({status}); full log: {}",
                describe(command),
                log.display()
            );
        }
        Err(error) => {
            step.failed();
            Err(error)
        }
    }
}

/// Runs a long command within a step that someone else began and will end.
pub fn logged_in(step: &mut ui::Step, log: &Path, command: &mut Command) -> Result<ExitStatus> {
    interrupt::check()?;
    if let Some(folder) = log.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let child = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    wait(child, || step.progress(&last_line(log)))
}

/// Waits for a child that leads its own process group; ends the group on an interrupt.
fn wait(mut child: Child, mut tick: impl FnMut()) -> Result<ExitStatus> {
    let mut ticks = 0_u32;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if interrupt::requested() {
            end_group(&mut child)?;
            bail!("interrupted");
        }
        if ticks.is_multiple_of(10) {
            tick();
        }
        ticks = ticks.wrapping_add(1);
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn end_group(child: &mut Child) -> Result<()> {
    let group = Pid::from_child(child);
    // A group that is already gone is what we want.
    let _ = kill_process_group(group, Signal::TERM);
    let asked = Instant::now();
    while child.try_wait()?.is_none() {
        if asked.elapsed() > GRACE {
            let _ = kill_process_group(group, Signal::KILL);
            child.wait()?;
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Prints the last lines of a log to stderr, indented.
pub fn show_tail(log: &Path, lines: usize) {
    let Ok(text) = std::fs::read(log) else { return };
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    for line in &all[all.len().saturating_sub(lines)..] {
        eprintln!("    {line}");
    }
}

fn last_line(log: &Path) -> String {
    use std::io::{Read, Seek, SeekFrom};
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(1000)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let line = text
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default();
    line.trim()
        .chars()
        .filter(|c| !c.is_control())
        .take(120)
        .collect()
}

/// A command line as one would type it.
pub fn describe(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| part.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}
