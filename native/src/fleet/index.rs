//! The index: takes reports, silence and placements, and keeps every worker in its pools. Silence is watched by a
//! queue of times, so that only workers that are due are looked at.

use super::group::{Census, Groups, Shape};
use super::query::{adapter_key, group_key};
use super::report::{CacheState, Malformed, Offer, Report};
use super::score::Weights;
use super::slab::Slab;
use super::worker::{View, Worker};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Limits of a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Silence after which a worker gets no new work.
    pub suspect_ms: u64,
    /// Silence after which it is forgotten.
    pub remove_ms: u64,
    /// How long a placement counts that no report has told of.
    pub placed_ms_max: u64,
    /// Most workers.
    pub workers_max: usize,
    /// Jobs that may wait at a worker for each thousand of its slots, whatever it would take.
    pub ahead_permille: u64,
}

impl Limits {
    /// Whether each is at least 1 and a worker is suspect before it is forgotten.
    #[must_use]
    pub const fn in_range(&self) -> bool {
        let Self {
            suspect_ms,
            remove_ms,
            placed_ms_max,
            workers_max,
            ahead_permille: _,
        } = *self;
        suspect_ms > 0 && remove_ms >= suspect_ms && placed_ms_max > 0 && workers_max > 0
    }

    /// Jobs that may wait at a worker of so many slots.
    fn ahead(&self, slots: u32) -> u32 {
        let jobs = u64::from(slots).saturating_mul(self.ahead_permille).div_ceil(1_000);
        u32::try_from(jobs).unwrap_or(u32::MAX)
    }
}

/// Why a report is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is malformed.
    Malformed(Malformed),
    /// It is another worker's.
    Stranger,
    /// There are as many workers as may be.
    FleetFull,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => why.fmt(f),
            Self::Stranger => f.write_str("report: of another worker than the one that proved itself"),
            Self::FleetFull => f.write_str("the fleet has as many workers as it may"),
        }
    }
}

impl std::error::Error for Refused {}

/// When to look after a worker's silence: time, number of the timer, slot.
type Timer = Reverse<(u64, u64, u32)>;

/// Most orchestrators that are told apart from more: so many shadows of a placement are enough. (bench/herd.py)
const PEERS_MAX: usize = 16;

static FLEETS: AtomicU64 = AtomicU64::new(1);

/// Index of workers and scorer.
pub struct Fleet {
    /// Tells this fleet from others in the process.
    pub(super) id: u64,
    pub(super) weights: Weights,
    limits: Limits,
    /// Orchestrators that place on the same workers.
    peers: usize,
    pub(super) workers: Slab<Worker>,
    pub(super) by_id: HashMap<Arc<str>, u32>,
    pub(super) groups: Groups,
    timers: BinaryHeap<Timer>,
    timer: u64,
    suspected: Vec<Arc<str>>,
    removed: Vec<Arc<str>>,
}

impl Fleet {
    /// An empty fleet.
    #[must_use]
    pub fn new(weights: Weights, limits: Limits) -> Self {
        Self {
            id: FLEETS.fetch_add(1, Ordering::Relaxed),
            weights,
            limits,
            peers: 1,
            workers: Slab::default(),
            by_id: HashMap::new(),
            groups: Groups::default(),
            timers: BinaryHeap::new(),
            timer: 0,
            suspected: Vec::new(),
            removed: Vec::new(),
        }
    }

    /// Workers that are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Take a report; jobs the worker can still be given, or `None` when it is not newer than the last.
    ///
    /// # Errors
    /// `Refused` leaves everything as it was.
    pub fn upsert(&mut self, worker_id: &str, raw: &[u8], now_ms: u64) -> Result<Option<u64>, Refused> {
        let mut report = Report::decode(raw).map_err(Refused::Malformed)?;
        report.queue_max = report.queue_max.min(self.limits.ahead(report.slots));
        if *report.worker_id != *worker_id {
            return Err(Refused::Stranger);
        }
        match self.by_id.get(worker_id).copied() {
            Some(slot) => Ok(self.renew(slot, report, raw, now_ms)),
            None => self.enter(report, raw, now_ms).map(Some),
        }
    }

    fn enter(&mut self, report: Report, raw: &[u8], now_ms: u64) -> Result<u64, Refused> {
        if self.by_id.len() >= self.limits.workers_max {
            return Err(Refused::FleetFull);
        }
        let worker = Worker::new(report, raw, now_ms);
        let (id, room) = (worker.id.clone(), worker.room());
        let slot = self.workers.put(worker);
        self.by_id.insert(id, slot);
        self.settle(slot);
        self.watch(slot, now_ms.saturating_add(self.limits.suspect_ms));
        Ok(room)
    }

    fn renew(&mut self, slot: u32, report: Report, raw: &[u8], now_ms: u64) -> Option<u64> {
        let worker = self.workers.get_mut(slot)?;
        if (report.incarnation, report.sequence) <= (worker.report.incarnation, worker.report.sequence) {
            return None;
        }
        let health = worker.health;
        let same = worker.renew(report, raw) && worker.health == health;
        self.heard(slot, now_ms);
        if same {
            self.shift(slot);
        } else {
            self.resettle(slot);
        }
        self.workers.get(slot).map(Worker::room)
    }

    /// The worker was heard; whether it is known.
    pub fn beat(&mut self, worker_id: &str, now_ms: u64) -> bool {
        self.with(worker_id, |fleet, slot| {
            fleet.heard(slot, now_ms);
            fleet.shift(slot);
        })
    }

    /// Give it no new work until it is heard again; whether it is known.
    pub fn suspect(&mut self, worker_id: &str) -> bool {
        self.change(worker_id, |worker| worker.suspect = true)
    }

    /// Drain it, or no longer; whether it is known.
    pub fn drain(&mut self, worker_id: &str, draining: bool) -> bool {
        self.change(worker_id, |worker| worker.drained = draining)
    }

    /// Set its health in quarters, 0 to 4; whether it is known.
    pub fn set_health(&mut self, worker_id: &str, quarters: u8) -> bool {
        self.with(worker_id, |fleet, slot| {
            let Some(worker) = fleet.workers.get_mut(slot) else {
                return;
            };
            if std::mem::replace(&mut worker.health, quarters) != quarters {
                fleet.resettle(slot);
            }
        })
    }

    /// Count a job that was placed there; whether it is known.
    pub fn placed(&mut self, worker_id: &str, now_ms: u64) -> bool {
        let since_ms = now_ms.saturating_sub(self.limits.placed_ms_max);
        let others = self.peers - 1;
        self.change(worker_id, |worker| {
            worker.forget_placements(since_ms);
            worker.placements.push_back(now_ms);
            worker.shadows.extend(std::iter::repeat_n(now_ms, others));
        })
    }

    /// Say how many orchestrators place on the same workers, this one among them: each placement stands for as many
    /// when loads are compared, because the others choose by the same reports.
    pub fn set_peers(&mut self, peers: usize) {
        self.peers = peers.clamp(1, PEERS_MAX);
    }

    /// Take back the last placement that still counts; whether there was one.
    pub fn unplaced(&mut self, worker_id: &str) -> bool {
        let mut found = false;
        let others = self.peers - 1;
        self.change(worker_id, |worker| {
            found = worker.placements.pop_back().is_some();
            worker.shadows.truncate(worker.shadows.len().saturating_sub(others));
        });
        found
    }

    /// Forget it; whether it was known.
    pub fn remove(&mut self, worker_id: &str) -> bool {
        self.with(worker_id, Self::forget)
    }

    /// Workers that fell silent since the last call: now suspect, now removed.
    pub fn expire(&mut self, now_ms: u64) -> (Vec<Arc<str>>, Vec<Arc<str>>) {
        self.age(now_ms, usize::MAX);
        (std::mem::take(&mut self.suspected), std::mem::take(&mut self.removed))
    }

    /// Workers of a model version, by what they can do now.
    #[must_use]
    pub fn census(&self, model_id: &str, version: &str) -> Census {
        self.groups
            .find(&group_key(model_id, version))
            .map(|(_, group)| group.census)
            .unwrap_or_default()
    }

    /// One worker.
    #[must_use]
    pub fn get(&self, worker_id: &str) -> Option<View> {
        self.worker(worker_id).map(Worker::view)
    }

    /// All workers, in order of their ids.
    #[must_use]
    pub fn workers(&self) -> Vec<View> {
        let mut views: Vec<View> = self.workers.iter().map(|(_, worker)| worker.view()).collect();
        views.sort_unstable_by(|a, b| a.worker_id.cmp(&b.worker_id));
        views
    }

    pub(super) fn worker(&self, worker_id: &str) -> Option<&Worker> {
        self.workers.get(*self.by_id.get(worker_id)?)
    }

    /// Look after at most so many timers that are due.
    pub(super) fn age(&mut self, now_ms: u64, timers_max: usize) {
        for _ in 0..timers_max {
            let Some(&Reverse((due_ms, timer, slot))) = self.timers.peek() else {
                return;
            };
            if due_ms > now_ms {
                return;
            }
            self.timers.pop();
            self.look_after(slot, timer, now_ms);
        }
    }

    fn look_after(&mut self, slot: u32, timer: u64, now_ms: u64) {
        let limits = self.limits;
        let Some(worker) = self.workers.get_mut(slot).filter(|w| w.timer == timer) else {
            return;
        };
        let patience_ms = if worker.suspect {
            limits.remove_ms
        } else {
            limits.suspect_ms
        };
        let (id, heard_ms) = (worker.id.clone(), worker.heard_ms);
        let due_ms = heard_ms.saturating_add(patience_ms);
        if due_ms > now_ms {
            self.watch(slot, due_ms);
        } else if worker.suspect {
            self.removed.push(id);
            self.forget(slot);
        } else {
            worker.suspect = true;
            self.suspected.push(id);
            self.shift(slot);
            self.watch(slot, heard_ms.saturating_add(limits.remove_ms));
        }
    }

    fn watch(&mut self, slot: u32, due_ms: u64) {
        self.timer += 1;
        if let Some(worker) = self.workers.get_mut(slot) {
            worker.timer = self.timer;
            self.timers.push(Reverse((due_ms, self.timer, slot)));
        }
    }

    /// It was heard: suspicion ends, placements of which it should have told by now are forgotten.
    fn heard(&mut self, slot: u32, now_ms: u64) {
        let limits = self.limits;
        let Some(worker) = self.workers.get_mut(slot) else {
            return;
        };
        worker.heard_ms = worker.heard_ms.max(now_ms);
        worker.forget_placements(now_ms.saturating_sub(limits.placed_ms_max));
        if std::mem::take(&mut worker.suspect) {
            self.watch(slot, now_ms.saturating_add(limits.suspect_ms));
        }
    }

    fn with(&mut self, worker_id: &str, act: impl FnOnce(&mut Self, u32)) -> bool {
        let slot = self.by_id.get(worker_id).copied();
        if let Some(slot) = slot {
            act(self, slot);
        }
        slot.is_some()
    }

    /// Change what makes out its column.
    fn change(&mut self, worker_id: &str, act: impl FnOnce(&mut Worker)) -> bool {
        self.with(worker_id, |fleet, slot| {
            fleet.workers.get_mut(slot).map(act);
            fleet.shift(slot);
        })
    }

    fn forget(&mut self, slot: u32) {
        self.unsettle(slot);
        if let Some(worker) = self.workers.take(slot) {
            self.by_id.remove(&worker.id);
        }
    }

    /// Move it to the column it belongs into, in all its groups.
    fn shift(&mut self, slot: u32) {
        let Some(worker) = self.workers.get_mut(slot) else {
            return;
        };
        let (from, to) = (worker.column, worker.due_column());
        if from == to {
            return;
        }
        worker.column = to;
        for place in &worker.places {
            self.groups.shift(*place, (worker.point, slot), Some(from), Some(to));
        }
    }

    fn resettle(&mut self, slot: u32) {
        self.unsettle(slot);
        self.settle(slot);
    }

    fn unsettle(&mut self, slot: u32) {
        let Some(worker) = self.workers.get_mut(slot) else {
            return;
        };
        for place in worker.places.drain(..) {
            self.groups
                .shift(place, (worker.point, slot), Some(worker.column), None);
            self.groups.leave(place);
        }
    }

    fn settle(&mut self, slot: u32) {
        let Some(worker) = self.workers.get_mut(slot) else {
            return;
        };
        worker.column = worker.due_column();
        worker.places = shapes(worker)
            .into_iter()
            .map(|(key, shape)| self.groups.join(&key, shape))
            .collect();
        for place in &worker.places {
            self.groups
                .shift(*place, (worker.point, slot), None, Some(worker.column));
        }
    }
}

/// Groups that a worker belongs into, and its shape in each.
fn shapes(worker: &Worker) -> Vec<(String, Shape)> {
    let report = &worker.report;
    let shape = |offer: &Offer, adapter: CacheState| Shape {
        kind: report.kind.clone(),
        health: worker.health,
        digest: offer.model.digest.clone(),
        fingerprint: offer.fingerprint.clone(),
        state: offer.state,
        adapter,
    };
    let mut found = Vec::with_capacity(report.offers.len() + report.adapters.len());
    for offer in &report.offers {
        let key = group_key(&offer.model.model_id, &offer.model.version);
        for adapter in report.adapters.iter().filter(|adapter| adapter.is_on(&offer.model)) {
            let adapter_group = adapter_key(&key, &adapter.adapter.model_id, &adapter.adapter.version);
            found.push((adapter_group, shape(offer, adapter.state)));
        }
        found.push((key, shape(offer, CacheState::Absent)));
    }
    found
}
