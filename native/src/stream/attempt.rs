//! One attempt at a worker: its chunk log, its readers, and the entries that each reader gets next.

use super::codec::{FrameWriter, HEADER, Head, MORE, OPAQUE, kind};
use super::failure::{BEHIND, Failure};
use super::log::{Log, Position, Unit};
use super::{Chain, JobId};

/// Most bytes of one job in a frame before the next job's turn: four turns fill a frame.
const TURN_BYTES: u64 = 16_384;
const TURN_TOKENS: u64 = 1_024;
/// Least part of a body worth a header of its own at the end of a frame.
const SCRAP: usize = 1_024;

/// A link that reads an attempt.
#[derive(Debug)]
pub struct Reader {
    /// The link.
    pub link: u64,
    /// Next unit to send.
    pub at: Unit,
    /// Bytes of that unit, or of the end, that were sent.
    pub offset: usize,
    /// Bytes that it still takes; may overdraw once.
    pub credit: i64,
    /// Whether it stands in its link's queue.
    pub queued: bool,
    /// Why it can't go on.
    pub failure: Option<Failure>,
}

/// A link that waits for its place: ahead of the log, or before a prefix whose text is not known yet.
#[derive(Debug)]
pub struct Waiting {
    /// The link.
    pub link: u64,
    /// Its place.
    pub position: Position,
    /// Chain state there; empty to compare nothing.
    pub chain_state: Vec<u8>,
    /// Bytes that it takes.
    pub credit: i64,
    /// When it was first seen to wait for a prefix.
    pub since: Option<u64>,
}

/// One attempt.
pub struct Attempt {
    /// Its job.
    pub job: JobId,
    /// Its number.
    pub epoch: u32,
    /// Tenant of the ticket that started it.
    pub tenant: String,
    /// Link that may cancel it.
    pub driver: u64,
    /// How long it goes on unread.
    pub grace_ms: u64,
    /// Since when nobody reads it.
    pub unread_since: Option<u64>,
    /// Whether the engine was told to stop.
    pub cancelled: bool,
    /// What was generated.
    pub log: Log,
    /// Hash over it.
    pub chain: Chain,
    /// Who reads.
    pub readers: Vec<Reader>,
    /// Who will, once its place is there.
    pub waiting: Vec<Waiting>,
    /// Kind, body and time of the end.
    pub end: Option<(u8, Vec<u8>, u64)>,
}

/// What became of a reader's turn.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// It has more to send.
    More,
    /// It waits for tokens or credit.
    Idle,
    /// Its next entry does not fit this frame.
    Full,
    /// It got the end.
    Done,
}

impl Attempt {
    /// Whether a reader has something that may be sent.
    pub fn ready(&self, reader: &Reader) -> bool {
        if reader.failure.is_some() || reader.offset > 0 {
            return true;
        }
        match reader.at < self.log.last() {
            true => reader.credit > 0,
            false => self.end.is_some(),
        }
    }

    /// Write the next entry of a reader.
    pub fn turn(&mut self, index: usize, writer: &mut FrameWriter) -> Turn {
        let reader = &self.readers[index];
        if let Some(failure) = reader.failure {
            return self.write_failure(failure, writer);
        }
        if !self.ready(reader) {
            return Turn::Idle;
        }
        let turn = match (reader.at < self.log.last(), self.log.opaque()) {
            (false, _) => return self.write_end(index, writer),
            (true, true) => self.write_payload(index, writer),
            (true, false) => self.write_text(index, writer),
        };
        match turn {
            Turn::More if !self.ready(&self.readers[index]) => Turn::Idle,
            turn => turn,
        }
    }

    fn head(&self, kind: u8, position: Position) -> Head {
        Head {
            tokens: position.tokens,
            bytes: position.bytes,
            ..Head::plain(self.job, self.epoch, kind)
        }
    }

    fn write_failure(&self, failure: Failure, writer: &mut FrameWriter) -> Turn {
        let body = failure.serialize();
        if !writer.fits(body.len()) {
            return Turn::Full;
        }
        self.head(kind::FAIL, self.log.end()).put(writer.out(), &body);
        Turn::Done
    }

    fn write_text(&mut self, index: usize, writer: &mut FrameWriter) -> Turn {
        let reader = &mut self.readers[index];
        let budget = TURN_BYTES.min(reader.credit.max(1) as u64);
        let Some(span) = self.log.span(reader.at, TURN_TOKENS, budget, true) else {
            return Turn::Idle;
        };
        let ids = self.log.ids(&span);
        let text = self.log.text(&span);
        let extras: usize = self.log.extras(&span).map(<[u8]>::len).sum();
        let length = 2 + 6 * ids.len() + text.len() + extras;
        if !writer.fits(length) {
            return Turn::Full;
        }
        let head = Head {
            output: span.output,
            tokens: span.tokens.start,
            bytes: span.bytes.start,
            ..Head::plain(self.job, self.epoch, kind::CHUNK)
        };
        let out = writer.out();
        head.put_head(out, length);
        out.extend_from_slice(&(ids.len() as u16).to_le_bytes());
        let mut before = span.bytes.start;
        for (id, end) in ids.iter().zip(self.log.ends(&span)) {
            out.extend_from_slice(&id.to_le_bytes());
            out.extend_from_slice(&((end - before) as u16).to_le_bytes());
            before = *end;
        }
        out.extend_from_slice(text);
        self.log.extras(&span).for_each(|extra| out.extend_from_slice(extra));
        reader.at = span.tokens.end;
        reader.credit -= length as i64;
        Turn::More
    }

    fn write_payload(&mut self, index: usize, writer: &mut FrameWriter) -> Turn {
        let reader = &mut self.readers[index];
        let Some((output, bytes, body)) = self.log.payload(reader.at) else {
            return Turn::Idle;
        };
        let Some(cut) = cut(body.len() - reader.offset, writer) else {
            return Turn::Full;
        };
        let last = reader.offset + cut == body.len();
        let head = Head {
            output,
            bytes,
            tokens: self.log.start().tokens,
            flags: OPAQUE | if last { 0 } else { MORE },
            ..Head::plain(self.job, self.epoch, kind::CHUNK)
        };
        head.put(writer.out(), &body[reader.offset..reader.offset + cut]);
        reader.credit -= cut as i64;
        (reader.at, reader.offset) = if last {
            (reader.at + 1, 0)
        } else {
            (reader.at, reader.offset + cut)
        };
        Turn::More
    }

    fn write_end(&mut self, index: usize, writer: &mut FrameWriter) -> Turn {
        let Some((kind, body, _)) = &self.end else {
            return Turn::Idle;
        };
        let offset = self.readers[index].offset;
        let Some(cut) = cut(body.len() - offset, writer) else {
            return Turn::Full;
        };
        let last = offset + cut == body.len();
        let mut head = self.head(*kind, self.log.end());
        head.flags = if last { 0 } else { MORE };
        head.put(writer.out(), &body[offset..offset + cut]);
        self.readers[index].offset += cut;
        if last { Turn::Done } else { Turn::More }
    }

    /// Keep the log within its bound; readers that are left behind fail.
    pub fn bound(&mut self, bytes_max: usize, body_bytes_max: usize) {
        if self.log.size() <= bytes_max {
            return;
        }
        let mut keep = self.log.within(bytes_max as u64 * 3 / 4); // a quarter at a time: trimming moves what is kept
        let slowest = self.readers.iter().map(|reader| reader.at).min();
        if self.log.opaque() && self.log.size() <= bytes_max + body_bytes_max {
            keep = keep.min(slowest.unwrap_or(keep));
        }
        self.log.trim(keep);
        for reader in self.readers.iter_mut().filter(|reader| reader.at < keep) {
            (reader.failure, reader.at, reader.offset) = (Some(BEHIND), keep, 0);
        }
    }

    /// Bytes that wait for the fastest reader, or that are kept where nobody reads.
    pub fn backlog(&self) -> u64 {
        let taken = self
            .readers
            .iter()
            .map(|reader| reader.at)
            .max()
            .unwrap_or(self.log.first());
        self.log.cost(self.log.last()) - self.log.cost(taken)
    }
}

/// How much of a body to write now: all that is left, or a turn's worth; None where a scrap would be left.
fn cut(left: usize, writer: &FrameWriter) -> Option<usize> {
    let room = writer.room();
    if room < left.min(SCRAP) || !writer.fits(0) {
        return None;
    }
    Some(left.min(room).min(TURN_BYTES as usize + HEADER))
}
