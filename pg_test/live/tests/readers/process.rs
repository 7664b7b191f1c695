//! Servers of others: started with the test, ended with it.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use live_tests::env::without;

/// A server that ends with this value.
pub struct Server(Child);

impl Server {
    /// Starts it, with its output in the file `log` of `dir`.
    pub fn start(command: &mut Command, dir: &Path) -> Result<Self> {
        let log = std::fs::File::create(dir.join("log"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {}", command.get_program().display()))?;
        Ok(Self(child))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port of this machine that nobody listens on.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// Where a program is: the variable says it, or Debian.
pub fn program(variable: &str, debian: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| debian.to_owned())
}

/// Whether the person who runs the tests said that there is no `what`; says so.
pub fn left_out(what: &str) -> bool {
    let without = without(what);
    if without {
        eprintln!("left out by PG_ATTEST_WITHOUT: {what}");
    }
    without
}

/// What a loopback server answers; the text is part of the failure if that is not what was asked for.
pub fn get(url: &str) -> Result<String> {
    answer(agent().get(url).call(), url)
}

/// The same, of a text that is sent.
pub fn post(url: &str, body: &str) -> Result<String> {
    answer(agent().post(url).send(body), url)
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    ureq::Agent::new_with_config(config.proxy(None).build())
}

fn answer(
    answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    url: &str,
) -> Result<String> {
    let mut answer = answer.with_context(|| format!("{url} gives no answer"))?;
    let text = answer.body_mut().read_to_string()?;
    anyhow::ensure!(
        answer.status().is_success(),
        "{url}: {}: {text}",
        answer.status()
    );
    Ok(text)
}
