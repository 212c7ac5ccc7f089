//! Two attempts for the next chunk, one story each.

use super::story::{chunks, place_again, running};
use super::world::{at, job, numbers};
use crate::stream::codec::{Entries, kind};
use crate::stream::{Action, Placing};

const RERUN: u32 = 3;

#[test]
fn the_first_accepted_chunk_decides_a_race() {
    let mut world = running();
    let link = world.link;
    let actions = world.table.race(&at(1, 2, link, b""), 0);
    world.did(actions);
    world.pump();
    world.serve();
    world.wanted();
    world.say(1, 2, 0, &[(1, "fast ")], b"");
    world.pump();
    assert_eq!(world.wanted(), [Action::Reader(10), Action::Won(job(1), 2, 1)]);
    assert!(world.worker.contains(&Action::Cancel(job(1), 1)));
    world.say(1, 1, 0, &[(9, "slow ")], b"");
    world.say(1, 2, 0, &[(2, "on")], b"");
    world.pump();
    world.take_all();
    assert_eq!(world.readers[&10].text(), "fast on");
    let late = world.table.race(&at(1, 3, link, b""), 0);
    assert_eq!(late, [Action::LostRace(job(1), 3)], "something was accepted already");
    world.end(1, 2);
    world.pump();
    assert!(matches!(world.wanted()[..], [Action::Commit(_, 2, _, _)]));
}

#[test]
fn of_two_attempts_the_one_that_fails_is_out() {
    for (fails, stays) in [(1, 2), (2, 1)] {
        let mut world = running();
        let actions = world.table.race(&at(1, 2, world.link, b""), 0);
        world.did(actions);
        world.pump();
        world.serve();
        let _ = world.logs.fail(job(1), fails, b"", 0);
        world.pump();
        assert_eq!(world.wanted(), [Action::LostRace(job(1), fails)]);
        world.say(1, stays, 0, &[(1, "on")], b"");
        world.pump();
        let got = chunks(&mut world, 10);
        assert_eq!((numbers(&got[0], 5), numbers(&got[0], 16)), (u64::from(stays), 0));
        world.cut();
        assert_eq!(world.wanted().pop(), Some(Action::Silent(job(1), stays)));
    }
}

#[test]
fn of_two_attempts_the_silent_one_is_out_and_the_last_one_is_told() {
    let mut world = running();
    world.tick_to(3_000);
    let actions = world.table.race(&at(1, 2, world.link, b""), world.now);
    world.did(actions);
    world.pump();
    world.wanted();
    assert_eq!(world.tick_to(5_000)[1..], [Action::LostRace(job(1), 1)]);
    assert_eq!(world.tick_to(9_000), [Action::Silent(job(1), 2)]);
    let mut world = running();
    let _ = world.table.race(&at(1, 2, 77, b""), 0);
    assert_eq!(world.table.link_lost(77), [Action::LostRace(job(1), 2)]);
    let actions = world.table.race(&at(1, 3, 78, b""), 0);
    world.did(actions);
    let actions = world.table.fail(job(1), b"over");
    world.did(actions);
    let frame = world.table.pull(78).expect("it is told").to_vec();
    assert!(
        Entries::open(&frame)
            .expect("well-formed")
            .any(|one| one.0.kind == kind::CANCEL)
    );
    world.pump();
    assert!(world.worker.contains(&Action::Cancel(job(1), 1)), "both are told");
}

#[test]
fn two_attempts_that_begin_anew_race_for_what_is_new() {
    let mut world = running();
    world.say(1, 1, 0, &[(1, "one ")], b"");
    world.pump();
    world.take_all();
    world.cut();
    place_again(&mut world, 2, RERUN);
    let racing = Placing {
        continuity: RERUN,
        ..at(1, 3, world.link, b"")
    };
    let actions = world.table.race(&racing, 0);
    world.did(actions);
    world.pump();
    world.serve();
    world.wanted();
    for epoch in [2, 3] {
        world.say(1, epoch, 0, &[(1, "one ")], b"");
        world.pump();
        assert!(world.wanted().is_empty(), "nothing new yet");
    }
    world.say(1, 3, 0, &[(2, "two")], b"");
    world.pump();
    assert_eq!(world.wanted(), [Action::Reader(10), Action::Won(job(1), 3, 2)]);
    let got = chunks(&mut world, 10);
    assert_eq!((numbers(&got[0], 5), numbers(&got[0], 16)), (3, u64::from(RERUN)));
}
