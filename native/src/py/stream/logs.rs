//! The worker's machine.

use super::action::to_python;
use super::{control_head, job_id, refused, to_dict, to_repr};
use crate::stream::{ChunkLogs as Logs, LogSettings, Opening, Piece, Position};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};
use std::ops::Range;

/// One piece as Python holds it; its numbers stand in a common arena, so a step allocates a few times, not per piece.
struct Handed<'py> {
    job: Bound<'py, PyBytes>,
    epoch: u32,
    output: u16,
    ids: Range<usize>,
    lengths: Range<usize>,
    text: Bound<'py, PyBytes>,
    extra: Bound<'py, PyBytes>,
}

impl<'py> Handed<'py> {
    fn read(piece: Bound<'py, PyTuple>, numbers: &mut Vec<u32>) -> PyResult<Self> {
        if piece.len() != 7 {
            return Err(PyValueError::new_err("a piece has 7 parts"));
        }
        Ok(Self {
            job: piece.get_item(0)?.cast_into()?,
            epoch: piece.get_item(1)?.extract()?,
            output: piece.get_item(2)?.extract()?,
            ids: gather(&piece.get_item(3)?, numbers)?,
            lengths: gather(&piece.get_item(4)?, numbers)?,
            text: piece.get_item(5)?.cast_into()?,
            extra: piece.get_item(6)?.cast_into()?,
        })
    }

    fn view<'a>(&'a self, numbers: &'a [u32]) -> PyResult<Piece<'a>> {
        Ok(Piece {
            job: job_id(self.job.as_bytes())?,
            epoch: self.epoch,
            output: self.output,
            ids: &numbers[self.ids.clone()],
            lengths: &numbers[self.lengths.clone()],
            text: self.text.as_bytes(),
            extra: self.extra.as_bytes(),
        })
    }
}

/// Pieces of one call.
struct Arena<'py> {
    numbers: Vec<u32>,
    handed: Vec<Handed<'py>>,
}

impl<'py> Arena<'py> {
    fn read(pieces: &Bound<'py, PyAny>) -> PyResult<Self> {
        let mut numbers = Vec::with_capacity(128);
        let mut handed = Vec::with_capacity(64);
        for piece in pieces.try_iter()? {
            handed.push(Handed::read(piece?.cast_into::<PyTuple>()?, &mut numbers)?);
        }
        Ok(Self { numbers, handed })
    }

    fn views(&self) -> PyResult<Vec<Piece<'_>>> {
        self.handed.iter().map(|piece| piece.view(&self.numbers)).collect()
    }
}

/// Append a sequence of numbers to the arena; where they stand.
fn gather(sequence: &Bound<'_, PyAny>, numbers: &mut Vec<u32>) -> PyResult<Range<usize>> {
    let begin = numbers.len();
    if let Ok(list) = sequence.cast::<PyList>() {
        for number in list.iter() {
            numbers.push(number.extract()?);
        }
    } else {
        for number in sequence.try_iter()? {
            numbers.push(number?.extract()?);
        }
    }
    Ok(begin..numbers.len())
}

/// All attempts of a worker.
#[pyclass]
pub(in crate::py) struct ChunkLogs {
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
        let who = opening((job, epoch, link), tenant, credit_bytes, (tokens, bytes), chain_state)?;
        to_python(py, self.inner.start(&who, grace_ms).map_err(refused)?)
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
    #[pyo3(signature = (job, epoch, link, *, tenant, tokens, bytes, credit_bytes, now_ms, chain_state=None))]
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
        chain_state: Option<&[u8]>,
    ) -> PyResult<Bound<'py, PyList>> {
        let _ = now_ms;
        let state = chain_state.unwrap_or_default();
        let who = opening((job, epoch, link), tenant, credit_bytes, (tokens, bytes), state)?;
        to_python(py, self.inner.attach(&who))
    }

    /// A serialized frame came in.
    fn frame<'py>(&mut self, py: Python<'py>, link: u64, frame: &[u8], now_ms: u64) -> PyResult<Bound<'py, PyList>> {
        let _ = now_ms;
        to_python(py, self.inner.frame(link, frame).map_err(refused)?)
    }

    /// One engine step of any attempts.
    fn append<'py>(
        &mut self,
        py: Python<'py>,
        pieces: &Bound<'py, PyAny>,
        now_ms: u64,
    ) -> PyResult<Bound<'py, PyList>> {
        let _ = now_ms;
        let arena = Arena::read(pieces)?;
        to_python(py, self.inner.append(&arena.views()?).map_err(refused)?)
    }

    /// Text of the prefix that an attempt was handed.
    fn preload<'py>(
        &mut self,
        py: Python<'py>,
        job: &[u8],
        epoch: u32,
        pieces: &Bound<'py, PyAny>,
        now_ms: u64,
    ) -> PyResult<Bound<'py, PyList>> {
        let _ = now_ms;
        let arena = Arena::read(pieces)?;
        let loaded = self.inner.preload(job_id(job)?, epoch, &arena.views()?);
        to_python(py, loaded.map_err(refused)?)
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
    (job, epoch, link): (&[u8], u32, u64),
    tenant: &'a str,
    credit_bytes: u32,
    (tokens, bytes): (u64, u64),
    chain_state: &'a [u8],
) -> PyResult<Opening<'a>> {
    Ok(Opening {
        job: job_id(job)?,
        epoch,
        link,
        tenant,
        credit_bytes,
        position: Position { tokens, bytes },
        chain_state,
    })
}
