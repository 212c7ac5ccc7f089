//! What a reader takes: one serialized `Infer.Chunk` with all that waits.
//!
//! Fields are written side by side, which protobuf allows, so nothing is parsed or copied twice on the way to a client.

use super::job::{End, Job, Reader};
use super::log::{Log, Span};
use super::wire::{put_bytes, put_head, put_nonzero, put_number, put_position, varint_len};

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
    let reader = &mut job.readers[place];
    reader.told = false;
    let taken = if job.log.opaque() {
        take_payload(&job.log, reader, job.epoch, out)
    } else {
        take_text(&job.log, reader, job.epoch, out)
    };
    job.taken = job.taken.max(reader.at);
    match (&job.end, taken) {
        (_, true) => Taken::Chunk,
        (End::Ready(fields), false) => {
            let end = job.log.end();
            begin(reader, job.epoch, end.tokens, end.bytes, out);
            out.extend_from_slice(fields);
            Taken::Last
        }
        _ => Taken::Nothing,
    }
}

fn begin(reader: &mut Reader, epoch: u32, tokens: u64, bytes: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&reader.stamp);
    if let Some(first) = reader.first.take() {
        out.extend_from_slice(&first);
    }
    put_nonzero(out, 2, reader.seq);
    put_number(out, 5, u64::from(epoch));
    put_position(out, 6, tokens, bytes);
    reader.seq += 1;
}

fn take_text(log: &Log, reader: &mut Reader, epoch: u32, out: &mut Vec<u8>) -> bool {
    while let Some(span) = bounded(log, reader.at) {
        reader.at = span.tokens.end;
        let text = log.text(&span);
        if text.is_empty() && log.extras(&span).next().is_none() {
            continue; // nothing to see
        }
        begin(reader, epoch, span.tokens.start, span.bytes.start, out);
        if !text.is_empty() {
            put_head(out, 3, 1 + varint_len(text.len() as u64) + text.len());
            put_bytes(out, 1, text);
        }
        put_nonzero(out, 7, u64::from(span.output));
        log.extras(&span).for_each(|extra| out.extend_from_slice(extra));
        return true;
    }
    false
}

fn bounded(log: &Log, at: u64) -> Option<Span> {
    let mut tokens_max = TOKENS_MAX;
    loop {
        let span = log.span(at, tokens_max, TEXT_BYTES_MAX, false)?;
        let tokens = span.tokens.end - span.tokens.start;
        if tokens <= 1 || log.cost(span.tokens.end) - log.cost(span.tokens.start) <= CHUNK_BYTES_MAX {
            return Some(span);
        }
        tokens_max = tokens / 2;
    }
}

fn take_payload(log: &Log, reader: &mut Reader, epoch: u32, out: &mut Vec<u8>) -> bool {
    let Some((output, bytes, body)) = log.payload(reader.at) else {
        return false;
    };
    reader.at += 1;
    begin(reader, epoch, log.start().tokens, bytes, out);
    put_bytes(out, 3, body);
    put_nonzero(out, 7, u64::from(output));
    true
}
