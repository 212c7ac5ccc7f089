//! The gateway's machine.

use super::action::to_python;
use super::{control_head, job_id, refused, to_dict, to_repr};
use crate::stream::{Handed, Join, OpenJob, Placing, Position, Start, StreamTable as Table, TableSettings};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

/// All jobs of a gateway.
#[pyclass]
pub(in crate::py) struct StreamTable {
    inner: Table,
}

#[pymethods]
impl StreamTable {
    #[new]
    #[pyo3(signature = (*, window_bytes=262_144, log_bytes_max=8_388_608, commit_wait_ms=250, detach_grace_ms=10_000,
        silence_ms=5_000, stall_ms=30_000, body_bytes_max=16_777_216, continuation=true, hold_failed=false))]
    #[allow(clippy::too_many_arguments, reason = "named arguments of Python")]
    fn new(
        window_bytes: u32,
        log_bytes_max: usize,
        commit_wait_ms: u64,
        detach_grace_ms: u64,
        silence_ms: u64,
        stall_ms: u64,
        body_bytes_max: usize,
        continuation: bool,
        hold_failed: bool,
    ) -> Self {
        let inner = Table::new(TableSettings {
            window_bytes,
            log_bytes_max,
            commit_wait_ms,
            detach_grace_ms,
            silence_ms,
            stall_ms,
            body_bytes_max,
            continuation,
            hold_failed,
        });
        Self { inner }
    }

    /// Begin a job.
    #[pyo3(signature = (job, *, driver, keep_answer_bytes, on_disconnect, deadline_ms, now_ms))]
    fn open(
        &mut self,
        job: &[u8],
        driver: bool,
        keep_answer_bytes: usize,
        on_disconnect: u32,
        deadline_ms: u64,
        now_ms: u64,
    ) -> PyResult<()> {
        let open = OpenJob {
            job: job_id(job)?,
            driver,
            keep_answer_bytes,
            on_disconnect,
            deadline_ms,
        };
        self.inner.open(&open, now_ms).map_err(refused)
    }

    /// Whether the job is open here and takes readers.
    fn known(&self, job: &[u8]) -> PyResult<bool> {
        Ok(self.inner.known(job_id(job)?))
    }

    /// An attempt runs on a link.
    #[pyo3(signature = (job, epoch, link, body, now_ms, *, continuity=0, driver=None))]
    #[allow(clippy::too_many_arguments, reason = "named arguments of Python")]
    fn placed<'py>(
        &mut self,
        py: Python<'py>,
        job: &[u8],
        epoch: u32,
        link: u64,
        body: &[u8],
        now_ms: u64,
        continuity: u32,
        driver: Option<bool>,
    ) -> PyResult<Bound<'py, PyList>> {
        let placing = placing(job, epoch, link, body, continuity, driver)?;
        to_python(py, self.inner.placed(&placing, now_ms))
    }

    /// A second attempt beside the first.
    #[pyo3(signature = (job, epoch, link, body, now_ms, *, continuity=0))]
    #[allow(clippy::too_many_arguments, reason = "named arguments of Python")]
    fn race<'py>(
        &mut self,
        py: Python<'py>,
        job: &[u8],
        epoch: u32,
        link: u64,
        body: &[u8],
        now_ms: u64,
        continuity: u32,
    ) -> PyResult<Bound<'py, PyList>> {
        let placing = placing(job, epoch, link, body, continuity, None)?;
        to_python(py, self.inner.race(&placing, now_ms))
    }

    /// A reader joins and gets the answer from a place on.
    #[pyo3(signature = (job, reader, stamp, first, now_ms, *, tokens=0, bytes=0, chain_state=None, continuation=true))]
    #[allow(clippy::too_many_arguments, reason = "named arguments of Python")]
    fn join<'py>(
        &mut self,
        py: Python<'py>,
        job: &[u8],
        reader: u64,
        stamp: &[u8],
        first: &[u8],
        now_ms: u64,
        tokens: u64,
        bytes: u64,
        chain_state: Option<&[u8]>,
        continuation: bool,
    ) -> PyResult<Bound<'py, PyList>> {
        let _ = now_ms; // joining starts no timer; the argument keeps all inputs alike
        let join = Join {
            reader,
            stamp,
            first,
            start: Start {
                position: Position { tokens, bytes },
                chain_state: chain_state.unwrap_or_default().to_vec(),
            },
            continuation,
        };
        let joined = self.inner.join(job_id(job)?, &join);
        to_python(py, joined.map_err(refused)?)
    }

    /// A reader is gone.
    fn leave<'py>(&mut self, py: Python<'py>, reader: u64, now_ms: u64) -> PyResult<Bound<'py, PyList>> {
        to_python(py, self.inner.leave(reader, now_ms))
    }

    /// One serialized chunk of what waits, or None.
    fn take<'py>(&mut self, py: Python<'py>, reader: u64) -> Option<Bound<'py, PyBytes>> {
        self.inner.take(reader).map(|chunk| PyBytes::new(py, chunk))
    }

    /// What takes have caused.
    fn actions<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        to_python(py, self.inner.actions())
    }

    /// A serialized frame came in.
    fn frame<'py>(&mut self, py: Python<'py>, link: u64, frame: &[u8], now_ms: u64) -> PyResult<Bound<'py, PyList>> {
        to_python(py, self.inner.frame(link, frame, now_ms).map_err(refused)?)
    }

    /// Next serialized frame to write on the link, or None.
    fn pull<'py>(&mut self, py: Python<'py>, link: u64) -> Option<Bound<'py, PyBytes>> {
        self.inner.pull(link).map(|frame| PyBytes::new(py, frame))
    }

    /// Queue a control entry.
    fn send<'py>(
        &mut self,
        py: Python<'py>,
        link: u64,
        kind: u8,
        job: &[u8],
        epoch: u32,
        body: &[u8],
    ) -> PyResult<Bound<'py, PyList>> {
        to_python(py, self.inner.send(link, control_head(job, epoch, kind)?, body))
    }

    /// The link is gone; its jobs are silent.
    fn link_lost<'py>(&mut self, py: Python<'py>, link: u64, now_ms: u64) -> PyResult<Bound<'py, PyList>> {
        let _ = now_ms; // a lost link starts no timer
        to_python(py, self.inner.link_lost(link))
    }

    /// The commit is decided.
    fn committed<'py>(
        &mut self,
        py: Python<'py>,
        job: &[u8],
        epoch: u32,
        outcome: u32,
        settlement: u32,
        now_ms: u64,
    ) -> PyResult<Bound<'py, PyList>> {
        let _ = now_ms;
        to_python(py, self.inner.committed(job_id(job)?, epoch, outcome, settlement))
    }

    /// End the job with a serialized failure.
    fn fail<'py>(&mut self, py: Python<'py>, job: &[u8], failure: &[u8], now_ms: u64) -> PyResult<Bound<'py, PyList>> {
        let _ = now_ms;
        to_python(py, self.inner.fail(job_id(job)?, failure))
    }

    /// The job was cancelled.
    fn cancel<'py>(&mut self, py: Python<'py>, job: &[u8], now_ms: u64) -> PyResult<Bound<'py, PyList>> {
        let _ = now_ms;
        to_python(py, self.inner.cancel(job_id(job)?))
    }

    /// Time passes.
    fn tick<'py>(&mut self, py: Python<'py>, now_ms: u64) -> PyResult<Bound<'py, PyList>> {
        to_python(py, self.inner.tick(now_ms))
    }

    /// Epoch, tokens and bytes accepted of a job, or None.
    fn position(&self, job: &[u8]) -> PyResult<Option<(u32, u64, u64)>> {
        let found = self.inner.look(job_id(job)?);
        Ok(found.map(|(epoch, log, _)| (epoch, log.end().tokens, log.end().bytes)))
    }

    /// Digest and state of a job's chain, or None.
    fn chain<'py>(&self, py: Python<'py>, job: &[u8]) -> PyResult<Option<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)>> {
        let found = self.inner.look(job_id(job)?);
        Ok(found.map(|(_, _, chain)| (PyBytes::new(py, &chain.digest()), PyBytes::new(py, &chain.state()))))
    }

    /// Token ids accepted so far, or None when unknown or trimmed.
    fn prefix(&self, job: &[u8]) -> PyResult<Option<Vec<u32>>> {
        let found = self.inner.look(job_id(job)?);
        Ok(found.and_then(|(_, log, _)| log.prefix().map(<[u32]>::to_vec)))
    }

    /// What each attempt produced so far, or None when unknown.
    #[allow(clippy::type_complexity, reason = "a plain tuple for Python")]
    fn handed<'py>(
        &self,
        py: Python<'py>,
        job: &[u8],
    ) -> PyResult<Option<Vec<(u32, u64, u64, u64, u64, Bound<'py, PyBytes>)>>> {
        let handed = self.inner.handed(job_id(job)?);
        let tuple = |(epoch, start, end, digest): Handed| {
            let digest = PyBytes::new(py, &digest);
            (epoch, start.tokens, start.bytes, end.tokens, end.bytes, digest)
        };
        Ok(handed.map(|handed| handed.into_iter().map(tuple).collect()))
    }

    /// What is known of a job, by name, or None.
    fn detail<'py>(&self, py: Python<'py>, job: &[u8]) -> PyResult<Option<Bound<'py, PyDict>>> {
        let detail = self.inner.detail(job_id(job)?);
        detail.map(|detail| to_dict(py, &detail)).transpose()
    }

    /// Counts by name.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        to_dict(py, &self.inner.stats())
    }

    fn __repr__(&self) -> String {
        to_repr("StreamTable", &self.inner.stats())
    }
}

fn placing<'a>(
    job: &[u8],
    epoch: u32,
    link: u64,
    body: &'a [u8],
    continuity: u32,
    driver: Option<bool>,
) -> PyResult<Placing<'a>> {
    Ok(Placing {
        job: job_id(job)?,
        epoch,
        link,
        body,
        continuity,
        driver,
    })
}
