//! Ed25519 signature checks.

use ed25519_dalek::{Signature, VerifyingKey};

/// Key, message and signature of one record.
pub type Signed<'a> = (&'a [u8; 32], &'a [u8], &'a [u8; 64]);

/// Indices of the records whose signature does not hold.
#[must_use]
pub fn bad_indices(batch: &[Signed<'_>]) -> Vec<usize> {
    let holds = |(key, message, signature): &Signed<'_>| {
        VerifyingKey::from_bytes(key)
            .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
    };
    (0..batch.len()).filter(|&i| !holds(&batch[i])).collect()
}
