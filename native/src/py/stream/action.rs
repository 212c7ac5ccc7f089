//! Actions as tuples that begin with their kind.

use crate::stream::{Action, Actions};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

/// All actions, in order.
pub(super) fn to_python(py: Python<'_>, actions: Actions) -> PyResult<Bound<'_, PyList>> {
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
        Action::Won(job, epoch, lost) => (intern!(py, "won"), bytes(&job), epoch, lost).into_pyobject(py),
        Action::LostRace(job, epoch) => (intern!(py, "lost_race"), bytes(&job), epoch).into_pyobject(py),
        Action::Lost(job, epoch, at, failure) => {
            let failure = bytes(&failure);
            (intern!(py, "lost"), bytes(&job), epoch, at.tokens, at.bytes, failure).into_pyobject(py)
        }
        Action::Foul(link, job, epoch) => (intern!(py, "foul"), link, bytes(&job), epoch).into_pyobject(py),
        Action::Outcome(link, job, epoch, body) => {
            (intern!(py, "outcome"), link, bytes(&job), epoch, bytes(&body)).into_pyobject(py)
        }
    }
}
