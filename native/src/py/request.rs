//! Requests at the edge for Python: see `crate::request`.

use crate::request;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Input size from which reading and hashing it is worth letting other threads run: about 10 µs.
const DETACH_BYTES: usize = 16_384;

/// What `cut_request` found.
#[pyclass(frozen)]
pub(super) struct CutRequest {
    cut: request::Cut,
}

#[pymethods]
impl CutRequest {
    /// Serialized header.
    #[getter]
    fn header<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.cut.header)
    }

    /// SHA-256 of the canonical form.
    #[getter]
    fn request_hash<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.cut.request_hash)
    }

    /// Tenant as sent.
    #[getter]
    fn tenant_id(&self) -> &str {
        &self.cut.tenant_id
    }

    /// Trace id as sent.
    #[getter]
    fn trace_id(&self) -> &str {
        &self.cut.trace_id
    }

    /// Field number of the input's kind.
    #[getter]
    fn input_kind(&self) -> u32 {
        self.cut.input_kind
    }

    /// Bytes of the input.
    #[getter]
    fn input_bytes(&self) -> u64 {
        self.cut.input_bytes
    }

    /// Messages or tensors.
    #[getter]
    fn input_parts(&self) -> u64 {
        self.cut.input_parts
    }

    /// Numbers of unknown fields.
    #[getter]
    fn unknown(&self) -> Vec<u32> {
        self.cut.unknown.clone()
    }

    /// Whether every string is valid.
    #[getter]
    fn utf8(&self) -> bool {
        self.cut.utf8
    }
}

fn cut(py: Python<'_>, request: &[u8], tenant_id: &str) -> PyResult<request::Cut> {
    let cut = if request.len() < DETACH_BYTES {
        request::cut_request(request, tenant_id)
    } else {
        py.detach(|| request::cut_request(request, tenant_id))
    };
    cut.map_err(|why| PyValueError::new_err(why.0))
}

/// Read a serialized request for the tenant that pays.
#[pyfunction]
pub(super) fn cut_request(py: Python<'_>, request: &[u8], tenant_id: &str) -> PyResult<CutRequest> {
    Ok(CutRequest {
        cut: cut(py, request, tenant_id)?,
    })
}

/// The request hash alone.
#[pyfunction]
pub(super) fn request_hash<'py>(py: Python<'py>, request: &[u8], tenant_id: &str) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(py, &cut(py, request, tenant_id)?.request_hash))
}
