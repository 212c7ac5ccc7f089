//! The k best workers without a look at all: the best kind first, its least busy workers first, of equals those whose
//! points the job's probes hit. A kind is passed over as soon as even an idle worker of it could not be among the k.

use super::group::{Group, Pool};
use super::index::Fleet;
use super::query::Query;
use super::score::{Candidate, TIE_WEIGHT, Terms, total, with_tie};
use super::tie::{self, Probes};
use super::worker::Worker;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::PoisonError;

/// Buckets of equal load and kind that one query opens at most, once it has enough workers: ties among more kinds than
/// that are broken among the first. Bounds a query at some 30 µs. (bench/placement.py)
const BUCKETS_MAX: usize = 64;
/// Timers of silence that one query looks after at most; the others wait for `expire`.
const TIMERS_MAX: usize = 64;

/// A pool that a query may use. Small, because a query reads many of them.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// Score of an idle worker.
    best: f64,
    pool: u32,
    /// Where its terms stand in the plan.
    terms: u32,
}

/// How the pools of a group fared in a query, best first; good for one set of shapes.
#[derive(Debug, Default)]
pub(super) struct Plan {
    made_for: (u64, u64),
    lines: Vec<Line>,
    /// Of all workers of a line, without queue and tie.
    terms: Vec<Terms>,
}

/// Workers of one pool and load.
#[derive(Clone, Copy)]
struct Bucket {
    score: f64,
    line: Line,
    load: u16,
}

impl PartialEq for Bucket {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Bucket {}

impl PartialOrd for Bucket {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Bucket {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score
            .total_cmp(&other.score)
            .then(other.line.pool.cmp(&self.line.pool))
    }
}

/// A worker that was found: score with the tie, slot, terms.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) score: f64,
    pub(super) slot: u32,
    pub(super) terms: Terms,
}

/// The best so far, at most k, best first.
struct Best {
    k: usize,
    found: Vec<Found>,
}

impl Best {
    /// Whether a worker of at most this score without the tie could still get in.
    fn wants(&self, score: f64) -> bool {
        self.found.len() < self.k || self.found.last().is_some_and(|last| score + TIE_WEIGHT > last.score)
    }

    fn add(&mut self, new: Found) {
        let at = self.found.partition_point(|old| old.score >= new.score);
        self.found.insert(at, new);
        self.found.truncate(self.k);
    }
}

/// What a search looks for.
struct Aim<'a> {
    query: &'a Query,
    probes: Probes,
    k: usize,
    exclude: Vec<u32>,
}

impl Fleet {
    /// The k best workers, best first. `among`, if given, are the only ones asked for.
    pub fn top_k(
        &mut self,
        query: &Query,
        key: &str,
        k: usize,
        now_ms: u64,
        exclude: &[&str],
        among: Option<&[&str]>,
    ) -> Vec<Candidate> {
        self.age(now_ms, TIMERS_MAX);
        let exclude = exclude.iter().filter_map(|id| self.by_id.get(*id).copied()).collect();
        let aim = Aim {
            query,
            probes: tie::probes(key),
            k,
            exclude,
        };
        let found = match among {
            Some(ids) => self.found_among(&aim, ids),
            None if query.adapter_groups.is_empty() => self.found_in(&aim, &query.group, false),
            None => self.found_with_adapters(&aim),
        };
        found.iter().filter_map(|found| self.candidate(found)).collect()
    }

    fn candidate(&self, found: &Found) -> Option<Candidate> {
        self.workers.get(found.slot).map(|worker| worker.candidate(found.terms))
    }

    fn found_among(&self, aim: &Aim<'_>, ids: &[&str]) -> Vec<Found> {
        let slots = ids.iter().filter_map(|id| self.by_id.get(*id).copied());
        self.best_of(aim, slots.filter(|slot| !aim.exclude.contains(slot)))
    }

    /// Of a model with adapters: the best of the model, and of each adapter on it, each scored with all its adapters.
    fn found_with_adapters(&self, aim: &Aim<'_>) -> Vec<Found> {
        let mut found = self.found_in(aim, &aim.query.group, false);
        for group in &aim.query.adapter_groups {
            found.extend(self.found_in(aim, group, true));
        }
        self.best_of(aim, found.iter().map(|found| found.slot))
    }

    fn best_of(&self, aim: &Aim<'_>, slots: impl Iterator<Item = u32>) -> Vec<Found> {
        let mut best = Best {
            k: aim.k,
            found: Vec::new(),
        };
        for slot in slots {
            let Some(worker) = self.workers.get(slot) else { continue };
            let Ok(terms) = self.judge(aim.query, &aim.probes, worker) else {
                continue;
            };
            if best.found.iter().all(|found| found.slot != slot) {
                best.add(Found {
                    score: total(&terms),
                    slot,
                    terms,
                });
            }
        }
        best.found
    }

    fn found_in(&self, aim: &Aim<'_>, key: &str, adapter: bool) -> Vec<Found> {
        let Some((_, group)) = self.groups.find(key) else {
            return Vec::new();
        };
        if adapter {
            return self.search(aim, group, &self.plan(aim.query, group));
        }
        let mut plan = aim.query.plan.lock().unwrap_or_else(PoisonError::into_inner);
        if plan.made_for != (self.id, group.version) {
            *plan = self.plan(aim.query, group);
        }
        self.search(aim, group, &plan)
    }

    /// The pools that pass the filters, best first.
    fn plan(&self, query: &Query, group: &Group) -> Plan {
        let passing = group
            .pools
            .iter()
            .filter(|(_, pool)| query.removes(&pool.shape).is_none());
        let mut plan = Plan {
            made_for: (self.id, group.version),
            ..Plan::default()
        };
        for (number, pool) in passing {
            let terms = self.weights.of_shape(query, &pool.shape, pool.shape.adapter.value());
            let best = total(&self.weights.with_load(terms, 0));
            plan.lines.push(Line {
                best,
                pool: number,
                terms: u32::try_from(plan.terms.len()).unwrap_or(u32::MAX),
            });
            plan.terms.push(terms);
        }
        plan.lines.sort_by(|a, b| b.best.total_cmp(&a.best));
        plan
    }

    fn search(&self, aim: &Aim<'_>, group: &Group, plan: &Plan) -> Vec<Found> {
        let (mut next, mut opened) = (plan.lines.iter(), 0);
        let mut best = Best {
            k: aim.k,
            found: Vec::with_capacity(aim.k + 1),
        };
        let mut buckets: BinaryHeap<Bucket> = BinaryHeap::with_capacity(32);
        loop {
            let hopeful =
                |line: &Line, buckets: &BinaryHeap<Bucket>| buckets.peek().is_none_or(|b| line.best >= b.score);
            while let Some(line) = next.as_slice().first().filter(|line| hopeful(line, &buckets)) {
                buckets.extend(group.head(line.pool).map(|load| self.bucket(*line, load)));
                next.next();
            }
            let Some(bucket) = buckets.pop() else { return best.found };
            let enough = best.found.len() >= aim.k && opened >= BUCKETS_MAX;
            if enough || !best.wants(bucket.score) {
                return best.found;
            }
            opened += 1;
            let Some(pool) = group.pools.get(bucket.line.pool) else {
                continue;
            };
            self.open(
                aim,
                pool,
                plan.terms[bucket.line.terms as usize],
                bucket.load,
                &mut best,
            );
            buckets.extend(
                pool.load_from(bucket.load + 1)
                    .map(|load| self.bucket(bucket.line, load)),
            );
        }
    }

    /// The workers of a pool and load.
    fn bucket(&self, line: Line, load: u16) -> Bucket {
        Bucket {
            score: line.best - self.weights.penalty(load),
            line,
            load,
        }
    }

    /// Add the workers of a bucket that come nearest after the probes.
    fn open(&self, aim: &Aim<'_>, pool: &Pool, terms: Terms, load: u16, best: &mut Best) {
        let terms = self.weights.with_load(terms, load);
        let mut add = |point: u64, slot: u32| {
            let terms = with_tie(terms, tie::distance(&aim.probes, point));
            let known = aim.exclude.contains(&slot) || best.found.iter().any(|found| found.slot == slot);
            if !known {
                best.add(Found {
                    score: total(&terms),
                    slot,
                    terms,
                });
            }
            !known
        };
        for probe in aim.probes {
            let mut wanted = aim.k;
            for (point, slot) in pool.ring(load, probe) {
                wanted -= usize::from(add(point, slot));
                if wanted == 0 {
                    break;
                }
            }
        }
    }

    /// Terms of one worker, or the first rule that removes it.
    pub(super) fn judge(&self, query: &Query, probes: &Probes, worker: &Worker) -> Result<Terms, &'static str> {
        let place = worker
            .places
            .iter()
            .find(|place| self.groups.key(**place) == query.group);
        let shape = place
            .and_then(|place| self.groups.shape(*place))
            .ok_or_else(|| worker.misses(query))?;
        query.removes(shape).map_or(Ok(()), Err)?;
        let load = worker.ready()?;
        let terms = self
            .weights
            .with_load(self.weights.of_shape(query, shape, worker.adapters_warm(query)), load);
        Ok(with_tie(terms, tie::distance(probes, worker.point)))
    }
}

impl Worker {
    pub(super) fn candidate(&self, terms: Terms) -> Candidate {
        Candidate {
            worker_id: self.id.clone(),
            incarnation: self.report.incarnation,
            address: self.report.address.clone(),
            region: self.report.kind.region.clone(),
            in_flight: self.in_flight(),
            terms,
        }
    }

    /// Sum of the values of the query's adapters that it has at hand.
    fn adapters_warm(&self, query: &Query) -> f64 {
        let (base, adapters) = (query.spec(), &self.report.adapters);
        let state = |(id, version): &(String, String)| {
            let on_base = adapters.iter().filter(|a| a.base.named(&base.model_id, &base.version));
            on_base
                .filter(|a| a.adapter.named(id, version))
                .map(|a| a.state)
                .next()
                .unwrap_or_default()
        };
        base.adapters.iter().map(|adapter| state(adapter).value()).sum()
    }
}
