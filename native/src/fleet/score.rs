//! The score of a worker for a query: nine terms, each a weight times a value.

use super::group::Shape;
use super::query::Query;
use super::tie;
use std::sync::Arc;

/// Names of the terms, in the order of `Terms`.
pub const TERM_NAMES: [&str; 9] = [
    "model", "region", "gpu", "queue", "warm", "breaker", "policy", "prefix", "tie",
];
const QUEUE: usize = 3;
const TIE: usize = 8;

/// Weight of the tie: below any difference that means something, above the rounding of the sum.
pub(super) const TIE_WEIGHT: f64 = 1e-6;

/// Steps per slot in which load is counted: jobs in flight on a worker of 16 slots are still told apart.
pub(super) const LOAD_STEPS_PER_SLOT: u64 = 16;

/// Weight times value of each term.
pub type Terms = [f64; 9];

/// What a value of 1 is worth, per term. The defaults are a guess, to be replaced by what bench/scheduling.py shows: to
/// load a model takes seconds, to wait behind a job about one, another region tenths.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights {
    /// Serves the very version.
    pub model: f64,
    /// Proximity of its region.
    pub region: f64,
    /// Value of its GPU class.
    pub gpu: f64,
    /// Short queue.
    pub queue: f64,
    /// Model or adapters loaded.
    pub warm: f64,
    /// Health.
    pub breaker: f64,
    /// Points of the tenant's policy.
    pub policy: f64,
    /// Prefix hit; its value is 0 for now.
    pub prefix: f64,
}

impl Weights {
    /// Whether all are finite and not negative.
    #[must_use]
    pub fn in_range(&self) -> bool {
        let Self {
            model,
            region,
            gpu,
            queue,
            warm,
            breaker,
            policy,
            prefix,
        } = *self;
        [model, region, gpu, queue, warm, breaker, policy, prefix]
            .iter()
            .all(|w| w.is_finite() && *w >= 0.0)
    }

    /// Terms of a kind of worker for a query, without queue and tie.
    pub(super) fn of_shape(&self, query: &Query, shape: &Shape, adapters_warm: f64) -> Terms {
        let kind = &shape.kind;
        // Announced latency takes at most half of a region's proximity.
        let nearness = 1.0 - f64::from(kind.hops_class) / 16.0;
        let health = query.breaker(&kind.region).min(f64::from(shape.health) / 4.0);
        [
            self.model,
            self.region * query.proximity(&kind.region).unwrap_or(0.0) * nearness,
            self.gpu * query.gpu_value(&kind.gpu_class).unwrap_or(0.0),
            0.0,
            self.warm * query.warm(shape.state, adapters_warm),
            self.breaker * health,
            self.policy * query.points(&kind.region),
            0.0,
            0.0,
        ]
    }

    /// The same for a load.
    pub(super) fn with_load(&self, mut terms: Terms, load: u16) -> Terms {
        terms[QUEUE] = self.queue / (1.0 + f64::from(load) / LOAD_STEPS_PER_SLOT as f64);
        terms
    }
}

/// What a load takes from the score of an idle worker.
impl Weights {
    pub(super) fn penalty(&self, load: u16) -> f64 {
        self.queue - self.with_load([0.0; 9], load)[QUEUE]
    }
}

/// The same with the tie.
pub(super) fn with_tie(mut terms: Terms, distance: u64) -> Terms {
    terms[TIE] = TIE_WEIGHT * tie::value(distance);
    terms
}

/// Sum of the terms.
pub(super) fn total(terms: &Terms) -> f64 {
    terms.iter().sum()
}

/// A worker that can take the job.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Node id.
    pub worker_id: Arc<str>,
    /// Life of the worker.
    pub incarnation: u64,
    /// host:port of its gRPC server.
    pub address: Arc<str>,
    /// Region it is in.
    pub region: Arc<str>,
    /// Jobs as placement counts them.
    pub in_flight: u64,
    /// Parts of the score.
    pub terms: Terms,
}

impl Candidate {
    /// Sum of the terms.
    #[must_use]
    pub fn score(&self) -> f64 {
        total(&self.terms)
    }
}
