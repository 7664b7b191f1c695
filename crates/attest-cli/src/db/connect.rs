//! How to reach a database: a URL, and what libpq would take from the environment.

use super::{passfile, tls};
use anyhow::{Context, Result, bail, ensure};
use postgres::config::{Host, SslMode};
use postgres::{Client, Config, NoTls};
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Settings of each session: nothing of the caller's environment changes what is read, nothing times out.
const SESSION: &str = "SET search_path = pg_catalog, pg_temp; SET statement_timeout = 0; SET lock_timeout = 0; \
    SET idle_in_transaction_session_timeout = 0; SET jit = off; SET TimeZone = 'UTC'; SET DateStyle = 'ISO'";

/// Where to connect to.
#[derive(Clone)]
pub struct Target {
    config: Config,
    tls: tls::Policy,
}

impl FromStr for Target {
    type Err = anyhow::Error;

    /// Reads a URL; what it leaves out comes from PGSERVICE, the other variables of libpq, and ~/.pgpass.
    fn from_str(url: &str) -> Result<Self> {
        let (url, mut own) = own_parameters(url)?;
        let mut config: Config = url
            .parse()
            .context("--db is not the URL of a PostgreSQL database")?;
        ensure!(
            config.get_password().is_none() && !own.contains_key("password"),
            "the URL has a password, which other users of this machine can read; put it into ~/.pgpass or PGPASSWORD"
        );
        if let Some(service) = own.remove("service").or_else(|| variable("PGSERVICE")) {
            for (key, value) in passfile::service(&service)? {
                own.entry(key).or_insert(value);
            }
        }
        let mut setting = |key: &str, name: &str| own.remove(key).or_else(|| variable(name));
        let (host, port) = (setting("host", "PGHOST"), setting("port", "PGPORT"));
        if config.get_hosts().is_empty() {
            let host = host.unwrap_or_else(|| "/var/run/postgresql".to_owned());
            for host in host.split(',') {
                config.host(host);
            }
        }
        if let Some(port) = port.filter(|_| config.get_ports().is_empty()) {
            config.port(port.parse().context("the port is not a number")?);
        }
        let user = setting("user", "PGUSER").or_else(|| variable("USER"));
        if let Some(user) = user.filter(|_| config.get_user().is_none()) {
            config.user(&user);
        }
        let user = config
            .get_user()
            .context("no user: name one in --db, or set PGUSER")?
            .to_owned();
        let database = setting("dbname", "PGDATABASE").unwrap_or_else(|| user.clone());
        if config.get_dbname().is_none() {
            config.dbname(&database);
        }
        let mode = setting("sslmode", "PGSSLMODE").unwrap_or_else(|| "prefer".to_owned());
        let roots = setting("sslrootcert", "PGSSLROOTCERT").map(PathBuf::from);
        let (mode, verify) = match mode.as_str() {
            "disable" => (SslMode::Disable, false),
            "allow" | "prefer" => (SslMode::Prefer, false),
            // As with libpq: with certificates of authorities at hand, they count.
            "require" => (SslMode::Require, roots.is_some()),
            "verify-ca" | "verify-full" => (SslMode::Require, true),
            other => bail!(
                "sslmode {other:?} is none of disable, allow, prefer, require, verify-ca, verify-full"
            ),
        };
        config.ssl_mode(mode);
        let password = setting("password", "PGPASSWORD");
        let target = Self {
            tls: tls::Policy { verify, roots },
            config,
        };
        target.with_password(password)
    }
}

impl Target {
    fn with_password(mut self, password: Option<String>) -> Result<Self> {
        let password = match password {
            Some(password) => Some(password),
            None => passfile::password(&self.config)?,
        };
        if let Some(password) = password {
            self.config.password(password);
        }
        self.config.application_name("attest");
        Ok(self)
    }

    /// A new connection.
    pub fn connect(&self) -> Result<Client> {
        // A socket on this machine has no TLS, as with libpq.
        let local = self
            .config
            .get_hosts()
            .iter()
            .all(|host| matches!(host, Host::Unix(_)));
        let client = if local {
            self.config.connect(NoTls)
        } else {
            self.config.connect(self.tls.connector()?)
        };
        let mut client = client.with_context(|| format!("cannot connect to {self}"))?;
        client.batch_execute(SESSION)?;
        Ok(client)
    }
}

/// Without the password.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            Some(Host::Unix(path)) => path.display().to_string(),
            None => String::new(),
        };
        write!(
            f,
            "{} on {host}",
            self.config.get_dbname().unwrap_or_default()
        )
    }
}

/// The parameters that the driver does not know, taken out of a URL.
fn own_parameters(url: &str) -> Result<(String, HashMap<String, String>)> {
    ensure!(
        url.starts_with("postgresql://") || url.starts_with("postgres://"),
        "--db takes a URL: postgresql://user@host:port/database"
    );
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let (mut own, mut others) = (HashMap::new(), Vec::new());
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=') {
            Some((key @ ("sslmode" | "sslrootcert" | "service" | "password"), value)) => {
                own.insert(
                    key.to_owned(),
                    value.replace("%2F", "/").replace("%2f", "/"),
                );
            }
            _ => others.push(parameter),
        }
    }
    let query = if others.is_empty() {
        String::new()
    } else {
        format!("?{}", others.join("&"))
    };
    Ok((format!("{base}{query}"), own))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
