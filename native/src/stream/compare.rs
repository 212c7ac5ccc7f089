//! What is accepted of an answer: what is known must agree and is suppressed, what would leave a hole is refused.
//!
//! An attempt that begins anew (RERUN) is compared with all that was accepted, at whatever places it cuts.
//! Source: docs/design/streams.md §4.

use super::codec::{Head, OPAQUE};
use super::failure::{DIVERGED, Failure, MALFORMED};
use super::job::Job;
use super::log::{Position, Unit};
use super::wire::Fields;
use std::ops::Range;

/// Whether what was accepted shows to readers.
#[derive(Debug, PartialEq, Eq)]
pub enum Accepted {
    /// Nothing new.
    Nothing,
    /// Tokens without text.
    Silent,
    /// Text, extras or a payload.
    Shown,
}

/// Tokens of one CHUNK body, checked.
struct Tokens<'a> {
    table: &'a [[u8; 6]],
    text: &'a [u8],
    extra: &'a [u8],
}

impl<'a> Tokens<'a> {
    fn read(body: &'a [u8]) -> Result<Self, Failure> {
        let count = usize::from(u16::from_le_bytes(*body.first_chunk::<2>().ok_or(MALFORMED)?));
        let (table, rest) = body[2..].split_at_checked(6 * count).ok_or(MALFORMED)?;
        let table = table.as_chunks::<6>().0;
        let length: usize = table.iter().map(|entry| token(entry).1 as usize).sum();
        let (text, extra) = rest.split_at_checked(length).ok_or(MALFORMED)?;
        let read = Self { table, text, extra };
        check_text(read.iter().map(|(_, length)| length as usize), text)?;
        check_extra(extra)?;
        Ok(read)
    }

    fn iter(&self) -> impl Iterator<Item = (u32, u32)> + Clone {
        self.table.iter().map(token)
    }

    /// Bytes of text of the first `count`.
    fn bytes(&self, count: usize) -> u64 {
        self.iter().take(count).map(|(_, length)| u64::from(length)).sum()
    }
}

impl Job {
    /// Accept the body of a CHUNK of the present attempt.
    pub fn accept(&mut self, head: &Head, body: &[u8]) -> Result<Accepted, Failure> {
        if head.flags & OPAQUE != 0 {
            return self.accept_payload(head, body);
        }
        if self.log.opaque() {
            return Err(DIVERGED);
        }
        let tokens = Tokens::read(body)?;
        let end = self.log.end();
        let count = tokens.table.len();
        let known = end.tokens.checked_sub(head.tokens).ok_or(DIVERGED)? as usize;
        let mut skipped = 0;
        if known > 0 {
            let common = known.min(count);
            skipped = tokens.bytes(common);
            self.compare(head, &tokens, common, skipped)?;
            if known >= count && count > 0 {
                return Ok(Accepted::Nothing);
            }
        }
        if head.bytes.checked_add(skipped) != Some(end.bytes) || (count == 0 && !tokens.extra.is_empty()) {
            return Err(DIVERGED);
        }
        if count == 0 {
            return Ok(Accepted::Nothing);
        }
        let shown = tokens.text.len() > skipped as usize || !tokens.extra.is_empty();
        let text = &tokens.text[skipped as usize..];
        self.log
            .push(head.output, tokens.iter().skip(known), text, tokens.extra);
        self.chain.feed_tokens(self.log.ids_from(end.tokens));
        if !shown {
            self.pass_over(end.tokens);
        }
        Ok(if shown { Accepted::Shown } else { Accepted::Silent })
    }

    /// Whether the first `common` tokens, with `length` bytes of text, are those that were accepted.
    fn compare(&mut self, head: &Head, tokens: &Tokens<'_>, common: usize, length: u64) -> Result<(), Failure> {
        let range = head.tokens..head.tokens + common as u64;
        let ids = self.log.ids_in(&range).iter().copied();
        let same_ids = ids.eq(tokens.iter().take(common).map(|(id, _)| id));
        if !same_ids || !self.log.all_of(&range, head.output) || !self.same_text(head, tokens, &range) {
            return Err(DIVERGED);
        }
        let after = Position {
            tokens: range.end,
            bytes: head.bytes.checked_add(length).ok_or(DIVERGED)?,
        };
        if after.bytes > self.log.end().bytes {
            return Err(DIVERGED);
        }
        self.replayed(head, after)
    }

    /// Whether the text of a range of known tokens is what was accepted, as far as that is kept.
    fn same_text(&self, head: &Head, tokens: &Tokens<'_>, range: &Range<Unit>) -> bool {
        let kept = range.start.max(self.log.start().tokens)..range.end;
        if kept.is_empty() {
            return true;
        }
        let before = (kept.start - range.start) as usize;
        let skipped = tokens.bytes(before);
        let begin = self.log.position(kept.start).bytes;
        if head.bytes.checked_add(skipped) != Some(begin) {
            return false;
        }
        let mut end = begin;
        let lengths = tokens.iter().skip(before).map(|(_, length)| u64::from(length));
        let ends = self.log.ends_in(&kept).iter().zip(lengths);
        let same_ends = ends.fold(true, |same, (known, length)| {
            end += length;
            same && end == *known
        });
        let theirs = &tokens.text[skipped as usize..];
        same_ends && theirs.starts_with(self.log.text_in(&(begin..end)))
    }

    /// An attempt that began anew has come up to `after`; without holes.
    fn replayed(&mut self, head: &Head, after: Position) -> Result<(), Failure> {
        let Some(replay) = &mut self.run.replay else {
            return Ok(());
        };
        let at = replay.at;
        if head.tokens > at.tokens || (head.tokens == at.tokens && head.bytes != at.bytes) {
            return Err(DIVERGED);
        }
        replay.at = at.max(after);
        if replay.at.tokens == self.log.end().tokens {
            let whole = replay.at == self.log.end();
            self.run.replay = None;
            return if whole { Ok(()) } else { Err(DIVERGED) };
        }
        Ok(())
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
        let known = ((end.bytes - head.bytes) as usize).min(body.len());
        let (old, fresh) = body.split_at(known);
        if known > 0 {
            self.compare_payload(head, old)?;
        }
        if fresh.is_empty() {
            return Ok(Accepted::Nothing);
        }
        if known > 0 {
            check_payload(fresh).map_err(|_| DIVERGED)?;
        }
        self.chain.feed_bytes(fresh);
        self.log.push_payload(head.output, fresh);
        Ok(Accepted::Shown)
    }

    /// Whether bytes of payloads are those that were accepted: directly where kept, else by the hash over a rerun.
    fn compare_payload(&mut self, head: &Head, old: &[u8]) -> Result<(), Failure> {
        let from = head.bytes.max(self.log.start().bytes);
        let mut theirs = &old[(from - head.bytes).min(old.len() as u64) as usize..];
        for (output, ours) in self.log.payloads_from(from) {
            if theirs.is_empty() {
                break;
            }
            let (now, later) = theirs.split_at(theirs.len().min(ours.len()));
            if output != head.output || !ours.starts_with(now) {
                return Err(DIVERGED);
            }
            theirs = later;
        }
        let Some(replay) = &mut self.run.replay else {
            return Ok(());
        };
        let seen = replay.at.bytes.checked_sub(head.bytes).ok_or(DIVERGED)?;
        let new = old.get(seen as usize..).unwrap_or_default();
        replay.chain.feed_bytes(new);
        replay.at.bytes += new.len() as u64;
        if replay.at == self.log.end() {
            let same = replay.chain == self.chain;
            self.run.replay = None;
            return if same { Ok(()) } else { Err(DIVERGED) };
        }
        Ok(())
    }
}

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
