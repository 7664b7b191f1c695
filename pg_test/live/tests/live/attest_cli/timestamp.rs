//! `attest timestamp` with an authority of `openssl ts`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use live_tests::{Sql, shared};
use serde_json::Value as Json;

use super::{Auditor, sealed};

const AUTHORITY: &str = "
[req]
distinguished_name = dn
prompt = no
x509_extensions = ca
[dn]
CN = test
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[stamping]
basicConstraints = CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
[other]
basicConstraints = CA:FALSE
[tsa]
serial = ./serial
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
ess_cert_id_alg = sha256
";

/// Runs openssl in the auditor's folder.
pub fn openssl(auditor: &Auditor, arguments: &str) -> Result<()> {
    let output = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(&auditor.folder)
        .output()?;
    ensure!(output.status.success(), "openssl {arguments}: {output:?}");
    Ok(())
}

/// The settings of `openssl ts`, and two authorities that certify: `ca.pem` and `otherca.pem`.
pub fn authorities(auditor: &Auditor) -> Result<()> {
    std::fs::write(auditor.path("cnf"), AUTHORITY)?;
    std::fs::write(auditor.path("serial"), "01\n")?;
    for ca in ["ca", "otherca"] {
        openssl(
            auditor,
            &format!(
                "req -x509 -newkey rsa:2048 -nodes -keyout {ca}.key -out {ca}.pem -days 30 -config cnf -subj /CN={ca}"
            ),
        )?;
    }
    Ok(())
}

/// A key and its certificate by `ca.pem`.
pub fn certificate(auditor: &Auditor, name: &str, key: &str, extensions: &str) -> Result<()> {
    openssl(
        auditor,
        &format!(
            "req -newkey {key} -nodes -keyout {name}.key -out {name}.csr -config cnf -subj /CN={name}"
        ),
    )?;
    openssl(
        auditor,
        &format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out {name}.pem -days 30 -extfile cnf -extensions {extensions}"
        ),
    )
}

/// An authority of `openssl ts`: what it makes is taken, and what `attest` stored verifies with openssl.
#[test]
fn timestamps_of_an_authority_are_verified_and_stored() {
    shared(|db| {
        let auditor = Auditor::new(db)?;
        let openssl = |arguments: &str| openssl(&auditor, arguments);
        authorities(&auditor)?;
        sealed(db, 20)?;
        auditor.attest(
            0,
            &[
                "timestamp",
                "--db",
                "DB",
                "--request",
                &auditor.path("query"),
            ],
        )?;
        let at = db.connect()?.one("SELECT audit.checkpoint_body()")?;
        // Later seals do not disturb an answer that takes its time.
        sealed(db, 20)?;
        let take = |status, answer: &str, ca: &str| {
            auditor.attest(
                status,
                &[
                    "timestamp",
                    "--db",
                    "DB",
                    "--answer",
                    &auditor.path(answer),
                    "--ca",
                    &auditor.path(ca),
                ],
            )
        };
        for (name, key, extensions) in [
            ("rsa", "rsa:2048", "stamping"),
            ("ec", "ec -pkeyopt ec_paramgen_curve:P-256", "stamping"),
            ("server", "rsa:2048", "other"),
        ] {
            certificate(&auditor, name, key, extensions)?;
            if extensions == "stamping" {
                openssl(&format!(
                    "ts -reply -config cnf -section tsa -queryfile query -signer {name}.pem -inkey {name}.key -out {name}.tsr"
                ))?;
                take(1, &format!("{name}.tsr"), "otherca.pem")?;
                take(0, &format!("{name}.tsr"), "ca.pem")?;
                take(0, &format!("{name}.tsr"), "ca.pem")?;
            }
        }
        // A bit of the signature, at the answer's end.
        let mut broken = std::fs::read(auditor.path("rsa.tsr"))?;
        let last = broken.len() - 1;
        broken[last] ^= 1;
        std::fs::write(auditor.path("broken.tsr"), broken)?;
        take(1, "broken.tsr", "ca.pem")?;
        let stored = db
            .connect()?
            .number("SELECT count(*) FROM audit.checkpoint_timestamps")?;
        ensure!(stored == 2, "{stored} timestamps are stored, not 2");
        auditor.attest(0, &["export", "--db", "DB", &auditor.path("export")])?;
        verified(&auditor, 2)?;
        std::fs::write(auditor.path("text"), at)?;
        for entry in std::fs::read_dir(auditor.path("export/1/timestamps"))? {
            openssl(&format!(
                "ts -verify -in {} -data text -CAfile ca.pem",
                entry?.path().display()
            ))?;
        }
        harmed_files(&auditor)?;
        moved_to_another_checkpoint(&auditor)
    });
}

/// Database and export verify with this many timestamps, whose signatures are looked at where the authority is known.
fn verified(auditor: &Auditor<'_>, count: u64) -> Result<()> {
    let export = auditor.path("export");
    let ca = auditor.path("ca.pem");
    for place in [&["--db", "DB"][..], &[&export]] {
        let verify = |status, more: &[&str]| -> Result<Json> {
            let arguments = [&["verify", "--json"], place, more].concat();
            Ok(serde_json::from_slice(
                &auditor.attest(status, &arguments)?.stdout,
            )?)
        };
        let report = verify(0, &[])?;
        ensure!(report["epochs"][0]["timestamps"] == count, "{report:#}");
        ensure!(report["epochs"][0]["stamped"].is_null(), "{report:#}");
        let told = format!("the signatures of {count} timestamps are not verified");
        ensure!(report["notes"].to_string().contains(&told), "{report:#}");
        let report = verify(0, &["--ca", &ca])?;
        ensure!(report["epochs"][0]["timestamps"] == count, "{report:#}");
        ensure!(
            report["epochs"][0]["stamped"]["tree_size"].is_u64(),
            "{report:#}"
        );
        ensure!(
            !report["notes"].to_string().contains("timestamps"),
            "{report:#}"
        );
        let report = verify(1, &["--ca", &auditor.path("otherca.pem")])?;
        ensure!(
            report["counts"] == serde_json::json!({"bad signature": count}),
            "{report:#}"
        );
    }
    let said = auditor.attest(0, &["verify", &export, "--ca", &ca])?;
    let said = String::from_utf8(said.stdout)?;
    let line = said.lines().find(|line| line.contains("timestamps"));
    ensure!(
        line.is_some_and(|line| line.contains(" leaves were there at 2")),
        "{said}"
    );
    Ok(())
}

fn details(output: &std::process::Output) -> Result<Vec<String>> {
    let report: Json = serde_json::from_slice(&output.stdout)?;
    let findings = report["findings"].as_array().into_iter().flatten();
    Ok(findings
        .map(|finding| finding["detail"].as_str().unwrap_or_default().to_owned())
        .collect())
}

/// Files of timestamps that were altered, moved to another checkpoint, or are none: each is named.
fn harmed_files(auditor: &Auditor<'_>) -> Result<()> {
    let folder = PathBuf::from(auditor.path("export/1/timestamps"));
    let first = std::fs::read_dir(&folder)?
        .next()
        .context("there is no timestamp")??
        .path();
    let good = std::fs::read(&first)?;
    let mut altered = good.clone();
    let last = altered.len() - 1;
    altered[last] ^= 1;
    let ca = auditor.path("ca.pem");
    let export = auditor.path("export");
    let harm = |name: &str, bytes: &[u8], more: &[&str], complaint: &str| -> Result<()> {
        let path = folder.join(name);
        std::fs::write(&path, bytes)?;
        let arguments = [&["verify", "--json", &export], more].concat();
        let found = details(&auditor.attest(1, &arguments)?)?;
        std::fs::remove_file(&path)?;
        ensure!(
            found.len() == 1 && found[0].contains(name) && found[0].contains(complaint),
            "{name}: {found:?}"
        );
        Ok(())
    };
    harm("1-x.tsr", &good, &[], "there is no such checkpoint")?;
    harm("paper.tsr", &good, &[], "does not say which checkpoint")?;
    let known = first.file_name().and_then(|name| name.to_str());
    let size = known
        .and_then(|name| name.split_once('-'))
        .context("its name has no size")?
        .0;
    let beside = format!("{size}-beside.tsr");
    harm(&beside, b"paper", &[], "not an answer")?;
    harm(&beside, &altered, &["--ca", &ca], "signature")?;
    Ok(())
}

/// A good answer beside a checkpoint that it is not of, whether the authority is known or not.
fn moved_to_another_checkpoint(auditor: &Auditor) -> Result<()> {
    let mut client = auditor.db.connect()?;
    client.run(
        "SELECT audit.add_timestamp((SELECT max(tree_size) FROM audit.checkpoints),
             (SELECT token FROM audit.checkpoint_timestamps ORDER BY token_sha256 LIMIT 1))",
    )?;
    for arguments in [
        &["verify", "--db", "DB", "--json"][..],
        &[
            "verify",
            "--db",
            "DB",
            "--json",
            "--ca",
            &auditor.path("ca.pem"),
        ],
    ] {
        let found = details(&auditor.attest(1, arguments)?)?;
        ensure!(
            found.len() == 1 && found[0].ends_with("the timestamp is of something else"),
            "{found:?}"
        );
    }
    Ok(())
}
