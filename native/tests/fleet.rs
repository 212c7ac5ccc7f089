//! The index against its own full scan: whatever happened, `top_k` finds what `explain` ranks first, the census counts
//! every worker once, and no query depends on the order in which things became known.

use proptest::prelude::*;
use std::collections::HashMap;
use tether_native::fleet::{Candidate, Fleet, Limits, Query, Spec, Weights};

const WEIGHTS: Weights = Weights {
    model: 1.0,
    region: 2.0,
    gpu: 1.0,
    queue: 3.0,
    warm: 4.0,
    breaker: 2.0,
    policy: 1.0,
    prefix: 2.0,
};
const LIMITS: Limits = Limits {
    suspect_ms: 1_000,
    remove_ms: 3_000,
    placed_ms_max: 2_000,
    workers_max: 12,
    ahead_permille: u64::MAX,
};
const REGIONS: [&str; 3] = ["eu", "us", "ap"];
const MODELS: [&str; 3] = ["m", "n", "o"];

/// A field of a protobuf message.
fn field(number: u8, body: &[u8]) -> Vec<u8> {
    let mut encoded = varint(u64::from(number) << 3 | 2);
    encoded.extend(varint(body.len() as u64));
    encoded.extend(body);
    encoded
}

fn number(number: u8, value: u64) -> Vec<u8> {
    [varint(u64::from(number) << 3), varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut encoded = vec![];
    while value >= 0x80 {
        encoded.push(value as u8 | 0x80);
        value >>= 7;
    }
    encoded.push(value as u8);
    encoded
}

fn named(model: &str) -> Vec<u8> {
    [field(1, model.as_bytes()), field(2, b"1.0")].concat()
}

fn cached(name: &str, state: u64, base: Option<&str>) -> Vec<u8> {
    let base = base.map(|base| field(4, &named(base))).unwrap_or_default();
    field(4, &[field(1, &named(name)), number(2, state), base].concat())
}

/// What a report says, besides who and which.
#[derive(Clone, Debug)]
struct Said {
    region: usize,
    free: u64,
    queued: u64,
    started: u64,
    draining: bool,
    /// Per model: not served, or its state; likewise of an adapter on it.
    states: [Option<u64>; 3],
    adapters: [Option<u64>; 3],
}

impl Said {
    fn report(&self, worker: &str, sequence: u64) -> Vec<u8> {
        let capacity = [number(1, 4), number(2, self.free), number(3, self.queued), number(4, 2)].concat();
        let mut report = [
            field(1, worker.as_bytes()),
            field(2, &capacity),
            field(5, REGIONS[self.region].as_bytes()),
            number(9, 1),
            number(10, sequence),
            number(16, u64::from(self.draining)),
            number(17, self.started),
            field(18, b"host:1"),
        ]
        .concat();
        for (model, (state, adapter)) in MODELS.iter().zip(self.states.iter().zip(self.adapters)) {
            if let Some(state) = state {
                report.extend(field(7, &named(model)));
                report.extend(cached(model, *state, None));
            }
            if let Some(adapter) = adapter {
                report.extend(cached("lora", adapter, Some(model)));
            }
        }
        report
    }
}

#[derive(Clone, Debug)]
enum Step {
    Report(usize, Said),
    Beat(usize),
    Suspect(usize),
    Drain(usize, bool),
    Health(usize, u8),
    Placed(usize),
    Unplaced(usize),
    Remove(usize),
    Pause(u64),
    Expire,
}

fn said() -> impl Strategy<Value = Said> {
    let states = || proptest::array::uniform3(proptest::option::of(0_u64..4));
    (
        0_usize..3,
        0_u64..5,
        0_u64..3,
        0_u64..40,
        proptest::bool::weighted(0.1),
        states(),
        states(),
    )
        .prop_map(|(region, free, queued, started, draining, states, adapters)| Said {
            region,
            free,
            queued,
            started,
            draining,
            states,
            adapters,
        })
}

fn step() -> impl Strategy<Value = Step> {
    let worker = || 0_usize..14;
    prop_oneof![
        8 => (worker(), said()).prop_map(|(worker, said)| Step::Report(worker, said)),
        2 => worker().prop_map(Step::Beat),
        1 => worker().prop_map(Step::Suspect),
        1 => (worker(), any::<bool>()).prop_map(|(worker, draining)| Step::Drain(worker, draining)),
        1 => (worker(), 0_u8..5).prop_map(|(worker, quarters)| Step::Health(worker, quarters)),
        4 => worker().prop_map(Step::Placed),
        1 => worker().prop_map(Step::Unplaced),
        1 => worker().prop_map(Step::Remove),
        2 => (0_u64..900).prop_map(Step::Pause),
        1 => Just(Step::Expire),
    ]
}

fn id(worker: usize) -> String {
    format!("worker-{worker}")
}

fn act(fleet: &mut Fleet, step: &Step, now_ms: &mut u64, sequence: u64) {
    match step {
        Step::Report(worker, said) => {
            let _ = fleet.upsert(&id(*worker), &said.report(&id(*worker), sequence), *now_ms);
        }
        Step::Beat(worker) => drop(fleet.beat(&id(*worker), *now_ms)),
        Step::Suspect(worker) => drop(fleet.suspect(&id(*worker))),
        Step::Drain(worker, draining) => drop(fleet.drain(&id(*worker), *draining)),
        Step::Health(worker, quarters) => drop(fleet.set_health(&id(*worker), *quarters)),
        Step::Placed(worker) => drop(fleet.placed(&id(*worker), *now_ms)),
        Step::Unplaced(worker) => drop(fleet.unplaced(&id(*worker))),
        Step::Remove(worker) => drop(fleet.remove(&id(*worker))),
        Step::Pause(ms) => *now_ms += ms,
        Step::Expire => drop(fleet.expire(*now_ms)),
    }
}

fn query(adapters: &[&str]) -> Query {
    let regions = HashMap::from([("eu".to_owned(), 1.0), ("us".to_owned(), 0.5)]);
    let adapters = adapters
        .iter()
        .map(|name| ((*name).to_owned(), "1.0".to_owned()))
        .collect();
    let (model_id, version) = ("m".to_owned(), "1.0".to_owned());
    let spec = Spec {
        model_id,
        version,
        regions,
        region_default: Some(0.0),
        adapters,
        ..Spec::default()
    };
    Query::new(spec).expect("in range")
}

fn ranked(candidates: &[Candidate]) -> Vec<(&str, u64, [f64; 9])> {
    candidates
        .iter()
        .map(|c| (&*c.worker_id, c.in_flight, c.terms))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn top_k_is_the_head_of_the_full_scan_after_any_story(steps in proptest::collection::vec(step(), 1..60)) {
        let (mut fleet, mut now_ms) = (Fleet::new(WEIGHTS, LIMITS), 10_000);
        let queries = [query(&[]), query(&["lora"])];
        for (sequence, step) in (1..).zip(&steps) {
            act(&mut fleet, step, &mut now_ms, sequence);
            for query in &queries {
                let (all, removed) = fleet.explain(query, "job", 1_000, now_ms);
                prop_assert_eq!(all.len() + removed.len(), fleet.len());
                for k in [1, 3, 20] {
                    let best = fleet.top_k(query, "job", k, now_ms, &[], None);
                    prop_assert_eq!(ranked(&best), ranked(&all[..k.min(all.len())]));
                }
                let census = fleet.census("m", "1.0");
                prop_assert_eq!(census.ready as usize, all.len());
                let others = removed.iter().filter(|r| r.rule == "model" || r.rule == "version").count();
                prop_assert_eq!((census.full + census.out) as usize, removed.len() - others);
            }
            prop_assert!(fleet.len() <= LIMITS.workers_max);
        }
    }

    #[test]
    fn everyone_forgotten_leaves_nothing(steps in proptest::collection::vec(step(), 1..60)) {
        let (mut fleet, mut now_ms) = (Fleet::new(WEIGHTS, LIMITS), 10_000);
        for (sequence, step) in (1..).zip(&steps) {
            act(&mut fleet, step, &mut now_ms, sequence);
        }
        fleet.expire(now_ms + LIMITS.suspect_ms);
        fleet.expire(now_ms + LIMITS.remove_ms);
        prop_assert!(fleet.is_empty());
        prop_assert_eq!(fleet.census("m", "1.0"), tether_native::fleet::Census::default());
        prop_assert!(fleet.top_k(&query(&["lora"]), "job", 9, now_ms, &[], None).is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn of_many_equals_those_nearest_to_the_key_are_found(
        loads in proptest::collection::vec(3_u64..5, 1..70), k in 1_usize..9, key in "[a-z]{1,9}",
        excluded in proptest::collection::vec(0_usize..70, 0..9),
    ) {
        let mut fleet = Fleet::new(WEIGHTS, Limits { workers_max: 100, ..LIMITS });
        for (worker, free) in loads.iter().enumerate() {
            let (states, adapters) = ([Some(3), None, None], [None; 3]);
            let said = Said { region: 0, free: *free, queued: 0, started: 0, draining: false, states, adapters };
            fleet.upsert(&id(worker), &said.report(&id(worker), 1), 0).expect("a good report");
        }
        let excluded: Vec<String> = excluded.into_iter().map(id).collect();
        let excluded: Vec<&str> = excluded.iter().map(String::as_str).collect();
        let best = fleet.top_k(&query(&[]), &key, k, 0, &excluded, None);
        let (mut all, _) = fleet.explain(&query(&[]), &key, 1_000, 0);
        all.retain(|candidate| !excluded.contains(&&*candidate.worker_id));
        prop_assert_eq!(ranked(&best), ranked(&all[..k.min(all.len())]));
    }
}

fn with_slots(worker: usize, sequence: u64, started: u64) -> Vec<u8> {
    let states = [Some(3), None, None];
    let said = Said {
        region: 0,
        free: 4,
        queued: 0,
        started,
        draining: false,
        states,
        adapters: [None; 3],
    };
    said.report(&id(worker), sequence)
}

#[test]
fn placement_counts_as_several_for_load_and_as_one_for_room() {
    let mut fleet = Fleet::new(WEIGHTS, LIMITS);
    fleet.set_peers(3);
    for worker in 0..2 {
        fleet.upsert(&id(worker), &with_slots(worker, 1, 0), 0).expect("good");
    }
    let queue = |fleet: &mut Fleet| -> Vec<f64> {
        let (all, _) = fleet.explain(&query(&[]), "job", 9, 0);
        let mut terms: Vec<f64> = all.iter().map(|candidate| candidate.terms[3]).collect();
        terms.sort_by(f64::total_cmp);
        terms
    };
    let room = |fleet: &Fleet| fleet.get(&id(0)).expect("known").room;
    let (idle, before) = (queue(&mut fleet)[1], room(&fleet));
    fleet.placed(&id(0), 0);
    let busy = queue(&mut fleet)[0];
    assert!((busy - WEIGHTS.queue / (1.0 + 3.0 / 4.0)).abs() < 1e-9, "{busy}");
    assert_eq!(room(&fleet), before - 1);
    fleet.unplaced(&id(0));
    assert!((queue(&mut fleet)[0] - idle).abs() < 1e-9);
    fleet.placed(&id(0), 0);
    fleet.upsert(&id(0), &with_slots(0, 2, 3), 0).expect("good");
    assert!((queue(&mut fleet)[0] - idle).abs() < 1e-9);
}

#[test]
fn jobs_that_may_wait_at_a_worker_are_bounded_by_its_slots() {
    let limits = |ahead_permille| Limits {
        ahead_permille,
        ..LIMITS
    };
    let room = |ahead| {
        let mut fleet = Fleet::new(WEIGHTS, limits(ahead));
        fleet
            .upsert(&id(0), &with_slots(0, 1, 0), 0)
            .expect("good")
            .expect("newer")
    };
    assert_eq!(room(0), 4);
    assert_eq!(room(250), 5);
    assert_eq!(room(251), 6);
    assert!(room(u64::MAX) >= room(251));
}
