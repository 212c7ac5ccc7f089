//! The log of one answer: token ids, text, extras and payloads by position, the oldest part trimmed at a bound.
//!
//! Both ends keep one: the worker to replay from, the gateway for readers that join later. Tokens stand in flat arrays,
//! so one more token allocates nothing. Token ids, and whose they are, stay for the whole job (4 bytes each) even where
//! their text is trimmed, so a prefix can always be handed over and any cursor's chain recomputed. An *extra*
//! (serialized `Infer.Chunk` fields) is anchored at the last of its tokens and travels with it, so however chunks are
//! cut and replayed it arrives once.

use super::Chain;
use std::collections::VecDeque;
use std::ops::Range;

/// What came before: tokens and bytes of text or payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub struct Position {
    /// Tokens.
    pub tokens: u64,
    /// Bytes.
    pub bytes: u64,
}

#[derive(Debug)]
struct Extra {
    after: u64,
    total: u64,
    body: Box<[u8]>,
}

#[derive(Debug)]
struct Payload {
    output: u16,
    bytes: u64,
    body: Box<[u8]>,
}

/// Wire cost of a token beside its text: id and length.
pub const TOKEN_COST: u64 = 6;

/// A place in a log: a token's number, or a payload's. Both count from the start of the answer.
pub type Unit = u64;

/// The accepted or generated part of one answer.
#[derive(Debug, Default)]
pub struct Log {
    start: Position,
    base: Position,
    base_chain: Chain,
    ids: Vec<u32>,
    ends: Vec<u64>,
    text: Vec<u8>,
    runs: Vec<(u64, u16)>,
    extras: VecDeque<Extra>,
    extra_total: u64,
    extra_trimmed: u64,
    payloads: VecDeque<Payload>,
    payloads_trimmed: u64,
    payload_bytes: u64,
    opaque: bool,
    outputs: bool,
}

/// Tokens of one output that stand side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Which of the choices.
    pub output: u16,
    /// Their numbers.
    pub tokens: Range<u64>,
    /// Their bytes of text.
    pub bytes: Range<u64>,
}

impl Log {
    /// A log that begins at `start`, where the hash over what came before is `chain`.
    pub fn at(start: Position, chain: Chain) -> Self {
        Self {
            start,
            base: start,
            base_chain: chain,
            ..Self::default()
        }
    }

    /// Where the log began: token ids are kept from here on.
    pub fn base(&self) -> Position {
        self.base
    }

    /// Whether something was trimmed.
    pub fn trimmed(&self) -> bool {
        self.start != self.base
    }

    /// Hash over all before a unit that is kept (of tokens: any since the base).
    pub fn chain_at(&self, unit: Unit) -> Chain {
        let mut chain = self.base_chain.clone();
        if self.opaque {
            let count = unit.saturating_sub(self.payloads_trimmed) as usize;
            self.payloads
                .iter()
                .take(count)
                .for_each(|one| chain.feed_bytes(&one.body));
        } else {
            let count = (unit.saturating_sub(self.base.tokens) as usize).min(self.ids.len());
            chain.feed_tokens(&self.ids[..count]);
        }
        chain
    }

    /// First position that is kept.
    pub fn start(&self) -> Position {
        self.start
    }

    /// Position after all that is kept.
    pub fn end(&self) -> Position {
        Position {
            tokens: self.base.tokens + self.ids.len() as u64,
            bytes: match self.opaque {
                true => self.start.bytes + self.payload_bytes,
                false => self.ends.last().copied().unwrap_or(self.start.bytes),
            },
        }
    }

    /// Whether this answer has payloads in place of tokens.
    pub fn opaque(&self) -> bool {
        self.opaque
    }

    /// Whether nothing ever came.
    pub fn is_blank(&self) -> bool {
        self.ids.is_empty() && !self.opaque
    }

    /// First unit that is kept.
    pub fn first(&self) -> Unit {
        if self.opaque {
            self.payloads_trimmed
        } else {
            self.start.tokens
        }
    }

    /// Unit after the last.
    pub fn last(&self) -> Unit {
        if self.opaque {
            self.payloads_trimmed + self.payloads.len() as u64
        } else {
            self.end().tokens
        }
    }

    /// Position of a unit.
    pub fn position(&self, unit: Unit) -> Position {
        if !self.opaque {
            return Position {
                tokens: unit,
                bytes: self.bytes_at(unit),
            };
        }
        let index = (unit - self.payloads_trimmed) as usize;
        let bytes = self
            .payloads
            .get(index)
            .map_or(self.end().bytes, |payload| payload.bytes);
        Position {
            tokens: self.start.tokens,
            bytes,
        }
    }

    fn bytes_at(&self, token: u64) -> u64 {
        match token.saturating_sub(self.start.tokens) {
            0 => self.start.bytes,
            index => self.ends[index as usize - 1],
        }
    }

    /// The unit at a position, where there is one.
    pub fn locate(&self, wanted: Position) -> Option<Unit> {
        if self.opaque {
            let index = self.payloads.partition_point(|payload| payload.bytes < wanted.bytes);
            let unit = self.payloads_trimmed + index as u64;
            return (wanted == self.position(unit)).then_some(unit);
        }
        let kept = (self.start.tokens..=self.end().tokens).contains(&wanted.tokens);
        (kept && self.bytes_at(wanted.tokens) == wanted.bytes).then_some(wanted.tokens)
    }

    /// Bytes that are kept, as they count towards the bound: ids of trimmed text do not.
    pub fn size(&self) -> usize {
        let tokens = self.ends.len() * (size_of::<u32>() + size_of::<u64>());
        tokens + self.text.len() + (self.extra_total - self.extra_trimmed) as usize + self.payload_bytes as usize
    }

    /// Wire cost of all units before this one; differences are what a reader has still to take.
    pub fn cost(&self, unit: Unit) -> u64 {
        let position = self.position(unit);
        let extras = self.extras.partition_point(|extra| extra.after <= position.tokens);
        let extra_total = match extras {
            0 => self.extra_trimmed,
            count => self.extras[count - 1].total,
        };
        TOKEN_COST * position.tokens + position.bytes + extra_total
    }

    /// Append tokens of one output with their text; `extra` is anchored at the last of them.
    pub fn push(&mut self, output: u16, tokens: impl Iterator<Item = (u32, u32)>, text: &[u8], extra: &[u8]) {
        let before = self.end();
        if self.runs.last().is_none_or(|run| run.1 != output) {
            self.outputs |= !self.runs.is_empty();
            self.runs.push((before.tokens, output));
        }
        let mut end = before.bytes;
        for (id, length) in tokens {
            end += u64::from(length);
            self.ids.push(id);
            self.ends.push(end);
        }
        self.text.extend_from_slice(text);
        if !extra.is_empty() {
            self.extra_total += extra.len() as u64;
            self.extras.push_back(Extra {
                after: self.end().tokens,
                total: self.extra_total,
                body: extra.into(),
            });
        }
    }

    /// Append a payload.
    pub fn push_payload(&mut self, output: u16, body: &[u8]) {
        let bytes = self.end().bytes;
        self.outputs |= self.payloads.back().is_some_and(|last| last.output != output);
        self.opaque = true;
        self.payload_bytes += body.len() as u64;
        self.payloads.push_back(Payload {
            output,
            bytes,
            body: body.into(),
        });
    }

    /// Tokens from `unit` on that are of one output, until `bytes_max` of text or `tokens_max` are passed; with `alone`
    /// the span ends at the first extra. At least one token; None at the end.
    pub fn span(&self, unit: Unit, tokens_max: u64, bytes_max: u64, alone: bool) -> Option<Span> {
        let end = self.end().tokens;
        if unit >= end || self.opaque {
            return None;
        }
        let run = self.runs.partition_point(|run| run.0 <= unit) - 1;
        let mut last = self.runs.get(run + 1).map_or(end, |next| next.0);
        last = last.min(unit.saturating_add(tokens_max.max(1)));
        if alone {
            let extra = self.extras.partition_point(|extra| extra.after <= unit);
            last = self.extras.get(extra).map_or(last, |extra| last.min(extra.after));
        }
        let begin = self.bytes_at(unit);
        if self.bytes_at(last) - begin > bytes_max {
            let from = (unit - self.start.tokens) as usize;
            let fit = self.ends[from..].partition_point(|end| end - begin <= bytes_max);
            last = unit + (fit as u64).max(1);
        }
        Some(Span {
            output: self.runs[run].1,
            tokens: unit..last,
            bytes: begin..self.bytes_at(last),
        })
    }

    /// Ids of a span.
    pub fn ids(&self, span: &Span) -> &[u32] {
        self.ids_in(&span.tokens)
    }

    /// Ids of a range of tokens since the base.
    pub fn ids_in(&self, tokens: &Range<u64>) -> &[u32] {
        &self.ids[(tokens.start - self.base.tokens) as usize..(tokens.end - self.base.tokens) as usize]
    }

    /// Ids of all tokens from `token` on.
    pub fn ids_from(&self, token: u64) -> &[u32] {
        &self.ids[(token - self.base.tokens) as usize..]
    }

    /// Whether tokens since the base are all of one output.
    pub fn all_of(&self, tokens: &Range<u64>, output: u16) -> bool {
        let first = self.runs.partition_point(|run| run.0 <= tokens.start).saturating_sub(1);
        let mut runs = self.runs[first..].iter().take_while(|run| run.0 < tokens.end);
        runs.all(|run| run.1 == output)
    }

    /// Output of each token before `until`; empty when all are of output 0.
    pub fn outputs_until(&self, until: u64) -> Vec<u16> {
        if self.runs.iter().all(|run| run.1 == 0 || run.0 >= until) {
            return Vec::new();
        }
        let mut outputs = Vec::with_capacity((until - self.base.tokens) as usize);
        for (index, run) in self.runs.iter().enumerate() {
            let end = self.runs.get(index + 1).map_or(until, |next| next.0).min(until);
            outputs.extend(std::iter::repeat_n(run.1, end.saturating_sub(run.0) as usize));
        }
        outputs
    }

    /// Text between two positions that are kept.
    pub fn text_in(&self, bytes: &Range<u64>) -> &[u8] {
        &self.text[(bytes.start - self.start.bytes) as usize..(bytes.end - self.start.bytes) as usize]
    }

    /// Where each token's text ends, in bytes since the start.
    pub fn ends(&self, span: &Span) -> &[u64] {
        self.ends_in(&span.tokens)
    }

    /// Where the text of each of a range of kept tokens ends.
    pub fn ends_in(&self, tokens: &Range<u64>) -> &[u64] {
        let from = (tokens.start - self.start.tokens) as usize;
        &self.ends[from..from + (tokens.end - tokens.start) as usize]
    }

    /// Text of a span.
    pub fn text(&self, span: &Span) -> &[u8] {
        self.text_in(&span.bytes)
    }

    /// Extras anchored in a span.
    pub fn extras(&self, span: &Span) -> impl Iterator<Item = &[u8]> {
        let from = self.extras.partition_point(|extra| extra.after <= span.tokens.start);
        let end = span.tokens.end;
        self.extras
            .range(from..)
            .take_while(move |extra| extra.after <= end)
            .map(|extra| &*extra.body)
    }

    /// Output, position and body of a payload.
    pub fn payload(&self, unit: Unit) -> Option<(u16, u64, &[u8])> {
        let payload = self
            .payloads
            .get(usize::try_from(unit.checked_sub(self.payloads_trimmed)?).ok()?)?;
        Some((payload.output, payload.bytes, &payload.body))
    }

    /// Forget units before `unit`.
    pub fn trim(&mut self, unit: Unit) {
        if self.opaque {
            while self.payloads_trimmed < unit {
                let Some(payload) = self.payloads.pop_front() else {
                    return;
                };
                self.payloads_trimmed += 1;
                self.base_chain.feed_bytes(&payload.body);
                self.start.bytes += payload.body.len() as u64;
                self.payload_bytes -= payload.body.len() as u64;
            }
            return;
        }
        let tokens = (unit.saturating_sub(self.start.tokens) as usize).min(self.ends.len());
        let start = self.position(self.start.tokens + tokens as u64);
        self.text.drain(..(start.bytes - self.start.bytes) as usize);
        self.ends.drain(..tokens);
        self.start = start;
        while self.extras.front().is_some_and(|extra| extra.after <= start.tokens) {
            self.extra_trimmed = self.extras.pop_front().map_or(self.extra_trimmed, |extra| extra.total);
        }
    }

    /// First unit of the newest part that is within `bytes_max`.
    pub fn within(&self, bytes_max: u64) -> Unit {
        let (mut low, mut high) = (self.first(), self.last());
        let total = self.cost(high);
        while low < high {
            let middle = low + (high - low) / 2;
            if total - self.cost(middle) <= bytes_max {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }

    /// All token ids, where the log began at position 0.
    pub fn prefix(&self) -> Option<&[u32]> {
        (self.base == Position::default()).then_some(&self.ids)
    }

    /// Put what came before the base in front, where it fits; whether it did.
    pub fn prepend(&mut self, mut front: Self) -> bool {
        if self.trimmed() || self.opaque || front.opaque || front.end() != self.base {
            return false;
        }
        let extras = front.extra_total;
        self.extras.iter_mut().for_each(|extra| extra.total += extras);
        self.extra_total += extras;
        front.extras.append(&mut self.extras);
        let same = front.runs.last().map(|run| run.1) == self.runs.first().map(|run| run.1);
        front.outputs |= self.outputs || (!same && !self.runs.is_empty() && !front.runs.is_empty());
        front.ids.append(&mut self.ids);
        front.ends.append(&mut self.ends);
        front.text.append(&mut self.text);
        front.runs.extend(self.runs.drain(..).skip(usize::from(same)));
        front.extra_total = self.extra_total;
        *self = front;
        true
    }

    /// Bytes of payloads that are kept, from a position on: output and what is left of each.
    pub fn payloads_from(&self, bytes: u64) -> impl Iterator<Item = (u16, &[u8])> {
        let first = self
            .payloads
            .partition_point(|one| one.bytes + one.body.len() as u64 <= bytes);
        self.payloads
            .range(first..)
            .map(move |one| (one.output, &one.body[bytes.saturating_sub(one.bytes) as usize..]))
    }

    /// The answer as a serialized `Infer.Payload`: None when over `bytes_max`, trimmed, of several outputs, or of
    /// payloads that do not merge.
    pub fn answer(&self, bytes_max: usize) -> Option<Vec<u8>> {
        let whole = self.start == Position::default() && self.payloads_trimmed == 0 && !self.outputs;
        if !whole || self.end().bytes > bytes_max as u64 {
            return None;
        }
        let mut out = Vec::with_capacity(self.end().bytes as usize + 8);
        if self.opaque {
            let mergeable = self
                .payloads
                .iter()
                .all(|payload| payload.body.first() == Some(&TENSORS));
            if !mergeable && self.payloads.len() > 1 {
                return None;
            }
            self.payloads
                .iter()
                .for_each(|payload| out.extend_from_slice(&payload.body));
        } else {
            super::wire::put_bytes(&mut out, 1, &self.text);
        }
        (out.len() <= bytes_max).then_some(out)
    }
}

const TENSORS: u8 = 0x12; // tag of `Infer.Payload.tensors`: repeated inside, so payloads merge by standing side by side
