//! Frames: entries of many jobs, one after the other, in one bytes field of `Link.Frame`.
//!
//! Headers have a fixed width, so a relay can route without opening a body and a reader can check a frame whole before
//! it believes any of it. Layout: docs/design/link.md.

use super::JobId;
use super::wire::{Fields, Malformed, Value, array, put_varint, varint_len};
use std::collections::HashMap;

/// Bytes of an entry's header.
pub const HEADER: usize = 48;
/// Most bytes of a frame's entries: small enough that control waits for less than a millisecond at 1 Gbit/s.
pub const FRAME_BYTES_MAX: usize = 65_536;
/// Most bytes of one entry's body.
pub const BODY_BYTES_MAX: usize = FRAME_BYTES_MAX - HEADER;
/// Flag: the body goes on in the next entry of the same job, epoch and kind.
pub const MORE: u8 = 1;
/// Flag: the body is a payload without tokens.
pub const OPAQUE: u8 = 2;
/// Room for the protobuf tag and length before the entries.
const WRAP: usize = 4;

/// Kinds of entries.
pub mod kind {
    /// More bytes for a job.
    pub const CREDIT: u8 = 3;
    /// Stop the job.
    pub const CANCEL: u8 = 4;
    /// What an attempt is doing.
    pub const PROGRESS: u8 = 5;
    /// Which outcome was written.
    pub const OUTCOME: u8 = 7;
    /// This link reads the job no longer.
    pub const DETACH: u8 = 8;
    /// Last known control kind.
    pub const DRAIN: u8 = 9;
    /// First kind that is no control.
    pub const BULK: u8 = 32;
    /// Run a job.
    pub const START: u8 = 32;
    /// Read a job.
    pub const ATTACH: u8 = 33;
    /// Pieces of an answer.
    pub const CHUNK: u8 = 34;
    /// The answer is whole.
    pub const END: u8 = 35;
    /// The attempt ended without an answer.
    pub const FAIL: u8 = 36;
}

/// Header of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// Job, or zeros for the link itself.
    pub job: JobId,
    /// Attempt, from 1, or 0.
    pub epoch: u32,
    /// See [`kind`].
    pub kind: u8,
    /// [`MORE`], [`OPAQUE`].
    pub flags: u8,
    /// Which of the request's choices.
    pub output: u16,
    /// Position of the body's first token.
    pub tokens: u64,
    /// Position of the body's first byte of text or payload.
    pub bytes: u64,
    /// Bytes granted.
    pub credit: u32,
}

impl Head {
    /// Header of an entry that carries no position.
    pub fn plain(job: JobId, epoch: u32, kind: u8) -> Self {
        Self {
            job,
            epoch,
            kind,
            ..Self::default()
        }
    }

    /// Append header and body.
    pub fn put(&self, out: &mut Vec<u8>, body: &[u8]) {
        self.put_head(out, body.len());
        out.extend_from_slice(body);
    }

    /// Append the header of a body of `length` bytes that follows.
    pub fn put_head(&self, out: &mut Vec<u8>, length: usize) {
        let mut head = [0u8; HEADER];
        head[..16].copy_from_slice(&self.job);
        head[16..20].copy_from_slice(&self.epoch.to_le_bytes());
        head[20] = self.kind;
        head[21] = self.flags;
        head[22..24].copy_from_slice(&self.output.to_le_bytes());
        head[24..32].copy_from_slice(&self.tokens.to_le_bytes());
        head[32..40].copy_from_slice(&self.bytes.to_le_bytes());
        head[40..44].copy_from_slice(&(length as u32).to_le_bytes());
        head[44..].copy_from_slice(&self.credit.to_le_bytes());
        out.extend_from_slice(&head);
    }

    fn read(head: &[u8]) -> (Self, usize) {
        let length = u32::from_le_bytes(array(&head[40..]));
        let read = Self {
            job: array(head),
            epoch: u32::from_le_bytes(array(&head[16..])),
            kind: head[20],
            flags: head[21],
            output: u16::from_le_bytes(array(&head[22..])),
            tokens: u64::from_le_bytes(array(&head[24..])),
            bytes: u64::from_le_bytes(array(&head[32..])),
            credit: u32::from_le_bytes(array(&head[44..])),
        };
        (read, length as usize)
    }
}

/// Entries of a frame that was checked whole.
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Entries<'a> {
    /// Check a serialized `Link.Frame`: nothing of a malformed frame is ever handed out.
    pub fn open(frame: &'a [u8]) -> Result<Self, Malformed> {
        let entries = unwrap_frame(frame)?;
        if entries.len() > FRAME_BYTES_MAX {
            return Err(Malformed("frame over 64 KiB"));
        }
        let mut rest = entries;
        while !rest.is_empty() {
            if rest.len() < HEADER {
                return Err(Malformed("truncated header"));
            }
            let (head, length) = Head::read(rest);
            if head.kind > kind::FAIL || head.kind == 0 {
                return Err(Malformed("unknown kind"));
            }
            rest = rest.get(HEADER + length..).ok_or(Malformed("truncated body"))?;
        }
        Ok(Self { rest: entries })
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (Head, &'a [u8]);

    /// Next entry; control kinds that are newer than this code are left out.
    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let (head, length) = Head::read(self.rest);
            let (entry, rest) = self.rest.split_at(HEADER + length);
            self.rest = rest;
            if head.kind <= kind::DRAIN || head.kind >= kind::BULK {
                return Some((head, &entry[HEADER..]));
            }
        }
        None
    }
}

/// The `entries` of a serialized `Link.Frame`.
fn unwrap_frame(frame: &[u8]) -> Result<&[u8], Malformed> {
    let mut fields = Fields::new(frame);
    let mut entries: &[u8] = &[];
    while let Some((number, value)) = fields.next_field()? {
        if let (1, Value::Bytes(bytes)) = (number, value) {
            entries = bytes;
        }
    }
    Ok(entries)
}

/// Collects entries into one serialized `Link.Frame`, in a buffer that is used again and again.
#[derive(Debug)]
pub struct FrameWriter {
    out: Vec<u8>,
}

impl Default for FrameWriter {
    fn default() -> Self {
        let mut out = Vec::with_capacity(WRAP + FRAME_BYTES_MAX);
        out.resize(WRAP, 0);
        Self { out }
    }
}

impl FrameWriter {
    /// Forget what was collected.
    pub fn clear(&mut self) {
        self.out.truncate(WRAP);
    }

    /// Whether nothing was collected.
    pub fn is_empty(&self) -> bool {
        self.out.len() == WRAP
    }

    /// Bytes of body for which one more header leaves room.
    pub fn room(&self) -> usize {
        (WRAP + BODY_BYTES_MAX).saturating_sub(self.out.len())
    }

    /// Whether an entry with so long a body fits.
    pub fn fits(&self, body: usize) -> bool {
        self.out.len() + HEADER + body <= WRAP + FRAME_BYTES_MAX
    }

    /// Where entries go.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// The serialized frame.
    pub fn finish(&mut self) -> &[u8] {
        let length = (self.out.len() - WRAP) as u64;
        let begin = WRAP - 1 - varint_len(length);
        let mut head = Vec::with_capacity(WRAP);
        head.push(0x0a);
        put_varint(&mut head, length);
        self.out[begin..WRAP].copy_from_slice(&head);
        &self.out[begin..]
    }
}

/// Entries of (header, body) as serialized frames; bodies are cut with [`MORE`].
pub fn encode<'a>(entries: impl Iterator<Item = (Head, &'a [u8])>) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut writer = FrameWriter::default();
    for (mut head, mut body) in entries {
        loop {
            if !writer.fits(body.len()) && !writer.is_empty() {
                frames.push(writer.finish().to_vec());
                writer.clear();
            }
            let cut = body.len().min(writer.room());
            let last = cut == body.len();
            head.flags = head.flags & !MORE | if last { 0 } else { MORE };
            head.put(writer.out(), &body[..cut]);
            body = &body[cut..];
            if last {
                break;
            }
        }
    }
    if !writer.is_empty() {
        frames.push(writer.finish().to_vec());
    }
    frames
}

const PARTS_MAX: usize = 4_096; // jobs of one link whose bodies arrive at the same time

/// Most bytes of a link's bodies that are not whole yet: eight of the longest.
const HELD_BYTES_MAX: usize = 134_217_728;

/// Puts bodies that were cut with [`MORE`] together again, for one link.
#[derive(Debug, Default)]
pub struct Joiner {
    parts: HashMap<(JobId, u32, u8), Vec<u8>>,
    held: usize,
}

impl Joiner {
    /// Bytes of all bodies that are not whole yet.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Whether no body is in parts.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Take one entry: its whole body, or None while more is to come.
    pub fn feed<'a>(
        &mut self,
        head: &Head,
        body: &'a [u8],
        body_bytes_max: usize,
    ) -> Result<Option<std::borrow::Cow<'a, [u8]>>, Malformed> {
        let more = head.flags & MORE != 0;
        if !more && self.parts.is_empty() {
            return Ok(Some(body.into()));
        }
        let key = (head.job, head.epoch, head.kind);
        let before = self.parts.get(&key).map_or(0, Vec::len);
        if before + body.len() > body_bytes_max {
            return Err(Malformed("body over its limit"));
        }
        if !more && before == 0 && !self.parts.contains_key(&key) {
            return Ok(Some(body.into()));
        }
        if self.parts.len() > PARTS_MAX || self.held > HELD_BYTES_MAX {
            return Err(Malformed("too many bodies at once"));
        }
        if more {
            self.parts.entry(key).or_default().extend_from_slice(body);
            self.held += body.len();
            return Ok(None);
        }
        let mut whole = self.parts.remove(&key).unwrap_or_default();
        self.held -= before;
        whole.extend_from_slice(body);
        Ok(Some(whole.into()))
    }

    /// Drop what came of one body.
    pub fn forget(&mut self, job: &JobId, epoch: u32, kind: u8) -> usize {
        let dropped = self.parts.remove(&(*job, epoch, kind)).map_or(0, |part| part.len());
        self.held -= dropped;
        dropped
    }

    /// Whether part of this body has come.
    pub fn has(&self, job: &JobId, epoch: u32, kind: u8) -> bool {
        !self.parts.is_empty() && self.parts.contains_key(&(*job, epoch, kind))
    }
}
