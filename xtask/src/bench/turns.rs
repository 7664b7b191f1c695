//! A run of the benchmark: systems in turn, each in a fresh database.

use super::results::Results;
use super::server::Server;
use super::system::{FULL, System, UNAUDITED};
use crate::interrupt;
use crate::ui::{self, Step};
use anyhow::{Context, Result};
use postgres::Client;

/// The database in which a round takes place.
const ROUND: &str = "bench";

/// Where is measured, what, and what came out so far.
pub struct Bench {
    pub server: Server,
    pub systems: Vec<System>,
    pub rounds: u32,
    pub results: Results,
}

impl Bench {
    /// The systems of the workloads that peers have no part in. Of our modes the dearer one.
    pub fn unaudited_and_full(&self) -> Vec<System> {
        let part = |system: &&System| system.name == UNAUDITED || system.name == FULL;
        self.systems.iter().filter(part).cloned().collect()
    }

    /// Our dearer mode, for workloads that are about pg_attest alone; says so where it is not among the systems.
    pub fn full(&self, workload: &str) -> Option<System> {
        let full = self.systems.iter().find(|system| system.name == FULL);
        if full.is_none() {
            ui::note(&format!(
                "({workload}) is about {FULL}, which is not among the systems"
            ));
        }
        full.cloned()
    }

    /// Calls `measure` for each system in each round. Every round begins with another system.
    pub fn in_turn(
        &mut self,
        step: &mut Step,
        mut measure: impl FnMut(&mut Self, &System) -> Result<()>,
    ) -> Result<()> {
        let mut systems = self.systems.clone();
        for round in 1..=self.rounds {
            for system in &systems {
                interrupt::check()?;
                step.progress(&format!(
                    "round {round} of {}: {}",
                    self.rounds, system.name
                ));
                measure(self, system).with_context(|| format!("measuring {}", system.name))?;
            }
            systems.rotate_left(1);
        }
        Ok(())
    }

    /// Makes a template database for each system. `schema` makes the tables, and `tables` are
    /// the qualified names of those that are attached.
    pub fn build_templates(
        &mut self,
        step: &mut Step,
        schema: &str,
        tables: &[&str],
    ) -> Result<()> {
        for system in &self.systems {
            interrupt::check()?;
            step.progress(&format!("setting up {}", system.name));
            let name = template(system);
            self.server.copy("template0", &name)?;
            self.server
                .session(&name)?
                .batch_execute(schema)
                .context("cannot make the workload's tables")?;
            self.server.attach(&name, system, tables)?;
        }
        Ok(())
    }

    pub fn drop_templates(&mut self) -> Result<()> {
        self.server.drop(ROUND)?;
        for system in &self.systems {
            self.server.drop(&template(system))?;
        }
        Ok(())
    }

    /// A session in a fresh copy of a system's template, right after a checkpoint.
    pub fn fresh(&mut self, system: &System) -> Result<Client> {
        self.server.copy(&template(system), ROUND)?;
        let client = self.server.session(ROUND)?;
        self.server.checkpoint()?;
        Ok(client)
    }
}

fn template(system: &System) -> String {
    format!("template {}", system.name)
}
