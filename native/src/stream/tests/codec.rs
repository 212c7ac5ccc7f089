//! Frames come back as they went, and nothing malformed comes through.

use crate::stream::codec::{Entries, FRAME_BYTES_MAX, Head, Joiner, encode, kind};
use crate::stream::{ChunkLogs, StreamTable};
use proptest::prelude::*;

fn heads() -> impl Strategy<Value = (Head, Vec<u8>)> {
    let kinds = prop_oneof![1..=kind::DRAIN, kind::BULK..=kind::FAIL];
    let numbers = (
        any::<[u8; 16]>(),
        any::<u32>(),
        kinds,
        any::<u16>(),
        any::<u64>(),
        any::<u64>(),
        any::<u32>(),
    );
    let sizes = prop_oneof![8 => 0..200usize, 1 => 60_000..200_000usize];
    (numbers, sizes).prop_map(|((job, epoch, kind, output, tokens, bytes, credit), size)| {
        let head = Head {
            job,
            epoch,
            kind,
            flags: 0,
            output,
            tokens,
            bytes,
            credit,
        };
        (head, (0..size).map(|at| at as u8).collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn entries_come_back(entries in prop::collection::vec(heads(), 0..12)) {
        let frames = encode(entries.iter().map(|(head, body)| (*head, &body[..])));
        let mut joiner = Joiner::default();
        let mut back = Vec::new();
        for frame in &frames {
            prop_assert!(frame.len() <= FRAME_BYTES_MAX + 4);
            for (head, body) in Entries::open(frame).expect("well-formed") {
                if let Some(whole) = joiner.feed(&head, body, 1_000_000).expect("within limits") {
                    back.push((Head { flags: 0, ..head }, whole.into_owned()));
                }
            }
        }
        prop_assert_eq!(back, entries);
        prop_assert_eq!(joiner.held(), 0);
    }

    #[test]
    fn random_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400), kind in 0u8..40, wrap: bool) {
        if wrap && bytes.len() > 48 {
            let length = (bytes.len() - 48) as u32;
            bytes[20] = kind;
            bytes[40..44].copy_from_slice(&length.to_le_bytes());
            let mut framed = Vec::new();
            crate::stream::wire::put_bytes(&mut framed, 1, &bytes);
            bytes = framed;
        }
        let _ = StreamTable::new(super::world::table_settings()).frame(1, &bytes, 0);
        let _ = ChunkLogs::new(super::world::log_settings()).frame(1, &bytes);
    }

    #[test]
    fn damaged_chunks_never_panic(at in 0usize..300, byte: u8) {
        let mut world = super::world::World::new(super::world::table_settings(), super::world::log_settings());
        world.open(1, 2);
        world.join(1, 10);
        world.place(1, 1, 10);
        world.pump();
        world.serve();
        world.say(1, 1, 0, &[(1, "a"), (2, "日本"), (3, "")], b"\x42\x02\x0a\x00");
        world.end(1, 1);
        let mut frame = world.logs.pull(1).expect("a frame").to_vec();
        let at = at % frame.len();
        frame[at] = byte;
        if let Ok(actions) = world.table.frame(1, &frame, 0) {
            world.did(actions);
            while world.table.take(10).is_some() {}
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    let head = Head::plain([1; 16], 1, kind::CHUNK);
    let frame = encode([(head, &b"body"[..])].into_iter()).remove(0);
    for cut in 1..frame.len() {
        assert!(Entries::open(&frame[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn newer_control_is_skipped_and_unknown_bulk_is_refused() {
    let entry = |kind: u8| encode([(Head::plain([1; 16], 1, kind), &b""[..])].into_iter()).remove(0);
    assert_eq!(Entries::open(&entry(20)).map(Iterator::count), Ok(0));
    assert!(Entries::open(&entry(40)).is_err());
    assert!(Entries::open(&entry(0)).is_err());
}
