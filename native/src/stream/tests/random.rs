//! Random stories: whatever is cut and whoever comes and goes, every reader that stays gets the whole answer once.

use super::world::{World, job, log_settings, table_settings};
use crate::stream::{Action, TableSettings};
use proptest::prelude::*;
use std::collections::BTreeMap;

const JOBS: u8 = 3;
const WORDS: [&str; 6] = ["a", "", "日本", "longer word ", "é", "\n"];

/// One thing that happens.
#[derive(Debug, Clone)]
enum Event {
    Generate { number: u8, tokens: u8 },
    Step(u8),
    Take(u8),
    Join { number: u8 },
    Leave(u8),
    Cut,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => (0..JOBS, 1u8..20).prop_map(|(number, tokens)| Event::Generate { number, tokens }),
        6 => (1u8..6).prop_map(Event::Step),
        4 => any::<u8>().prop_map(Event::Take),
        1 => (0..JOBS).prop_map(|number| Event::Join { number }),
        1 => any::<u8>().prop_map(Event::Leave),
        1 => Just(Event::Cut),
    ];
    prop::collection::vec(event, 1..120)
}

/// Token `at` of a job's answer: the same for every attempt.
fn token(number: u8, at: u64) -> (u32, &'static str, u16, bool) {
    let mix = (at + 1).wrapping_mul(0x9e37_79b9 + u64::from(number) * 7_919) >> 7;
    (
        mix as u32,
        WORDS[mix as usize % WORDS.len()],
        (mix >> 9) as u16 % 8 / 7,
        (mix >> 13).is_multiple_of(3),
    )
}

/// What the engine of the worker runs.
struct Engine {
    epochs: BTreeMap<u8, (u32, u64)>,
}

impl Engine {
    fn generate(&mut self, world: &mut World, number: u8, tokens: u64) {
        let Some((epoch, at)) = self.epochs.get_mut(&number) else {
            return;
        };
        for _ in 0..tokens {
            let (id, text, output, marked) = token(number, *at);
            let extra = [&b"\x42\x04"[..], &(*at as u32).to_le_bytes()].concat();
            world.say(number, *epoch, output, &[(id, text)], if marked { &extra } else { b"" });
            *at += 1;
        }
    }

    fn serve(&mut self, world: &mut World) {
        for (job, epoch, position) in world.serve() {
            self.epochs.insert(job[0], (epoch, position.tokens));
        }
    }
}

fn readers_of(world: &World, owner: &BTreeMap<u64, u8>, number: u8) -> Vec<u64> {
    let mine = |reader: &&u64| owner.get(*reader) == Some(&number);
    world.readers.keys().filter(mine).copied().collect()
}

/// Place every silent job again.
fn place_again(world: &mut World) {
    for action in world.wanted() {
        if let Action::Silent(job, epoch) = action {
            world.place(job[0], epoch + 1, 50);
        }
    }
}

fn settle(world: &mut World, engine: &mut Engine) {
    for _ in 0..10_000 {
        place_again(world);
        let moved = world.step();
        engine.serve(world);
        let mut taken = false;
        for reader in world.readers.keys().copied().collect::<Vec<_>>() {
            taken |= world.take(reader);
        }
        if !moved && !taken {
            return;
        }
    }
    panic!("the machines never come to rest");
}

fn play(world: &mut World, engine: &mut Engine, owner: &mut BTreeMap<u64, u8>, event: &Event, burst: u64) {
    match event {
        Event::Generate { number, tokens } => engine.generate(world, *number, u64::from(*tokens) * burst),
        Event::Step(steps) => {
            for _ in 0..*steps {
                world.step();
            }
        }
        Event::Take(which) => {
            let readers: Vec<u64> = world.readers.keys().copied().collect();
            world.take(readers[usize::from(*which) % readers.len()]);
        }
        Event::Join { number } => {
            let reader = 100 + owner.len() as u64;
            owner.insert(reader, *number);
            world.join(*number, reader);
        }
        Event::Leave(which) => {
            let readers: Vec<u64> = world.readers.keys().copied().collect();
            let reader = readers[usize::from(*which) % readers.len()];
            if readers_of(world, owner, owner[&reader]).len() > 1 {
                let actions = world.table.leave(reader, world.now);
                world.did(actions);
                world.readers.remove(&reader);
            }
        }
        Event::Cut => world.cut(),
    }
    place_again(world);
    engine.serve(world);
}

fn finish(world: &mut World, engine: &mut Engine) {
    settle(world, engine);
    for number in 0..JOBS {
        engine.generate(world, number, 5);
        world.end(number, engine.epochs[&number].0);
    }
    settle(world, engine);
    for number in 0..JOBS {
        let epoch = engine.epochs[&number].0;
        let actions = world.table.committed(job(number), epoch, 2, 1);
        world.did(actions);
    }
    settle(world, engine);
}

/// The whole answer of a job, by output, and its extras.
fn whole(number: u8, tokens: u64) -> (BTreeMap<u64, Vec<u8>>, Vec<Vec<u8>>) {
    let (mut text, mut extras) = (BTreeMap::<u64, Vec<u8>>::new(), Vec::new());
    for at in 0..tokens {
        let (_, word, output, marked) = token(number, at);
        text.entry(u64::from(output))
            .or_default()
            .extend_from_slice(word.as_bytes());
        if marked {
            extras.push((at as u32).to_le_bytes().to_vec());
        }
    }
    (text, extras)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_reader_gets_the_whole_answer_once(
        events in events(),
        window in prop_oneof![40u32..2_000, 50_000u32..300_000],
        burst in prop_oneof![4 => Just(1u64), 1 => Just(100)],
    ) {
        let settings = TableSettings { window_bytes: window, ..table_settings() };
        let mut world = World::new(settings, log_settings());
        let mut engine = Engine { epochs: BTreeMap::new() };
        let mut owner = BTreeMap::new();
        for number in 0..JOBS {
            world.open(number, 1);
            owner.insert(u64::from(number), number);
            world.join(number, u64::from(number));
            world.place(number, 1, 20_000);
        }
        for event in &events {
            play(&mut world, &mut engine, &mut owner, event, burst);
        }
        finish(&mut world, &mut engine);
        for (reader, got) in &world.readers {
            let number = owner[reader];
            let (text, extras) = whole(number, engine.epochs[&number].1);
            let mut seen = got.text.clone();
            seen.retain(|_, text| !text.is_empty());
            let mut all = text;
            all.retain(|_, text| !text.is_empty());
            prop_assert_eq!(&seen, &all, "text of reader {}", reader);
            prop_assert_eq!(&got.extras, &extras, "extras of reader {}", reader);
            prop_assert_eq!((got.ends, got.failed.len(), got.told_end), (1, 0, true));
        }
        prop_assert!(world.table.stats().starts_with(&[("jobs", 0), ("closing", 0), ("readers", 0)]));
    }
}
