//! The picture in docs/attest.md: a month and a half of a clinical trial, as `attest report` shows it.
//!
//! `PG_ATTEST_PICTURE=docs/images/report.png cargo xtask test --only readers -- picture` makes it anew.

use anyhow::{Context, ensure};
use live_tests::{Sql, scratch, shared};
use serde_json::json;

use crate::browser::Browser;
use crate::process::left_out;
use crate::report::report;

const TABLES: &str = "CREATE SCHEMA trial
     CREATE TABLE patient (id int PRIMARY KEY, initials text, consent date)
     CREATE TABLE dose (id int PRIMARY KEY, patient int, mg numeric)
     CREATE TABLE result (id int PRIMARY KEY, dose int, value numeric, status text)";

/// Changes of 45 days.
const WORK: &str = "DO $$
     DECLARE
         n int := 0;
     BEGIN
         PERFORM setseed(0.42);
         FOR day IN 0 .. 44 LOOP
             CONTINUE WHEN day % 7 IN (5, 6) AND random() < 0.8;
             FOR turn IN 1 .. 4 + (random() * 14 * (1 + sin(day / 6.0)))::int LOOP
                 n := n + 1;
                 PERFORM audit.set_context(request_id => format('day %s', day), app_user_id => (ARRAY['ann', 'ben', 'dr.chen', 'import'])[1 + floor(3.3 * random())],
                     reason => (ARRAY['visit', 'lab result', 'correction of a typing error', 'monitoring'])[1 + floor(4 * random())]);
                 IF n % 41 = 0 THEN PERFORM audit.set_context(reason => ''); END IF;
                 INSERT INTO trial.patient VALUES (n, chr(65 + n % 26) || chr(65 + n % 19), '2026-01-01');
                 INSERT INTO trial.dose SELECT n * 10 + k, n, 5 * k FROM generate_series(1, 2) k;
                 INSERT INTO trial.result VALUES (n, n * 10 + 1, random() * 100, 'raw');
                 IF n % 2 = 0 THEN UPDATE trial.result SET status = 'checked' WHERE id = n - 1; END IF;
                 IF n % 3 = 0 THEN UPDATE trial.dose SET mg = mg + 1 WHERE patient = n; END IF;
                 IF n % 17 = 0 THEN DELETE FROM trial.result WHERE id = n - 3; END IF;
             END LOOP;
         END LOOP;
     END $$";

/// Puts them on their days: nothing is sealed yet, and a superuser may restore what he likes.
const DAYS: &str = "SET audit.restore = on;
     UPDATE audit.audit_events SET (occurred_at, captured_at) = (
            SELECT at, at FROM (SELECT date_trunc('day', now()) - interval '45 days'
                                       + make_interval(days => substr(request_id, 5)::int, hours => 8 + (event_id % 9)::int)) t (at))
     WHERE request_id LIKE 'day %'";

#[test]
fn picture_of_the_report() {
    if left_out("chromium") {
        return;
    }
    shared(|db| {
        let folder = scratch::new_dir()?;
        let out = folder.join("report.html");
        let mut client = db.connect()?;
        client.run(TABLES)?;
        client.run("SELECT audit.attach_schema('trial')")?;
        let app = db.role("app")?;
        client.run(&format!(
            "GRANT USAGE ON SCHEMA trial TO {app}; GRANT ALL ON ALL TABLES IN SCHEMA trial TO {app}"
        ))?;
        db.connect_as(&app)?.run(WORK)?;
        db.connect()?.run(DAYS)?;
        client.run("UPDATE trial.result SET status = 'checked' WHERE id < 3")?;
        client.run("ALTER TABLE trial.dose ADD COLUMN route text")?;
        client.run("SELECT audit.sign_off(now() - interval '50 days', now() - interval '10 days', 'approved with findings', reviewer => 'rita', remarks => 'two corrections without a reason')")?;
        client.run("SELECT audit.seal()")?;
        report(db, 0, &[&out.to_string_lossy()])?;
        let mut browser = Browser::start()?;
        browser.open(&out)?;
        let bars = browser.evaluate("document.querySelectorAll('svg .bar').length")?;
        ensure!(bars.as_u64().is_some_and(|bars| bars > 30), "{bars} bars");
        let size = json!({"width": 1100, "height": 1260, "deviceScaleFactor": 1, "mobile": false});
        browser.call("Emulation.setDeviceMetricsOverride", &size)?;
        let shot = browser.call(
            "Page.captureScreenshot",
            &json!({"format": "png", "optimizeForSpeed": false}),
        )?;
        let picture = crate::report::base64(&folder, shot["data"].as_str().context("no picture")?)?;
        ensure!(picture.starts_with(b"\x89PNG\r\n"), "no PNG");
        ensure!(
            (20_000..250_000).contains(&picture.len()),
            "{} bytes",
            picture.len()
        );
        if let Some(place) = std::env::var_os("PG_ATTEST_PICTURE") {
            std::fs::write(place, picture)?;
        }
        Ok(())
    });
}
