//! Signature checks for Python: see `crate::verify`.

use crate::verify;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

/// Key, message, signature.
type Record = (PyBackedBytes, PyBackedBytes, PyBackedBytes);

fn check_lengths(key: &[u8], signature: &[u8]) -> PyResult<()> {
    if key.len() == 32 && signature.len() == 64 {
        return Ok(());
    }
    Err(PyValueError::new_err("key must be 32 bytes, signature 64"))
}

/// Whether the signature holds, by the same rule as `bad_indices`.
#[pyfunction]
pub(super) fn verify_one(py: Python<'_>, key: &[u8], message: &[u8], signature: &[u8]) -> PyResult<bool> {
    check_lengths(key, signature)?;
    Ok(py.detach(|| verify::holds(&(key, message, signature))))
}

/// Whether the signature holds without the cofactor: the rule for access decisions.
#[pyfunction]
pub(super) fn verify_strict(py: Python<'_>, key: &[u8], message: &[u8], signature: &[u8]) -> PyResult<bool> {
    check_lengths(key, signature)?;
    Ok(py.detach(|| verify::holds_strictly(&(key, message, signature))))
}

/// Indices, ascending, of the records (key, message, signature) that do not hold; a wrong length is bad too.
#[pyfunction]
pub(super) fn bad_indices(py: Python<'_>, batch: Vec<Record>) -> Vec<usize> {
    py.detach(|| {
        let records: Vec<verify::Signed<'_>> = batch.iter().map(|(k, m, s)| (&k[..], &m[..], &s[..])).collect();
        verify::bad_indices(&records)
    })
}
