//! One job at a gateway: what was accepted of its present attempt, and who reads it.
//!
//! Positions decide what is accepted: what is known already is trimmed, what would leave a hole or differs is refused.
//! Source: docs/design/streams.md §4.

use super::codec::{Head, OPAQUE};
use super::failure::{DIVERGED, Failure, MALFORMED};
use super::log::{Log, Position, Unit};
use super::piece::check_last;
use super::wire::{Fields, Value, first_two, last_bytes, put_number};
use super::{Chain, JobId};

/// A client's stream.
#[derive(Debug)]
pub struct Reader {
    /// The caller's number for it.
    pub id: u64,
    /// Next unit to take.
    pub at: Unit,
    /// Number of its next chunk.
    pub seq: u64,
    /// Fields of every chunk.
    pub stamp: Box<[u8]>,
    /// Fields of the first chunk.
    pub first: Option<Box<[u8]>>,
    /// Whether the caller knows that something waits.
    pub told: bool,
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
    /// Present attempt; 0 before the first.
    pub epoch: u32,
    /// Where that attempt runs.
    pub link: Option<u64>,
    /// What was accepted.
    pub log: Log,
    /// Hash over it.
    pub chain: Chain,
    /// Bytes received and not yet given back as credit.
    pub debt: u64,
    /// Furthest unit that a reader has taken.
    pub taken: Unit,
    /// When something was heard of the attempt.
    pub heard_ms: u64,
    /// When it was seen to move.
    pub moved_ms: u64,
    /// Phase and number it told last.
    pub progress: (u64, u64),
    /// Whether the caller knows that it is silent.
    pub silent: bool,
    /// Who reads.
    pub readers: Vec<Reader>,
    /// Since when nobody does.
    pub alone_since: Option<u64>,
    /// Nobody wants it any more; it waits for its place only to be abandoned.
    pub gone: bool,
    /// The end.
    pub end: End,
    /// Whether it is kept only for readers that have not taken all.
    pub closed: bool,
}

/// Phase of `Link.Progress` in which a number that stands still is no silence.
const QUEUED: u64 = 1;

/// Whether what was accepted shows to readers.
#[derive(Debug, PartialEq, Eq)]
pub enum Accepted {
    /// Nothing new, or tokens without text.
    Silent,
    /// Text, extras or a payload.
    Shown,
}

impl Job {
    /// Whether an entry of this link and epoch counts.
    pub fn hears(&self, link: u64, epoch: u32) -> bool {
        self.link == Some(link) && self.epoch == epoch && self.end == End::Open
    }

    /// Something came of the attempt.
    pub fn heard(&mut self, now_ms: u64) {
        (self.heard_ms, self.moved_ms) = (now_ms, now_ms);
    }

    /// The attempt told how far it is.
    pub fn progressed(&mut self, body: &[u8], now_ms: u64) {
        self.heard_ms = now_ms;
        let Ok(progress) = first_two(body) else { return };
        if progress != self.progress || progress.0 == QUEUED {
            self.moved_ms = now_ms;
        }
        self.progress = progress;
    }

    /// Position that readers have taken.
    pub fn delivered(&self) -> Position {
        self.log.position(self.taken.max(self.log.first()))
    }

    /// Accept the body of a CHUNK.
    pub fn accept(&mut self, head: &Head, body: &[u8]) -> Result<Accepted, Failure> {
        if head.flags & OPAQUE != 0 {
            return self.accept_payload(head, body);
        }
        if self.log.opaque() {
            return Err(DIVERGED);
        }
        let count = usize::from(u16::from_le_bytes(*body.first_chunk::<2>().ok_or(MALFORMED)?));
        let (table, rest) = body[2..].split_at_checked(6 * count).ok_or(MALFORMED)?;
        let tokens = table.as_chunks::<6>().0.iter().map(token);
        let length: usize = tokens.clone().map(|(_, length)| length as usize).sum();
        let (text, extra) = rest.split_at_checked(length).ok_or(MALFORMED)?;
        check_text(tokens.clone().map(|(_, length)| length as usize), text)?;
        check_extra(extra)?;
        let end = self.log.end();
        let known = end.tokens.checked_sub(head.tokens).ok_or(DIVERGED)? as usize;
        if !self.agrees(head.tokens, tokens.clone().map(|(id, _)| id)) {
            return Err(DIVERGED);
        }
        let skipped: u64 = tokens.clone().take(known).map(|(_, length)| u64::from(length)).sum();
        if known >= count && count > 0 {
            return if head.bytes + skipped > end.bytes {
                Err(DIVERGED)
            } else {
                Ok(Accepted::Silent)
            };
        }
        if head.bytes.checked_add(skipped) != Some(end.bytes) || (count == 0 && !extra.is_empty()) {
            return Err(DIVERGED);
        }
        let fresh = tokens.skip(known);
        let shown = text.len() > skipped as usize || !extra.is_empty();
        self.log.push(head.output, fresh, &text[skipped as usize..], extra);
        self.chain.feed_tokens(self.log.ids_from(end.tokens));
        if !shown {
            self.pass_over(end.tokens);
        }
        Ok(if shown { Accepted::Shown } else { Accepted::Silent })
    }

    /// Whether ids from a position on are those that were accepted, as far as the log has them.
    fn agrees(&self, from: Unit, ids: impl Iterator<Item = u32>) -> bool {
        let kept = self.log.start().tokens;
        let ids = ids.skip(kept.saturating_sub(from) as usize);
        if from.max(kept) >= self.log.end().tokens {
            return true;
        }
        self.log
            .ids_from(from.max(kept))
            .iter()
            .zip(ids)
            .all(|(known, id)| *known == id)
    }

    /// Readers at `before` have nothing to take of the tokens that came since.
    fn pass_over(&mut self, before: Unit) {
        let after = self.log.last();
        for reader in self.readers.iter_mut().filter(|reader| reader.at == before) {
            reader.at = after;
            self.taken = self.taken.max(after);
        }
    }

    fn accept_payload(&mut self, head: &Head, body: &[u8]) -> Result<Accepted, Failure> {
        let end = self.log.end();
        if end.tokens != head.tokens || (end.tokens > 0 && !self.log.opaque()) || head.bytes > end.bytes {
            return Err(DIVERGED);
        }
        check_payload(body)?;
        match head.bytes + body.len() as u64 {
            after if after <= end.bytes => Ok(Accepted::Silent),
            _ if head.bytes < end.bytes => Err(DIVERGED), // payloads are cut nowhere
            _ => {
                self.chain.feed_bytes(body);
                self.log.push_payload(head.output, body);
                Ok(Accepted::Shown)
            }
        }
    }

    /// Accept the body of an END: the fields of the last chunk that are the worker's to set.
    pub fn accept_end(&self, head: &Head, body: &[u8]) -> Result<Vec<u8>, Failure> {
        let end = self.log.end();
        if (head.tokens, head.bytes) != (end.tokens, end.bytes) {
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
                (3, Value::Varint(epoch)) => epoch == u64::from(self.epoch),
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

/// Fields of `Infer.Chunk` that the gateway sets: ids, seq, epoch, start, settlement, started.
const OURS: [u32; 6] = [1, 2, 5, 6, 15, 17];
/// Fields that a worker may add to its tokens: logprobs, tool calls, degraded, finish reason, continuity.
const EXTRAS: [u32; 5] = [8, 9, 10, 12, 16];

fn token(entry: &[u8; 6]) -> (u32, u32) {
    let id = u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]);
    (id, u32::from(u16::from_le_bytes([entry[4], entry[5]])))
}

fn check_text(lengths: impl Iterator<Item = usize>, text: &[u8]) -> Result<(), Failure> {
    let text = std::str::from_utf8(text).map_err(|_| MALFORMED)?;
    let mut end = 0;
    for length in lengths {
        end += length;
        if !text.is_char_boundary(end) {
            return Err(MALFORMED);
        }
    }
    Ok(())
}

fn check_extra(extra: &[u8]) -> Result<(), Failure> {
    let mut fields = Fields::new(extra);
    while let Some((number, _)) = fields.next_field().map_err(|_| MALFORMED)? {
        if !EXTRAS.contains(&number) {
            return Err(MALFORMED);
        }
    }
    Ok(())
}

fn check_payload(body: &[u8]) -> Result<(), Failure> {
    let mut fields = Fields::new(body);
    while fields.next_field().map_err(|_| MALFORMED)?.is_some() {}
    if body.is_empty() { Err(MALFORMED) } else { Ok(()) }
}
