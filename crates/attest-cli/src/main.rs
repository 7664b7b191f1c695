//! `attest`: the log of `pg_attest` from outside the database.

mod archive;
mod args;
mod checkpoint_lines;
mod db;
mod export;
mod export_dir;
mod keys;
mod layout;
mod marked_lines;
mod progress;
mod report;
mod shown;
mod source;
mod time;
mod timestamp;
mod verify;
mod witness;

use args::{Args, Command};
use clap::Parser;
use std::process::ExitCode;

/// How the program ends. The numbers are part of the interface: see the help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Good = 0,
    /// What was looked at is not what it should be.
    Findings = 1,
    /// Usage, input, output, connection.
    Failed = 2,
    /// The log is not a continuation of what was seen before.
    Forked = 3,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = match &args.command {
        Command::Export(options) => options.run(),
        Command::Archive(options) => options.run(),
        Command::RestoreArchive(options) => options.run(),
        Command::Verify(options) => options.run(),
        Command::Witness(options) => options.run(),
        Command::Timestamp(options) => options.run(),
        Command::Keygen(options) => options.run(),
        Command::Report(options) => options.run(),
    };
    let outcome = result.unwrap_or_else(|error| {
        eprintln!("attest: {}", shown::Shown(&format!("{error:#}")));
        Outcome::Failed
    });
    ExitCode::from(outcome as u8)
}
