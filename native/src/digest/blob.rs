//! Digests of a blob and of each of its pieces while the bytes arrive in order. A manifest names both: the piece
//! convicts a lying source after one mebibyte instead of at the end, the whole names the blob.

use super::Hash;
use sha2::{Digest, Sha256};

/// Bytes of a piece, by the manifest's rule.
pub const PIECE_BYTES: usize = 1 << 20;

/// Shortest chunk whose whole and pieces are hashed side by side: 30 µs of hashing, ten times the price of a fork.
const PARALLEL_BYTES_MIN: usize = 64 * 1024;

/// The two kinds of digest of a finished blob: of the whole, and of its pieces in order.
pub type Finished = (Hash, Vec<Hash>);

/// Digests of the pieces, of which the last one is being filled.
struct Pieces {
    piece_bytes: usize,
    hasher: Sha256,
    filled: usize,
    done: Vec<Hash>,
}

impl Pieces {
    fn feed(&mut self, mut chunk: &[u8]) {
        while !chunk.is_empty() {
            let (now, later) = chunk.split_at(chunk.len().min(self.piece_bytes - self.filled));
            self.hasher.update(now);
            self.filled += now.len();
            if self.filled == self.piece_bytes {
                self.complete();
            }
            chunk = later;
        }
    }

    fn complete(&mut self) {
        self.done.push(self.hasher.finalize_reset().into());
        self.filled = 0;
    }
}

/// SHA-256 of a blob and of its pieces. `feed` takes bytes in order; `finish` ends it.
pub struct BlobDigest {
    whole: Sha256,
    pieces: Pieces,
    length: u64,
    finished: Option<Hash>,
}

impl BlobDigest {
    /// A digest of nothing yet; `None` for pieces of no bytes.
    #[must_use]
    pub fn new(piece_bytes: usize) -> Option<Self> {
        let pieces = Pieces {
            piece_bytes,
            hasher: Sha256::new(),
            filled: 0,
            done: Vec::new(),
        };
        (piece_bytes > 0).then(|| Self {
            whole: Sha256::new(),
            pieces,
            length: 0,
            finished: None,
        })
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Take the next bytes; the digests of the pieces they completed, or `None` after `finish`.
    pub fn feed(&mut self, chunk: &[u8]) -> Option<&[Hash]> {
        if self.finished.is_some() {
            return None;
        }
        let before = self.pieces.done.len();
        self.length += chunk.len() as u64;
        let (whole, pieces) = (&mut self.whole, &mut self.pieces);
        if chunk.len() < PARALLEL_BYTES_MIN {
            whole.update(chunk);
            pieces.feed(chunk);
        } else {
            rayon::join(|| whole.update(chunk), || pieces.feed(chunk));
        }
        Some(&self.pieces.done[before..])
    }

    /// Digests of the whole and of all pieces, the last one shorter; an empty blob has none. Can be called again.
    pub fn finish(&mut self) -> Finished {
        let whole = *self.finished.get_or_insert_with(|| {
            if self.pieces.filled > 0 {
                self.pieces.complete();
            }
            self.whole.finalize_reset().into()
        });
        (whole, self.pieces.done.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(data: &[u8], chunk_bytes: usize, piece_bytes: usize) -> (Vec<Hash>, Finished) {
        let mut blob = BlobDigest::new(piece_bytes).expect("pieces of some bytes");
        let early = data
            .chunks(chunk_bytes)
            .flat_map(|chunk| blob.feed(chunk).expect("not finished").to_vec())
            .collect();
        (early, blob.finish())
    }

    proptest! {
        #[test]
        fn pieces_and_whole_are_those_of_the_bytes_however_they_arrive(
            data in proptest::collection::vec(any::<u8>(), 0..4_000),
            chunk_bytes in 1_usize..1_500,
            piece_bytes in 1_usize..900,
        ) {
            let (early, (whole, pieces)) = cut(&data, chunk_bytes, piece_bytes);
            let expected: Vec<Hash> = data.chunks(piece_bytes).map(|p| Sha256::digest(p).into()).collect();
            prop_assert_eq!(whole, Hash::from(Sha256::digest(&data)));
            prop_assert_eq!(&pieces, &expected);
            prop_assert_eq!(&early[..], &expected[..data.len() / piece_bytes]);
        }
    }

    #[test]
    fn long_chunks_take_the_parallel_way_to_the_same_digests() {
        let data: Vec<u8> = (0..3 * PARALLEL_BYTES_MIN).map(|i| (i % 251) as u8).collect();
        assert_eq!(
            cut(&data, 2 * PARALLEL_BYTES_MIN, 50_000).1,
            cut(&data, 1_000, 50_000).1
        );
    }

    #[test]
    fn finish_ends_it_and_can_be_repeated() {
        let mut blob = BlobDigest::new(PIECE_BYTES).expect("pieces of some bytes");
        let first = blob.finish();
        assert_eq!(first, (Sha256::digest(b"").into(), vec![]));
        assert_eq!(blob.feed(b"late"), None);
        assert_eq!((blob.finish(), blob.length()), (first, 0));
    }

    #[test]
    fn pieces_of_no_bytes_are_refused() {
        assert!(BlobDigest::new(0).is_none());
    }
}
