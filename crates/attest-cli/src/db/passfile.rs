//! Passwords and services from the files that libpq reads, of which `libpq_files` knows the form.

use super::libpq_files;
use crate::keys;
use anyhow::{Context, Result, bail};
use postgres::Config;
use postgres::config::Host;
use std::path::PathBuf;

/// The file that a variable names, or one in the home directory.
fn file(variable: &str, name: &str) -> Option<PathBuf> {
    let named = std::env::var_os(variable).filter(|path| !path.is_empty());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(name));
    named.map(PathBuf::from).or_else(home)
}

/// The password of the first line that fits; None without such a line or file. A file that others can read is refused.
pub fn password(config: &Config) -> Result<Option<String>> {
    let Some(path) = file("PGPASSFILE", ".pgpass").filter(|path| path.exists()) else {
        return Ok(None);
    };
    let text = keys::secret(&path)?;
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        _ => "localhost".to_owned(),
    };
    let port = config
        .get_ports()
        .first()
        .copied()
        .unwrap_or(5432)
        .to_string();
    let wanted = [
        host.as_str(),
        &port,
        config.get_dbname().unwrap_or_default(),
        config.get_user().unwrap_or_default(),
    ];
    Ok(libpq_files::password(&text, wanted))
}

/// The settings of a service.
pub fn service(name: &str) -> Result<Vec<(String, String)>> {
    let path =
        file("PGSERVICEFILE", ".pg_service.conf").context("no service file: set PGSERVICEFILE")?;
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    match libpq_files::service(&text, name) {
        Some(settings) => Ok(settings),
        None => bail!("{} has no service {name}", path.display()),
    }
}
