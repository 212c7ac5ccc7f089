//! The chain of a job: SHA-256 whose state can be written down and taken up on another machine, so that a cursor
//! vouches for all that was delivered without holding it. Between blocks SHA-256 (FIPS 180-4 §6.2) is nothing but
//! eight words and a count; with the bytes of the block begun, that is the whole state. Layout: docs/design/link.md.

use super::Hash;
use sha2::block_api::compress256;
use std::fmt;

/// Initial words of SHA-256: FIPS 180-4 §5.3.3.
const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];
const BLOCK_BYTES: usize = 64;
/// Midstate and length, which come before the tail.
const STATE_HEAD_BYTES: usize = 40;
/// SHA-256 counts bits in 64 bits.
const LENGTH_BYTES_MAX: u64 = u64::MAX / 8;

/// A state that no chain can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedState;

impl fmt::Display for MalformedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "chain state must be midstate (32 bytes), length (8) and as many bytes as the length has past a block",
        )
    }
}

impl std::error::Error for MalformedState {}

/// A running SHA-256 that can be carried away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    words: [u32; 8],
    length: u64,
    /// The block begun; what stands past `length % 64` is zero.
    tail: [u8; BLOCK_BYTES],
}

impl Default for Chain {
    fn default() -> Self {
        Self::new()
    }
}

impl Chain {
    /// A chain over nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            words: INITIAL,
            length: 0,
            tail: [0; BLOCK_BYTES],
        }
    }

    /// A chain that goes on from a written state.
    ///
    /// # Errors
    /// `MalformedState` when no bytes lead to it by its form: lengths disagree, or the midstate of less
    /// than a block is not the initial one.
    pub fn resume(state: &[u8]) -> Result<Self, MalformedState> {
        let (head, rest) = state.split_at_checked(STATE_HEAD_BYTES).ok_or(MalformedState)?;
        let mut chain = Self::new();
        for (word, bytes) in chain.words.iter_mut().zip(head.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        chain.length = u64::from_le_bytes(head[32..].try_into().map_err(|_| MalformedState)?);
        let started = chain.length >= BLOCK_BYTES as u64 || chain.words == INITIAL;
        if chain.tail_len() != rest.len() || chain.length > LENGTH_BYTES_MAX || !started {
            return Err(MalformedState);
        }
        chain.tail[..rest.len()].copy_from_slice(rest);
        Ok(chain)
    }

    /// Midstate, length, tail: 40 to 103 bytes.
    #[must_use]
    pub fn state(&self) -> Vec<u8> {
        let mut state = vec![0; self.state_len()];
        self.write_state(&mut state);
        state
    }

    /// Write [`Chain::state`] to the beginning of `out`, which has room for it; returns its length.
    pub fn write_state(&self, out: &mut [u8]) -> usize {
        let length = self.state_len();
        for (bytes, word) in out.as_chunks_mut::<4>().0.iter_mut().zip(self.words) {
            *bytes = word.to_le_bytes();
        }
        out[32..STATE_HEAD_BYTES].copy_from_slice(&self.length.to_le_bytes());
        out[STATE_HEAD_BYTES..length].copy_from_slice(&self.tail[..length - STATE_HEAD_BYTES]);
        length
    }

    /// Bytes of [`Chain::state`].
    #[must_use]
    pub const fn state_len(&self) -> usize {
        STATE_HEAD_BYTES + self.tail_len()
    }

    /// Bytes fed since the beginning.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Add bytes.
    pub fn feed_bytes(&mut self, mut data: &[u8]) {
        let filled = self.tail_len();
        self.length += data.len() as u64;
        if filled > 0 {
            let (now, later) = data.split_at(data.len().min(BLOCK_BYTES - filled));
            self.tail[filled..filled + now.len()].copy_from_slice(now);
            data = later;
            if filled + now.len() < BLOCK_BYTES {
                return;
            }
            compress256(&mut self.words, &[self.tail]);
        }
        let (blocks, rest) = data.as_chunks::<BLOCK_BYTES>();
        compress256(&mut self.words, blocks);
        self.tail = [0; BLOCK_BYTES];
        self.tail[..rest.len()].copy_from_slice(rest);
    }

    /// Add token ids, 4 bytes each, little-endian.
    pub fn feed_tokens(&mut self, tokens: &[u32]) {
        let mut bytes = [0; BLOCK_BYTES];
        for part in tokens.chunks(BLOCK_BYTES / 4) {
            for (slot, token) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(part) {
                *slot = token.to_le_bytes();
            }
            self.feed_bytes(&bytes[..part.len() * 4]);
        }
    }

    /// SHA-256 of all that was fed; the chain can go on.
    #[must_use]
    pub fn digest(&self) -> Hash {
        let mut words = self.words;
        let mut blocks = [[0; BLOCK_BYTES]; 2];
        let filled = self.tail_len();
        blocks[0][..filled].copy_from_slice(&self.tail[..filled]);
        blocks[0][filled] = 0x80;
        let used = if filled < BLOCK_BYTES - 8 { 1 } else { 2 };
        blocks[used - 1][BLOCK_BYTES - 8..].copy_from_slice(&self.length.wrapping_mul(8).to_be_bytes());
        compress256(&mut words, &blocks[..used]);
        let mut digest = Hash::default();
        for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *bytes = word.to_be_bytes();
        }
        digest
    }

    const fn tail_len(&self) -> usize {
        (self.length % BLOCK_BYTES as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    proptest! {
        #[test]
        fn a_chain_carried_away_at_any_points_ends_like_one_shot(
            data in proptest::collection::vec(any::<u8>(), 0..700),
            cuts in proptest::collection::vec(0_usize..700, 0..8),
        ) {
            let mut chain = Chain::new();
            let mut at = 0;
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(data.len())).collect();
            cuts.sort_unstable();
            cuts.push(data.len());
            for cut in cuts {
                chain.feed_bytes(&data[at..cut]);
                at = cut;
                let state = chain.state();
                prop_assert!(state.len() <= 103);
                chain = Chain::resume(&state).expect("its own state");
                prop_assert_eq!(chain.state(), state);
                prop_assert_eq!(chain.digest(), Hash::from(Sha256::digest(&data[..at])));
            }
            prop_assert_eq!(chain.length(), data.len() as u64);
        }

        #[test]
        fn tokens_are_their_little_endian_bytes(
            tokens in proptest::collection::vec(any::<u32>(), 0..90), odd in 0_usize..5,
        ) {
            let bytes: Vec<u8> = tokens.iter().flat_map(|t| t.to_le_bytes()).collect();
            let mut by_token = Chain::new();
            let mut by_byte = Chain::new();
            by_token.feed_bytes(&[7; 3][..odd.min(3)]);
            by_byte.feed_bytes(&[7; 3][..odd.min(3)]);
            by_token.feed_tokens(&tokens);
            by_byte.feed_bytes(&bytes);
            prop_assert_eq!(by_token, by_byte);
        }

        #[test]
        fn resume_refuses_or_repeats_any_bytes(state in proptest::collection::vec(any::<u8>(), 0..110)) {
            if let Ok(chain) = Chain::resume(&state) {
                prop_assert_eq!(chain.state(), state);
            }
        }
    }

    #[test]
    fn a_state_of_other_lengths_is_refused() {
        let mut chain = Chain::new();
        chain.feed_bytes(&[1; 70]);
        let state = chain.state();
        assert_eq!(Chain::resume(&state[..45]), Err(MalformedState));
        assert_eq!(Chain::resume(&state[..39]), Err(MalformedState));
        assert_eq!(Chain::resume(&[&state[..], &[0]].concat()), Err(MalformedState));
        let mut short = Chain::new().state();
        short[0] ^= 1;
        assert_eq!(Chain::resume(&short), Err(MalformedState));
        let endless = [&state[..32], &u64::MAX.to_le_bytes()[..], &[0; 63]].concat();
        assert_eq!(Chain::resume(&endless), Err(MalformedState));
    }
}
