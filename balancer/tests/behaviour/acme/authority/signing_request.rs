//! A request for a certificate (PKCS #10, RFC 2986), read as far as an authority needs it.

use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

// Tags of DER.
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;
/// `dNSName` among a certificate's names (RFC 5280, section 4.2.1.6).
const DNS_NAME: u8 = 0x82;

/// What is asked for, signed by the key that it is asked for.
pub(super) struct SigningRequest {
    info: Vec<u8>,
    /// The point of P-256.
    key: Vec<u8>,
}

impl SigningRequest {
    /// Panics, which fails the test, on what is no such request or is signed by another key.
    pub(super) fn from_der(der: &[u8]) -> Self {
        let request = only(SEQUENCE, der);
        let (_, info, info_der, request) = element(request);
        let (_, _, _, signature) = element(request);
        // Version, subject, key, attributes.
        let (_, _, _, info_rest) = element(info);
        let (_, _, _, info_rest) = element(info_rest);
        let (_, key, _, _) = element(info_rest);
        let (_, _, _, key) = element(key);
        let key = bits(key).to_vec();
        let signed = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &key);
        signed.verify(info_der, bits(signature)).expect("signed by the key it is for");
        Self { info: info.to_vec(), key }
    }

    /// Whether this DNS name is asked for.
    pub(super) fn names(&self, name: &str) -> bool {
        let length = u8::try_from(name.len()).unwrap();
        let encoded = [&[DNS_NAME, length], name.as_bytes()].concat();
        self.info.windows(encoded.len()).any(|bytes| bytes == encoded)
    }
}

impl PublicKeyData for SigningRequest {
    fn der_bytes(&self) -> &[u8] {
        &self.key
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// The first element: its tag, its content, all its bytes; and what follows it.
fn element(der: &[u8]) -> (u8, &[u8], &[u8], &[u8]) {
    let (tag, first) = (der[0], der[1]);
    // From 128 bytes on the first byte tells how many bytes the length has.
    let digits = if first < 0x80 { 0 } else { usize::from(first & 0x7f) };
    let length = match digits {
        0 => usize::from(first),
        _ => der[2..2 + digits].iter().fold(0, |length, digit| length << 8 | usize::from(*digit)),
    };
    let (whole, rest) = der.split_at(2 + digits + length);
    (tag, &whole[2 + digits..], whole, rest)
}

/// The content of the one element that there is.
fn only(tag: u8, der: &[u8]) -> &[u8] {
    let (found, content, _, rest) = element(der);
    assert!(found == tag && rest.is_empty(), "tag {found:#x}, and {} bytes after it", rest.len());
    content
}

/// What a bit string of whole bytes holds: its first byte counts the bits that are not used.
fn bits(der: &[u8]) -> &[u8] {
    only(BIT_STRING, der).strip_prefix(&[0]).expect("whole bytes")
}
