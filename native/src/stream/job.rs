//! One job at a gateway: what was accepted of its present attempt, and who reads it.
//!
//! What is accepted of an attempt stands in `compare`, where attempts took over in `mark`, who reads in `reader`.
//! Source: docs/design/streams.md §4.

use super::codec::Head;
use super::failure::{DIVERGED, Failure, MALFORMED};
use super::log::{Log, Position, Unit};
use super::mark::Mark;
use super::piece::check_last;
use super::reader::{Reader, Waiting};
use super::runner::Runner;
use super::wire::{Fields, Value, last_bytes, put_number};
use super::{Chain, JobId};

/// Which of a job's attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The present one.
    Run,
    /// The one beside it.
    Rival,
}

/// How far the end of a job is.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// It runs.
    Open,
    /// Its last chunk waits for the commit.
    Waiting {
        /// The last chunk's fields.
        fields: Vec<u8>,
        /// Since when.
        since_ms: u64,
        /// Whether the caller knows that it takes long.
        late: bool,
    },
    /// Its last chunk may go.
    Ready(Vec<u8>),
    /// It ends without.
    Failed,
}

/// See the module.
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Whether this gateway drives it.
    pub driver: bool,
    /// Longest answer that a commit carries.
    pub keep_answer: usize,
    /// Whether it stops at once when its last reader leaves.
    pub cancel_unread: bool,
    /// When it ends at the latest.
    pub deadline_ms: u64,
    /// Present attempt.
    pub run: Runner,
    /// A second attempt beside it, until anything of either is accepted.
    pub rival: Option<Box<Runner>>,
    /// Where attempts took over.
    pub marks: Vec<Mark>,
    /// What was accepted.
    pub log: Log,
    /// Hash over it.
    pub chain: Chain,
    /// Furthest unit that a reader has taken.
    pub taken: Unit,
    /// Who reads.
    pub readers: Vec<Reader>,
    /// Who will, once their place is reached.
    pub waiting: Vec<Waiting>,
    /// Since when nobody does.
    pub alone_since: Option<u64>,
    /// Nobody wants it any more; it waits for its place only to be abandoned.
    pub gone: bool,
    /// The end.
    pub end: End,
    /// Whether it is kept only for readers that have not taken all.
    pub closed: bool,
}

impl Job {
    /// Whether an entry of this link and epoch counts, and of which of two attempts it is.
    pub fn hears(&mut self, link: u64, epoch: u32) -> Option<Side> {
        let is = |runner: &Runner| runner.link == Some(link) && runner.epoch == epoch;
        if self.end != End::Open {
            return None;
        }
        if is(&self.run) {
            return Some(Side::Run); // nearly always
        }
        self.rival.as_ref().filter(|rival| is(rival)).map(|_| Side::Rival)
    }

    /// One of two attempts.
    pub fn side(&mut self, side: Side) -> &mut Runner {
        match (side, &mut self.rival) {
            (Side::Rival, Some(rival)) => rival,
            _ => &mut self.run,
        }
    }

    /// The newest attempt's number.
    pub fn newest(&self) -> u32 {
        self.run.epoch.max(self.rival.as_ref().map_or(0, |rival| rival.epoch))
    }

    /// Whether nobody reads it, nor will.
    pub fn unread(&self) -> bool {
        self.readers.is_empty() && self.waiting.is_empty()
    }

    /// Position that readers have taken.
    pub fn delivered(&self) -> Position {
        self.log.position(self.taken.max(self.log.first()))
    }

    /// Accept the body of an END: the fields of the last chunk that are the worker's to set.
    pub fn accept_end(&self, head: &Head, body: &[u8]) -> Result<Vec<u8>, Failure> {
        let end = self.log.end();
        if (head.tokens, head.bytes) != (end.tokens, end.bytes) || self.run.replay.is_some() {
            return Err(DIVERGED);
        }
        check_last(body).map_err(|_| MALFORMED)?;
        self.check_receipt(body)?;
        let mut fields = Fields::new(body);
        let mut kept = Vec::with_capacity(body.len() + 4);
        while let Some((number, _, raw)) = fields.next_raw().map_err(|_| MALFORMED)? {
            if !OURS.contains(&number) {
                kept.extend_from_slice(raw);
            }
        }
        Ok(kept)
    }

    /// A receipt, where there is one, is of this attempt and commits to what was accepted.
    fn check_receipt(&self, chunk: &[u8]) -> Result<(), Failure> {
        let nested = |message, number| last_bytes(message, number).map_err(|_| MALFORMED);
        let body = nested(nested(chunk, 14)?, 1)?;
        let mut fields = Fields::new(body);
        while let Some(field) = fields.next_field().map_err(|_| MALFORMED)? {
            let fits = match field {
                (2, Value::Bytes(job)) => job.is_empty() || job == self.id,
                (3, Value::Varint(epoch)) => epoch == u64::from(self.run.epoch),
                (15, Value::Bytes(output)) => output.is_empty() || output == self.chain.digest(),
                _ => true,
            };
            if !fits {
                return Err(DIVERGED);
            }
        }
        Ok(())
    }

    /// The last chunk may go.
    pub fn release(&mut self, mut fields: Vec<u8>, settlement: u32) {
        if settlement != 0 {
            put_number(&mut fields, 15, u64::from(settlement));
        }
        self.end = End::Ready(fields);
    }
}

/// Fields of `Infer.Chunk` that the gateway sets: ids, seq, epoch, start, continuation, settlement, continuity,
/// started.
const OURS: [u32; 8] = [1, 2, 5, 6, 11, 15, 16, 17];
