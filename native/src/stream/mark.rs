//! Where one attempt took over from another: which attempt made a chunk, and how it follows the one before.
//!
//! Source: docs/design/streams.md §4, "continuity".

use super::job::Job;
use super::log::{Position, Unit};
use super::runner::COHERENT;

/// A place from which on another attempt speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// First unit of that attempt.
    pub unit: Unit,
    /// Its position.
    pub at: Position,
    /// The attempt.
    pub epoch: u32,
    /// How it follows the one before; 0 for a first one.
    pub continuity: u32,
    /// Hash over all before it.
    pub digest: [u8; 32],
}

/// What one attempt produced: epoch, where it begins and ends, hash at its end.
pub type Handed = (u32, Position, Position, [u8; 32]);

/// What is told of two takeovers with nothing to see in between: the lesser promise.
pub fn lesser(one: u32, other: u32) -> u32 {
    match (one, other) {
        (0, other) => other,
        (one, 0) => one,
        (COHERENT, _) | (_, COHERENT) => COHERENT,
        (_, other) => other,
    }
}

impl Job {
    /// The present attempt goes on from here.
    pub fn mark(&mut self) {
        let blank = self.log.is_blank();
        let mark = Mark {
            unit: self.log.last(),
            at: self.log.end(),
            epoch: self.run.epoch,
            continuity: if blank { 0 } else { self.run.continuity },
            digest: self.chain.digest(),
        };
        match self.marks.last_mut() {
            Some(last) if last.unit == mark.unit => *last = mark,
            _ => self.marks.push(mark),
        }
    }

    /// What each attempt so far produced, the present one last, those without anything left out.
    pub fn handed(&self) -> Vec<Handed> {
        let mut handed = Vec::with_capacity(self.marks.len());
        for (index, mark) in self.marks.iter().enumerate() {
            let (end, digest) = match self.marks.get(index + 1) {
                Some(next) => (next.at, next.digest),
                None => (self.log.end(), self.chain.digest()),
            };
            if end != mark.at {
                handed.push((mark.epoch, mark.at, end, digest));
            }
        }
        handed
    }
}
