//! RFC 3161 requests and answers. CMS (RFC 5652) is read with the crate `cms`; signatures and the way to the authority's
//! certificate are verified by `webpki`, at the time that the timestamp says.

use anyhow::{Context, Result, bail, ensure};
use attest_log::hash::sha256;
use attest_log::hex;
use cms::attr::MessageDigest;
use cms::cert::CertificateChoices;
use cms::cert::x509::attr::Attribute;
use cms::cert::x509::spki::AlgorithmIdentifierOwned;
use cms::signed_data::{SignedData, SignerInfo};
use der::asn1::{Int, Null, ObjectIdentifier, OctetString};
use der::{Any, AnyRef, Decode, Encode, Reader, SliceReader, Tag, Tagged};
use ring::digest;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_tsp::{MessageImprint, TimeStampReq, TimeStampResp, TspVersion, TstInfo};

const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");
const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const TST_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const SIGNING_CERTIFICATE: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.12");
const SIGNING_CERTIFICATE_V2: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.47");
/// id-kp-timeStamping, 1.3.6.1.5.5.7.3.8, as the bytes of an object identifier.
const TIME_STAMPING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 8];

/// What a timestamp says.
pub struct Stamp {
    /// In seconds since the Unix epoch.
    pub time: u64,
    /// In hex.
    pub serial: String,
}

/// A request for a timestamp of a checkpoint's text, and its nonce.
pub fn request(text: &str) -> Result<(Vec<u8>, Vec<u8>)> {
    let mut nonce = [0; 16];
    if let Err(error) = getrandom::fill(&mut nonce) {
        bail!("no random bytes: {error}");
    }
    // A positive integer of full length.
    nonce[0] = nonce[0] & 0x7f | 0x40;
    let request = TimeStampReq {
        version: TspVersion::V1,
        message_imprint: MessageImprint {
            hash_algorithm: AlgorithmIdentifierOwned {
                oid: SHA256,
                parameters: Some(Any::encode_from(&Null)?),
            },
            hashed_message: OctetString::new(sha256(text.as_bytes()))?,
        },
        req_policy: None,
        nonce: Some(Int::new(&nonce)?),
        cert_req: true,
        extensions: None,
    };
    Ok((request.to_der()?, nonce.to_vec()))
}

/// An answer's parts.
struct Answer {
    signed: SignedData,
    /// The bytes of the `TSTInfo`, which are signed.
    content: Vec<u8>,
    info: TstInfo,
}

impl Answer {
    fn read(answer: &[u8]) -> Result<Self> {
        let response = TimeStampResp::from_der(answer)
            .context("this is not an answer of a timestamping authority")?;
        let status = response.status.status as u32;
        ensure!(status <= 1, "the authority refused, with status {status}");
        let token = response
            .time_stamp_token
            .context("the answer has no timestamp")?;
        ensure!(
            token.content_type == SIGNED_DATA,
            "the timestamp is not signed data"
        );
        let signed: SignedData = token.content.decode_as()?;
        ensure!(
            signed.encap_content_info.econtent_type == TST_INFO,
            "what is signed is not a timestamp"
        );
        let content = signed
            .encap_content_info
            .econtent
            .as_ref()
            .context("the timestamp is empty")?;
        ensure!(
            content.tag() == Tag::OctetString,
            "the timestamp's content is no octet string"
        );
        let content = content.value().to_vec();
        let info = TstInfo::from_der(&content).context("the timestamp's content is broken")?;
        Ok(Self {
            signed,
            content,
            info,
        })
    }
}

/// Refuses an answer that is not of this text. Who answered is not verified.
pub fn fits(answer: &[u8], text: &str) -> Result<()> {
    ensure!(
        imprint(answer)? == sha256(text.as_bytes()),
        "the timestamp is of something else"
    );
    Ok(())
}

/// The SHA-256 that an answer is of; not verified.
pub fn imprint(answer: &[u8]) -> Result<Vec<u8>> {
    let imprint = Answer::read(answer)?.info.message_imprint;
    ensure!(
        imprint.hash_algorithm.oid == SHA256,
        "the timestamp is not of a SHA-256"
    );
    Ok(imprint.hashed_message.as_bytes().to_vec())
}

/// Verifies an answer: that it is of this text, that its signer's certificate leads to one of the authorities, was valid then and
/// is for timestamping, and that the signature holds.
pub fn verify(
    answer: &[u8],
    text: &str,
    nonce: Option<&[u8]>,
    authorities: &[CertificateDer<'_>],
) -> Result<Stamp> {
    fits(answer, text)?;
    let Answer {
        signed,
        content,
        info,
    } = Answer::read(answer)?;
    if let Some(nonce) = nonce {
        let answered = info.nonce.as_ref().map(Int::as_bytes);
        ensure!(answered == Some(nonce), "the answer is to another request");
    }
    let [signer] = signed.signer_infos.0.as_slice() else {
        bail!("a timestamp has one signer");
    };
    let attributes = signer
        .signed_attrs
        .as_ref()
        .context("the timestamp has no signed attributes")?;
    let one = |oid| -> Result<Option<&Any>> {
        let mut found = attributes
            .iter()
            .filter(|attribute: &&Attribute| attribute.oid == oid);
        match (
            found.next().map(|attribute| attribute.values.as_slice()),
            found.next(),
        ) {
            (None, _) => Ok(None),
            (Some([value]), None) => Ok(Some(value)),
            _ => bail!("attribute {oid} stands twice"),
        }
    };
    let kind = one(CONTENT_TYPE)?.context("the signed content type is missing")?;
    ensure!(
        kind.decode_as::<ObjectIdentifier>()? == TST_INFO,
        "the signed content type is not that of a timestamp"
    );
    let said: MessageDigest = one(MESSAGE_DIGEST)?
        .context("the signed digest is missing")?
        .decode_as()?;
    let digest = hash(signer.digest_alg.oid, &content)?;
    ensure!(
        said.as_bytes() == digest.as_ref(),
        "the signature is of another content"
    );

    let certificates = certificates(&signed)?;
    let own = match (one(SIGNING_CERTIFICATE_V2)?, one(SIGNING_CERTIFICATE)?) {
        (Some(value), _) => certificate_hash(value, SHA256)?,
        (None, Some(value)) => certificate_hash(value, SHA1)?,
        (None, None) => bail!("the signed certificate's id is missing"),
    };
    let is_own =
        |der: &&CertificateDer<'_>| hash(own.0, der).is_ok_and(|hash| hash.as_ref() == own.1);
    let certificate = certificates
        .iter()
        .find(is_own)
        .context("the signer's certificate is not in the answer")?;
    let time = info.gen_time.to_unix_duration();
    check_signature(signer, &attributes.to_der()?, certificate)?;
    let anchors = authorities.iter().map(anchor_from_trusted_cert);
    let anchors: Vec<_> = anchors
        .collect::<Result<_, _>>()
        .context("an authority's certificate is broken")?;
    EndEntityCert::try_from(certificate)
        .and_then(|end| {
            let usage = KeyUsage::required(TIME_STAMPING);
            let then = UnixTime::since_unix_epoch(time);
            end.verify_for_usage(
                ALL_VERIFICATION_ALGS,
                &anchors,
                &certificates,
                then,
                usage,
                None,
                None,
            )
            .map(drop)
        })
        .context("the signer's certificate does not lead to a trusted authority")?;
    Ok(Stamp {
        time: time.as_secs(),
        serial: hex(info.serial_number.as_bytes()),
    })
}

fn check_signature(
    signer: &SignerInfo,
    message: &[u8],
    certificate: &CertificateDer<'_>,
) -> Result<()> {
    let end = EndEntityCert::try_from(certificate).context("the signer's certificate is broken")?;
    let holds = |algorithm: &&&dyn rustls::pki_types::SignatureVerificationAlgorithm| {
        end.verify_signature(**algorithm, message, signer.signature.as_bytes())
            .is_ok()
    };
    // Each takes only keys of its own kind.
    ensure!(
        ALL_VERIFICATION_ALGS
            .iter()
            .any(|algorithm| holds(&algorithm)),
        "the signature does not hold, or is of an unknown kind"
    );
    Ok(())
}

fn certificates(signed: &SignedData) -> Result<Vec<CertificateDer<'static>>> {
    let mut all = Vec::new();
    for choice in signed.certificates.iter().flat_map(|set| set.0.iter()) {
        if let CertificateChoices::Certificate(certificate) = choice {
            all.push(CertificateDer::from(certificate.to_der()?));
        }
    }
    Ok(all)
}

/// The algorithm and hash of the first certificate in a `SigningCertificate` (RFC 2634) or `SigningCertificateV2` (RFC 5035):
/// `SEQUENCE { SEQUENCE OF SEQUENCE { [hashAlgorithm,] certHash OCTET STRING, … } … }`.
fn certificate_hash(value: &Any, default: ObjectIdentifier) -> Result<(ObjectIdentifier, Vec<u8>)> {
    let mut outer = SliceReader::new(value.value())?;
    let mut list = SliceReader::new(AnyRef::decode(&mut outer)?.value())?;
    let mut id = SliceReader::new(AnyRef::decode(&mut list)?.value())?;
    let algorithm = if id.peek_tag()? == Tag::Sequence {
        AlgorithmIdentifierOwned::decode(&mut id)?.oid
    } else {
        default
    };
    Ok((algorithm, OctetString::decode(&mut id)?.into_bytes()))
}

fn hash(algorithm: ObjectIdentifier, bytes: &[u8]) -> Result<digest::Digest> {
    let algorithm = match algorithm {
        SHA256 => &digest::SHA256,
        SHA384 => &digest::SHA384,
        SHA512 => &digest::SHA512,
        // Names the certificate in older tokens; the certificate's own signature is what is trusted.
        SHA1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        other => bail!("hash algorithm {other} is not known here"),
    };
    Ok(digest::digest(algorithm, bytes))
}
