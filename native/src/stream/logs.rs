//! All attempts of a worker: what engines append, what links read.
//!
//! An engine step appends to many logs in one call and never waits; each link pulls frames in which jobs take turns.
//! Who begins and joins attempts stands in `attach`. Source: docs/design/streams.md §6.

use super::attempt::{Attempt, Turn};
use super::codec::{FrameWriter, Head, Joiner, kind};
use super::links::Links;
use super::log::Position;
use super::outlet::Outlet;
use super::piece::{Piece, check_last};
use super::timer::Clock;
use super::wire::Malformed;
use super::{Action, Actions, JobId, KeyMap, Slab};
use std::collections::VecDeque;

/// Backlog of the fastest reader over which a payload producer pauses: one first window of a gateway.
const WANTED_BYTES: u64 = 262_144;

/// Bounds of a worker's logs; the Python stub says what each means.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as in the stub")]
pub struct LogSettings {
    pub log_bytes_max: usize,
    pub linger_ms: u64,
    pub assembly_bytes_max: usize,
    pub body_bytes_max: usize,
}

/// Who begins or joins an attempt, and where.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as in the stub")]
pub struct Opening<'a> {
    pub job: JobId,
    pub epoch: u32,
    pub link: u64,
    pub tenant: &'a str,
    pub credit_bytes: u32,
    pub position: Position,
    pub chain_state: &'a [u8],
}

/// One link of a worker.
#[derive(Debug, Default)]
pub(super) struct Link {
    pub(super) outlet: Outlet,
    pub(super) joiner: Joiner,
    pub(super) owed: VecDeque<(JobId, u32, u32)>,
    pub(super) ready: VecDeque<usize>,
    progress: VecDeque<(JobId, u32, Vec<u8>)>,
}

/// See the module.
pub struct ChunkLogs {
    pub(super) settings: LogSettings,
    pub(super) attempts: Slab<Attempt>,
    pub(super) keys: KeyMap<(JobId, u32), usize>,
    pub(super) links: Links<Link>,
    pub(super) entries: u64,
    pub(super) pending: Actions,
    clock: Clock,
    tokens: u64,
    writer: FrameWriter,
}

impl ChunkLogs {
    /// No attempts yet.
    pub fn new(settings: LogSettings) -> Self {
        Self {
            settings,
            attempts: Slab::default(),
            keys: KeyMap::default(),
            links: Links::default(),
            entries: 0,
            pending: Vec::new(),
            clock: Clock::default(),
            tokens: 0,
            writer: FrameWriter::default(),
        }
    }

    /// Whether the attempt has a log here.
    pub fn known(&self, job: JobId, epoch: u32) -> bool {
        self.keys.contains_key(&(job, epoch))
    }

    fn look(&self, job: JobId, epoch: u32) -> Option<&Attempt> {
        self.attempts.get(*self.keys.get(&(job, epoch))?)
    }

    pub(super) fn attempt(&mut self, job: JobId, epoch: u32) -> Option<&mut Attempt> {
        self.attempts.get_mut(*self.keys.get(&(job, epoch))?)
    }

    /// Queue every reader of an attempt that may be sent something.
    pub(super) fn wake(&mut self, index: usize, actions: &mut Actions) {
        let Some(attempt) = self.attempts.get_mut(index) else {
            return;
        };
        let mut readers = std::mem::take(&mut attempt.readers);
        for reader in readers.iter_mut().filter(|reader| !reader.queued) {
            if attempt.ready(reader) {
                reader.queued = true;
                let Some(lane) = self.links.lane(reader.link) else {
                    continue;
                };
                lane.ready.push_back(index);
                lane.outlet.tell(reader.link, actions);
            }
        }
        attempt.readers = readers;
    }

    /// Append one engine step; nothing is appended when a piece is malformed.
    pub fn append(&mut self, pieces: &[Piece<'_>]) -> Result<Actions, Malformed> {
        for piece in pieces {
            let opaque = self
                .look(piece.job, piece.epoch)
                .is_some_and(|attempt| attempt.log.opaque());
            piece.check(opaque)?;
        }
        let mut actions = Vec::new();
        for piece in pieces {
            let Some(&index) = self.keys.get(&(piece.job, piece.epoch)) else {
                continue;
            };
            let Some(attempt) = self.attempts.get_mut(index) else {
                continue;
            };
            if attempt.end.is_some() || piece.ids.is_empty() {
                continue;
            }
            attempt.chain.feed_tokens(piece.ids);
            let tokens = piece.ids.iter().copied().zip(piece.lengths.iter().copied());
            attempt.log.push(piece.output, tokens, piece.text, piece.extra);
            attempt.bound(self.settings.log_bytes_max, self.settings.body_bytes_max);
            self.tokens += piece.ids.len() as u64;
            self.settle(index, &mut actions);
            self.wake(index, &mut actions);
        }
        Ok(actions)
    }

    /// Append a payload of an output without tokens.
    pub fn append_payload(&mut self, job: JobId, epoch: u32, output: u16, body: &[u8]) -> Result<Actions, Malformed> {
        if body.is_empty() || body.len() > self.settings.body_bytes_max {
            return Err(Malformed("payload is empty or over its limit"));
        }
        let mut actions = Vec::new();
        let Some(&index) = self.keys.get(&(job, epoch)) else {
            return Ok(actions);
        };
        let Some(attempt) = self.attempts.get_mut(index) else {
            return Ok(actions);
        };
        if attempt.log.end().tokens > 0 {
            return Err(Malformed("payload after tokens"));
        }
        if attempt.end.is_none() {
            attempt.chain.feed_bytes(body);
            attempt.log.push_payload(output, body);
            attempt.bound(self.settings.log_bytes_max, self.settings.body_bytes_max);
            self.settle(index, &mut actions);
            self.wake(index, &mut actions);
        }
        Ok(actions)
    }

    /// Whether a producer of payloads should go on.
    pub fn wanted(&self, job: JobId, epoch: u32) -> bool {
        self.look(job, epoch)
            .is_some_and(|attempt| attempt.end.is_none() && attempt.backlog() < WANTED_BYTES)
    }

    /// Digest, state and position at the end of a log.
    pub fn chain(&self, job: JobId, epoch: u32) -> Option<([u8; 32], Vec<u8>, Position)> {
        self.look(job, epoch)
            .map(|attempt| (attempt.chain.digest(), attempt.chain.state(), attempt.log.end()))
    }

    /// The answer as a serialized payload, where it is whole and within `bytes_max`.
    pub fn answer(&self, job: JobId, epoch: u32, bytes_max: usize) -> Option<Vec<u8>> {
        self.look(job, epoch)?.log.answer(bytes_max)
    }

    /// The attempt ended with a chunk.
    pub fn end(&mut self, job: JobId, epoch: u32, chunk: &[u8], now_ms: u64) -> Result<Actions, Malformed> {
        check_last(chunk)?;
        Ok(self.finish(job, epoch, kind::END, chunk, now_ms))
    }

    /// The attempt ended with a failure.
    pub fn fail(&mut self, job: JobId, epoch: u32, failure: &[u8], now_ms: u64) -> Actions {
        self.finish(job, epoch, kind::FAIL, failure, now_ms)
    }

    fn finish(&mut self, job: JobId, epoch: u32, kind: u8, body: &[u8], now_ms: u64) -> Actions {
        let mut actions = Vec::new();
        let Some(&index) = self.keys.get(&(job, epoch)) else {
            return actions;
        };
        if let Some(attempt) = self.attempts.get_mut(index).filter(|attempt| attempt.end.is_none()) {
            attempt.end = Some((kind, body.to_vec(), now_ms));
            self.settle(index, &mut actions);
            self.wake(index, &mut actions);
        }
        actions
    }

    /// Queue a control entry.
    pub fn send(&mut self, link: u64, head: Head, body: &[u8]) -> Actions {
        let mut actions = Vec::new();
        if let Some(lane) = self.links.lane(link) {
            lane.outlet.push(head, body);
            lane.outlet.tell(link, &mut actions);
        }
        actions
    }

    /// Tell all readers how far an attempt is.
    pub fn progress(&mut self, job: JobId, epoch: u32, body: &[u8]) -> Actions {
        let mut actions = Vec::new();
        let Some(&index) = self.keys.get(&(job, epoch)) else {
            return actions;
        };
        for reader in self.attempts.get(index).map_or(&[][..], |attempt| &attempt.readers) {
            let Some(lane) = self.links.lane(reader.link) else {
                continue;
            };
            match lane
                .progress
                .iter_mut()
                .find(|(one, at, _)| (*one, *at) == (job, epoch))
            {
                Some(waiting) => waiting.2 = body.to_vec(),
                None => lane.progress.push_back((job, epoch, body.to_vec())),
            }
            lane.outlet.tell(reader.link, &mut actions);
        }
        actions
    }

    /// Next frame of a link.
    pub fn pull(&mut self, link: u64) -> Option<&[u8]> {
        let lane = self.links.get_mut(link)?;
        self.writer.clear();
        let mut whole = lane.outlet.fill(&mut self.writer);
        while whole && let Some((job, epoch, body)) = lane.progress.front() {
            whole = self.writer.fits(body.len());
            if whole {
                Head::plain(*job, *epoch, kind::PROGRESS).put(self.writer.out(), body);
                lane.progress.pop_front();
            }
        }
        while whole && let Some(index) = lane.ready.pop_front() {
            let Some(attempt) = self.attempts.get_mut(index) else {
                continue;
            };
            let Some(place) = attempt.readers.iter().position(|reader| reader.link == link) else {
                continue;
            };
            match attempt.turn(place, &mut self.writer) {
                Turn::More => lane.ready.push_back(index),
                Turn::Idle => attempt.readers[place].queued = false,
                Turn::Done => drop(attempt.readers.swap_remove(place)),
                Turn::Full => {
                    lane.ready.push_front(index);
                    whole = false;
                }
            }
        }
        if self.writer.is_empty() {
            lane.outlet.drained();
            return None;
        }
        Some(self.writer.finish())
    }

    /// The link is gone, with its readers.
    pub fn link_lost(&mut self, link: u64) {
        self.links.lose(link);
        for index in self.attempts.indices() {
            self.leave(index, link);
        }
    }

    pub(super) fn leave(&mut self, index: usize, link: u64) {
        let Some(attempt) = self.attempts.get_mut(index) else {
            return;
        };
        attempt.readers.retain(|reader| reader.link != link);
        attempt.waiting.retain(|waiting| waiting.link != link);
        if let Some(lane) = self.links.get_mut(link) {
            lane.ready.retain(|ready| *ready != index);
        }
    }

    /// Time passes: grace and linger.
    pub fn tick(&mut self, now_ms: u64) -> Actions {
        let mut actions = std::mem::take(&mut self.pending);
        let gap_ms = self.clock.gap(now_ms);
        for index in self.attempts.indices() {
            self.tire(index, now_ms, &mut actions);
            let Some(attempt) = self.attempts.get_mut(index) else {
                continue;
            };
            let over = attempt
                .end
                .as_ref()
                .is_some_and(|end| now_ms >= end.2.saturating_add(self.settings.linger_ms));
            if over && attempt.readers.is_empty() {
                self.keys.remove(&(attempt.job, attempt.epoch));
                self.attempts.remove(index);
                continue;
            }
            let read = !attempt.readers.is_empty() || !attempt.waiting.is_empty();
            if read || attempt.end.is_some() || attempt.cancelled {
                continue;
            }
            let since = attempt.unread_since.unwrap_or(now_ms);
            let since = since.saturating_add(gap_ms).min(now_ms); // this process stood still
            attempt.unread_since = Some(since);
            if now_ms >= since.saturating_add(attempt.grace_ms) {
                attempt.cancelled = true;
                actions.push(Action::Cancel(attempt.job, attempt.epoch));
            }
        }
        actions
    }

    /// Counts by name.
    pub fn stats(&self) -> Vec<(&'static str, u64)> {
        let attempts = || self.attempts.values();
        vec![
            ("logs", self.attempts.len() as u64),
            ("running", attempts().filter(|one| one.end.is_none()).count() as u64),
            (
                "readers",
                attempts()
                    .map(|one| (one.readers.len() + one.waiting.len()) as u64)
                    .sum(),
            ),
            ("links", self.links.len() as u64),
            ("log_bytes", attempts().map(|one| one.log.size() as u64).sum()),
            ("assembly_bytes", self.assembly() as u64),
            (
                "waiting_bytes",
                self.links.values().map(|lane| lane.outlet.bytes() as u64).sum(),
            ),
            ("entries", self.entries),
            ("tokens", self.tokens),
        ]
    }

    pub(super) fn assembly(&self) -> usize {
        self.links.values().map(|lane| lane.joiner.held()).sum()
    }
}
