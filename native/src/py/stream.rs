//! Streams for Python: see `crate::stream`.

use crate::stream::codec::{self, Entries, Head, Joiner, MORE, kind};
use crate::stream::{
    Action, Actions, ChunkLogs as Logs, JobId, LogSettings, Malformed, OpenJob, Opening, Piece, Position,
    StreamTable as Table, TableSettings,
};
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

type Entry<'py> = (Bound<'py, PyBytes>, u32, u8, u64, u64, u32, Bound<'py, PyBytes>);
type Appended = (
    PyBackedBytes,
    u32,
    u16,
    Vec<u32>,
    Vec<u32>,
    PyBackedBytes,
    PyBackedBytes,
);

fn refused(why: Malformed) -> PyErr {
    PyValueError::new_err(why.0)
}

fn job_id(job: &[u8]) -> PyResult<JobId> {
    job.try_into()
        .map_err(|_| PyValueError::new_err("a job id has 16 bytes"))
}

fn to_python(py: Python<'_>, actions: Actions) -> PyResult<Bound<'_, PyList>> {
    let list = PyList::empty(py);
    for action in actions {
        list.append(to_tuple(py, action)?)?;
    }
    Ok(list)
}

fn to_tuple(py: Python<'_>, action: Action) -> PyResult<Bound<'_, PyTuple>> {
    let bytes = |data: &[u8]| PyBytes::new(py, data);
    match action {
        Action::Reader(reader) => (intern!(py, "reader"), reader).into_pyobject(py),
        Action::End(reader) => (intern!(py, "end"), reader).into_pyobject(py),
        Action::Failed(reader, failure) => (intern!(py, "failed"), reader, bytes(&failure)).into_pyobject(py),
        Action::Link(link) => (intern!(py, "link"), link).into_pyobject(py),
        Action::Commit(job, epoch, chunk, answer) => {
            let answer = answer.map(|answer| bytes(&answer));
            (intern!(py, "commit"), bytes(&job), epoch, bytes(&chunk), answer).into_pyobject(py)
        }
        Action::Late(job, epoch) => (intern!(py, "late"), bytes(&job), epoch).into_pyobject(py),
        Action::Silent(job, epoch) => (intern!(py, "silent"), bytes(&job), epoch).into_pyobject(py),
        Action::Abandon(job, epoch, at) => {
            (intern!(py, "abandon"), bytes(&job), epoch, at.tokens, at.bytes).into_pyobject(py)
        }
        Action::Fail(job, epoch, at, failure) => {
            let failure = bytes(&failure);
            (intern!(py, "fail"), bytes(&job), epoch, at.tokens, at.bytes, failure).into_pyobject(py)
        }
        Action::Finish(job) => (intern!(py, "finish"), bytes(&job)).into_pyobject(py),
        Action::Control(link, kind, job, epoch, body) => {
            (intern!(py, "control"), link, kind, bytes(&job), epoch, bytes(&body)).into_pyobject(py)
        }
        Action::Start(link, job, epoch, body) => {
            (intern!(py, "start"), link, bytes(&job), epoch, bytes(&body)).into_pyobject(py)
        }
        Action::Run(job, epoch) => (intern!(py, "run"), bytes(&job), epoch).into_pyobject(py),
        Action::Attach(link, job, epoch, body) => {
            (intern!(py, "attach"), link, bytes(&job), epoch, bytes(&body)).into_pyobject(py)
        }
        Action::Cancel(job, epoch) => (intern!(py, "cancel"), bytes(&job), epoch).into_pyobject(py),
        Action::Outcome(link, job, epoch, body) => {
            (intern!(py, "outcome"), link, bytes(&job), epoch, bytes(&body)).into_pyobject(py)
        }
    }
}

fn to_entry<'py>(py: Python<'py>, head: &Head, body: &[u8]) -> Entry<'py> {
    let job = PyBytes::new(py, &head.job);
    let body = PyBytes::new(py, body);
    (job, head.epoch, head.kind, head.tokens, head.bytes, head.credit, body)
}

fn to_dict<'py>(py: Python<'py>, stats: &[(&'static str, u64)]) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    stats
        .iter()
        .try_for_each(|(name, count)| dict.set_item(*name, *count))?;
    Ok(dict)
}

fn to_repr(name: &str, stats: &[(&'static str, u64)]) -> String {
    let counts: Vec<String> = stats.iter().map(|(name, count)| format!("{name}={count}")).collect();
    format!("{name}({})", counts.join(", "))
}

fn control_head(job: &[u8], epoch: u32, kind: u8) -> PyResult<Head> {
    if kind == 0 || kind >= kind::BULK {
        return Err(PyValueError::new_err("not a control entry"));
    }
    Ok(Head::plain(job_id(job)?, epoch, kind))
}

/// Serialized frames that hold the entries in order.
#[pyfunction]
pub(super) fn encode_frame<'py>(py: Python<'py>, entries: Vec<Entry<'py>>) -> PyResult<Vec<Bound<'py, PyBytes>>> {
    let mut heads = Vec::with_capacity(entries.len());
    for (job, epoch, kind, tokens, bytes, credit, _) in &entries {
        heads.push(Head {
            tokens: *tokens,
            bytes: *bytes,
            credit: *credit,
            ..Head::plain(job_id(job.as_bytes())?, *epoch, *kind)
        });
    }
    let bodies = entries.iter().map(|entry| entry.6.as_bytes());
    let frames = codec::encode(heads.into_iter().zip(bodies));
    Ok(frames.iter().map(|frame| PyBytes::new(py, frame)).collect())
}

/// Entries of one serialized frame, whole bodies only.
#[pyfunction]
pub(super) fn decode_frame<'py>(py: Python<'py>, frame: &[u8]) -> PyResult<Vec<Entry<'py>>> {
    let entries = Entries::open(frame).map_err(refused)?;
    let mut joiner = Joiner::default();
    let mut whole = Vec::new();
    for (head, body) in entries {
        if let Some(body) = joiner.feed(&head, body, codec::FRAME_BYTES_MAX).map_err(refused)? {
            whole.push(to_entry(py, &head, &body));
        } else if head.flags & MORE == 0 {
            return Err(PyValueError::new_err("entry out of order"));
        }
    }
    match joiner.is_empty() {
        true => Ok(whole),
        false => Err(PyValueError::new_err("a body goes on in another frame")),
    }
}

/// Puts bodies that were cut over several frames of one link together again.
#[pyclass]
pub(super) struct FrameReader {
    joiner: Joiner,
    body_bytes_max: usize,
    held_bytes_max: usize,
}

#[pymethods]
impl FrameReader {
    #[new]
    #[pyo3(signature = (*, body_bytes_max=16_777_216, held_bytes_max=67_108_864))]
    fn new(body_bytes_max: usize, held_bytes_max: usize) -> Self {
        Self {
            joiner: Joiner::default(),
            body_bytes_max,
            held_bytes_max,
        }
    }

    /// Entries that the frame made whole, in order.
    fn feed<'py>(&mut self, py: Python<'py>, frame: &[u8]) -> PyResult<Vec<Entry<'py>>> {
        let mut whole = Vec::new();
        for (head, body) in Entries::open(frame).map_err(refused)? {
            if let Some(body) = self.joiner.feed(&head, body, self.body_bytes_max).map_err(refused)? {
                whole.push(to_entry(py, &head, &body));
            }
            if self.joiner.held() > self.held_bytes_max {
                return Err(PyValueError::new_err("bodies over their limit"));
            }
        }
        Ok(whole)
    }
}

/// All jobs of a gateway.
#[pyclass]
pub(super) struct StreamTable {
    inner: Table,
}

#[pymethods]
impl StreamTable {
    #[new]
    #[pyo3(signature = (*, window_bytes=262_144, log_bytes_max=8_388_608, commit_wait_ms=250, detach_grace_ms=10_000,
        silence_ms=5_000, stall_ms=30_000, body_bytes_max=16_777_216))]
    fn new(
        window_bytes: u32,
        log_bytes_max: usize,
        commit_wait_ms: u64,
        detach_grace_ms: u64,
        silence_ms: u64,
        stall_ms: u64,
        body_bytes_max: usize,
    ) -> Self {
        let inner = Table::new(TableSettings {
            window_bytes,
            log_bytes_max,
            commit_wait_ms,
            detach_grace_ms,
            silence_ms,
            stall_ms,
            body_bytes_max,
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
    fn placed<'py>(
        &mut self,
        py: Python<'py>,
        job: &[u8],
        epoch: u32,
        link: u64,
        body: &[u8],
        now_ms: u64,
    ) -> PyResult<Bound<'py, PyList>> {
        to_python(py, self.inner.placed(job_id(job)?, epoch, link, body, now_ms))
    }

    /// A reader joins and gets the answer from position 0.
    fn join<'py>(
        &mut self,
        py: Python<'py>,
        job: &[u8],
        reader: u64,
        stamp: &[u8],
        first: &[u8],
        now_ms: u64,
    ) -> PyResult<Bound<'py, PyList>> {
        let _ = now_ms; // joining starts no timer; the argument keeps all inputs alike
        let joined = self.inner.join(job_id(job)?, reader, stamp, first);
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

    /// Counts by name.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        to_dict(py, &self.inner.stats())
    }

    fn __repr__(&self) -> String {
        to_repr("StreamTable", &self.inner.stats())
    }
}

/// All attempts of a worker.
#[pyclass]
pub(super) struct ChunkLogs {
    inner: Logs,
}

#[pymethods]
impl ChunkLogs {
    #[new]
    #[pyo3(signature = (*, log_bytes_max=8_388_608, linger_ms=30_000, assembly_bytes_max=67_108_864,
        body_bytes_max=16_777_216))]
    fn new(log_bytes_max: usize, linger_ms: u64, assembly_bytes_max: usize, body_bytes_max: usize) -> Self {
        let inner = Logs::new(LogSettings {
            log_bytes_max,
            linger_ms,
            assembly_bytes_max,
            body_bytes_max,
        });
        Self { inner }
    }

    /// Whether the attempt has a log here.
    fn known(&self, job: &[u8], epoch: u32) -> PyResult<bool> {
        Ok(self.inner.known(job_id(job)?, epoch))
    }

    /// Begin an attempt, or attach to a known one.
    #[pyo3(signature = (job, epoch, link, *, tenant, credit_bytes, grace_ms, tokens, bytes, chain_state, now_ms))]
    #[allow(clippy::too_many_arguments, reason = "named arguments of Python")]
    fn start<'py>(
        &mut self,
        py: Python<'py>,
        job: &[u8],
        epoch: u32,
        link: u64,
        tenant: &str,
        credit_bytes: u32,
        grace_ms: u64,
        tokens: u64,
        bytes: u64,
        chain_state: &[u8],
        now_ms: u64,
    ) -> PyResult<Bound<'py, PyList>> {
        let _ = now_ms;
        let who = opening(job, epoch, link, tenant, credit_bytes, (tokens, bytes))?;
        to_python(py, self.inner.start(&who, grace_ms, chain_state).map_err(refused)?)
    }

    /// Answer a START or ATTACH with a failure.
    fn refuse<'py>(
        &mut self,
        py: Python<'py>,
        link: u64,
        job: &[u8],
        epoch: u32,
        failure: &[u8],
    ) -> PyResult<Bound<'py, PyList>> {
        to_python(py, self.inner.refuse(link, job_id(job)?, epoch, failure))
    }

    /// Let a link read an attempt from a position.
    #[pyo3(signature = (job, epoch, link, *, tenant, tokens, bytes, credit_bytes, now_ms))]
    #[allow(clippy::too_many_arguments, reason = "named arguments of Python")]
    fn attach<'py>(
        &mut self,
        py: Python<'py>,
        job: &[u8],
        epoch: u32,
        link: u64,
        tenant: &str,
        tokens: u64,
        bytes: u64,
        credit_bytes: u32,
        now_ms: u64,
    ) -> PyResult<Bound<'py, PyList>> {
        let _ = now_ms;
        let who = opening(job, epoch, link, tenant, credit_bytes, (tokens, bytes))?;
        to_python(py, self.inner.attach(&who))
    }

    /// A serialized frame came in.
    fn frame<'py>(&mut self, py: Python<'py>, link: u64, frame: &[u8], now_ms: u64) -> PyResult<Bound<'py, PyList>> {
        let _ = now_ms;
        to_python(py, self.inner.frame(link, frame).map_err(refused)?)
    }

    /// One engine step of any attempts.
    fn append<'py>(&mut self, py: Python<'py>, pieces: Vec<Appended>, now_ms: u64) -> PyResult<Bound<'py, PyList>> {
        let _ = now_ms;
        let mut views = Vec::with_capacity(pieces.len());
        for (job, epoch, output, ids, lengths, text, extra) in &pieces {
            views.push(Piece {
                job: job_id(job)?,
                epoch: *epoch,
                output: *output,
                ids,
                lengths,
                text,
                extra,
            });
        }
        to_python(py, self.inner.append(&views).map_err(refused)?)
    }

    /// A payload of an output without tokens.
    fn append_payload<'py>(
        &mut self,
        py: Python<'py>,
        job: &[u8],
        epoch: u32,
        output: u16,
        payload: &[u8],
        now_ms: u64,
    ) -> PyResult<Bound<'py, PyList>> {
        let _ = now_ms;
        let appended = self.inner.append_payload(job_id(job)?, epoch, output, payload);
        to_python(py, appended.map_err(refused)?)
    }

    /// Whether an output without tokens should go on.
    fn wanted(&self, job: &[u8], epoch: u32) -> PyResult<bool> {
        Ok(self.inner.wanted(job_id(job)?, epoch))
    }

    /// Digest, state, tokens and bytes at the end of the log, or None.
    #[allow(clippy::type_complexity, reason = "a plain tuple for Python")]
    fn chain<'py>(
        &self,
        py: Python<'py>,
        job: &[u8],
        epoch: u32,
    ) -> PyResult<Option<(Bound<'py, PyBytes>, Bound<'py, PyBytes>, u64, u64)>> {
        let found = self.inner.chain(job_id(job)?, epoch);
        Ok(found.map(|(digest, state, at)| (PyBytes::new(py, &digest), PyBytes::new(py, &state), at.tokens, at.bytes)))
    }

    /// The answer as a serialized payload, or None.
    fn answer<'py>(
        &self,
        py: Python<'py>,
        job: &[u8],
        epoch: u32,
        bytes_max: usize,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let answer = self.inner.answer(job_id(job)?, epoch, bytes_max);
        Ok(answer.map(|answer| PyBytes::new(py, &answer)))
    }

    /// The attempt ended with a chunk.
    fn end<'py>(
        &mut self,
        py: Python<'py>,
        job: &[u8],
        epoch: u32,
        chunk: &[u8],
        now_ms: u64,
    ) -> PyResult<Bound<'py, PyList>> {
        let ended = self.inner.end(job_id(job)?, epoch, chunk, now_ms);
        to_python(py, ended.map_err(refused)?)
    }

    /// The attempt ended with a failure.
    fn fail<'py>(
        &mut self,
        py: Python<'py>,
        job: &[u8],
        epoch: u32,
        failure: &[u8],
        now_ms: u64,
    ) -> PyResult<Bound<'py, PyList>> {
        to_python(py, self.inner.fail(job_id(job)?, epoch, failure, now_ms))
    }

    /// Queue a control entry for the link.
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

    /// Tell all readers of an attempt how far it is.
    fn progress<'py>(&mut self, py: Python<'py>, job: &[u8], epoch: u32, body: &[u8]) -> PyResult<Bound<'py, PyList>> {
        to_python(py, self.inner.progress(job_id(job)?, epoch, body))
    }

    /// Next serialized frame to write on the link, or None.
    fn pull<'py>(&mut self, py: Python<'py>, link: u64) -> Option<Bound<'py, PyBytes>> {
        self.inner.pull(link).map(|frame| PyBytes::new(py, frame))
    }

    /// The link is gone, with its readers.
    fn link_lost<'py>(&mut self, py: Python<'py>, link: u64, now_ms: u64) -> PyResult<Bound<'py, PyList>> {
        let _ = now_ms; // the grace begins with the next tick
        self.inner.link_lost(link);
        to_python(py, Vec::new())
    }

    /// Time passes.
    fn tick<'py>(&mut self, py: Python<'py>, now_ms: u64) -> PyResult<Bound<'py, PyList>> {
        to_python(py, self.inner.tick(now_ms))
    }

    /// Counts by name.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        to_dict(py, &self.inner.stats())
    }

    fn __repr__(&self) -> String {
        to_repr("ChunkLogs", &self.inner.stats())
    }
}

fn opening<'a>(
    job: &[u8],
    epoch: u32,
    link: u64,
    tenant: &'a str,
    credit_bytes: u32,
    (tokens, bytes): (u64, u64),
) -> PyResult<Opening<'a>> {
    Ok(Opening {
        job: job_id(job)?,
        epoch,
        link,
        tenant,
        credit_bytes,
        position: Position { tokens, bytes },
    })
}
