//! SHA-256 (FIPS 180-4) in the three forms that Tether needs: of many buffers at once, of a blob and its pieces while
//! bytes arrive, and as a chain whose state can be carried to another machine.

mod blob;
mod chain;

pub use blob::{BlobDigest, Finished, PIECE_BYTES};
pub use chain::{Chain, MalformedState};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

/// A SHA-256 digest.
pub type Hash = [u8; 32];

/// SHA-256 of each buffer, in order, on all cores.
#[must_use]
pub fn sha256_many(data: &[&[u8]]) -> Vec<Hash> {
    data.par_iter().map(|d| Sha256::digest(d).into()).collect()
}
