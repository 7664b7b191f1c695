//! A real browser without a window, driven by the Chrome DevTools Protocol over a pair of pipes.
//!
//! <https://chromedevtools.github.io/devtools-protocol/>; `--remote-debugging-pipe`: JSON messages that end in NUL, in at file
//! descriptor 3, out at 4.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Stdio};

use anyhow::{Context, Result, bail, ensure};
use live_tests::env::{environment, run};
use live_tests::scratch;
use serde_json::{Value as Json, json};

const PROGRAMS: [&str; 4] = [
    "/usr/bin/chromium-headless-shell",
    "/usr/bin/chromium",
    "/usr/bin/google-chrome",
    "/usr/bin/chromium-browser",
];

/// A browser with one page; ended with this value.
pub struct Browser {
    child: Child,
    requests: File,
    answers: BufReader<File>,
    session: String,
    last: u64,
    /// What happened on the page: console, exceptions, requests.
    events: Vec<Json>,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Browser {
    pub fn start() -> Result<Self> {
        let dir = scratch::new_dir()?;
        let chosen = std::env::var("PG_ATTEST_CHROMIUM").ok();
        let program = chosen
            .or_else(|| {
                PROGRAMS
                    .into_iter()
                    .find(|path| Path::new(path).exists())
                    .map(str::to_owned)
            })
            .context("no browser: install chromium-headless-shell, or set PG_ATTEST_CHROMIUM")?;
        run(environment()
            .command("mkfifo", &dir)
            .args(["requests", "answers"]))?;
        // The shell opens the pipes where the browser looks for them, in the order in which they are opened below.
        let child = environment()
            .command("sh", &dir)
            .args(["-c", "exec \"$0\" \"$@\" 3<requests 4>answers", &program])
            .args([
                "--headless",
                "--remote-debugging-pipe",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
            ])
            .args([
                "--no-first-run",
                "--disable-extensions",
                "--hide-scrollbars",
                "--force-color-profile=srgb",
            ])
            .arg(format!("--user-data-dir={}/profile", dir.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(dir.join("log"))?)
            .spawn()?;
        let mut browser = Self {
            child,
            requests: File::options().write(true).open(dir.join("requests"))?,
            answers: BufReader::new(File::open(dir.join("answers"))?),
            session: String::new(),
            last: 0,
            events: Vec::new(),
        };
        let target = browser.call(
            "Target.createTarget",
            &json!({"url": "about:blank", "width": 1100, "height": 800}),
        )?;
        let attached = browser.call(
            "Target.attachToTarget",
            &json!({"targetId": target["targetId"], "flatten": true}),
        )?;
        attached["sessionId"]
            .as_str()
            .context("no session")?
            .clone_into(&mut browser.session);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), &json!({}))?;
        }
        Ok(browser)
    }

    /// Calls a method of the protocol, and keeps the events that arrive before its answer.
    pub fn call(&mut self, method: &str, parameters: &Json) -> Result<Json> {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": parameters});
        if !self.session.is_empty() {
            message["sessionId"] = self.session.as_str().into();
        }
        self.requests.write_all(&serde_json::to_vec(&message)?)?;
        self.requests.write_all(&[0])?;
        loop {
            let mut answer = self.next()?;
            if answer["id"] == self.last {
                ensure!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return Ok(answer["result"].take());
            }
            self.events.push(answer);
        }
    }

    fn next(&mut self) -> Result<Json> {
        let mut message = Vec::new();
        self.answers.read_until(0, &mut message)?;
        if message.pop() != Some(0) {
            bail!("the browser ended");
        }
        Ok(serde_json::from_slice(&message)?)
    }

    /// Loads a file; gives what happened meanwhile.
    pub fn open(&mut self, file: &Path) -> Result<Vec<Json>> {
        self.events.clear();
        let url = format!("file://{}", file.display());
        let opened = self.call("Page.navigate", &json!({"url": url}))?;
        ensure!(opened["errorText"].is_null(), "{url}: {opened}");
        while !self
            .events
            .iter()
            .any(|event| event["method"] == "Page.loadEventFired")
        {
            let event = self.next()?;
            self.events.push(event);
        }
        // What the page asked for late comes before this answer.
        self.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done, 0)))")?;
        Ok(std::mem::take(&mut self.events))
    }

    /// The value of an expression in the page.
    pub fn evaluate(&mut self, expression: &str) -> Result<Json> {
        let parameters =
            json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut result = self.call("Runtime.evaluate", &parameters)?;
        ensure!(
            result["exceptionDetails"].is_null(),
            "{expression}: {result}"
        );
        Ok(result["result"]["value"].take())
    }
}
