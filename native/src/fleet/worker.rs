//! One worker: its last report, what was placed on it since, and whether it may be given work.

use super::group::{Column, Place};
use super::report::Report;
use super::score::LOAD_STEPS_PER_SLOT;
use super::tie;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// Whether a worker may be given work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Live,
    /// Silent too long, or its link broke.
    Suspect,
    /// Finishing its jobs.
    Draining,
    /// Its health is 0.
    Ejected,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Live => "live",
            Self::Suspect => "suspect",
            Self::Draining => "draining",
            Self::Ejected => "ejected",
        })
    }
}

/// What the fleet knows of a worker, as it was when asked.
#[derive(Clone, Debug)]
pub struct View {
    /// Node id.
    pub worker_id: Arc<str>,
    /// Life of the worker.
    pub incarnation: u64,
    /// host:port of its gRPC server.
    pub address: Arc<str>,
    /// Region it is in.
    pub region: Arc<str>,
    /// Whether it may be given work.
    pub standing: Standing,
    /// Jobs as placement counts them.
    pub in_flight: u64,
    /// Jobs it can still be given.
    pub room: u64,
    /// When it was last heard.
    pub heard_ms: u64,
    /// Its last report, serialized.
    pub report: Arc<[u8]>,
}

/// Loads are not told apart beyond: 4,095 jobs per slot. (65,535 means nobody.)
const LOAD_MAX: u16 = u16::MAX - 1;

/// Full health, in quarters.
pub(super) const HEALTHY: u8 = 4;

pub(super) struct Worker {
    pub(super) id: Arc<str>,
    pub(super) point: u64,
    pub(super) report: Report,
    pub(super) raw: Arc<[u8]>,
    pub(super) heard_ms: u64,
    /// Number of the timer that watches over its silence; older ones mean nothing.
    pub(super) timer: u64,
    pub(super) suspect: bool,
    /// Drained by an operator.
    pub(super) drained: bool,
    pub(super) health: u8,
    /// When jobs were placed that no report has told of.
    pub(super) placements: VecDeque<u64>,
    /// When the others were taken to place as many, unseen: they count for load and take no room.
    pub(super) shadows: VecDeque<u64>,
    pub(super) places: Vec<Place>,
    /// As it stands in its groups.
    pub(super) column: Column,
}

impl Worker {
    pub(super) fn new(report: Report, raw: &[u8], now_ms: u64) -> Self {
        Self {
            id: (*report.worker_id).into(),
            point: tie::point(&report.worker_id),
            report,
            raw: raw.into(),
            heard_ms: now_ms,
            timer: 0,
            suspect: false,
            drained: false,
            health: HEALTHY,
            placements: VecDeque::new(),
            shadows: VecDeque::new(),
            places: Vec::new(),
            column: Column::Out,
        }
    }

    /// Take a newer report; whether it says the same but for the numbers of its jobs.
    pub(super) fn renew(&mut self, report: Report, raw: &[u8]) -> bool {
        if report.incarnation > self.report.incarnation {
            self.placements.clear();
            self.shadows.clear();
            self.health = HEALTHY;
        } else {
            let started = report.started_total.saturating_sub(self.report.started_total);
            let started = usize::try_from(started).unwrap_or(usize::MAX);
            let told = started.min(self.placements.len());
            self.placements.drain(..told);
            let unseen = (started - told).min(self.shadows.len());
            self.shadows.drain(..unseen);
        }
        let same = self.report.kind == report.kind
            && self.report.offers == report.offers
            && self.report.adapters == report.adapters;
        self.report = report;
        self.raw = raw.into();
        same
    }

    /// Stop counting placements made before `since_ms`; whether there were any.
    pub(super) fn forget_placements(&mut self, since_ms: u64) -> bool {
        let old = self.placements.iter().take_while(|placed| **placed < since_ms).count();
        self.placements.drain(..old);
        let unseen = self.shadows.iter().take_while(|placed| **placed < since_ms).count();
        self.shadows.drain(..unseen);
        old + unseen > 0
    }

    pub(super) fn standing(&self) -> Standing {
        if self.health == 0 {
            Standing::Ejected
        } else if self.suspect {
            Standing::Suspect
        } else if self.drained || self.report.draining {
            Standing::Draining
        } else {
            Standing::Live
        }
    }

    /// Jobs running and waiting by the last report, and placed since.
    pub(super) fn in_flight(&self) -> u64 {
        let report = &self.report;
        u64::from(report.slots - report.slots_free) + u64::from(report.queue_depth) + self.placements.len() as u64
    }

    fn capacity(&self) -> u64 {
        let queue = if self.report.slots == 0 {
            0
        } else {
            self.report.queue_max
        };
        u64::from(self.report.slots) + u64::from(queue)
    }

    /// Jobs it can still be given.
    pub(super) fn room(&self) -> u64 {
        match self.standing() {
            Standing::Live => self.capacity().saturating_sub(self.in_flight()),
            _ => 0,
        }
    }

    /// The column it belongs into.
    pub(super) fn due_column(&self) -> Column {
        if self.standing() != Standing::Live {
            return Column::Out;
        }
        if self.room() == 0 {
            return Column::Full;
        }
        let jobs = self.in_flight() + self.shadows.len() as u64;
        let load = jobs * LOAD_STEPS_PER_SLOT / u64::from(self.report.slots).max(1);
        Column::Ready(u16::try_from(load).unwrap_or(LOAD_MAX).min(LOAD_MAX))
    }

    /// Its load, or the rule by which it gets no work.
    pub(super) fn ready(&self) -> Result<u16, &'static str> {
        match (self.standing(), self.column) {
            (Standing::Ejected, _) => Err("breaker"),
            (Standing::Draining, _) => Err("draining"),
            (Standing::Suspect, _) => Err("suspect"),
            (Standing::Live, Column::Ready(load)) => Ok(load),
            (Standing::Live, _) => Err("capacity"),
        }
    }

    pub(super) fn view(&self) -> View {
        View {
            worker_id: self.id.clone(),
            incarnation: self.report.incarnation,
            address: self.report.address.clone(),
            region: self.report.kind.region.clone(),
            standing: self.standing(),
            in_flight: self.in_flight(),
            room: self.room(),
            heard_ms: self.heard_ms,
            report: self.raw.clone(),
        }
    }
}
