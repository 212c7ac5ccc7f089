//! Batch and single agree on every record, strict is within them, and the bad ones are named.

use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use proptest::prelude::*;
use sha2::{Digest, Sha512};
use tether_native::verify::{Signed, bad_indices, holds, holds_strictly};

type Record = (Vec<u8>, Vec<u8>, Vec<u8>);

fn view(record: &Record) -> Signed<'_> {
    (&record.0, &record.1, &record.2)
}

fn honest(seed: u8) -> Record {
    let key = SigningKey::from_bytes(&[seed; 32]);
    let message = vec![seed; usize::from(seed)];
    (
        key.verifying_key().to_bytes().to_vec(),
        message.clone(),
        key.sign(&message).to_bytes().to_vec(),
    )
}

/// What a holder of the key can make besides: point number `r` of small order added to R, number `a` to the key.
fn with_torsion(seed: u8, r: usize, a: usize) -> Record {
    let (secret, nonce) = (Scalar::from(u64::from(seed) + 1), Scalar::from(u64::from(seed) + 1_000));
    let key = (EdwardsPoint::mul_base(&secret) + EIGHT_TORSION[a])
        .compress()
        .to_bytes();
    let commitment = (EdwardsPoint::mul_base(&nonce) + EIGHT_TORSION[r])
        .compress()
        .to_bytes();
    let message = vec![seed; 9];
    let hash = Sha512::new()
        .chain_update(commitment)
        .chain_update(key)
        .chain_update(&message);
    let response = nonce + Scalar::from_bytes_mod_order_wide(&hash.finalize().into()) * secret;
    (key.to_vec(), message, [commitment, response.to_bytes()].concat())
}

/// What ed25519-dalek's strict form says.
fn dalek_strict((key, message, signature): &Record) -> Option<()> {
    let key = VerifyingKey::from_bytes(key[..].try_into().ok()?).ok()?;
    key.verify_strict(message, &Signature::from_slice(signature).ok()?).ok()
}

/// A record that was damaged in one of many ways, or not at all.
fn any_record() -> impl Strategy<Value = Record> {
    let torsion = (any::<u8>(), 0_usize..8, 0_usize..8).prop_map(|(seed, r, a)| with_torsion(seed, r, a));
    let flipped = (any::<u8>(), 0_usize..96, 0_u8..8).prop_map(|(seed, at, bit)| {
        let mut record = honest(seed);
        if at < 32 {
            record.0[at] ^= 1 << bit
        } else {
            record.2[at - 32] ^= 1 << bit
        }
        record
    });
    let cut = (any::<u8>(), 0_usize..70).prop_map(|(seed, length)| {
        let (key, message, signature) = honest(seed);
        (key, message, [signature, vec![0; 6]].concat()[..length].to_vec())
    });
    let small = (0_usize..8, 0_usize..8, any::<u8>()).prop_map(|(a, r, message)| {
        let (key, commitment) = (EIGHT_TORSION[a].compress(), EIGHT_TORSION[r].compress());
        (
            key.to_bytes().to_vec(),
            vec![message],
            [commitment.to_bytes(), [0; 32]].concat(),
        )
    });
    prop_oneof![6 => any::<u8>().prop_map(honest), 2 => torsion, 2 => flipped, 1 => cut, 1 => small]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_batch_says_of_each_record_what_is_said_of_it_alone(records in proptest::collection::vec(any_record(), 0..90)) {
        let views: Vec<Signed<'_>> = records.iter().map(view).collect();
        let alone: Vec<usize> = (0..views.len()).filter(|&i| !holds(&views[i])).collect();
        prop_assert_eq!(bad_indices(&views), alone);
    }

    #[test]
    fn strict_accepts_what_the_reference_does_and_nothing_that_single_refuses(record in any_record()) {
        let view = view(&record);
        let reference = dalek_strict(&record).is_some();
        prop_assert_eq!(holds_strictly(&view), reference);
        prop_assert!(holds(&view) || !reference);
    }
}

#[test]
fn torsion_passes_single_and_batch_alike_and_fails_strict() {
    let records: Vec<Record> = (0..64).map(|i| with_torsion(7, i % 8, i / 8)).collect();
    assert_eq!(
        bad_indices(&records.iter().map(view).collect::<Vec<_>>()),
        Vec::<usize>::new()
    );
    for (i, record) in records.iter().enumerate() {
        assert!(holds(&view(record)), "{i}");
        // Torsion of the key vanishes where the challenge is a multiple of its order: then only R's is left.
        assert!(i / 8 > 0 || (holds_strictly(&view(record)) == (i % 8 == 0)), "{i}");
    }
}

#[test]
fn keys_of_small_order_are_refused_alone_and_in_a_batch() {
    // With A of small order and R = sB - kA, every message fits for one in eight: the forgery that needs no key.
    let base = EdwardsPoint::mul_base(&Scalar::ONE).compress().to_bytes();
    for point in EIGHT_TORSION {
        let record = (
            point.compress().to_bytes().to_vec(),
            b"any".to_vec(),
            [base, Scalar::ONE.to_bytes()].concat(),
        );
        assert!(!holds(&view(&record)) && !holds_strictly(&view(&record)));
        assert_eq!(bad_indices(&[view(&honest(1)), view(&record), view(&honest(2))]), [1]);
    }
}

#[test]
fn encodings_that_are_not_canonical_are_refused() {
    // y = 2^255 - 19 + n encodes the same point as y = n; find those that decode to a point of full order.
    let mut tried = 0;
    for n in 0_u8..19 {
        let mut bytes = [0xff; 32];
        (bytes[0], bytes[31]) = (0xed + n, 0x7f);
        let Some(point) = CompressedEdwardsY(bytes).decompress().filter(|p| !p.is_small_order()) else {
            continue;
        };
        let record = with_key(bytes);
        tried += usize::from(point.compress().to_bytes() != bytes);
        assert!(!holds(&view(&record)) && !holds_strictly(&view(&record)));
    }
    assert!(tried > 0);
}

fn with_key(key: [u8; 32]) -> Record {
    (key.to_vec(), vec![], honest(3).2)
}

#[test]
fn bad_ones_are_named_wherever_they_are_and_however_many() {
    for bad in [
        vec![],
        vec![0],
        vec![63],
        vec![64],
        vec![5, 70, 129],
        (0..130).collect::<Vec<usize>>(),
    ] {
        let mut records: Vec<Record> = (0..130).map(|i| honest(i as u8)).collect();
        for &i in &bad {
            records[i].1.push(1);
        }
        assert_eq!(bad_indices(&records.iter().map(view).collect::<Vec<_>>()), bad);
    }
}
