//! Many signatures in one equation: a random linear combination of all of them is of small order only if each one is,
//! but for a chance of 2^-128 (Bernstein et al., "High-speed high-security signatures", 2011, §5). A batch that fails
//! is halved, so that a few bad records cost little; small parts are checked one by one.

use super::record::{BASE, Decoded, Signed};
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::VartimeMultiscalarMul;
use rayon::prelude::*;
use sha2::{Digest, Sha512};
use std::iter::once;

/// Records in one equation: larger ones gain little, and one bad record spoils more. (bench/verify.py)
const BATCH_RECORDS: usize = 64;
/// A failed part of at most so many records is checked one by one: with many bad ones halving further costs more.
const SINGLES_MAX: usize = 16;

/// Indices, ascending, of the records that do not hold; `holds` says the same of each. Uses all cores where there is
/// more than one batch.
#[must_use]
pub fn bad_indices(records: &[Signed<'_>]) -> Vec<usize> {
    if records.len() <= BATCH_RECORDS {
        return bad_of_chunk(records, 0);
    }
    let chunks = records.par_chunks(BATCH_RECORDS).enumerate();
    let bad = chunks.map(|(i, chunk)| bad_of_chunk(chunk, i * BATCH_RECORDS));
    bad.flatten_iter().collect()
}

fn bad_of_chunk(chunk: &[Signed<'_>], offset: usize) -> Vec<usize> {
    let decoded: Vec<Option<Decoded>> = chunk.iter().map(Decoded::new).collect();
    let whole: Vec<(usize, &Decoded)> = (offset..)
        .zip(&decoded)
        .filter_map(|(i, d)| Some((i, d.as_ref()?)))
        .collect();
    let mut bad: Vec<usize> = (offset..)
        .zip(&decoded)
        .filter_map(|(i, d)| d.is_none().then_some(i))
        .collect();
    search(&whole, &weights(chunk, &whole), &mut bad);
    bad.sort_unstable();
    bad
}

/// Add the bad ones of a part to `bad`.
fn search(part: &[(usize, &Decoded)], weights: &[Scalar], bad: &mut Vec<usize>) {
    if part.is_empty() || all_hold(part, weights) {
        return;
    }
    if part.len() <= SINGLES_MAX {
        bad.extend(part.iter().filter(|(_, d)| !d.holds()).map(|(i, _)| *i));
        return;
    }
    let middle = part.len() / 2;
    search(&part[..middle], &weights[..middle], bad);
    search(&part[middle..], &weights[middle..], bad);
}

/// Whether 8 (Σ zR + Σ zkA - (Σ zs) B) = 0.
fn all_hold(part: &[(usize, &Decoded)], weights: &[Scalar]) -> bool {
    let base: Scalar = part.iter().zip(weights).map(|((_, d), z)| z * d.response).sum();
    let challenges = part.iter().zip(weights).map(|((_, d), z)| z * d.challenge);
    let scalars: Vec<Scalar> = once(-base).chain(weights.iter().copied()).chain(challenges).collect();
    let commitments = part.iter().map(|(_, d)| d.commitment);
    let points: Vec<EdwardsPoint> = once(BASE)
        .chain(commitments)
        .chain(part.iter().map(|(_, d)| d.key))
        .collect();
    EdwardsPoint::vartime_multiscalar_mul(&scalars, &points).is_small_order()
}

/// Weights of 128 bits that no signer can foresee: they hang on every record of the batch, responses too.
fn weights(chunk: &[Signed<'_>], whole: &[(usize, &Decoded)]) -> Vec<Scalar> {
    let mut seed = Sha512::new();
    for (_, decoded) in whole {
        seed.update(decoded.transcript);
        seed.update(decoded.response.as_bytes());
    }
    seed.update((chunk.len() as u64).to_le_bytes());
    let seed = seed.finalize();
    let blocks = (0_u64..).flat_map(|n| {
        Sha512::new()
            .chain_update(seed)
            .chain_update(n.to_le_bytes())
            .finalize()
    });
    let bytes: Vec<u8> = blocks.take(whole.len() * 16).collect();
    bytes
        .as_chunks::<16>()
        .0
        .iter()
        .map(|z| Scalar::from(u128::from_le_bytes(*z) | 1))
        .collect()
}
