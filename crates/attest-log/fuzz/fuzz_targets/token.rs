//! RFC 3161 answers: whatever is changed in one, it is refused or says the same.
#![no_main]

#[allow(dead_code, reason = "requests are not asked for here")]
#[path = "../../../attest-cli/src/timestamp/token.rs"]
mod token;

use libfuzzer_sys::fuzz_target;
use rustls::pki_types::CertificateDer;

/// An answer of `openssl ts`, the certificate that its signer's leads to, and the text that it is of.
const ANSWER: &[u8] = include_bytes!("../seeds/token/answer");
const AUTHORITY: &[u8] = include_bytes!("../token/authority.der");
const TEXT: &str = include_str!("../token/text");

/// Its time and serial number.
fn said(answer: &[u8]) -> Option<(u64, String)> {
    let authorities = [CertificateDer::from(AUTHORITY)];
    let stamp = token::verify(answer, TEXT, None, &authorities).ok()?;
    Some((stamp.time, stamp.serial))
}

fuzz_target!(init: assert!(said(ANSWER).is_some(), "the answer is good"), |answer: &[u8]| {
    let _ = token::imprint(answer);
    if let Some(said) = said(answer) {
        assert_eq!(Some(said), self::said(ANSWER));
    }
    // In place of the end of the good one, which the fuzzer would hardly ever make by itself.
    if let Some((at, bytes)) = answer.split_first_chunk() {
        let at = usize::from(u16::from_be_bytes(*at)) % ANSWER.len();
        let end = ANSWER.len().min(at + bytes.len());
        let mut altered = ANSWER.to_vec();
        altered[at..end].copy_from_slice(&bytes[..end - at]);
        if let Some(said) = self::said(&altered) {
            assert_eq!(Some(said), self::said(ANSWER));
        }
    }
});
