//! Failures that the machines find by themselves, as serialized `Link.Failure`.
//!
//! Codes and reasons are rows of the closed set of errors (`tether.errors`); messages hold no content.

use super::wire::{put_bytes, put_nonzero};

/// One row: google.rpc code, reason, message, whether another worker may do better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure(pub u32, pub &'static str, pub &'static str, pub bool);

/// The time given to the job is over.
pub const DEADLINE: Failure = Failure(4, "DEADLINE", "the job's deadline has passed", false);
/// Somebody cancelled the job.
pub const CANCELLED: Failure = Failure(1, "JOB_CANCELLED", "the job was cancelled", false);
/// The row has another outcome.
pub const NOT_DONE: Failure = Failure(9, "JOB_FAILED", "the job ended with another outcome", false);
/// Nothing is known of the job: its start may be on the way, or another attempt may run elsewhere.
pub const UNKNOWN: Failure = Failure(5, "JOB_UNKNOWN", "no such job runs here", true);
/// A position, a chain or a receipt does not fit what was accepted.
pub const DIVERGED: Failure = Failure(
    10,
    "STREAM_DIVERGED",
    "the stream does not continue what was accepted",
    false,
);
/// A cursor names no place of the answer.
pub const CURSOR: Failure = Failure(3, "CURSOR_INVALID", "the cursor is no place of this answer", false);
/// A reader begins before the place at which the attempt was handed its prefix, whose text is not known here.
pub const HANDED: Failure = Failure(
    3,
    "CURSOR_INVALID",
    "the log begins later: its prefix was handed over",
    false,
);
/// A body can't be read.
pub const MALFORMED: Failure = Failure(13, "INTERNAL", "the worker sent a malformed body", true);
/// A worker's chunks or end break a rule: a hole, other content in a known place, another chain.
pub const BROKEN: Failure = Failure(
    14,
    "ENGINE_FAILED",
    "the worker's stream does not continue what was accepted",
    true,
);
/// A reader is further behind than the log goes back.
pub const BEHIND: Failure = Failure(
    8,
    "OVERLOADED",
    "the reader is further behind than the log goes back",
    false,
);

impl Failure {
    /// Serialized `Link.Failure`.
    pub fn serialize(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        put_nonzero(&mut out, 1, u64::from(self.0));
        put_bytes(&mut out, 2, self.1.as_bytes());
        put_bytes(&mut out, 3, self.2.as_bytes());
        put_nonzero(&mut out, 4, u64::from(self.3));
        out
    }
}
