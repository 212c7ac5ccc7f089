//! SHA-256 for Python: see `crate::digest`.

use crate::digest;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// SHA-256 of each buffer, in order.
#[pyfunction]
pub(super) fn sha256_many<'py>(py: Python<'py>, data: Vec<Vec<u8>>) -> Vec<Bound<'py, PyBytes>> {
    let digests = py.detach(|| {
        let views: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
        digest::sha256_many(&views)
    });
    digests.iter().map(|d| PyBytes::new(py, d)).collect()
}

/// Incremental SHA-256.
#[pyclass]
pub(super) struct Digest {
    inner: sha2::Sha256,
}

#[pymethods]
impl Digest {
    #[new]
    fn new() -> Self {
        Self {
            inner: sha2::Digest::new(),
        }
    }

    /// Hash `chunk`; returns nothing.
    fn feed(&mut self, py: Python<'_>, chunk: &[u8]) {
        py.detach(|| sha2::Digest::update(&mut self.inner, chunk));
    }

    /// Digest of what was fed so far, 32 bytes.
    fn digest<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &sha2::Digest::finalize(self.inner.clone()))
    }
}
