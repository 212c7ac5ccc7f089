//! What the answers of random stories are, and readers that check what they get against them.

use super::world::{job, numbers};
use crate::stream::wire::{Fields, Value, first_two, last_bytes};
use crate::stream::{Chain, Position};

/// Jobs of a story.
pub const JOBS: u8 = 4;
/// The one with payloads in place of tokens.
pub const OPAQUE: u8 = JOBS - 1;
/// Bytes of one tensor of its payloads.
pub const FIELD: usize = 3;
const WORDS: [&str; 6] = ["a", "", "日本", "longer word ", "é", "\n"];

/// The answer of a job, whoever makes it.
pub struct Oracle {
    pub ids: Vec<u32>,
    pub outputs: Vec<u16>,
    pub ends: Vec<usize>,
    pub text: Vec<u8>,
    pub extras: Vec<Option<[u8; 4]>>,
}

impl Oracle {
    pub fn new(number: u8, total: u64) -> Self {
        let mut oracle = Self {
            ids: Vec::new(),
            outputs: Vec::new(),
            ends: vec![0],
            text: Vec::new(),
            extras: Vec::new(),
        };
        for at in 0..total {
            let mix = ((at + 1).wrapping_mul(0x9e37_79b9 + u64::from(number) * 7_919) >> 7) as usize;
            if number == OPAQUE {
                oracle.text.extend_from_slice(&[0x12, 1, mix as u8]);
            } else {
                oracle.ids.push(mix as u32);
                oracle.text.extend_from_slice(WORDS[mix % WORDS.len()].as_bytes());
            }
            oracle
                .outputs
                .push(if number == 1 { (mix >> 9) as u16 % 8 / 7 } else { 0 });
            oracle.ends.push(oracle.text.len());
            let marked = mix >> 13 & 3 == 0 && number != OPAQUE;
            oracle.extras.push(marked.then(|| (at as u32).to_le_bytes()));
        }
        oracle
    }

    pub fn opaque(&self) -> bool {
        self.ids.is_empty()
    }

    pub fn total(&self) -> u64 {
        self.outputs.len() as u64
    }

    pub fn position(&self, at: u64) -> Position {
        Position {
            tokens: if self.opaque() { 0 } else { at },
            bytes: self.ends[at as usize] as u64,
        }
    }

    pub fn chain(&self, at: Position) -> Vec<u8> {
        let mut chain = Chain::new();
        if self.opaque() {
            chain.feed_bytes(&self.text[..at.bytes as usize]);
        } else {
            chain.feed_tokens(&self.ids[..at.tokens as usize]);
        }
        chain.state()
    }
}

/// What a reader got, checked as it comes.
#[derive(Default)]
pub struct Follow {
    pub number: u8,
    pub begin: Position,
    pub at: Position,
    pub epoch: u64,
    pub seq: u64,
    pub extras: Vec<u8>,
    pub ends: usize,
    pub failed: Vec<Vec<u8>>,
    pub told_end: bool,
}

impl Follow {
    pub fn check(&mut self, chunk: &[u8], oracle: &Oracle) {
        assert_eq!(self.ends, 0, "a chunk after the last");
        assert_eq!(numbers(chunk, 2), self.seq, "seq");
        let (tokens, bytes) = first_two(last_bytes(chunk, 6).expect("start")).expect("start");
        assert!(
            tokens >= self.at.tokens && bytes == self.at.bytes,
            "{:?} then {:?}",
            self.at,
            (tokens, bytes)
        );
        let cursor = last_bytes(chunk, 11).expect("continuation");
        let (tokens, bytes) = first_two(last_bytes(cursor, 3).expect("position")).expect("position");
        let at = Position { tokens, bytes };
        let payload = last_bytes(chunk, 3).expect("payload");
        let text = if oracle.opaque() {
            payload
        } else {
            last_bytes(payload, 1).expect("text")
        };
        assert_eq!(text, &oracle.text[self.at.bytes as usize..at.bytes as usize], "text");
        let chain = last_bytes(cursor, 4).expect("chain");
        assert_eq!(chain, oracle.chain(at), "chain at {at:?}");
        assert_eq!(last_bytes(cursor, 1), Ok(&job(self.number)[..]));
        assert_eq!(numbers(cursor, 2), numbers(chunk, 5), "epoch of the cursor");
        self.check_epoch(chunk);
        let mut fields = Fields::new(chunk);
        while let Some((number, value)) = fields.next_field().expect("well-formed") {
            if let (8, Value::Bytes(extra)) = (number, value) {
                self.extras.extend_from_slice(extra);
            }
        }
        self.ends += usize::from(numbers(chunk, 4) == 1);
        self.seq += 1;
        self.at = at;
    }

    fn check_epoch(&mut self, chunk: &[u8]) {
        let (epoch, continuity) = (numbers(chunk, 5), numbers(chunk, 16));
        assert!(epoch >= self.epoch, "attempts never go back");
        if self.seq > 0 && self.at > Position::default() {
            assert_eq!(continuity != 0, epoch != self.epoch, "continuity tells of a takeover");
        }
        self.epoch = epoch;
    }
}
