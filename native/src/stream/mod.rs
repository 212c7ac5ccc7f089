//! Streams between workers and gateways: frames, positions, credit, and who waits for what.
//!
//! Two state machines without I/O or clock: [`ChunkLogs`] at a worker, [`StreamTable`] at a gateway. Inputs carry the
//! time, outputs are [`Action`]s, and bytes to send are pulled, so what waits is coalesced and control passes bulk.
//! Source: docs/design/streams.md, docs/design/link.md.

mod accept;
mod attach;
mod attempt;
mod build;
pub mod codec;
mod compare;
mod ending;
mod failure;
mod intake;
mod job;
mod lane;
mod links;
mod log;
mod logs;
mod mark;
mod outlet;
mod piece;
mod place;
mod reader;
mod runner;
mod table;
#[cfg(test)]
mod tests;
mod timer;
pub mod wire;

pub use crate::digest::Chain;
pub use log::{Log, Position};
pub use logs::{ChunkLogs, LogSettings, Opening};
pub use mark::Handed;
pub use piece::Piece;
pub use place::Placing;
pub use reader::Start;
pub use table::{Join, OpenJob, StreamTable, TableSettings};
pub use wire::Malformed;

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A job's id.
pub type JobId = [u8; 16];

/// What a machine wants done; the Python stub says what each means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// `take` has something for this reader.
    Reader(u64),
    /// What `take` has is the rest.
    End(u64),
    /// After what `take` has, fail.
    Failed(u64, Vec<u8>),
    /// `pull` has something for this link.
    Link(u64),
    /// The worker's last chunk is here; commit it.
    Commit(JobId, u32, Vec<u8>, Option<Vec<u8>>),
    /// The commit takes long.
    Late(JobId, u32),
    /// Nothing is heard of the attempt.
    Silent(JobId, u32),
    /// Nobody runs the job any more.
    Abandon(JobId, u32, Position),
    /// The worker failed the attempt.
    Fail(JobId, u32, Position, Vec<u8>),
    /// The table has forgotten the job.
    Finish(JobId),
    /// Any other entry.
    Control(u64, u8, JobId, u32, Vec<u8>),
    /// Somebody asks to run an attempt.
    Start(u64, JobId, u32, Vec<u8>),
    /// The attempt is new.
    Run(JobId, u32),
    /// Somebody asks to read an attempt.
    Attach(u64, JobId, u32, Vec<u8>),
    /// Stop the engine.
    Cancel(JobId, u32),
    /// The first of two attempts won over the second.
    Won(JobId, u32, u32),
    /// This one of two attempts is out, the other goes on.
    LostRace(JobId, u32),
    /// The worker failed the attempt, another may do better.
    Lost(JobId, u32, Position, Vec<u8>),
    /// What a worker sent of an attempt breaks a rule.
    Foul(u64, JobId, u32),
    /// Which outcome was written.
    Outcome(u64, JobId, u32, Vec<u8>),
}

/// What a machine wants done, in order.
pub type Actions = Vec<Action>;

/// A fast hash for keys that no stranger chooses: job ids are keyed hashes, links and readers our own numbers.
#[derive(Default)]
pub struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15); // 2^64 / golden ratio
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }
}

/// A map with [`KeyHasher`].
pub type KeyMap<K, V> = HashMap<K, V, BuildHasherDefault<KeyHasher>>;

/// Values at small numbers that are used again.
#[derive(Debug)]
pub struct Slab<T> {
    cells: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            cells: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slab<T> {
    /// Keep a value; returns its number.
    pub fn insert(&mut self, value: T) -> usize {
        let index = self.free.pop().unwrap_or_else(|| {
            self.cells.push(None);
            self.cells.len() - 1
        });
        self.cells[index] = Some(value);
        index
    }

    /// The value at a number.
    pub fn get(&self, index: usize) -> Option<&T> {
        self.cells.get(index)?.as_ref()
    }

    /// The value at a number.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.cells.get_mut(index)?.as_mut()
    }

    /// Take a value out.
    pub fn remove(&mut self, index: usize) -> Option<T> {
        let value = self.cells.get_mut(index)?.take()?;
        self.free.push(index);
        Some(value)
    }

    /// Numbers in use.
    pub fn indices(&self) -> Vec<usize> {
        (0..self.cells.len())
            .filter(|index| self.cells[*index].is_some())
            .collect()
    }

    /// All values.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.cells.iter().flatten()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.cells.len() - self.free.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
