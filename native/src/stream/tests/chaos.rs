//! Random deaths: workers, links and attempts go, come back and race in any order; every reader that stays gets the
//! answer from its place on without gap or repeat, every cursor's chain is the answer's, and there is one end.

use super::mesh::{Mesh, WORKERS};
use super::oracle::{JOBS, OPAQUE};
use super::world::job;
use crate::stream::Position;
use crate::stream::failure::MALFORMED;
use proptest::prelude::*;
use std::collections::BTreeMap;

impl Mesh {
    fn event(&mut self, (what, one, two): (u8, u8, u8)) {
        let number = one % JOBS;
        let readers: Vec<u64> = self.readers.keys().copied().collect();
        let reader = readers[usize::from(one) % readers.len()];
        let links: Vec<u64> = self.wires.keys().copied().collect();
        let link = links[links.len() - 1 - usize::from(one) % links.len()];
        match what {
            0..=7 => {
                let keys: Vec<_> = self.engines.keys().copied().collect();
                if let Some(key) = keys.get(usize::from(one) % keys.len().max(1)) {
                    self.generate(*key, u64::from(two % 12));
                }
            }
            8..=15 => drop((0..two % 6).map(|_| self.step()).collect::<Vec<_>>()),
            16..=21 => drop(self.take(reader)),
            22 => self.join(number, Position::default()),
            23 if number != OPAQUE => {
                let at = u64::from(two) % (self.oracles[usize::from(number)].total() + 1);
                self.join(number, self.oracles[usize::from(number)].position(at));
            }
            24 => self.reconnect(reader),
            25 => self.lose(link, two % 2 == 0),
            26 => self.hear_losses(),
            27 => self.kill(usize::from(one) % WORKERS),
            28 => {
                let keys: Vec<_> = self.engines.keys().copied().collect();
                if let Some(key) = keys.get(usize::from(one) % keys.len().max(1)) {
                    self.engines.remove(key);
                    let _ = self.workers[key.0].fail(job(key.1), key.2, &MALFORMED.serialize(), self.now);
                }
            }
            29 | 30 if !self.done.contains(&number) => self.place(number, true),
            31 if !self.done.contains(&number) => self.place(number, false),
            _ => {}
        }
        self.answer();
    }

    /// A client goes and comes back with what it got last.
    fn reconnect(&mut self, reader: u64) {
        let (number, at, over) = {
            let follow = &self.readers[&reader];
            (follow.number, follow.at, follow.told_end || !follow.failed.is_empty())
        };
        if over || !self.table.known(job(number)) {
            return;
        }
        self.join(number, at);
        let actions = self.table.leave(reader, self.now);
        self.act(actions);
        self.readers.remove(&reader);
    }

    fn finish(&mut self) {
        for _ in 0..5_000 {
            self.hear_losses();
            self.now += 50;
            let actions = self.table.tick(self.now);
            self.act(actions);
            for worker in 0..WORKERS {
                let actions = self.workers[worker].tick(self.now);
                self.serve(worker, actions);
            }
            self.answer();
            let mut moved = self.step();
            for key in self.engines.keys().copied().collect::<Vec<_>>() {
                self.generate(key, 7);
                moved = true;
            }
            for reader in self.readers.keys().copied().collect::<Vec<_>>() {
                moved |= self.take(reader);
            }
            if !moved && self.done.len() == usize::from(JOBS) {
                return;
            }
        }
        panic!("not all jobs finish: {:?} {:?}", self.done, self.table.detail(job(0)));
    }
}

fn play(totals: &[u64], window: u32, luck: u64, events: &[(u8, u8, u8)]) -> Mesh {
    let mut mesh = Mesh::new(totals, window, luck);
    for event in events {
        mesh.event(*event);
    }
    mesh.finish();
    for (reader, follow) in &mesh.readers {
        let oracle = &mesh.oracles[usize::from(follow.number)];
        let begin = if oracle.opaque() {
            oracle.total()
        } else {
            follow.begin.tokens
        };
        let extras = oracle.extras[begin as usize..].iter().flatten().flatten().copied();
        assert_eq!(
            (follow.ends, follow.failed.len(), follow.told_end),
            (1, 0, true),
            "reader {reader}: {:?}",
            follow.failed
        );
        assert_eq!(follow.at, oracle.position(oracle.total()), "reader {reader}");
        assert_eq!(follow.extras, extras.collect::<Vec<u8>>(), "extras of reader {reader}");
    }
    let stats = mesh.table.stats();
    assert!(
        stats.starts_with(&[("jobs", 0), ("closing", 0), ("readers", 0)]),
        "{stats:?}"
    );
    mesh
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn nothing_is_lost_and_nothing_twice(
        totals in prop::collection::vec(0u64..80, usize::from(JOBS)),
        window in prop_oneof![40u32..2_000, 50_000u32..300_000],
        luck in any::<u64>(),
        events in prop::collection::vec((0u8..32, any::<u8>(), any::<u8>()), 0..150),
    ) {
        play(&totals, window, luck, &events);
    }
}

#[test]
fn the_random_stories_reach_what_they_are_to_show() {
    let mut seen: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in 1..60u64 {
        let mut luck = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut next = |of: u64| {
            luck ^= luck << 13;
            luck ^= luck >> 7;
            luck ^= luck << 17;
            (luck % of) as u8
        };
        let events: Vec<_> = (0..120).map(|_| (next(32), next(256), next(256))).collect();
        for (what, count) in play(&[40, 50, 60, 70], 1_000, seed, &events).seen {
            *seen.entry(what).or_default() += count;
        }
    }
    for what in ["won", "lost race", "reattached", "rerun"] {
        assert!(seen.get(what).is_some_and(|count| *count > 5), "{what}: {seen:?}");
    }
}
