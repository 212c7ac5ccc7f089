//! The fleet for Python: see `crate::fleet`.

use super::worker::{Candidate, Census, Removed, Worker};
use crate::fleet;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use std::collections::HashMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Most workers that a query names or returns: bounds one call.
const NAMED_MAX: usize = 64;
/// Most rows of `explain`, each way.
const LIMIT_MAX: usize = 1_000;

fn value_error(why: impl Display) -> PyErr {
    PyValueError::new_err(why.to_string())
}

fn check(name: &str, value: usize, range: RangeInclusive<usize>) -> PyResult<()> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(value_error(format_args!(
        "{name} must be {} to {}",
        range.start(),
        range.end()
    )))
}

fn strings(ids: &[Arc<str>]) -> Vec<&str> {
    ids.iter().map(|id| &**id).collect()
}

/// What a request needs, made once and used for any number of `top_k`.
#[pyclass(module = "tether._native", frozen)]
pub(super) struct Query {
    inner: fleet::Query,
}

#[pymethods]
impl Query {
    #[new]
    #[pyo3(signature = (
        model_id, version, *, digest = vec![], fingerprint = vec![], regions = None, region_default = Some(0.0),
        regions_allowed = vec![], gpu_classes = None, vram_bytes_min = 0, accelerators = vec![], adapters = vec![],
        breakers = None, policy = None,
    ), text_signature = "(model_id, version, *, digest=b'', fingerprint=b'', regions=None, region_default=0.0, \
        regions_allowed=(), gpu_classes=None, vram_bytes_min=0, accelerators=(), adapters=(), breakers=None, \
        policy=None)")]
    #[expect(clippy::too_many_arguments, reason = "the parts of a query, by name")]
    fn new(
        model_id: String,
        version: String,
        digest: Vec<u8>,
        fingerprint: Vec<u8>,
        regions: Option<HashMap<String, f64>>,
        region_default: Option<f64>,
        regions_allowed: Vec<String>,
        gpu_classes: Option<HashMap<String, f64>>,
        vram_bytes_min: u64,
        accelerators: Vec<String>,
        adapters: Vec<(String, String)>,
        breakers: Option<HashMap<String, f64>>,
        policy: Option<HashMap<String, f64>>,
    ) -> PyResult<Self> {
        let spec = fleet::Spec {
            model_id,
            version,
            digest,
            fingerprint,
            regions: regions.unwrap_or_default(),
            region_default,
            regions_allowed: regions_allowed.into_iter().collect(),
            gpu_classes: gpu_classes.unwrap_or_default(),
            vram_bytes_min,
            accelerators,
            adapters,
            breakers: breakers.unwrap_or_default(),
            policy: policy.unwrap_or_default(),
        };
        fleet::Query::new(spec).map(|inner| Self { inner }).map_err(value_error)
    }

    #[getter]
    fn model_id(&self) -> &str {
        &self.inner.spec().model_id
    }

    #[getter]
    fn version(&self) -> &str {
        &self.inner.spec().version
    }
}

/// Index of workers and scorer.
#[pyclass(module = "tether._native")]
pub(super) struct Fleet {
    inner: fleet::Fleet,
}

#[pymethods]
impl Fleet {
    #[new]
    #[pyo3(signature = (
        *, model = 1.0, region = 2.0, gpu = 1.0, queue = 3.0, warm = 4.0, breaker = 2.0, policy = 1.0, prefix = 2.0,
        suspect_ms = 1_000, remove_ms = 15_000, placed_ms_max = 5_000, workers_max = 200_000, ahead_per_slot = None,
    ))]
    #[expect(clippy::too_many_arguments, reason = "settings, by name")]
    fn new(
        model: f64,
        region: f64,
        gpu: f64,
        queue: f64,
        warm: f64,
        breaker: f64,
        policy: f64,
        prefix: f64,
        suspect_ms: u64,
        remove_ms: u64,
        placed_ms_max: u64,
        workers_max: usize,
        ahead_per_slot: Option<f64>,
    ) -> PyResult<Self> {
        let ahead_permille = permille(ahead_per_slot)?;
        let weights = fleet::Weights {
            model,
            region,
            gpu,
            queue,
            warm,
            breaker,
            policy,
            prefix,
        };
        let limits = fleet::Limits {
            suspect_ms,
            remove_ms,
            placed_ms_max,
            workers_max,
            ahead_permille,
        };
        if !weights.in_range() {
            return Err(value_error("weights must be finite and not negative"));
        }
        if !limits.in_range() {
            return Err(value_error(
                "limits must be at least 1, and remove_ms at least suspect_ms",
            ));
        }
        Ok(Self {
            inner: fleet::Fleet::new(weights, limits),
        })
    }

    /// Take a worker's report; jobs it can still be given, or None for a report that is not newer than the last.
    fn upsert(&mut self, worker_id: &str, report: &[u8], now_ms: u64) -> PyResult<Option<u64>> {
        self.inner.upsert(worker_id, report, now_ms).map_err(value_error)
    }

    /// The worker was heard, without a report; False when unknown.
    fn beat(&mut self, worker_id: &str, now_ms: u64) -> bool {
        self.inner.beat(worker_id, now_ms)
    }

    /// Give it no new work until it is heard again; False when unknown.
    fn suspect(&mut self, worker_id: &str) -> bool {
        self.inner.suspect(worker_id)
    }

    /// Set whether an operator drains it; False when unknown.
    fn drain(&mut self, worker_id: &str, draining: bool) -> bool {
        self.inner.drain(worker_id, draining)
    }

    /// Set its health, 0 to 1 in quarters; 0 ejects it. False when unknown.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 4 by then")]
    fn set_health(&mut self, worker_id: &str, health: f64) -> PyResult<bool> {
        if !(0.0..=1.0).contains(&health) {
            return Err(value_error("health must be 0 to 1"));
        }
        Ok(self.inner.set_health(worker_id, (health * 4.0).ceil() as u8))
    }

    /// Forget it; False when unknown.
    fn remove(&mut self, worker_id: &str) -> bool {
        self.inner.remove(worker_id)
    }

    /// Workers that fell silent since the last call: (now suspect, now removed).
    fn expire(&mut self, now_ms: u64) -> (Vec<String>, Vec<String>) {
        let (suspected, removed) = self.inner.expire(now_ms);
        let owned = |ids: &[Arc<str>]| strings(ids).into_iter().map(str::to_owned).collect();
        (owned(&suspected), owned(&removed))
    }

    /// Count a job placed there until a report tells of it; False when unknown.
    fn placed(&mut self, worker_id: &str, now_ms: u64) -> bool {
        self.inner.placed(worker_id, now_ms)
    }

    /// Say how many orchestrators place on the same workers, this one among them.
    fn set_peers(&mut self, peers: usize) {
        self.inner.set_peers(peers);
    }

    /// Take back the last `placed` that still counts; False when there is none.
    fn unplaced(&mut self, worker_id: &str) -> bool {
        self.inner.unplaced(worker_id)
    }

    /// The k best workers, best first.
    #[pyo3(
        signature = (query, key, k, now_ms, exclude = vec![], among = None),
        text_signature = "($self, query, key, k, now_ms, exclude=(), among=None)"
    )]
    #[expect(clippy::needless_pass_by_value, reason = "pyo3 hands over what it extracted")]
    fn top_k(
        &mut self,
        query: &Query,
        key: &str,
        k: usize,
        now_ms: u64,
        exclude: Vec<PyBackedStr>,
        among: Option<Vec<PyBackedStr>>,
    ) -> PyResult<Vec<Candidate>> {
        check("k", k, 1..=NAMED_MAX)?;
        check("exclude", exclude.len(), 0..=NAMED_MAX)?;
        check("among", among.as_ref().map_or(0, Vec::len), 0..=NAMED_MAX)?;
        let exclude: Vec<&str> = exclude.iter().map(|id| &**id).collect();
        let among: Option<Vec<&str>> = among.as_ref().map(|ids| ids.iter().map(|id| &**id).collect());
        let found = self
            .inner
            .top_k(&query.inner, key, k, now_ms, &exclude, among.as_deref());
        Ok(found.into_iter().map(|inner| Candidate { inner }).collect())
    }

    /// Candidates, best first, and workers removed: at most `limit` of each. Scans the fleet.
    fn explain(
        &mut self,
        py: Python<'_>,
        query: &Query,
        key: &str,
        limit: usize,
        now_ms: u64,
    ) -> PyResult<(Vec<Candidate>, Vec<Removed>)> {
        check("limit", limit, 1..=LIMIT_MAX)?;
        let (fleet, query) = (&mut self.inner, &query.inner);
        let (candidates, removed) = py.detach(|| fleet.explain(query, key, limit, now_ms));
        let candidates = candidates.into_iter().map(|inner| Candidate { inner }).collect();
        Ok((candidates, removed.into_iter().map(|inner| Removed { inner }).collect()))
    }

    /// Workers of a model version, at no cost.
    fn census(&self, model_id: &str, version: &str) -> Census {
        Census {
            inner: self.inner.census(model_id, version),
        }
    }

    /// One worker.
    fn get(&self, worker_id: &str) -> Option<Worker> {
        self.inner.get(worker_id).map(|inner| Worker { inner })
    }

    /// All workers, in order of their ids.
    fn workers(&self) -> Vec<Worker> {
        self.inner.workers().into_iter().map(|inner| Worker { inner }).collect()
    }

    fn __len__(&self) -> usize {
        self.inner.len()
    }
}

/// Jobs per thousand slots from jobs per slot; none is no limit.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked, and at most a million"
)]
fn permille(ahead_per_slot: Option<f64>) -> PyResult<u64> {
    match ahead_per_slot {
        None => Ok(u64::MAX),
        Some(jobs) if (0.0..=1_000.0).contains(&jobs) => Ok((jobs * 1_000.0).ceil() as u64),
        Some(_) => Err(value_error("ahead_per_slot must be 0 to 1,000")),
    }
}
