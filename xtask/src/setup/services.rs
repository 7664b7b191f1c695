//! Installing Debian's packages starts servers; these are stopped again. What the machine had
//! before is never touched.

use super::apt::command;
use crate::{run, ui};
use std::path::{Path, PathBuf};

const CONFIGURATION: &str = "/etc/postgresql";
const DATA: &str = "/var/lib/postgresql";

/// The folders of every cluster `main` that Debian's tools could know: configuration and data.
/// Data without configuration count too: the package would take them over.
pub fn main_clusters() -> Vec<PathBuf> {
    [CONFIGURATION, DATA]
        .into_iter()
        .filter_map(|base| std::fs::read_dir(base).ok())
        .flat_map(Iterator::flatten)
        .map(|major| major.path().join("main"))
        .filter(|main| main.exists())
        .collect()
}

/// The server package makes and starts a cluster `main` where there was none. We need none.
pub fn drop_new_clusters(prefix: &[&str], before: &[PathBuf]) {
    for cluster in main_clusters() {
        let Some(major) = cluster
            .strip_prefix(CONFIGURATION)
            .ok()
            .and_then(|path| path.iter().next()?.to_str())
        else {
            continue;
        };
        let data = Path::new(DATA).join(major).join("main");
        if before.contains(&cluster) || before.contains(&data) || !owns(&cluster, &data) {
            continue;
        }
        if run::succeeds(&mut command(
            prefix,
            &["pg_dropcluster", "--stop", major, "main"],
        )) {
            ui::note(&format!(
                "removed the empty cluster {major}/main that the package had just made"
            ));
        }
    }
}

/// Whether a cluster's configuration names this data folder.
fn owns(cluster: &Path, data: &Path) -> bool {
    let line = format!("data_directory = '{}'", data.display());
    std::fs::read_to_string(cluster.join("postgresql.conf"))
        .is_ok_and(|text| text.lines().any(|l| l.starts_with(&line)))
}

/// Debian starts these once they are installed. The tests start their own.
const SERVICES: [&str; 3] = ["pgbouncer", "influxdb", "prometheus-postgres-exporter"];

/// Stops the services that came with packages which have just been installed.
pub fn disable_new(prefix: &[&str], packages: &[String]) {
    if !Path::new("/run/systemd/system").exists() {
        return;
    }
    for service in SERVICES {
        if packages.iter().any(|package| package == service) {
            let words = ["systemctl", "disable", "--now", service];
            run::succeeds(&mut command(prefix, &words));
        }
    }
}
