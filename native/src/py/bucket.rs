//! Token buckets for Python: see `crate::bucket`.

use crate::bucket;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

fn check_amount(amount: f64) -> PyResult<()> {
    if amount >= 0.0 {
        return Ok(());
    }
    Err(PyValueError::new_err("amount must be 0 or more"))
}

fn check_now(now_s: f64) -> PyResult<()> {
    if now_s.is_finite() {
        return Ok(());
    }
    Err(PyValueError::new_err("now_s must be finite"))
}

/// Token buckets by key, of which the `keys_max` last used are kept.
#[pyclass(module = "tether._native")]
pub(super) struct Buckets {
    inner: bucket::Buckets,
}

#[pymethods]
impl Buckets {
    #[new]
    #[pyo3(signature = (rate_per_s, burst, keys_max = 65_536))]
    fn new(rate_per_s: f64, burst: f64, keys_max: usize) -> PyResult<Self> {
        let rate = bucket::Rate {
            per_s: rate_per_s,
            burst,
        };
        bucket::Buckets::new(rate, keys_max)
            .map(|inner| Self { inner })
            .ok_or_else(|| {
                PyValueError::new_err("rate_per_s and burst must be finite and not negative, keys_max 1 or more")
            })
    }

    /// Take `amount` and return 0.0, or take nothing and return the seconds to wait (inf: over the burst).
    fn take(&mut self, key: &str, amount: f64, now_s: f64) -> PyResult<f64> {
        check_amount(amount)?;
        check_now(now_s)?;
        Ok(self.inner.take(key, amount, now_s))
    }

    /// Give back what was taken and not used, up to the burst.
    fn refund(&mut self, key: &str, amount: f64) -> PyResult<()> {
        check_amount(amount)?;
        self.inner.refund(key, amount);
        Ok(())
    }

    /// Give one key its own rate and burst for as long as it is kept.
    fn set(&mut self, key: &str, rate_per_s: f64, burst: f64) -> PyResult<()> {
        let rate = bucket::Rate {
            per_s: rate_per_s,
            burst,
        };
        if !rate.in_range() {
            return Err(PyValueError::new_err(
                "rate_per_s and burst must be finite and not negative",
            ));
        }
        self.inner.set(key, rate);
        Ok(())
    }

    /// What could be taken now.
    fn level(&self, key: &str, now_s: f64) -> PyResult<f64> {
        check_now(now_s)?;
        Ok(self.inner.level(key, now_s))
    }

    fn __len__(&self) -> usize {
        self.inner.len()
    }
}
