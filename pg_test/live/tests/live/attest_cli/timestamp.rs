//! `attest timestamp` with an authority of `openssl ts`.

use std::process::Command;

use anyhow::{Result, ensure};
use live_tests::{Sql, shared};

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

/// An authority of `openssl ts`: what it makes is taken, and what `attest` stored verifies with openssl.
#[test]
fn timestamps_of_an_authority_are_verified_and_stored() {
    shared(|db| {
        let auditor = Auditor::new(db)?;
        let openssl = |arguments: &str| -> Result<()> {
            let output = Command::new("openssl")
                .args(arguments.split(' '))
                .current_dir(&auditor.folder)
                .output()?;
            ensure!(output.status.success(), "openssl {arguments}: {output:?}");
            Ok(())
        };
        std::fs::write(auditor.path("cnf"), AUTHORITY)?;
        std::fs::write(auditor.path("serial"), "01\n")?;
        for ca in ["ca", "otherca"] {
            openssl(&format!(
                "req -x509 -newkey rsa:2048 -nodes -keyout {ca}.key -out {ca}.pem -days 30 -config cnf -subj /CN={ca}"
            ))?;
        }
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
            openssl(&format!(
                "req -newkey {key} -nodes -keyout {name}.key -out {name}.csr -config cnf -subj /CN={name}"
            ))?;
            openssl(&format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out {name}.pem -days 30 -extfile cnf -extensions {extensions}"
            ))?;
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
        std::fs::write(auditor.path("text"), at)?;
        for entry in std::fs::read_dir(auditor.path("export/1/timestamps"))? {
            openssl(&format!(
                "ts -verify -in {} -data text -CAfile ca.pem",
                entry?.path().display()
            ))?;
        }
        Ok(())
    });
}
