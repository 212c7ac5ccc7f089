//! Readers that begin in the middle, at a gateway and at a worker, one story each.

use super::story::{chunks, packed, position, running, seat, tokens};
use super::world::{World, at, job, log_settings, numbers, table_settings};
use crate::stream::codec::{Entries, kind};
use crate::stream::failure::{CURSOR, DIVERGED, HANDED};
use crate::stream::wire::last_bytes;
use crate::stream::{Action, Log, OpenJob, Opening, Piece, Placing, Position, Start, StreamTable, TableSettings};

const DETACH: u32 = 1;

#[test]
fn a_reader_begins_at_its_cursor_or_is_told_why_not() {
    let mut world = running();
    world.say(1, 1, 0, &[(1, "one "), (2, "two "), (3, "three ")], b"");
    world.pump();
    let chain = tokens(&[1, 2]).state();
    world.join_at(1, 20, seat(2, 8, chain.clone()));
    let got = chunks(&mut world, 20);
    assert_eq!((got.len(), position(&got[0], 6), numbers(&got[0], 2)), (1, (2, 8), 0));
    let cursor = last_bytes(&got[0], 11).expect("a cursor");
    assert_eq!((position(cursor, 3), numbers(cursor, 2)), ((3, 14), 1));
    assert_eq!(last_bytes(cursor, 4), Ok(&tokens(&[1, 2, 3]).state()[..]));
    let mut refused = |start: Start| {
        world.join_at(1, 21, start);
        world.readers[&21].failed.clone()
    };
    assert_eq!(refused(seat(2, 8, tokens(&[1, 9]).state())), [DIVERGED.serialize()]);
    assert_eq!(refused(seat(2, 9, Vec::new())), [CURSOR.serialize()], "inside a token");
    assert_eq!(refused(seat(0, 8, Vec::new())), [CURSOR.serialize()]);
    assert_eq!(refused(seat(2, 8, vec![1; 40])), [CURSOR.serialize()], "no chain state");
    assert_eq!(
        refused(seat(3, 14, chain.clone())),
        [CURSOR.serialize()],
        "of another place"
    );
    world.join_at(1, 22, seat(4, 18, tokens(&[1, 2, 3, 4]).state()));
    world.join_at(1, 23, seat(4, 18, tokens(&[1, 2, 3, 5]).state()));
    world.join_at(1, 24, seat(4, 17, Vec::new()));
    world.join_at(1, 25, seat(u64::MAX, u64::MAX, Vec::new()));
    assert!(world.table.take(22).is_none());
    world.say(1, 1, 0, &[(4, "four"), (5, " five")], b"");
    world.pump();
    assert_eq!(position(&chunks(&mut world, 22)[0], 6), (4, 18));
    assert_eq!(world.readers[&23].failed, [DIVERGED.serialize()]);
    assert_eq!(world.readers[&24].failed, [CURSOR.serialize()]);
    world.end(1, 1);
    world.pump();
    world.join_at(1, 26, seat(9, 99, Vec::new()));
    assert!(
        world.readers[&25].failed.is_empty(),
        "of two attempts that race the other may count"
    );
    let actions = world.table.committed(job(1), 1, 2, 1);
    world.did(actions);
    for reader in [25, 26] {
        let failed = &world.readers[&reader].failed;
        assert_eq!(*failed, [CURSOR.serialize()], "the end is before it");
    }
}

#[test]
fn a_reader_that_waits_ahead_neither_stalls_the_job_nor_stays() {
    let narrow = TableSettings {
        window_bytes: 500,
        ..table_settings()
    };
    let mut world = World::new(narrow, log_settings());
    world.open(1, DETACH);
    world.join_at(1, 10, seat(200, 1_000, Vec::new()));
    world.place(1, 1, 10);
    world.pump();
    world.serve();
    for id in 0..201 {
        world.say(1, 1, 0, &[(id, "word ")], b"");
        world.pump();
    }
    assert_eq!(chunks(&mut world, 10).len(), 1);
    world.join_at(1, 11, seat(500, 2_500, Vec::new()));
    for reader in [10, 11] {
        let _ = world.table.leave(reader, 0);
    }
    assert!(world.table.stats().contains(&("readers", 0)));
    let ahead = seat(500, 2_500, Vec::new());
    world.join_at(1, 12, ahead);
    let actions = world.table.fail(job(1), b"over");
    assert_eq!(actions[0], Action::Failed(12, b"over".to_vec()));
    assert!(world.table.stats().iter().take(3).all(|(_, count)| *count == 0));
}

fn opening<'a>(link: u64, (tokens, bytes): (u64, u64), chain_state: &'a [u8]) -> Opening<'a> {
    Opening {
        job: job(1),
        epoch: 2,
        link,
        tenant: "acme",
        credit_bytes: 10_000,
        position: Position { tokens, bytes },
        chain_state,
    }
}

/// What a link of a worker gets next: kinds, and the body of the last.
fn answer(world: &mut World, link: u64) -> (Vec<u8>, Vec<u8>) {
    let Some(frame) = world.logs.pull(link).map(<[u8]>::to_vec) else {
        return Default::default();
    };
    let entries: Vec<_> = Entries::open(&frame).expect("well-formed").collect();
    let last = entries.last().map_or(Vec::new(), |one| one.1.to_vec());
    (entries.iter().map(|one| one.0.kind).collect(), last)
}

#[test]
fn a_worker_lets_readers_wait_for_places_ahead_and_compares_chains() {
    let mut world = World::new(table_settings(), log_settings());
    let state = tokens(&[1, 2]).state();
    let _ = world.logs.start(&opening(1, (2, 4), &state), 1_000).expect("new");
    let ahead = [tokens(&[1, 2, 3]).state(), tokens(&[1, 2, 9]).state()];
    for (link, state) in [(5, &ahead[0]), (6, &ahead[1])] {
        let _ = world.logs.attach(&opening(link, (3, 6), state));
    }
    let _ = world.logs.attach(&opening(7, (9, 90), b""));
    assert!(world.logs.pull(5).is_none());
    world.say(1, 2, 0, &[(3, "c "), (4, "d ")], b"");
    assert_eq!(answer(&mut world, 5).0, [kind::CHUNK]);
    assert_eq!(answer(&mut world, 6), (vec![kind::FAIL], DIVERGED.serialize()));
    world.end(1, 2);
    assert_eq!(
        answer(&mut world, 7),
        (vec![kind::FAIL], DIVERGED.serialize()),
        "it never gets there"
    );
    assert!(
        world.logs.start(&opening(1, (2, 4), &ahead[0][..39]), 0).is_ok(),
        "known: an attach"
    );
}

#[test]
fn a_prefix_that_is_handed_in_can_be_read_from_its_beginning() {
    let mut world = World::new(table_settings(), log_settings());
    let state = tokens(&[1, 2]).state();
    let _ = world.logs.start(&opening(1, (2, 4), &state), 1_000).expect("new");
    let _ = world.logs.attach(&opening(5, (0, 0), b""));
    world.say(1, 2, 0, &[(3, "c ")], b"\x42\x01z");
    assert!(world.logs.pull(5).is_none() && world.logs.answer(job(1), 2, 100).is_none());
    let piece = |ids: &'static [u32]| Piece {
        job: job(1),
        epoch: 2,
        output: 0,
        ids,
        lengths: &[2, 2],
        text: b"a b ",
        extra: b"",
    };
    for wrong in [&[piece(&[1, 9])][..], &[piece(&[1, 2]), piece(&[1, 2])], &[]] {
        assert!(world.logs.preload(job(1), 2, wrong).is_err());
    }
    for _ in 0..2 {
        let _ = world.logs.preload(job(1), 2, &[piece(&[1, 2])]).expect("the prefix");
    }
    let (kinds, body) = answer(&mut world, 5);
    assert_eq!((kinds, &body[2 + 18..]), (vec![kind::CHUNK], &b"a b c \x42\x01z"[..]));
    assert_eq!(answer(&mut world, 1).0, [kind::CHUNK]);
    assert_eq!(
        world.logs.chain(job(1), 2).map(|one| one.0),
        Some(tokens(&[1, 2, 3]).digest())
    );
    let whole = world.logs.answer(job(1), 2, 100).expect("whole");
    assert_eq!(last_bytes(&whole, 1), Ok(&b"a b c "[..]));
}

#[test]
fn a_reader_waits_for_a_prefix_only_so_long() {
    let mut world = World::new(table_settings(), log_settings());
    let state = tokens(&[1, 2]).state();
    let _ = world.logs.start(&opening(1, (2, 4), &state), 1_000).expect("new");
    let _ = world.logs.attach(&opening(5, (0, 0), b""));
    world.tick_to(2_400);
    assert!(world.logs.pull(5).is_none());
    world.tick_to(2_600);
    assert_eq!(answer(&mut world, 5), (vec![kind::FAIL], HANDED.serialize()));
    assert!(world.worker.is_empty(), "the driver still reads");
}

#[test]
fn a_reading_gateway_attaches_to_the_next_attempt_where_it_is() {
    let mut world = running();
    let open = OpenJob {
        job: job(1),
        driver: false,
        keep_answer_bytes: 0,
        on_disconnect: DETACH,
        deadline_ms: 1_000_000,
    };
    let mut reading = StreamTable::new(table_settings());
    reading.open(&open, 0).expect("not open");
    let _ = reading.join(job(1), &super::world::plain(50)).expect("free");
    let _ = reading.placed(&at(1, 1, 1, b""), 0);
    let _ = reading.pull(1);
    world.say(1, 1, 0, &[(1, "one "), (2, "two ")], b"");
    let frame = world.logs.pull(1).expect("a chunk").to_vec();
    let _ = reading.frame(1, &frame, 0).expect("well-formed");
    let _ = reading.placed(&at(1, 2, 8, b""), 0);
    let attach = reading.pull(8).expect("an attach").to_vec();
    let (head, body) = Entries::open(&attach).expect("well-formed").next().expect("an entry");
    assert_eq!((head.kind, head.epoch, position(body, 2)), (kind::ATTACH, 2, (2, 8)));
    assert_eq!(last_bytes(body, 4), Ok(&tokens(&[1, 2]).state()[..]));
    assert!(reading.take(50).is_some_and(|chunk| numbers(chunk, 5) == 1));
    let driving = Placing {
        driver: Some(true),
        continuity: 1,
        ..at(1, 3, 9, b"")
    };
    let _ = reading.placed(&driving, 0);
    let start = reading.pull(9).expect("a start").to_vec();
    let (head, body) = Entries::open(&start).expect("well-formed").next().expect("an entry");
    assert_eq!((head.kind, head.epoch, position(body, 3)), (kind::START, 3, (2, 8)));
    assert_eq!(packed(body, 4), [1, 2], "it has the whole prefix, so it can drive");
}

#[test]
fn a_log_counts_the_same_whether_its_beginning_came_first_or_last() {
    let say = |log: &mut Log, ids: &[u32], output: u16, extra: &[u8]| {
        log.push(output, ids.iter().map(|id| (*id, 2)), &b"x ".repeat(ids.len()), extra);
    };
    let (mut whole, mut front) = (Log::default(), Log::default());
    let mut late = Log::at(Position { tokens: 3, bytes: 6 }, tokens(&[1, 2, 3]));
    for log in [&mut whole, &mut front] {
        say(log, &[1, 2], 0, b"first");
        say(log, &[3], 1, b"");
    }
    for log in [&mut whole, &mut late] {
        say(log, &[4], 1, b"second");
        say(log, &[5], 0, b"third");
    }
    assert!(late.prepend(front));
    for unit in 0..=5 {
        assert_eq!(late.cost(unit), whole.cost(unit), "at {unit}");
        assert_eq!(late.chain_at(unit), whole.chain_at(unit), "at {unit}");
        assert_eq!(late.span(unit, 9, 99, true), whole.span(unit, 9, 99, true), "at {unit}");
    }
    assert_eq!((late.outputs_until(5), late.answer(99)), (vec![0, 0, 1, 1, 0], None));
    assert_eq!((late.size(), late.end()), (whole.size(), whole.end()));
}
