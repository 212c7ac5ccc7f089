//! Frames as lists of entries.

use super::{job_id, refused};
use crate::stream::codec::{self, Entries, Head, Joiner};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

type Entry<'py> = (Bound<'py, PyBytes>, u32, u8, u64, u64, u32, Bound<'py, PyBytes>);

fn to_entry<'py>(py: Python<'py>, head: &Head, body: &[u8]) -> Entry<'py> {
    let job = PyBytes::new(py, &head.job);
    let body = PyBytes::new(py, body);
    (job, head.epoch, head.kind, head.tokens, head.bytes, head.credit, body)
}

/// Serialized frames that hold the entries in order.
#[pyfunction]
pub(in crate::py) fn encode_frame<'py>(
    py: Python<'py>,
    entries: Vec<Entry<'py>>,
) -> PyResult<Vec<Bound<'py, PyBytes>>> {
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
pub(in crate::py) fn decode_frame<'py>(py: Python<'py>, frame: &[u8]) -> PyResult<Vec<Entry<'py>>> {
    let entries = Entries::open(frame).map_err(refused)?;
    let mut joiner = Joiner::default();
    let mut whole = Vec::new();
    for (head, body) in entries {
        if let Some(body) = joiner.feed(&head, body, codec::FRAME_BYTES_MAX).map_err(refused)? {
            whole.push(to_entry(py, &head, &body));
        }
    }
    match joiner.is_empty() {
        true => Ok(whole),
        false => Err(PyValueError::new_err("a body goes on in another frame")),
    }
}

/// Puts bodies that were cut over several frames of one link together again.
#[pyclass]
pub(in crate::py) struct FrameReader {
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
