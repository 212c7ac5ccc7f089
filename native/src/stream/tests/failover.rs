//! How an answer goes on when its attempt does not, one story each.

use super::story::{chunks, packed, place_again, position, running, running_with, seat, tokens};
use super::world::{job, numbers, table_settings};
use crate::stream::codec::{Entries, kind};
use crate::stream::failure::{BEHIND, DIVERGED};
use crate::stream::wire::{last_bytes, put_number};
use crate::stream::{Action, Position, TableSettings};

const DONE: u32 = 2;
const PENDING: u32 = 2;
const COHERENT: u32 = 2;
const RERUN: u32 = 3;

#[test]
fn a_new_attempt_goes_on_from_the_prefix_and_readers_see_where() {
    let mut world = running();
    world.say(1, 1, 0, &[(1, "one "), (2, "two ")], b"");
    world.say(1, 1, 3, &[(3, "three ")], b"");
    world.pump();
    world.take_all();
    world.cut();
    assert_eq!(world.wanted().pop(), Some(Action::Silent(job(1), 1)));
    let start = place_again(&mut world, 2, COHERENT);
    assert_eq!(position(&start, 3), (3, 14));
    assert_eq!((packed(&start, 4), packed(&start, 14)), (vec![1, 2, 3], vec![0, 0, 3]));
    assert_eq!(last_bytes(&start, 10), Ok(&tokens(&[1, 2, 3]).state()[..]));
    assert_eq!(numbers(&start, 12), u64::from(COHERENT));
    world.say(1, 2, 0, &[(4, "four")], b"");
    world.pump();
    world.say(1, 2, 0, &[(5, "!")], b"");
    world.pump();
    let got = chunks(&mut world, 10);
    assert_eq!(got.len(), 1);
    assert_eq!((numbers(&got[0], 5), numbers(&got[0], 16)), (2, u64::from(COHERENT)));
    world.say(1, 2, 0, &[(6, "?")], b"");
    world.pump();
    let got = chunks(&mut world, 10);
    assert_eq!((numbers(&got[0], 5), numbers(&got[0], 16)), (2, 0), "told once");
    let handed = world.table.handed(job(1)).expect("open");
    let spans: Vec<_> = handed.iter().map(|one| (one.0, one.1.tokens, one.2.tokens)).collect();
    assert_eq!(spans, [(1, 0, 3), (2, 3, 6)]);
    assert_eq!(
        (handed[0].3, handed[1].3),
        (tokens(&[1, 2, 3]).digest(), tokens(&[1, 2, 3, 4, 5, 6]).digest())
    );
    world.join(1, 11);
    let got = chunks(&mut world, 11);
    let told: Vec<_> = got.iter().map(|one| (numbers(one, 5), numbers(one, 16))).collect();
    assert_eq!(told, [(1, 0), (1, 0), (2, 2)], "who joins late is told in its place");
    let chain = tokens(&[1, 2, 3]).state();
    world.join_at(1, 12, seat(3, 14, chain));
    assert_eq!(numbers(&chunks(&mut world, 12)[0], 16), u64::from(COHERENT));
}

#[test]
fn the_end_of_a_continued_attempt_commits_to_the_whole_chain() {
    for settlement in [PENDING, 1] {
        let mut world = running();
        world.say(1, 1, 0, &[(1, "one "), (2, "two")], b"");
        world.pump();
        world.end(1, 1);
        world.pump();
        assert!(matches!(world.wanted().pop(), Some(Action::Commit(_, 1, _, Some(_)))));
        let start = place_again(&mut world, 2, 1); // its commit was refused
        assert_eq!((position(&start, 3), packed(&start, 4)), ((2, 7), vec![1, 2]));
        assert!(world.table.committed(job(1), 1, DONE, 1).is_empty(), "too late");
        world.end(1, 2);
        world.pump();
        assert!(matches!(world.wanted().pop(), Some(Action::Commit(_, 2, _, Some(_)))));
        let actions = world.table.committed(job(1), 2, DONE, settlement);
        world.did(actions);
        let got = chunks(&mut world, 10);
        let last = got.last().expect("the last");
        assert_eq!((got.len(), numbers(last, 4), numbers(last, 5)), (2, 1, 2));
        assert_eq!((numbers(last, 15), numbers(last, 16)), (u64::from(settlement), 1));
        assert!(world.table.stats().iter().take(3).all(|(_, count)| *count == 0));
        assert!(world.table.detail(job(1)).is_none() && world.table.handed(job(1)).is_none());
    }
}

#[test]
fn a_last_chunk_whose_link_is_gone_still_waits_for_its_commit() {
    let mut world = running();
    world.say(1, 1, 0, &[(1, "all")], b"");
    world.end(1, 1);
    world.pump();
    world.cut();
    assert!(!world.wanted().iter().any(|one| matches!(one, Action::Silent(..))));
    let actions = world.table.committed(job(1), 1, 4, 1);
    assert!(actions.contains(&Action::Finish(job(1))), "another outcome was written");
    world.did(actions);
    world.take_all();
    assert_eq!((world.readers[&10].ends, world.readers[&10].failed.len()), (0, 1));
}

#[test]
fn a_rerun_is_suppressed_as_far_as_it_agrees() {
    let mut world = running();
    world.say(1, 1, 0, &[(1, "one "), (2, "two "), (3, "three ")], b"");
    world.pump();
    world.take_all();
    world.cut();
    let start = place_again(&mut world, 2, RERUN);
    assert_eq!((position(&start, 3), packed(&start, 4).len()), ((0, 0), 0));
    assert_eq!(
        (last_bytes(&start, 10), numbers(&start, 12)),
        (Ok(&b""[..]), u64::from(RERUN))
    );
    world.wanted();
    world.say(1, 2, 0, &[(1, "one ")], b"\x42\x01x");
    world.pump();
    assert!(world.wanted().is_empty(), "nothing to see");
    assert_eq!(
        world
            .table
            .detail(job(1))
            .and_then(|all| all.iter().find(|one| one.0 == "replaying").copied()),
        Some(("replaying", 1))
    );
    world.say(1, 2, 0, &[(2, "two "), (3, "three "), (4, "four")], b"\x42\x01y");
    world.pump();
    let got = chunks(&mut world, 10);
    assert_eq!(
        (got.len(), position(&got[0], 6), numbers(&got[0], 16)),
        (1, (3, 14), u64::from(RERUN))
    );
    assert_eq!(
        last_bytes(&got[0], 8),
        Ok(&b"y"[..]),
        "an extra within what was known is known"
    );
}

#[test]
fn a_rerun_that_differs_anywhere_fails_the_job() {
    type Said = (u16, &'static [(u32, &'static str)]);
    let stories: [Said; 4] = [
        (0, &[(1, "one "), (9, "two ")]),
        (0, &[(1, "one "), (2, "TWO ")]),
        (0, &[(1, "one"), (2, " two ")]),
        (1, &[(1, "one "), (2, "two ")]),
    ];
    for (output, said) in stories {
        let mut world = running();
        world.say(1, 1, 0, &[(1, "one "), (2, "two "), (3, "three ")], b"");
        world.pump();
        world.cut();
        place_again(&mut world, 2, RERUN);
        world.say(1, 2, output, said, b"");
        world.pump();
        assert_eq!(world.readers[&10].failed, [DIVERGED.serialize()], "{said:?}");
        assert!(world.worker.contains(&Action::Cancel(job(1), 2)));
    }
    let mut world = running();
    world.say(1, 1, 0, &[(1, "one "), (2, "two ")], b"");
    world.pump();
    world.cut();
    place_again(&mut world, 2, RERUN);
    world.say(1, 2, 0, &[(1, "one "), (2, "two ")], b"");
    let frame = world.logs.pull(world.link).expect("a frame").to_vec();
    let (mut head, _) = Entries::open(&frame).expect("well-formed").next().expect("a chunk");
    (head.tokens, head.bytes) = (1, 4);
    let hole =
        crate::stream::codec::encode([(head, &b"\x01\x00\x02\x00\x00\x00\x04\x00two "[..])].into_iter()).remove(0);
    let actions = world.table.frame(world.link, &hole, 0).expect("well-formed");
    assert!(
        actions.contains(&Action::Failed(10, DIVERGED.serialize())),
        "a rerun has no holes"
    );
}

fn payload(parts: &[u8]) -> Vec<u8> {
    parts.iter().flat_map(|part| [0x12, 1, *part]).collect()
}

#[test]
fn payloads_are_always_run_again_and_compared_at_any_cutting() {
    for (again, agrees) in [(&[1, 2, 3, 4, 5, 6][..], true), (&[1, 2, 3, 9, 5, 6], false)] {
        for cut in 1..6 {
            let mut world = running();
            let _ = world
                .logs
                .append_payload(job(1), 1, 0, &payload(&[1, 2]))
                .expect("fits");
            let _ = world
                .logs
                .append_payload(job(1), 1, 0, &payload(&[3, 4]))
                .expect("fits");
            world.pump();
            world.cut();
            let start = place_again(&mut world, 2, COHERENT);
            assert_eq!((position(&start, 3), numbers(&start, 12)), ((0, 0), u64::from(RERUN)));
            for part in again.chunks(cut) {
                let _ = world.logs.append_payload(job(1), 2, 0, &payload(part)).expect("fits");
            }
            world.pump();
            let got = chunks(&mut world, 10);
            let whole: Vec<u8> = got
                .iter()
                .flat_map(|one| last_bytes(one, 3).expect("payload").to_vec())
                .collect();
            assert_eq!(world.readers[&10].failed.is_empty(), agrees, "cut at {cut}");
            assert!(!agrees || whole == payload(&[1, 2, 3, 4, 5, 6]), "cut at {cut}");
        }
    }
}

#[test]
fn a_rerun_is_compared_by_its_hash_where_payloads_were_trimmed() {
    let small = TableSettings {
        log_bytes_max: 1_000,
        ..table_settings()
    };
    for (first, agrees) in [(0, true), (7, false)] {
        let mut world = running_with(small.clone());
        for part in 0..100 {
            let _ = world
                .logs
                .append_payload(job(1), 1, 0, &payload(&[part; 10]))
                .expect("fits");
            world.pump();
            chunks(&mut world, 10);
        }
        assert!(world.table.look(job(1)).is_some_and(|(_, log, _)| log.trimmed()));
        world.cut();
        place_again(&mut world, 2, RERUN);
        let _ = world
            .logs
            .append_payload(job(1), 2, 0, &payload(&[first; 10]))
            .expect("fits");
        for part in 1..101 {
            let _ = world
                .logs
                .append_payload(job(1), 2, 0, &payload(&[part; 10]))
                .expect("fits");
        }
        world.pump();
        let got = chunks(&mut world, 10);
        assert_eq!(world.readers[&10].failed.is_empty(), agrees);
        assert_eq!(got.len(), usize::from(agrees), "only what is new");
    }
}

#[test]
fn a_prefix_is_handed_over_though_its_text_is_trimmed() {
    let small = TableSettings {
        log_bytes_max: 4_000,
        ..table_settings()
    };
    let mut world = running_with(small);
    for id in 0..500 {
        world.say(1, 1, 0, &[(id, "many words ")], b"");
        world.pump();
        world.take_all();
    }
    assert!(
        world
            .table
            .look(job(1))
            .is_some_and(|(_, log, _)| log.trimmed() && log.size() <= 5_000)
    );
    let early = tokens(&[0, 1]).state();
    world.join_at(1, 11, seat(2, 22, early));
    assert_eq!(world.readers[&11].failed, [BEHIND.serialize()]);
    let ids: Vec<u32> = (0..499).collect();
    world.join_at(1, 12, seat(499, 499 * 11, tokens(&ids).state()));
    assert_eq!(
        chunks(&mut world, 12).len(),
        1,
        "a cursor's chain is known however much was trimmed"
    );
    world.cut();
    let start = place_again(&mut world, 2, 1);
    assert_eq!(packed(&start, 4), (0..500).collect::<Vec<_>>());
    world.cut();
    place_again(&mut world, 3, RERUN);
    for id in 0..501 {
        world.say(1, 3, 0, &[(id, "many words ")], b"");
    }
    world.pump();
    assert_eq!(chunks(&mut world, 10).len(), 1);
}

#[test]
fn a_lost_link_is_replaced_and_the_same_attempt_goes_on() {
    let mut world = running();
    world.say(1, 1, 0, &[(1, "one ")], b"");
    world.pump();
    world.say(1, 1, 0, &[(2, "two ")], b"");
    let before = world.link;
    world.link += 1;
    let start = place_again(&mut world, 1, 0);
    assert_eq!((position(&start, 3), packed(&start, 4)), ((1, 4), vec![1]));
    let kinds = |frame: &[u8]| {
        Entries::open(frame)
            .expect("well-formed")
            .map(|one| one.0.kind)
            .collect::<Vec<_>>()
    };
    let frame = world.table.pull(before).expect("a farewell").to_vec();
    assert_eq!(kinds(&frame), [kind::DETACH]);
    assert!(
        !world.worker.iter().any(|one| matches!(one, Action::Run(..))),
        "it runs already"
    );
    world.pump();
    world.take_all();
    assert_eq!(world.readers[&10].text(), "one two ");
    let cancel = crate::stream::codec::Head::plain(job(1), 1, kind::CANCEL);
    let frame = crate::stream::codec::encode([(cancel, &b""[..])].into_iter()).remove(0);
    assert!(
        world.logs.frame(before, &frame).expect("well-formed").is_empty(),
        "no driver any more"
    );
    assert_eq!(
        world.logs.frame(world.link, &frame).expect("well-formed"),
        [Action::Cancel(job(1), 1)]
    );
}

#[test]
fn a_failure_that_another_may_mend_keeps_the_job_where_that_is_wanted() {
    let mut failure = Vec::new();
    put_number(&mut failure, 7, 1);
    for hold in [true, false] {
        let settings = TableSettings {
            hold_failed: hold,
            ..table_settings()
        };
        let mut world = running_with(settings);
        world.say(1, 1, 0, &[(1, "one ")], b"");
        world.pump();
        world.take_all();
        world.wanted();
        let _ = world.logs.fail(job(1), 1, &failure, 0);
        world.pump();
        let place = Position { tokens: 1, bytes: 4 };
        if !hold {
            assert!(
                world
                    .wanted()
                    .contains(&Action::Fail(job(1), 1, place, failure.clone()))
            );
            continue;
        }
        assert_eq!(world.wanted(), [Action::Lost(job(1), 1, place, failure.clone())]);
        assert!(world.tick_to(60_000).is_empty(), "it is told once");
        place_again(&mut world, 2, 1);
        world.say(1, 2, 0, &[(2, "two")], b"");
        world.pump();
        world.take_all();
        assert_eq!(world.readers[&10].text(), "one two");
    }
}

#[test]
fn a_worker_that_breaks_a_rule_is_left_with_what_was_accepted() {
    let stories: [(u64, &[u8]); 3] = [
        (5, b"\x01\x00\x02\x00\x00\x00\x03\x00two"),  // a hole
        (0, b"\x01\x00\x09\x00\x00\x00\x04\x00nine"), // something else in a known place
        (1, b"\x01\x00\x02"),                         // cut off
    ];
    for (tokens, body) in stories {
        let mut world = running_with(TableSettings {
            hold_failed: true,
            ..table_settings()
        });
        world.say(1, 1, 0, &[(1, "one ")], b"");
        world.pump();
        world.wanted();
        let head = crate::stream::codec::Head {
            tokens,
            bytes: tokens * 4,
            ..crate::stream::codec::Head::plain(job(1), 1, kind::CHUNK)
        };
        let frame = crate::stream::codec::encode([(head, body)].into_iter()).remove(0);
        let actions = world.table.frame(world.link, &frame, 0).expect("well-formed");
        assert!(actions.contains(&Action::Foul(world.link, job(1), 1)), "{actions:?}");
        assert!(
            actions
                .iter()
                .any(|action| matches!(action, Action::Lost(_, 1, at, _) if at.tokens <= 1))
        );
        world.did(actions);
        world.pump();
        assert!(world.worker.contains(&Action::Cancel(job(1), 1)), "it is told to stop");
        place_again(&mut world, 2, 1);
        world.say(1, 2, 0, &[(2, "two")], b"");
        world.pump();
        world.take_all();
        assert_eq!(world.readers[&10].text(), "one two");
        assert!(world.readers[&10].failed.is_empty());
    }
}
