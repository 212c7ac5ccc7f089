//! What the fleet says of workers, for Python: see `crate::fleet`.

use crate::fleet;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// A worker that can take the job.
#[pyclass(module = "tether._native", frozen)]
pub(super) struct Candidate {
    pub(super) inner: fleet::Candidate,
}

#[pymethods]
impl Candidate {
    #[getter]
    fn worker_id(&self) -> &str {
        &self.inner.worker_id
    }

    #[getter]
    fn incarnation(&self) -> u64 {
        self.inner.incarnation
    }

    /// host:port of its gRPC server.
    #[getter]
    fn address(&self) -> &str {
        &self.inner.address
    }

    #[getter]
    fn region(&self) -> &str {
        &self.inner.region
    }

    /// Jobs as placement counts them: by its last report, and placements not yet in that.
    #[getter]
    fn in_flight(&self) -> u64 {
        self.inner.in_flight
    }

    /// Sum of the terms.
    #[getter]
    fn score(&self) -> f64 {
        self.inner.score()
    }

    /// Name and weight times value of each term, in a fixed order.
    #[getter]
    fn terms(&self) -> Vec<(&'static str, f64)> {
        fleet::TERM_NAMES.into_iter().zip(self.inner.terms).collect()
    }

    fn __repr__(&self) -> String {
        format!("Candidate({:?}, score={:.6})", self.inner.worker_id, self.inner.score())
    }
}

/// A worker that a rule removed.
#[pyclass(module = "tether._native", frozen)]
pub(super) struct Removed {
    pub(super) inner: fleet::Removed,
}

#[pymethods]
impl Removed {
    #[getter]
    fn worker_id(&self) -> &str {
        &self.inner.worker_id
    }

    /// First rule that removed it.
    #[getter]
    fn rule(&self) -> &'static str {
        self.inner.rule
    }

    /// What was found, for people.
    #[getter]
    fn detail(&self) -> &str {
        &self.inner.detail
    }

    fn __repr__(&self) -> String {
        let fleet::Removed {
            worker_id,
            rule,
            detail,
        } = &self.inner;
        format!("Removed({worker_id:?}, {rule:?}, {detail:?})")
    }
}

/// How many workers a model version has, by what they can do now.
#[pyclass(module = "tether._native", frozen)]
pub(super) struct Census {
    pub(super) inner: fleet::Census,
}

#[pymethods]
impl Census {
    /// Could take a job.
    #[getter]
    fn ready(&self) -> u32 {
        self.inner.ready
    }

    /// No slot and no place in their queue.
    #[getter]
    fn full(&self) -> u32 {
        self.inner.full
    }

    /// Suspect, draining or ejected.
    #[getter]
    fn out(&self) -> u32 {
        self.inner.out
    }

    fn __repr__(&self) -> String {
        let fleet::Census { ready, full, out } = self.inner;
        format!("Census(ready={ready}, full={full}, out={out})")
    }
}

/// What the fleet knows of a worker, as it was when asked.
#[pyclass(module = "tether._native", frozen)]
pub(super) struct Worker {
    pub(super) inner: fleet::View,
}

#[pymethods]
impl Worker {
    #[getter]
    fn worker_id(&self) -> &str {
        &self.inner.worker_id
    }

    #[getter]
    fn incarnation(&self) -> u64 {
        self.inner.incarnation
    }

    #[getter]
    fn address(&self) -> &str {
        &self.inner.address
    }

    #[getter]
    fn region(&self) -> &str {
        &self.inner.region
    }

    /// `live`, `suspect`, `draining` or `ejected`.
    #[getter]
    fn standing(&self) -> String {
        self.inner.standing.to_string()
    }

    #[getter]
    fn in_flight(&self) -> u64 {
        self.inner.in_flight
    }

    /// Jobs it can still be given; 0 unless live.
    #[getter]
    fn room(&self) -> u64 {
        self.inner.room
    }

    /// When it was last heard, on the caller's clock.
    #[getter]
    fn heard_ms(&self) -> u64 {
        self.inner.heard_ms
    }

    /// Its last report: a serialized Health.Report.
    #[getter]
    fn report<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.inner.report)
    }

    fn __repr__(&self) -> String {
        let fleet::View {
            worker_id,
            standing,
            room,
            ..
        } = &self.inner;
        format!("Worker({worker_id:?}, {standing}, room={room})")
    }
}
