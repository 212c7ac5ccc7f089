//! What a worker's logs do for their readers, one story each.

use super::world::{World, job, log_settings, numbers, table_settings};
use crate::stream::codec::{Entries, kind};
use crate::stream::failure::{DIVERGED, UNKNOWN};
use crate::stream::wire::{last_bytes, put_bytes};
use crate::stream::{Action, LogSettings, Opening, Position};

const DETACH: u32 = 1;
const CANCEL: u32 = 2;

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
fn a_long_request_waits_for_credit_and_arrives_whole() {
    let mut world = World::new(table_settings(), log_settings());
    world.open(1, CANCEL);
    world.place(1, 1, 1_000_000);
    world.pump();
    let [Action::Start(_, _, 1, body)] = &world.worker[..] else {
        panic!("{:?}", world.worker.len())
    };
    assert_eq!(last_bytes(body, 1).map(<[u8]>::len), Ok(1_000_000));
    assert_eq!(numbers(body, 5), 262_144);
}

#[test]
fn a_long_request_stops_where_the_worker_gives_no_credit() {
    let stingy = LogSettings {
        assembly_bytes_max: 100_000,
        ..log_settings()
    };
    let mut world = World::new(table_settings(), stingy);
    world.open(1, CANCEL);
    world.place(1, 1, 1_000_000);
    world.pump();
    assert!(world.worker.is_empty());
    let held = world
        .logs
        .stats()
        .iter()
        .find(|stat| stat.0 == "assembly_bytes")
        .map(|stat| stat.1);
    assert!(held.is_some_and(|held| (100_000..200_000).contains(&held)), "{held:?}");
    let actions = world.table.cancel(job(1));
    world.did(actions);
    world.pump();
    assert_eq!(
        world.logs.stats().iter().find(|stat| stat.0 == "assembly_bytes"),
        Some(&("assembly_bytes", 0))
    );
}

#[test]
fn control_passes_bulk() {
    let mut world = running(CANCEL);
    for token in 0..20_000 {
        world.say(1, 1, 0, &[(token, "many words ")], b"");
    }
    let _ = world.logs.progress(job(1), 1, b"\x08\x04");
    let frame = world.logs.pull(1).expect("a frame").to_vec();
    let first = Entries::open(&frame).expect("well-formed").next().expect("an entry").0;
    assert_eq!(first.kind, kind::PROGRESS);
}

#[test]
fn jobs_take_turns_in_a_frame() {
    let mut world = running(CANCEL);
    world.open(2, CANCEL);
    world.place(2, 1, 10);
    world.pump();
    world.serve();
    for token in 0..10_000 {
        world.say(1, 1, 0, &[(token, "many words ")], b"");
    }
    world.say(2, 1, 0, &[(1, "few")], b"");
    let frame = world.logs.pull(1).expect("a frame").to_vec();
    let jobs: Vec<_> = Entries::open(&frame)
        .expect("well-formed")
        .map(|(head, _)| head.job)
        .collect();
    assert!(jobs.contains(&job(2)), "{jobs:?}");
}

#[test]
fn an_attempt_goes_on_unread_for_its_grace() {
    let mut world = running(DETACH);
    world.logs.link_lost(1);
    world.tick_to(1);
    world.say(1, 1, 0, &[(1, "unread")], b"");
    world.tick_to(999);
    assert!(world.worker.is_empty());
    let back = Opening {
        job: job(1),
        epoch: 1,
        link: 5,
        tenant: "acme",
        credit_bytes: 1_000,
        position: Position::default(),
        chain_state: b"",
    };
    assert_eq!(world.logs.attach(&back), [Action::Link(5)]);
    assert!(world.logs.pull(5).is_some(), "it is replayed");
    world.logs.link_lost(5);
    world.tick_to(1_900);
    assert!(world.worker.is_empty());
    world.tick_to(9_000);
    assert_eq!(world.worker, [Action::Cancel(job(1), 1)], "said once");
}

#[test]
fn another_tenant_or_place_is_refused() {
    let mut world = running(DETACH);
    world.say(1, 1, 0, &[(1, "two")], b"");
    let mut who = Opening {
        job: job(1),
        epoch: 1,
        link: 5,
        tenant: "other",
        credit_bytes: 1_000,
        position: Position::default(),
        chain_state: b"",
    };
    let mut refusal = |who: &Opening<'_>| {
        let _ = world.logs.attach(who);
        let frame = world.logs.pull(5).expect("an answer").to_vec();
        let (head, body) = Entries::open(&frame).expect("well-formed").next().expect("an entry");
        (head.kind, body.to_vec())
    };
    assert_eq!(refusal(&who), (kind::FAIL, UNKNOWN.serialize()));
    who.tenant = "acme";
    (who.position.tokens, who.position.bytes) = (1, 1);
    assert_eq!(refusal(&who), (kind::FAIL, DIVERGED.serialize()));
}

#[test]
fn a_log_is_kept_for_its_linger_and_then_dropped() {
    let mut world = running(CANCEL);
    world.end(1, 1);
    world.pump();
    let _ = world.logs.tick(29_999);
    assert!(world.logs.known(job(1), 1));
    let _ = world.logs.tick(30_000);
    assert!(!world.logs.known(job(1), 1));
    assert!(
        world
            .logs
            .stats()
            .starts_with(&[("logs", 0), ("running", 0), ("readers", 0)])
    );
}

#[test]
fn payloads_are_paused_delivered_whole_and_hashed() {
    let mut world = running(CANCEL);
    let payload = |byte: u8| {
        let mut out = Vec::new();
        put_bytes(&mut out, 2, &vec![byte; 150_000]);
        out
    };
    let _ = world.logs.append_payload(job(1), 1, 0, &payload(1)).expect("fits");
    assert!(world.logs.wanted(job(1), 1));
    let _ = world.logs.append_payload(job(1), 1, 0, &payload(2)).expect("fits");
    assert!(!world.logs.wanted(job(1), 1), "nobody has taken any");
    world.pump();
    assert!(world.logs.wanted(job(1), 1));
    let chunk = world.table.take(10).expect("a chunk").to_vec();
    assert_eq!(last_bytes(&chunk, 3), Ok(&payload(1)[..]));
    let chunk = world.table.take(10).expect("a chunk").to_vec();
    assert_eq!(last_bytes(&chunk, 3), Ok(&payload(2)[..]));
    assert!(world.table.take(10).is_none());
    let theirs = world.logs.chain(job(1), 1).expect("known").0;
    assert_eq!(
        world.table.look(job(1)).map(|(_, _, chain)| chain.digest()),
        Some(theirs)
    );
}
