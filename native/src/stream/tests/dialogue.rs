//! What the machines say to each other, one story each.

use super::world::{World, at, job, log_settings, numbers, plain, table_settings};
use crate::stream::codec::{Entries, kind};
use crate::stream::failure::{BEHIND, CANCELLED, DEADLINE, DIVERGED};
use crate::stream::wire::{last_bytes, put_bytes, put_number};
use crate::stream::{Action, OpenJob, Opening, Position, TableSettings};

const DETACH: u32 = 1;
const CANCEL: u32 = 2;
const DONE: u32 = 2;
const COMMITTED: u32 = 1;

/// A job that runs on the link, with one reader.
fn running(on_disconnect: u32) -> World {
    let mut world = World::new(table_settings(), log_settings());
    world.open(1, on_disconnect);
    world.join(1, 10);
    world.place(1, 1, 100);
    world.pump();
    assert_eq!(world.serve().len(), 1);
    world.worker.clear();
    world.wanted();
    world
}

#[test]
fn a_job_from_placement_to_commit() {
    let mut world = running(CANCEL);
    world.say(1, 1, 0, &[(5, "Hel"), (6, "lo")], b"");
    world.pump();
    assert_eq!(world.wanted(), [Action::Reader(10)]);
    world.take_all();
    world.say(1, 1, 0, &[(7, " 日")], b"");
    world.end(1, 1);
    world.pump();
    let wanted = world.wanted();
    assert!(
        matches!(&wanted[..], [Action::Reader(10), Action::Commit(_, 1, _, Some(answer))]
        if last_bytes(answer, 1) == Ok("Hello 日".as_bytes()))
    );
    world.take_all();
    assert_eq!(world.readers[&10].ends, 0, "the last chunk waits for the commit");
    let actions = world.table.committed(job(1), 1, DONE, COMMITTED);
    assert_eq!(actions, [Action::Reader(10), Action::End(10), Action::Finish(job(1))]);
    world.take_all();
    assert_eq!((world.readers[&10].ends, world.readers[&10].text()), (1, "Hello 日"));
    assert!(
        world
            .table
            .stats()
            .starts_with(&[("jobs", 0), ("closing", 0), ("readers", 0)])
    );
}

#[test]
fn a_reader_that_joins_late_gets_all_from_position_0() {
    let mut world = running(CANCEL);
    world.say(1, 1, 0, &[(1, "a"), (2, "b")], b"");
    world.pump();
    world.take_all();
    world.join(1, 11);
    world.say(1, 1, 0, &[(3, "c")], b"");
    world.pump();
    world.take_all();
    assert_eq!((world.readers[&10].text(), world.readers[&11].text()), ("abc", "abc"));
}

#[test]
fn a_slow_reader_stops_its_own_stream_and_no_other() {
    let narrow = TableSettings {
        window_bytes: 1_000,
        ..table_settings()
    };
    let mut world = World::new(narrow, log_settings());
    for number in [1, 2] {
        world.open(number, CANCEL);
        world.join(number, u64::from(number));
        world.place(number, 1, 10);
    }
    world.pump();
    world.serve();
    for _ in 0..200 {
        world.say(1, 1, 0, &[(1, "slow slow slow")], b"");
        world.say(2, 1, 0, &[(1, "fast fast fast")], b"");
        world.pump();
        while world.take(2) {}
        world.pump();
    }
    let (_, log, _) = world.table.look(job(1)).expect("open");
    assert!(
        log.end().bytes < 2_000,
        "the window and one body, not all of {}",
        200 * 14
    );
    assert_eq!(world.readers[&2].text().len(), 200 * 14);
    for _ in 0..200 {
        while world.take(1) {}
        world.pump();
    }
    assert_eq!(world.readers[&1].text().len(), 200 * 14);
}

#[test]
fn a_client_that_goes_under_cancel_stops_the_worker_at_once() {
    let mut world = running(CANCEL);
    world.say(1, 1, 0, &[(1, "ab"), (2, "c")], b"");
    world.pump();
    world.take_all();
    world.wanted();
    let actions = world.table.leave(10, world.now);
    world.did(actions);
    let place = Position { tokens: 2, bytes: 3 };
    assert_eq!(
        world.wanted(),
        [Action::Abandon(job(1), 1, place), Action::Finish(job(1))]
    );
    world.pump();
    assert_eq!(world.worker, [Action::Cancel(job(1), 1)]);
    assert!(
        world.table.leave(10, world.now).is_empty(),
        "leaving twice does nothing"
    );
}

#[test]
fn a_client_that_goes_under_detach_may_come_back_within_the_grace() {
    let mut world = running(DETACH);
    let actions = world.table.leave(10, 0);
    world.did(actions);
    assert!(world.tick_to(4_000).is_empty());
    world.say(1, 1, 0, &[(1, "on")], b"");
    world.now = 4_500;
    world.pump();
    world.join(1, 11);
    world.take_all();
    assert_eq!(world.readers[&11].text(), "on");
    world.now = 9_000;
    world.say(1, 1, 0, &[(2, "!")], b"");
    world.pump();
    world.take_all();
    let actions = world.table.leave(11, 9_000);
    assert!(actions.is_empty());
    world.say(1, 1, 0, &[(3, "unread")], b"");
    world.now = 13_000;
    world.pump();
    world.wanted();
    world.say(1, 1, 0, &[(4, "unread")], b"");
    world.now = 17_000;
    world.pump();
    assert!(world.tick_to(18_999).is_empty());
    let place = Position { tokens: 2, bytes: 3 };
    assert_eq!(
        world.tick_to(19_000)[1..],
        [Action::Abandon(job(1), 1, place), Action::Finish(job(1))]
    );
}

#[test]
fn a_client_that_goes_before_the_place_is_known_leaves_nothing_running() {
    let mut world = World::new(table_settings(), log_settings());
    world.open(1, CANCEL);
    world.join(1, 10);
    assert!(world.table.leave(10, 0).is_empty());
    assert!(!world.table.known(job(1)));
    let actions = world.table.placed(&at(1, 1, 1, b""), 5);
    assert_eq!(
        actions,
        [Action::Abandon(job(1), 1, Position::default()), Action::Finish(job(1))]
    );
    assert!(world.table.pull(1).is_none());
}

#[test]
fn the_deadline_ends_a_job_and_its_worker() {
    let mut world = running(DETACH);
    let actions = world.tick_to(1_000_000);
    world.did(actions);
    world.pump();
    assert_eq!(world.readers[&10].failed, [DEADLINE.serialize()]);
    assert_eq!(world.worker, [Action::Cancel(job(1), 1)]);
}

#[test]
fn silence_is_told_once_and_progress_that_moves_is_none() {
    let mut world = running(DETACH);
    let progress = |n: u64| {
        let mut body = Vec::new();
        put_number(&mut body, 1, 3);
        put_number(&mut body, 2, n);
        body
    };
    for (step, now) in (0..20).map(|step| (step, step * 4_000)) {
        world.now = now;
        world.logs.progress(job(1), 1, &progress(step));
        world.pump();
        assert!(world.tick_to(now + 1_000).is_empty(), "at {now}");
    }
    for now in (80_000..104_000).step_by(4_000) {
        world.now = now;
        world.logs.progress(job(1), 1, &progress(19));
        world.pump();
        assert!(world.tick_to(now).is_empty(), "at {now}");
    }
    world.now = 106_000;
    world.logs.progress(job(1), 1, &progress(19));
    world.pump();
    assert_eq!(
        world.tick_to(106_001),
        [Action::Silent(job(1), 1)],
        "a number that stands still is silence"
    );
    assert!(world.tick_to(200_000).is_empty(), "said once");
    assert_eq!(world.table.fail(job(1), b"lost").len(), 4);
}

#[test]
fn a_process_that_stood_still_hears_no_silence_in_that() {
    let mut world = running(DETACH);
    world.tick_to(4_900);
    assert!(world.freeze_to(60_000).is_empty(), "the gap counts as 50 ms");
    assert!(world.tick_to(60_040).is_empty());
    assert_eq!(world.tick_to(60_100), [Action::Silent(job(1), 1)]);
    world.logs.link_lost(1);
    world.tick_to(60_200);
    world.freeze_to(90_000);
    assert!(world.worker.is_empty(), "its worker stood still with it");
    world.tick_to(91_500);
    assert_eq!(world.worker, [Action::Cancel(job(1), 1)]);
}

#[test]
fn a_lost_link_leaves_other_links_alone() {
    let mut world = running(DETACH);
    world.open(2, DETACH);
    let here = world.link;
    let _ = world.table.placed(&at(2, 1, 99, b""), 0);
    let actions = world.table.link_lost(here);
    assert_eq!(actions, [Action::Silent(job(1), 1)]);
    assert!(world.table.pull(99).is_some());
}

#[test]
fn a_hole_an_old_epoch_and_a_foreign_link_are_refused() {
    let mut world = running(CANCEL);
    world.say(1, 1, 0, &[(1, "a"), (2, "b")], b"");
    let frame = world.logs.pull(1).expect("a chunk").to_vec();
    assert!(
        world.table.frame(77, &frame, 0).expect("well-formed").is_empty(),
        "another link"
    );
    world.say(1, 1, 0, &[(3, "c")], b"");
    let later = world.logs.pull(1).expect("a chunk").to_vec();
    let actions = world.table.frame(1, &later, 0).expect("well-formed");
    assert_eq!(actions[0], Action::Failed(10, DIVERGED.serialize()), "a hole");
    assert!(
        world.table.frame(1, &frame, 0).expect("well-formed").is_empty(),
        "the job is over"
    );
}

#[test]
fn what_comes_late_for_a_lost_link_is_dropped_or_told() {
    let mut world = World::new(table_settings(), log_settings());
    world.open(1, DETACH);
    let _ = world.table.link_lost(1);
    assert_eq!(world.table.placed(&at(1, 1, 1, b""), 0), [Action::Silent(job(1), 1)]);
    let outcome = crate::stream::codec::Head::plain(job(1), 1, kind::OUTCOME);
    assert!(world.table.send(1, outcome, b"").is_empty() && world.table.pull(1).is_none());
    world.logs.link_lost(1);
    assert!(world.logs.send(1, outcome, b"").is_empty() && world.logs.pull(1).is_none());
}

#[test]
fn what_is_known_already_is_trimmed_and_must_agree() {
    let mut world = running(CANCEL);
    world.say(1, 1, 0, &[(1, "a"), (2, "bé")], b"\x42\x01x");
    let first = world.logs.pull(1).expect("a chunk").to_vec();
    for _ in 0..2 {
        let actions = world.table.frame(1, &first, 0).expect("well-formed");
        world.did(actions);
    }
    let overlapping = |second: u32| {
        let mut other = World::new(table_settings(), log_settings());
        other.open(1, CANCEL);
        other.place(1, 1, 1);
        other.pump();
        other.serve();
        other.say(1, 1, 0, &[(1, "a"), (second, "bé"), (3, "c")], b"");
        other.logs.pull(1).expect("a chunk").to_vec()
    };
    let actions = world.table.frame(1, &overlapping(2), 0).expect("well-formed");
    world.did(actions);
    world.take_all();
    assert_eq!(
        (world.readers[&10].text(), world.readers[&10].extras.len()),
        ("abéc", 1)
    );
    assert_eq!(
        world.table.look(job(1)).map(|(_, log, _)| log.prefix()),
        Some(Some(&[1, 2, 3][..]))
    );
    let actions = world.table.frame(1, &overlapping(9), 0).expect("well-formed");
    assert_eq!(
        actions[0],
        Action::Failed(10, DIVERGED.serialize()),
        "other tokens in the same place"
    );
}

#[test]
fn what_was_decided_before_a_malformed_entry_is_still_done() {
    let mut world = running(CANCEL);
    world.say(1, 1, 0, &[(1, "a")], b"");
    let chunk = world.logs.pull(1).expect("a chunk").to_vec();
    let start = crate::stream::codec::Head::plain(job(1), 1, kind::START);
    let entries = Entries::open(&chunk).expect("well-formed").chain([(start, &b""[..])]);
    let frame = crate::stream::codec::encode(entries).remove(0);
    assert!(world.table.frame(1, &frame, 0).is_err());
    assert_eq!(
        world.table.link_lost(1),
        [Action::Reader(10), Action::Silent(job(1), 1)]
    );
}

#[test]
fn an_end_that_commits_to_something_else_is_refused() {
    let mut world = running(CANCEL);
    world.say(1, 1, 0, &[(1, "a")], b"");
    let (mut body, mut receipt, mut chunk) = (Vec::new(), Vec::new(), Vec::new());
    put_bytes(&mut body, 15, &[9; 32]);
    put_bytes(&mut receipt, 1, &body);
    put_number(&mut chunk, 4, 1);
    put_bytes(&mut chunk, 14, &receipt);
    world.logs.end(job(1), 1, &chunk, 0).expect("a last chunk");
    world.pump();
    assert_eq!(world.readers[&10].failed, [DIVERGED.serialize()]);
    assert!(world.wanted().contains(&Action::Finish(job(1))));
}

#[test]
fn a_failure_comes_after_what_was_accepted() {
    let mut world = running(CANCEL);
    world.say(1, 1, 0, &[(1, "so far")], b"");
    let _ = world.logs.fail(job(1), 1, b"engine", 0);
    world.pump();
    let place = Position::default();
    assert!(
        world
            .wanted()
            .contains(&Action::Fail(job(1), 1, place, b"engine".to_vec()))
    );
    world.take_all();
    assert_eq!(
        (world.readers[&10].text(), &world.readers[&10].failed[..]),
        ("so far", &[b"engine".to_vec()][..])
    );
    assert!(
        world
            .table
            .stats()
            .starts_with(&[("jobs", 0), ("closing", 0), ("readers", 0)])
    );
}

#[test]
fn a_cancelled_job_delivers_nothing_more() {
    let mut world = running(CANCEL);
    world.say(1, 1, 0, &[(1, "unseen")], b"");
    world.pump();
    let actions = world.table.cancel(job(1));
    world.did(actions);
    world.take_all();
    assert_eq!(
        (world.readers[&10].text(), &world.readers[&10].failed[..]),
        ("", &[CANCELLED.serialize()][..])
    );
}

#[test]
fn a_log_keeps_its_bound_and_fails_whom_it_leaves_behind() {
    let small = TableSettings {
        log_bytes_max: 10_000,
        window_bytes: 2_000,
        ..table_settings()
    };
    let mut world = World::new(small, log_settings());
    world.open(1, CANCEL);
    world.join(1, 10);
    world.join(1, 11);
    world.place(1, 1, 10);
    world.pump();
    world.serve();
    for token in 0..1_000 {
        world.say(1, 1, 0, &[(token, "many words ")], b"");
        world.pump();
        while world.take(10) {}
        world.pump();
    }
    let (_, log, _) = world.table.look(job(1)).expect("open");
    assert!(log.size() <= 12_000, "{}", log.size());
    assert_eq!(world.readers[&11].failed, [BEHIND.serialize()]);
    assert_eq!(world.readers[&10].text().len(), 11_000);
    world.join(1, 12);
    assert_eq!(world.readers[&12].failed, [BEHIND.serialize()]);
}

#[test]
fn a_reading_gateway_detaches_and_abandons_nothing() {
    let mut world = running(DETACH);
    let open = OpenJob {
        job: job(1),
        driver: false,
        keep_answer_bytes: 0,
        on_disconnect: DETACH,
        deadline_ms: 1_000_000,
    };
    let mut reading = crate::stream::StreamTable::new(table_settings());
    reading.open(&open, 0).expect("not open");
    let _ = reading.join(job(1), &plain(50)).expect("free");
    let _ = reading.placed(&at(1, 1, 8, b""), 0);
    let attach = reading.pull(8).expect("an attach").to_vec();
    assert!(reading.pull(8).is_none());
    let actions = world.logs.frame(8, &attach).expect("well-formed");
    assert!(matches!(&actions[..], [Action::Attach(8, _, 1, body)] if numbers(body, 3) == 262_144));
    let actions = reading.leave(50, 0);
    assert_eq!(actions, [Action::Link(8), Action::Finish(job(1))]);
    let detach = reading.pull(8).expect("a detach").to_vec();
    assert_eq!(
        Entries::open(&detach)
            .expect("well-formed")
            .next()
            .map(|entry| entry.0.kind),
        Some(kind::DETACH)
    );
}

#[test]
fn a_reading_gateway_ends_with_the_outcome_that_is_written() {
    for (outcome, ends) in [(2, true), (4, false), (5, false)] {
        let mut world = World::new(table_settings(), log_settings());
        let open = OpenJob {
            job: job(1),
            driver: false,
            keep_answer_bytes: 0,
            on_disconnect: DETACH,
            deadline_ms: 1_000_000,
        };
        world.table.open(&open, 0).expect("not open");
        world.join(1, 10);
        let _ = world.table.placed(&at(1, 1, 1, b""), 0);
        let _ = world.table.pull(1).expect("an attach");
        let who = Opening {
            job: job(1),
            epoch: 1,
            link: 1,
            tenant: "acme",
            credit_bytes: 1_000,
            position: Position::default(),
            chain_state: b"",
        };
        let _ = world.logs.start(&who, 1_000).expect("new");
        world.say(1, 1, 0, &[(5, "Hello")], b"");
        world.end(1, 1);
        world.pump();
        assert!(world.wanted().iter().any(|one| matches!(one, Action::Commit(..))));
        assert!(!world.readers[&10].told_end);
        let actions = world.table.committed(job(1), 1, outcome, 1);
        world.did(actions);
        assert_eq!(world.readers[&10].told_end, ends);
        assert_eq!(world.readers[&10].failed.is_empty(), ends);
    }
}
