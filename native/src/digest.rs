//! SHA-256 over many buffers.

use rayon::prelude::*;
use sha2::{Digest, Sha256};

/// SHA-256 of each buffer, in order.
#[must_use]
pub fn sha256_many(data: &[&[u8]]) -> Vec<[u8; 32]> {
    data.par_iter().map(|d| Sha256::digest(d).into()).collect()
}
