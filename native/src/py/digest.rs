//! SHA-256 for Python: see `crate::digest`.

use crate::digest;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

/// Bytes that hash in about 10 µs: from here on other Python threads may run meanwhile.
const DETACH_BYTES_MIN: usize = 16 * 1024;

fn hash<'py>(py: Python<'py>, hash: &digest::Hash) -> Bound<'py, PyBytes> {
    PyBytes::new(py, hash)
}

/// SHA-256 of each buffer, in order, on all cores.
#[pyfunction]
pub(super) fn sha256_many<'py>(py: Python<'py>, data: Vec<PyBackedBytes>) -> Vec<Bound<'py, PyBytes>> {
    let digests = py.detach(|| {
        let views: Vec<&[u8]> = data.iter().map(|d| &d[..]).collect();
        digest::sha256_many(&views)
    });
    digests.iter().map(|d| hash(py, d)).collect()
}

/// SHA-256 of a blob and of each of its pieces, while the bytes arrive in order.
#[pyclass(module = "tether._native")]
pub(super) struct BlobDigest {
    inner: digest::BlobDigest,
}

#[pymethods]
impl BlobDigest {
    #[new]
    #[pyo3(signature = (piece_bytes = digest::PIECE_BYTES), text_signature = "(piece_bytes=1048576)")]
    fn new(piece_bytes: usize) -> PyResult<Self> {
        digest::BlobDigest::new(piece_bytes)
            .map(|inner| Self { inner })
            .ok_or_else(|| PyValueError::new_err("piece_bytes must be at least 1"))
    }

    /// Take the next bytes; returns the digests of the pieces that they completed.
    fn feed<'py>(&mut self, py: Python<'py>, chunk: &[u8]) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let inner = &mut self.inner;
        let done = if chunk.len() < DETACH_BYTES_MIN {
            inner.feed(chunk)
        } else {
            py.detach(|| inner.feed(chunk))
        };
        let done = done.ok_or_else(|| PyValueError::new_err("the blob is finished"))?;
        Ok(done.iter().map(|d| hash(py, d)).collect())
    }

    /// Digest of the whole and of every piece, the last one shorter; an empty blob has none.
    fn finish<'py>(&mut self, py: Python<'py>) -> (Bound<'py, PyBytes>, Vec<Bound<'py, PyBytes>>) {
        let (whole, pieces) = self.inner.finish();
        (hash(py, &whole), pieces.iter().map(|d| hash(py, d)).collect())
    }

    /// Bytes taken so far.
    #[getter]
    fn length(&self) -> u64 {
        self.inner.length()
    }
}

/// SHA-256 whose state can be carried away and taken up elsewhere.
#[pyclass(module = "tether._native")]
pub(super) struct Chain {
    inner: digest::Chain,
}

#[pymethods]
impl Chain {
    #[new]
    fn new() -> Self {
        Self {
            inner: digest::Chain::new(),
        }
    }

    /// A chain that goes on from `state`.
    #[staticmethod]
    fn resume(state: &[u8]) -> PyResult<Self> {
        digest::Chain::resume(state)
            .map(|inner| Self { inner })
            .map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// Add token ids, 4 bytes each, little-endian.
    #[expect(clippy::needless_pass_by_value, reason = "pyo3 hands over what it extracted")]
    fn feed_tokens(&mut self, tokens: Vec<u32>) {
        self.inner.feed_tokens(&tokens);
    }

    /// Add bytes.
    fn feed_bytes(&mut self, py: Python<'_>, data: &[u8]) {
        let inner = &mut self.inner;
        if data.len() < DETACH_BYTES_MIN {
            inner.feed_bytes(data);
        } else {
            py.detach(|| inner.feed_bytes(data));
        }
    }

    /// SHA-256 of all that was fed, 32 bytes; the chain can go on.
    fn digest<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        hash(py, &self.inner.digest())
    }

    /// Midstate, length, tail: 40 to 103 bytes.
    fn state<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.inner.state())
    }

    /// Bytes fed since the beginning, in whatever life of the chain.
    #[getter]
    fn length(&self) -> u64 {
        self.inner.length()
    }
}
