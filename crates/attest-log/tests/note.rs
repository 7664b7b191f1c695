//! Notes, keys and checkpoints: the examples of the C2SP specifications, round trips, and forgeries.
#![allow(clippy::unwrap_used)]

use attest_log::Error;
use attest_log::checkpoint::{Checkpoint, horizon};
use attest_log::hash::{EMPTY_ROOT, sha256};
use attest_log::note::{KeyKind, Note, Signature, SignerKey, VerifierKey};
use proptest::prelude::*;

/// C2SP signed-note, "Verifier keys, Example".
const EXAMPLE_KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const EXAMPLE_NOTE: &str = "This is an example message.\n\n\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
/// The test key pair of golang.org/x/mod/sumdb/note.
const GO_SIGNER: &str =
    "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const GO_VERIFIER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const GO_NOTE: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
/// C2SP tlog-cosignature, its example.
const COSIGNED: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\u{2014} witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";

fn signer(name: &str, kind: KeyKind, seed: u8) -> SignerKey {
    SignerKey::from_seed(name, kind, &[seed; 32]).unwrap()
}

#[test]
fn the_example_of_the_specification_verifies() {
    let key: VerifierKey = EXAMPLE_KEY.parse().unwrap();
    let note = Note::parse(EXAMPLE_NOTE).unwrap();
    assert_eq!(
        note.verify(std::slice::from_ref(&key)).unwrap()[0].key,
        &key
    );
    assert_eq!(note.to_string(), EXAMPLE_NOTE);
    assert_eq!(key.to_string(), EXAMPLE_KEY);
}

#[test]
fn keys_and_signatures_are_those_of_the_go_implementation() {
    let key: SignerKey = GO_SIGNER.parse().unwrap();
    assert_eq!(key.verifier().to_string(), GO_VERIFIER);
    assert_eq!(key.to_secret_text(), GO_SIGNER);
    let text = GO_NOTE.split_once("\n\n").unwrap().0;
    let mut note = Note::new(format!("{text}\n")).unwrap();
    note.sign(&key, 0);
    assert_eq!(note.to_string(), GO_NOTE);
    assert!(!format!("{key:?}").contains("PRIVATE"));
}

#[test]
fn the_cosigned_checkpoint_of_the_specification_is_read() {
    let note = Note::parse(COSIGNED).unwrap();
    assert_eq!(note.to_string(), COSIGNED);
    let checkpoint: Checkpoint = note.text().parse().unwrap();
    assert_eq!(checkpoint.origin(), "example.com/behind-the-sofa");
    assert_eq!(checkpoint.size(), 20_852_163);
    assert_eq!(checkpoint.to_string(), note.text());
    let time = note.signatures()[1].bytes()[..8].try_into().unwrap();
    assert_eq!(u64::from_be_bytes(time), 1_679_315_147);
}

#[test]
fn a_log_and_a_witness_sign_one_checkpoint() {
    let log = signer("db.example/log", KeyKind::Ed25519, 1);
    let witness = signer("witness.example/w", KeyKind::Cosignature, 2);
    let checkpoint = Checkpoint::new("pg_attest/7/5/1", 3, sha256(b"root")).unwrap();
    let mut note = Note::new(checkpoint.to_string()).unwrap();
    note.sign(&log, 0);
    note.sign(&witness, 1_700_000_000);
    note.sign(&log, 0);
    assert_eq!(note.signatures().len(), 2, "a key signs once");
    let note = Note::parse(&note.to_string()).unwrap();
    let keys = [witness.verifier(), log.verifier()];
    let verified = note.verify(&keys).unwrap();
    let named: Vec<_> = verified.iter().map(|v| (v.key.name(), v.time)).collect();
    assert_eq!(
        named,
        [
            ("db.example/log", None),
            ("witness.example/w", Some(1_700_000_000))
        ]
    );
    assert_eq!(keys[0].to_string().parse(), Ok(keys[0].clone()));
    // Neither key can stand for the other kind.
    let confused = VerifierKey::new("db.example/log", KeyKind::Cosignature, keys[1].public());
    assert_ne!(confused.unwrap().id(), keys[1].id());
}

#[test]
fn trust_is_only_in_keys_that_are_known() {
    let key = signer("log", KeyKind::Ed25519, 1);
    let other = signer("log", KeyKind::Ed25519, 2);
    let trusted = [key.verifier()];
    let mut note = Note::new("text\n").unwrap();
    let nobody = note.verify(&trusted);
    assert_eq!(nobody, Err(Error::Untrusted { signers: vec![] }));
    note.sign(&other, 0);
    let untrusted = note.verify(&trusted);
    let signers = vec!["log".to_owned()];
    assert_eq!(untrusted, Err(Error::Untrusted { signers }));
    note.sign(&key, 0);
    assert_eq!(
        note.verify(&trusted).unwrap().len(),
        1,
        "the other line is ignored"
    );
    // A line of a trusted key over another text spoils the note, whatever else is there.
    note.add(other.sign("other text\n", 0));
    assert_eq!(
        note.verify(&[key.verifier(), other.verifier()]),
        Err(Error::BadSignature { name: "log".into() })
    );
}

#[test]
fn other_keys_are_refused() {
    for (key, error) in [
        ("", Error::Key),
        ("name+530d903a", Error::Key),
        (
            "name+530D903A+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            Error::Key,
        ),
        (
            "name+30d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            Error::Key,
        ),
        (
            "name+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            Error::KeyId,
        ),
        (
            "+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            Error::KeyName,
        ),
        (
            "a b+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            Error::KeyName,
        ),
        (
            "name+530d903a+BukyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            Error::KeyKind { byte: 6 },
        ),
        (GO_SIGNER, Error::Key),
    ] {
        assert_eq!(key.parse::<VerifierKey>(), Err(error), "{key}");
    }
    assert!(GO_VERIFIER.parse::<SignerKey>().is_err());
}

#[test]
fn other_notes_are_refused() {
    let line = EXAMPLE_NOTE.split_once("\n\n").unwrap().1;
    for (note, error) in [
        (String::new(), Error::NoteForm),
        ("text\n".into(), Error::NoteForm),
        (format!("text\n{line}"), Error::NoteForm),
        (format!("text\n\n{}", line.trim_end()), Error::NoteForm),
        (format!("te\rxt\n\n{line}"), Error::NoteText),
        (
            format!("text\n\n{}", line.repeat(101)),
            Error::TooManySignatures { most: 100 },
        ),
    ] {
        assert_eq!(Note::parse(&note), Err(error), "{note:?}");
    }
    for line in [
        "- name AAAAAAA=",
        "\u{2014}name AAAAAAA=",
        "\u{2014} name AAAAAA==",
        "\u{2014} name AAAAAAA",
        "\u{2014} name AAAAAAB=",
        "\u{2014}  AAAAAAA=",
        "\u{2014} na+me AAAAAAA=",
        "\u{2014} name  AAAAAAA=",
        "\u{2014} na\u{a0}me AAAAAAA=",
    ] {
        let parsed: Result<Signature, Error> = line.parse();
        assert!(matches!(parsed, Err(Error::SignatureLine { .. })), "{line}");
    }
    // The text may have empty lines: the last one parts it from the signatures.
    let note = Note::parse(&format!("one\n\ntwo\n\n{line}")).unwrap();
    assert_eq!(note.text(), "one\n\ntwo\n");
}

#[test]
fn other_checkpoints_are_refused() {
    let root = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    for body in [
        String::new(),
        format!("origin\n5\n{root}"),
        format!("\n5\n{root}\n"),
        format!("origin\n05\n{root}\n"),
        format!("origin\n+5\n{root}\n"),
        format!("origin\n18446744073709551616\n{root}\n"),
        format!("origin\n5\n{}\n", &root[..43]),
        format!("origin\n5\n{root} \n"),
        format!("origin\n5\n{root}\n\n"),
        format!("origin\n5\n{root}\nextension\n\n"),
    ] {
        assert_eq!(
            body.parse::<Checkpoint>(),
            Err(Error::Checkpoint),
            "{body:?}"
        );
    }
    let empty: Checkpoint = format!("origin\n0\n{root}\nextension\n").parse().unwrap();
    assert_eq!((empty.size(), empty.root()), (0, &EMPTY_ROOT));
    assert_eq!(empty.extensions(), ["extension"]);
    assert_eq!(Checkpoint::new("o", 0, [0; 32]), Err(Error::EmptyTree));
    assert_eq!(
        Checkpoint::new("two words", 0, EMPTY_ROOT),
        Err(Error::Origin)
    );
    assert_eq!(
        Checkpoint::new("two\nlines", 0, EMPTY_ROOT),
        Err(Error::Origin)
    );
}

#[test]
fn the_chain_binds_time_horizon_text_and_past() {
    let one = Checkpoint::new("o", 1, sha256(b"1")).unwrap();
    let two = Checkpoint::new("o", 2, sha256(b"1")).unwrap();
    let text = one.to_string();
    let bytes = [
        b"pg_attest/checkpoint/v1\n".as_slice(),
        &[7; 32],
        &5i64.to_be_bytes(),
        &[9; 32],
        text.as_bytes(),
    ];
    let chain = one.chain(&[7; 32], 5, &[9; 32]);
    assert_eq!(chain, sha256(&bytes.concat()));
    assert_ne!(chain, one.chain(&[7; 32], 6, &[9; 32]));
    assert_ne!(chain, one.chain(&[8; 32], 5, &[9; 32]));
    assert_ne!(chain, two.chain(&[7; 32], 5, &[9; 32]));
    assert_ne!(chain, one.chain(&[7; 32], 5, &[8; 32]));
    assert_eq!(
        horizon(64, 752, "751:752:751"),
        sha256(b"pg_attest/horizon/v1\n64\n752\n751:752:751\n")
    );
}

proptest! {
    #[test]
    fn a_note_comes_back_and_any_flipped_bit_of_it_fails(
        text in "([ -~\u{e9}\u{2014}]{0,30}\n){1,4}", seed: [u8; 32], time in 0..u64::MAX, cosign: bool, at: prop::sample::Index, bit in 0..8u8,
    ) {
        let kind = if cosign { KeyKind::Cosignature } else { KeyKind::Ed25519 };
        let key = SignerKey::from_seed("example.com/k", kind, &seed).unwrap();
        let mut note = Note::new(text).unwrap();
        note.sign(&key, time);
        let trusted = [key.verifier()];
        let written = note.to_string();
        let back = Note::parse(&written).unwrap();
        prop_assert_eq!(&back, &note);
        let verified = back.verify(&trusted).unwrap();
        prop_assert_eq!(verified[0].time, cosign.then_some(time.min(i64::MAX.cast_unsigned())));
        let mut bytes = written.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let forged = String::from_utf8(bytes).ok().and_then(|note| Note::parse(&note).ok());
        prop_assert!(forged.is_none_or(|note| note.verify(&trusted).is_err()));
    }

    #[test]
    fn a_checkpoint_comes_back(origin in "[!-*,-~]{1,30}", size in 1..=u64::MAX, root: [u8; 32]) {
        let checkpoint = Checkpoint::new(origin, size, root).unwrap();
        prop_assert_eq!(checkpoint.to_string().parse(), Ok(checkpoint));
    }

    #[test]
    fn what_is_accepted_is_written_the_same(note in "(a|\n|\n\n|\u{2014} | |k|AAAAAAA=|0|1|47DEQpj8HBSa\\+/TImW\\+5JCeuQeRkm5NMpJWZG3hSuFU=){0,12}") {
        if let Ok(parsed) = Note::parse(&note) {
            prop_assert_eq!(parsed.to_string(), note.clone());
        }
        if let Ok(parsed) = note.parse::<Checkpoint>() {
            prop_assert_eq!(parsed.to_string(), note);
        }
    }
}
