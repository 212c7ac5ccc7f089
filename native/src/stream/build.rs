//! What a reader takes: one serialized `Infer.Chunk` with all that waits.
//!
//! Fields are written side by side, which protobuf allows, so nothing is parsed or copied twice on the way to a client.

use super::job::{End, Job};
use super::log::{Log, Position, Span, Unit};
use super::mark::{Mark, lesser};
use super::reader::Reader;
use super::wire::{put_bytes, put_head, put_nonzero, put_number, put_position, varint_len};
use super::{Chain, JobId};

/// Most bytes of text in a chunk, and most of tokens: a slow reader catches up in steps that fit any client's limits.
const TEXT_BYTES_MAX: u64 = 262_144;
const TOKENS_MAX: u64 = 65_536;
/// Most bytes of a chunk with its extras: a quarter of gRPC's usual limit of 4 MiB.
const CHUNK_BYTES_MAX: u64 = 1_048_576;

/// What a take gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// A chunk.
    Chunk,
    /// The chunk with `done`.
    Last,
    /// Nothing, now.
    Nothing,
}

/// Write the next chunk of the reader at `place` into `out`.
pub fn take(job: &mut Job, place: usize, out: &mut Vec<u8>) -> Taken {
    let now = Now {
        job: job.id,
        epoch: job.run.epoch,
        log: &job.log,
        chain: &job.chain,
        marks: &job.marks,
    };
    let reader = &mut job.readers[place];
    reader.told = false;
    let taken = if job.log.opaque() {
        now.take_payload(reader, out)
    } else {
        now.take_text(reader, out)
    };
    job.taken = job.taken.max(reader.at);
    match (&job.end, taken) {
        (_, true) => Taken::Chunk,
        (End::Ready(fields), false) => {
            let end = job.log.end();
            now.begin(reader, job.log.last(), end, out);
            out.extend_from_slice(fields);
            now.go_on(reader, job.run.epoch, out);
            Taken::Last
        }
        _ => Taken::Nothing,
    }
}

/// What a chunk is made of, beside its reader.
struct Now<'a> {
    job: JobId,
    epoch: u32,
    log: &'a Log,
    chain: &'a Chain,
    marks: &'a [Mark],
}

impl Now<'_> {
    /// Fields of a chunk that begins at `unit`; returns the attempt that made it.
    fn begin(&self, reader: &mut Reader, unit: Unit, at: Position, out: &mut Vec<u8>) -> u32 {
        out.extend_from_slice(&reader.stamp);
        if let Some(first) = reader.first.take() {
            out.extend_from_slice(&first);
        }
        let mut continuity = 0;
        while let Some(mark) = self.marks.get(reader.mark).filter(|mark| mark.unit <= unit) {
            continuity = lesser(continuity, mark.continuity);
            reader.mark += 1;
        }
        let made = reader.mark.checked_sub(1).and_then(|index| self.marks.get(index));
        let epoch = made.map_or(self.epoch, |mark| mark.epoch);
        put_nonzero(out, 2, reader.seq);
        put_number(out, 5, u64::from(epoch));
        put_position(out, 6, at.tokens, at.bytes);
        put_nonzero(out, 16, u64::from(continuity));
        reader.seq += 1;
        epoch
    }

    /// Where to go on after what the reader has got: a serialized `Infer.Cursor`.
    fn go_on(&self, reader: &mut Reader, epoch: u32, out: &mut Vec<u8>) {
        if !reader.continuation {
            return;
        }
        if reader.at == self.log.last() {
            reader.chain = self.chain.clone();
        } else if self.log.opaque() {
            (reader.fed..reader.at)
                .filter_map(|unit| self.log.payload(unit))
                .for_each(|(_, _, body)| reader.chain.feed_bytes(body));
        } else {
            reader.chain.feed_tokens(self.log.ids_in(&(reader.fed..reader.at)));
        }
        reader.fed = reader.at;
        put_cursor(out, &self.job, epoch, self.log.position(reader.at), &reader.chain);
    }

    fn take_text(&self, reader: &mut Reader, out: &mut Vec<u8>) -> bool {
        while let Some(span) = bounded(self.log, reader.at, self.until(reader)) {
            reader.at = span.tokens.end;
            let text = self.log.text(&span);
            if text.is_empty() && self.log.extras(&span).next().is_none() {
                continue; // nothing to see
            }
            let at = Position {
                tokens: span.tokens.start,
                bytes: span.bytes.start,
            };
            let epoch = self.begin(reader, at.tokens, at, out);
            if !text.is_empty() {
                put_head(out, 3, 1 + varint_len(text.len() as u64) + text.len());
                put_bytes(out, 1, text);
            }
            put_nonzero(out, 7, u64::from(span.output));
            self.log.extras(&span).for_each(|extra| out.extend_from_slice(extra));
            self.go_on(reader, epoch, out);
            return true;
        }
        false
    }

    /// Most tokens of its next chunk: it ends where another attempt took over.
    fn until(&self, reader: &Reader) -> u64 {
        let later = self.marks.get(reader.mark..).unwrap_or_default();
        let next = later.iter().find(|mark| mark.unit > reader.at);
        next.map_or(TOKENS_MAX, |mark| TOKENS_MAX.min(mark.unit - reader.at))
    }

    fn take_payload(&self, reader: &mut Reader, out: &mut Vec<u8>) -> bool {
        let Some((output, bytes, body)) = self.log.payload(reader.at) else {
            return false;
        };
        let tokens = self.log.start().tokens;
        let epoch = self.begin(reader, reader.at, Position { tokens, bytes }, out);
        reader.at += 1;
        put_bytes(out, 3, body);
        put_nonzero(out, 7, u64::from(output));
        self.go_on(reader, epoch, out);
        true
    }
}

/// Most bytes of a cursor: job 18, epoch 6, position 24, chain state 105.
const CURSOR_BYTES_MAX: usize = 160;

/// Append `continuation`, put together on the stack: every chunk carries one.
fn put_cursor(out: &mut Vec<u8>, job: &JobId, epoch: u32, at: Position, chain: &Chain) {
    let mut cursor = Bytes([0; CURSOR_BYTES_MAX], 0);
    cursor.put(&[0x0a, 16]);
    cursor.put(job);
    cursor.put(&[0x10]);
    cursor.varint(u64::from(epoch));
    cursor.put(&[0x1a, (2 + varint_len(at.tokens) + varint_len(at.bytes)) as u8, 0x08]);
    cursor.varint(at.tokens);
    cursor.put(&[0x10]);
    cursor.varint(at.bytes);
    cursor.put(&[0x22, chain.state_len() as u8]); // at most 103
    cursor.1 += chain.write_state(&mut cursor.0[cursor.1..]);
    put_bytes(out, 11, &cursor.0[..cursor.1]);
}

/// Bytes on the stack, and how many there are.
struct Bytes([u8; CURSOR_BYTES_MAX], usize);

impl Bytes {
    fn put<const N: usize>(&mut self, bytes: &[u8; N]) {
        self.0[self.1..self.1 + N].copy_from_slice(bytes);
        self.1 += N;
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.put(&[value as u8 | 0x80]);
            value >>= 7;
        }
        self.put(&[value as u8]);
    }
}

fn bounded(log: &Log, at: u64, mut tokens_max: u64) -> Option<Span> {
    loop {
        let span = log.span(at, tokens_max, TEXT_BYTES_MAX, false)?;
        let tokens = span.tokens.end - span.tokens.start;
        if tokens <= 1 || log.cost(span.tokens.end) - log.cost(span.tokens.start) <= CHUNK_BYTES_MAX {
            return Some(span);
        }
        tokens_max = tokens / 2;
    }
}
