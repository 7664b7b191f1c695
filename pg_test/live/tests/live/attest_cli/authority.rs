//! `attest timestamp --tsa`: an authority that answers over HTTP, rightly and otherwise.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use anyhow::{Context, Result, ensure};
use live_tests::{Sql, shared};

use super::timestamp::{authorities, certificate, openssl};
use super::{Auditor, sealed};

/// What the authority does with a request.
enum Answer {
    /// Has it stamped by `openssl ts`.
    Stamp,
    /// Sends the stamp that it made first, for another request of the same checkpoint.
    First,
    /// This status and this body.
    Says(&'static str, Vec<u8>),
    /// Hangs up.
    Nothing,
}

/// Each answer once, in order: what becomes of it, and what is said of it.
fn answers() -> Vec<(Answer, i32, &'static str)> {
    let says = |body: &[u8]| Answer::Says("200 OK", body.to_vec());
    vec![
        (Answer::Stamp, 0, "leaves was there at 2"),
        (Answer::First, 1, "the answer is to another request"),
        (says(b"paper"), 1, "not an answer of a timestamping"),
        (says(b""), 1, "not an answer of a timestamping"),
        // A refusal: TimeStampResp { status: rejection }
        (
            says(b"\x30\x05\x30\x03\x02\x01\x02"),
            1,
            "refused, with status 2",
        ),
        (says(&vec![0; (1 << 20) + 1]), 2, "more than 1048576 bytes"),
        (
            Answer::Says("503 Service Unavailable", b"later".to_vec()),
            2,
            "gives no answer",
        ),
        (Answer::Nothing, 2, "gives no answer"),
        (Answer::Stamp, 0, "leaves was there at 2"),
    ]
}

#[test]
fn an_authority_is_asked_and_its_answer_must_be_to_this_request() {
    shared(|db| {
        let auditor = Auditor::new(db)?;
        authorities(&auditor)?;
        certificate(&auditor, "rsa", "rsa:2048", "stamping")?;
        sealed(db, 20)?;
        let ca = auditor.path("ca.pem");
        let mut stored = 0;
        for (answer, status, said) in answers() {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let url = format!("http://{}/tsr", listener.local_addr()?);
            let output = std::thread::scope(|scope| {
                let authority = scope.spawn(|| serve(&listener, &auditor, &answer));
                let output = auditor
                    .command(&["timestamp", "--db", "DB", "--tsa", &url, "--ca", &ca])?
                    .env("NO_PROXY", "127.0.0.1")
                    .output()?;
                // The authority does not wait for one who has not asked.
                drop(TcpStream::connect(listener.local_addr()?));
                let served = authority.join();
                served.map_err(|_| anyhow::anyhow!("the authority has panicked"))??;
                anyhow::Ok(output)
            })?;
            let told = [output.stdout.as_slice(), &output.stderr].concat();
            let told = String::from_utf8_lossy(&told);
            ensure!(
                output.status.code() == Some(status) && told.contains(said),
                "not {status} with {said}: {output:?}"
            );
            stored += i64::from(status == 0);
            let there = db
                .connect()?
                .number("SELECT count(*) FROM audit.checkpoint_timestamps")?;
            ensure!(
                there == stored,
                "{said}: {there} timestamps are stored, not {stored}"
            );
        }
        auditor
            .attest(0, &["verify", "--db", "DB", "--ca", &ca])
            .map(drop)
    });
}

/// Answers one request.
fn serve(listener: &TcpListener, auditor: &Auditor, answer: &Answer) -> Result<()> {
    let (mut stream, _) = listener.accept()?;
    let query = request(&stream)?;
    let (status, body) = match answer {
        Answer::Stamp => ("200 OK", stamp(auditor, &query)?),
        Answer::First => ("200 OK", std::fs::read(auditor.path("first"))?),
        Answer::Says(status, body) => (*status, body.clone()),
        Answer::Nothing => return Ok(()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/timestamp-reply\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    // Who is answered too much may hang up before the end.
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(&body));
    Ok(())
}

/// The body of a POST as RFC 3161, section 3.4, has it.
fn request(stream: &TcpStream) -> Result<Vec<u8>> {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        ensure!(stream.read_line(&mut head)? > 0, "no request, but {head:?}");
    }
    let head = head.to_ascii_lowercase();
    ensure!(
        head.starts_with("post /tsr http/1.1\r\n")
            && head.contains("\r\ncontent-type: application/timestamp-query\r\n"),
        "{head}"
    );
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .context("no length")?;
    let mut body = vec![0; length.trim().parse()?];
    stream.read_exact(&mut body)?;
    Ok(body)
}

/// What `openssl ts` answers; the first of all is kept.
fn stamp(auditor: &Auditor, query: &[u8]) -> Result<Vec<u8>> {
    std::fs::write(auditor.path("asked"), query)?;
    openssl(
        auditor,
        "ts -reply -config cnf -section tsa -queryfile asked -signer rsa.pem -inkey rsa.key -out reply",
    )?;
    let reply = std::fs::read(auditor.path("reply"))?;
    let first = auditor.path("first");
    if !std::fs::exists(&first)? {
        std::fs::write(first, &reply)?;
    }
    Ok(reply)
}
