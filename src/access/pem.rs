//! Keys in PEM (RFC 7468), as far as the server can use them: SubjectPublicKeyInfo (RFC 5280) and
//! PKCS#8 (RFC 5958), in DER.
//!
//! DER has one form for each value, so a fixed prefix tells the algorithm and the curve of a key.

use data_encoding::BASE64;

/// SubjectPublicKeyInfo of a P-256 key, up to its uncompressed point (RFC 5480).
const P256_PUBLIC: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// Length of an uncompressed point of P-256, in bytes.
const P256_POINT_BYTES: usize = 65;
/// SubjectPublicKeyInfo of an Ed25519 key, up to its 32 bytes (RFC 8410).
const ED25519_PUBLIC: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
/// AlgorithmIdentifier of a P-256 key.
const P256: [u8; 21] = [
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
    0xce, 0x3d, 0x03, 0x01, 0x07,
];
/// AlgorithmIdentifier of an Ed25519 key.
const ED25519: [u8; 7] = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];
/// AlgorithmIdentifier of an RSA key (RFC 3279).
const RSA: [u8; 15] = [
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];
/// Tag of a BIT STRING in DER.
const BIT_STRING: u8 = 3;
/// Tag of an OCTET STRING in DER.
const OCTET_STRING: u8 = 4;
/// Where the AlgorithmIdentifier of a key begins at the latest: behind the heads of the outer
/// sequence and, in PKCS#8, the version.
const MAX_ALGORITHM_AT: usize = 7;

/// A block of PEM.
pub(super) struct Block {
    label: String,
    der: Vec<u8>,
}

/// A key in PEM, by its algorithm.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PemKey {
    /// A P-256 key: the uncompressed point, or PKCS#8.
    P256(Vec<u8>),
    /// An Ed25519 key: its 32 bytes, or PKCS#8.
    Ed25519(Vec<u8>),
    /// An RSA key: RSAPublicKey or RSAPrivateKey (RFC 8017).
    Rsa(Vec<u8>),
}

/// Whether `text` has a private key, of whatever form.
pub(super) fn has_private_key(text: &str) -> bool {
    let mut labels = text.lines().filter_map(label);
    labels.any(|label| label.ends_with("PRIVATE KEY"))
}

/// The only block of `text`; `None` if there are none, several, or it is malformed.
pub(super) fn only_block(text: &str) -> Option<Block> {
    let mut lines = text
        .lines()
        .map(str::trim)
        .skip_while(|it| label(it).is_none());
    let label = label(lines.next()?)?;
    let end = format!("-----END {label}-----");
    let mut base64 = String::new();
    for line in lines.by_ref() {
        if line == end {
            let is_only = lines.all(|line| self::label(line).is_none());
            let der = BASE64.decode(base64.as_bytes()).ok().filter(|_| is_only)?;
            return Some(Block {
                label: label.to_owned(),
                der,
            });
        }
        base64.push_str(line);
    }
    None
}

fn label(line: &str) -> Option<&str> {
    let line = line.trim().strip_prefix("-----BEGIN ")?;
    line.strip_suffix("-----")
}

impl Block {
    /// The public key in the block.
    pub(super) fn public_key(&self) -> Option<PemKey> {
        let der = &*self.der;
        match &*self.label {
            "RSA PUBLIC KEY" => Some(PemKey::Rsa(der.to_vec())),
            "PUBLIC KEY" => {
                if let Some(point) = der.strip_prefix(&P256_PUBLIC) {
                    let is_point = point.len() == P256_POINT_BYTES && point[0] == 4;
                    return is_point.then(|| PemKey::P256(point.to_vec()));
                }
                if let Some(key) = der.strip_prefix(&ED25519_PUBLIC) {
                    return (key.len() == 32).then(|| PemKey::Ed25519(key.to_vec()));
                }
                // A BIT STRING without unused bits holds the RSAPublicKey.
                let key = content(behind_algorithm(der, &RSA)?, BIT_STRING)?;
                key.strip_prefix(&[0]).map(|key| PemKey::Rsa(key.to_vec()))
            }
            _ => None,
        }
    }

    /// The private key in the block.
    pub(super) fn private_key(&self) -> Option<PemKey> {
        let der = &*self.der;
        match &*self.label {
            "RSA PRIVATE KEY" => Some(PemKey::Rsa(der.to_vec())),
            "PRIVATE KEY" if behind_algorithm(der, &P256).is_some() => {
                Some(PemKey::P256(der.to_vec()))
            }
            "PRIVATE KEY" if behind_algorithm(der, &ED25519).is_some() => {
                Some(PemKey::Ed25519(der.to_vec()))
            }
            "PRIVATE KEY" => {
                // An OCTET STRING holds the RSAPrivateKey.
                let key = content(behind_algorithm(der, &RSA)?, OCTET_STRING)?;
                Some(PemKey::Rsa(key.to_vec()))
            }
            _ => None,
        }
    }
}

/// The content of the string with this tag at the start of `der`, if it has 128 to 65,535 bytes.
fn content(der: &[u8], tag: u8) -> Option<&[u8]> {
    let (length, rest) = match der.strip_prefix(&[tag])? {
        [0x81, length, rest @ ..] => (usize::from(*length), rest),
        [0x82, high, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        _ => return None,
    };
    rest.get(..length)
}

/// What follows the AlgorithmIdentifier `algorithm` of a key in DER; `None` if the key has another.
fn behind_algorithm<'d>(der: &'d [u8], algorithm: &[u8]) -> Option<&'d [u8]> {
    (0..=MAX_ALGORITHM_AT).find_map(|at| der.get(at..)?.strip_prefix(algorithm))
}
