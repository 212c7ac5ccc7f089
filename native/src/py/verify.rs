//! Signature checks for Python: see `crate::verify`.

use crate::verify;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Indices of the records (key, message, signature) whose signature does not hold.
#[pyfunction]
pub(super) fn bad_indices(py: Python<'_>, batch: Vec<(Vec<u8>, Vec<u8>, Vec<u8>)>) -> PyResult<Vec<usize>> {
    let views = batch
        .iter()
        .map(|(k, m, s)| {
            Some((
                k.as_slice().try_into().ok()?,
                m.as_slice(),
                s.as_slice().try_into().ok()?,
            ))
        })
        .collect::<Option<Vec<verify::Signed<'_>>>>()
        .ok_or_else(|| PyValueError::new_err("key must be 32 bytes, signature 64"))?;
    Ok(py.detach(|| verify::bad_indices(&views)))
}
