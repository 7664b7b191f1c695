//! Passwords and services from the files that libpq reads: PostgreSQL's documentation, "The Password File" and
//! "The Connection Service File".

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
        &host,
        &port,
        config.get_dbname().unwrap_or_default(),
        config.get_user().unwrap_or_default(),
    ];
    let fits = |fields: &Vec<String>| {
        let fits = |(field, wanted): (&String, &&str)| field == "*" || field == *wanted;
        fields.len() >= 5 && fields.iter().zip(&wanted).all(fits)
    };
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(fields);
    Ok(lines
        .filter(fits)
        .map(|mut fields| fields.swap_remove(4))
        .next())
}

/// Fields between colons; a backslash takes the next character as it is.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        let last = fields.len() - 1;
        match character {
            ':' if last < 4 => fields.push(String::new()),
            '\\' => fields[last].extend(characters.next()),
            _ => fields[last].push(character),
        }
    }
    fields
}

/// The settings of a service.
pub fn service(name: &str) -> Result<Vec<(String, String)>> {
    let path =
        file("PGSERVICEFILE", ".pg_service.conf").context("no service file: set PGSERVICEFILE")?;
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let header = format!("[{name}]");
    let mut lines = text
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != header);
    if lines.next().is_none() {
        bail!("{} has no service {name}", path.display());
    }
    let settings = lines
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.starts_with('#'));
    let settings = settings.filter_map(|line| line.split_once('='));
    Ok(settings
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::fields;

    #[test]
    fn a_line_of_the_password_file_is_cut_at_its_colons() {
        assert_eq!(
            fields(r"db\:1:5432:*:ann:p:w\\d"),
            ["db:1", "5432", "*", "ann", r"p:w\d"]
        );
    }
}
