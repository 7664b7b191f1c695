//! A database per test, on the cluster that the binary's tests share, or a cluster of one's own.
//!
//! Invariant: a test sees no other test's objects; roles, which a cluster shares, are named after
//! the database ([`Database::role`]) and go with it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Result, anyhow};
use postgres::Client;

use crate::cluster::{Cluster, SUPERUSER};
use crate::sql::Sql;

/// A database with the extension in it; dropped with this value.
#[derive(Debug)]
pub struct Database<'a> {
    cluster: &'a Cluster,
    name: String,
    roles: Mutex<Vec<String>>,
}

impl<'a> Database<'a> {
    /// A new database with pg_attest installed.
    pub fn new(cluster: &'a Cluster) -> Result<Self> {
        let database = Self::empty(cluster)?;
        database.connect()?.run("CREATE EXTENSION pg_attest")?;
        Ok(database)
    }

    /// A new database without the extension, e.g. to restore into.
    pub fn empty(cluster: &'a Cluster) -> Result<Self> {
        Self::empty_in(cluster, "")
    }

    /// The same in another locale: options of CREATE DATABASE.
    pub fn empty_in(cluster: &'a Cluster, locale: &str) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let name = format!("db{}", COUNT.fetch_add(1, Ordering::Relaxed));
        cluster.connect("postgres", SUPERUSER)?.run(&format!(
            "CREATE DATABASE {name} TEMPLATE template0 {locale}"
        ))?;
        Ok(Self {
            cluster,
            name,
            roles: Mutex::default(),
        })
    }

    pub fn cluster(&self) -> &'a Cluster {
        self.cluster
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// A superuser's session.
    pub fn connect(&self) -> Result<Client> {
        self.cluster.connect(&self.name, SUPERUSER)
    }

    /// A session of `user`.
    pub fn connect_as(&self, user: &str) -> Result<Client> {
        self.cluster.connect(&self.name, user)
    }

    /// A new ordinary role that can log in, e.g. `alice_db7`; it may use and create in `public`.
    pub fn role(&self, name: &str) -> Result<String> {
        let role = format!("{name}_{}", self.name);
        self.connect()?.run(&format!(
            "CREATE ROLE {role} LOGIN; GRANT USAGE, CREATE ON SCHEMA public TO {role}"
        ))?;
        self.roles
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(role.clone());
        Ok(role)
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        // Errors have nowhere to go; the cluster is thrown away in any case.
        if let Ok(mut client) = self.cluster.connect("postgres", SUPERUSER) {
            let _ = client.run(&format!(
                "DROP DATABASE IF EXISTS {} WITH (FORCE)",
                self.name
            ));
            for role in self
                .roles
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .iter()
            {
                let _ = client.run(&format!("DROP ROLE IF EXISTS {role}"));
            }
        }
    }
}

/// The cluster that the tests of this binary share.
pub fn shared_cluster() -> Result<&'static Cluster> {
    static SHARED: OnceLock<Result<Cluster>> = OnceLock::new();
    match SHARED.get_or_init(|| Cluster::start_new(&[])) {
        Ok(cluster) => Ok(cluster),
        Err(error) => Err(anyhow!("no shared cluster: {error:#}")),
    }
}

/// Runs a test in a database of its own on the shared cluster.
///
/// # Panics
/// With the test's error and what the server logged about this database.
pub fn shared(test: impl FnOnce(&Database) -> Result<()>) {
    let cluster = match shared_cluster() {
        Ok(cluster) => cluster,
        Err(error) => panic!("{error:#}"),
    };
    let mut name = String::new();
    let outcome = Database::new(cluster).and_then(|database| {
        database.name().clone_into(&mut name);
        test(&database)
    });
    report(cluster, &format!(" {name} "), outcome);
}

/// Runs a test on a cluster of its own, in a database with the extension.
///
/// # Panics
/// With the test's error and the end of the server's log.
pub fn own_cluster(settings: &[(&str, &str)], test: impl FnOnce(&Database) -> Result<()>) {
    let cluster = match Cluster::start_new(settings) {
        Ok(cluster) => cluster,
        Err(error) => panic!("{error:#}"),
    };
    let outcome = Database::new(&cluster).and_then(|database| test(&database));
    report(&cluster, "", outcome);
}

fn report(cluster: &Cluster, filter: &str, outcome: Result<()>) {
    if let Err(error) = outcome {
        panic!(
            "{error:#}\n\nserver's log:\n{}",
            cluster.log_tail(filter, 25)
        );
    }
}
