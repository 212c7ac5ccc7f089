//! Streams for Python: see `crate::stream`. One file per class; what they share stands here.

mod action;
mod frame;
mod logs;
mod table;

pub(super) use frame::{FrameReader, decode_frame, encode_frame};
pub(super) use logs::ChunkLogs;
pub(super) use table::StreamTable;

use crate::stream::codec::{Head, kind};
use crate::stream::{JobId, Malformed};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

fn refused(why: Malformed) -> PyErr {
    PyValueError::new_err(why.0)
}

fn job_id(job: &[u8]) -> PyResult<JobId> {
    job.try_into()
        .map_err(|_| PyValueError::new_err("a job id has 16 bytes"))
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
