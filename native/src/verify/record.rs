//! One signature: decoding with all the refusals, and the two equations.

use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use sha2::{Digest, Sha512};
use std::sync::LazyLock;

/// Key (32 bytes), message and signature (64 bytes) of one record; other lengths do not hold.
pub type Signed<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// A record whose parts are well-formed: what the equations are computed from.
pub(super) struct Decoded {
    /// Public key.
    pub(super) key: EdwardsPoint,
    /// Commitment `R`.
    pub(super) commitment: EdwardsPoint,
    /// Response `s`.
    pub(super) response: Scalar,
    /// Challenge `k = SHA-512(R, A, M)`.
    pub(super) challenge: Scalar,
    /// The same before it was reduced; binds the whole record but `s`.
    pub(super) transcript: [u8; 64],
}

impl Decoded {
    /// Decode a record, or refuse its form: lengths, encodings that are not canonical, points of small order.
    pub(super) fn new((key, message, signature): &Signed<'_>) -> Option<Self> {
        let key_bytes: &[u8; 32] = (*key).try_into().ok()?;
        let (commitment_bytes, response_bytes) = signature.split_first_chunk::<32>()?;
        let response = Option::from(Scalar::from_canonical_bytes((*response_bytes).try_into().ok()?))?;
        let transcript: [u8; 64] = Sha512::new()
            .chain_update(commitment_bytes)
            .chain_update(key_bytes)
            .chain_update(message)
            .finalize()
            .into();
        Some(Self {
            key: decode_point(key_bytes)?,
            commitment: decode_point(commitment_bytes)?,
            response,
            challenge: Scalar::from_bytes_mod_order_wide(&transcript),
            transcript,
        })
    }

    /// `R - (sB - kA)`: zero for what an honest signer made, of small order for its variants.
    fn residue(&self) -> EdwardsPoint {
        let negated = -self.key;
        self.commitment - EdwardsPoint::vartime_double_scalar_mul_basepoint(&self.challenge, &negated, &self.response)
    }

    /// The equation times eight.
    pub(super) fn holds(&self) -> bool {
        self.residue().is_small_order()
    }
}

/// A point that is canonically encoded and not of small order.
fn decode_point(bytes: &[u8; 32]) -> Option<EdwardsPoint> {
    let mut y = *bytes;
    y[31] &= 0x7f; // the sign of x
    if !is_reduced(&y) || SMALL_ORDER_Y.contains(&y) {
        return None;
    }
    CompressedEdwardsY(*bytes).decompress()
}

/// The `y` of the eight points of small order, each with either sign of x: cheaper to look up than to multiply out.
static SMALL_ORDER_Y: LazyLock<[[u8; 32]; 8]> = LazyLock::new(|| {
    EIGHT_TORSION.map(|point| {
        let mut y = point.compress().to_bytes();
        y[31] &= 0x7f;
        y
    })
});

/// Whether `y` is below the field's prime 2^255 - 19. (The other odd encodings, of x = 0, are of small order.)
fn is_reduced(y: &[u8; 32]) -> bool {
    y[0] < 0xed || y[31] != 0x7f || y[1..31].iter().any(|&byte| byte != 0xff)
}

/// Whether the signature holds by the equation times eight, as in a batch.
#[must_use]
pub fn holds(record: &Signed<'_>) -> bool {
    Decoded::new(record).is_some_and(|decoded| decoded.holds())
}

/// Whether the signature holds by the equation without the cofactor.
#[must_use]
pub fn holds_strictly(record: &Signed<'_>) -> bool {
    Decoded::new(record).is_some_and(|decoded| decoded.residue().is_identity())
}

/// The base point, for the batch equation.
pub(super) const BASE: EdwardsPoint = ED25519_BASEPOINT_POINT;
