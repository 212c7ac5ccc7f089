//! What an engine hands in, and what it must hold to before anything is kept of it.

use super::JobId;
use super::wire::{Fields, Malformed, Value};

/// Most bytes of text of one token, and of one extra: both fit one entry.
const PIECE_BYTES_MAX: usize = 32_000;
/// What one engine step made of one attempt.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as in the stub")]
pub struct Piece<'a> {
    pub job: JobId,
    pub epoch: u32,
    pub output: u16,
    pub ids: &'a [u32],
    pub lengths: &'a [u32],
    pub text: &'a [u8],
    pub extra: &'a [u8],
}

impl Piece<'_> {
    /// Whether lengths, characters and sizes are right; `opaque` where its attempt has payloads.
    pub fn check(&self, opaque: bool) -> Result<(), Malformed> {
        let text = std::str::from_utf8(self.text).map_err(|_| Malformed("text is not UTF-8"))?;
        if self.ids.len() != self.lengths.len() {
            return Err(Malformed("as many lengths as tokens are needed"));
        }
        if self.extra.len() > PIECE_BYTES_MAX || (self.ids.is_empty() && !self.extra.is_empty()) {
            return Err(Malformed("extra over 32,000 bytes, or without a token"));
        }
        let mut end = 0usize;
        for length in self.lengths {
            end += *length as usize;
            if *length as usize > PIECE_BYTES_MAX || !text.is_char_boundary(end) {
                return Err(Malformed("lengths do not fit the text"));
            }
        }
        match (end == text.len(), opaque) {
            (false, _) => Err(Malformed("lengths do not fit the text")),
            (true, true) => Err(Malformed("tokens after a payload")),
            (true, false) => Ok(()),
        }
    }
}

/// Whether a chunk can be the last: it has `done` and no payload.
pub fn check_last(chunk: &[u8]) -> Result<(), Malformed> {
    let mut fields = Fields::new(chunk);
    let mut done = false;
    while let Some((number, value)) = fields.next_field()? {
        match (number, value) {
            (3, _) => return Err(Malformed("the last chunk has a payload")),
            (4, Value::Varint(value)) => done = value != 0,
            _ => {}
        }
    }
    if done {
        Ok(())
    } else {
        Err(Malformed("the last chunk is not done"))
    }
}
