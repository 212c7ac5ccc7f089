//! A client's stream: where it is, what its next chunk carries, and the place that it asked to begin at.

use super::Chain;
use super::failure::{BEHIND, CURSOR, DIVERGED, Failure};
use super::job::{End, Job};
use super::log::{Log, Position, Unit};

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
    /// Takeovers that it knows of.
    pub mark: usize,
    /// Whether its chunks carry where to go on.
    pub continuation: bool,
    /// Hash over all before `fed`.
    pub chain: Chain,
    /// Unit up to which the hash goes.
    pub fed: Unit,
}

/// Where a reader wants to begin.
#[derive(Debug, Clone, Default)]
pub struct Start {
    /// The place.
    pub position: Position,
    /// Chain state there; empty to compare nothing.
    pub chain_state: Vec<u8>,
}

/// A reader whose place is not reached yet.
#[derive(Debug)]
pub struct Waiting {
    /// It, to be put at its place.
    pub reader: Reader,
    /// The place.
    pub start: Start,
}

/// Where a position is in a log.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    /// At this unit.
    At(Unit),
    /// Not there yet.
    Ahead,
    /// Before what is kept.
    Behind,
    /// Nowhere: inside a token, or of another answer.
    Nowhere,
}

/// Where a position is in a log.
pub fn place(log: &Log, wanted: Position) -> Place {
    let (start, end) = (log.start(), log.end());
    if let Some(unit) = log.locate(wanted) {
        return Place::At(unit);
    }
    let ahead = if log.is_blank() {
        wanted.tokens >= end.tokens && wanted.bytes >= end.bytes
    } else if log.opaque() {
        wanted.tokens == end.tokens && wanted.bytes > end.bytes
    } else {
        wanted.tokens > end.tokens && wanted.bytes >= end.bytes
    };
    let behind = if log.opaque() {
        wanted.tokens == start.tokens && wanted.bytes < start.bytes
    } else {
        wanted.tokens < start.tokens && wanted.bytes <= start.bytes
    };
    match (ahead, behind) {
        (true, _) => Place::Ahead,
        (_, true) => Place::Behind,
        _ => Place::Nowhere,
    }
}

/// Whether a hash state can be meant for a position: well-formed, and as long as that.
fn fits(state: &[u8], position: Position) -> bool {
    let length = match position.tokens {
        0 => position.bytes,
        tokens => tokens.wrapping_mul(4),
    };
    Chain::resume(state).is_ok_and(|chain| chain.length() == length)
}

impl Job {
    /// Where a reader begins, None while that is ahead, or why it can't.
    pub fn begin(&self, start: &Start) -> Result<Option<(Unit, Chain)>, Failure> {
        if !start.chain_state.is_empty() && !fits(&start.chain_state, start.position) {
            return Err(CURSOR);
        }
        let unit = match place(&self.log, start.position) {
            Place::At(unit) => unit,
            Place::Ahead if matches!(self.end, End::Open | End::Waiting { .. }) => return Ok(None), // it may go on
            Place::Behind => return Err(BEHIND),
            Place::Ahead | Place::Nowhere => return Err(CURSOR),
        };
        let chain = if unit == self.log.last() {
            self.chain.clone()
        } else {
            self.log.chain_at(unit)
        };
        if !start.chain_state.is_empty() && chain.state() != start.chain_state {
            return Err(DIVERGED);
        }
        Ok(Some((unit, chain)))
    }

    /// Put a reader at its place; whether something waits for it there.
    pub fn seat(&mut self, mut reader: Reader, (unit, chain): (Unit, Chain)) -> bool {
        (reader.at, reader.fed, reader.chain) = (unit, unit, chain);
        reader.mark = self.marks.iter().take_while(|mark| mark.unit < unit).count();
        reader.told = self.log.last() > unit;
        self.taken = self.taken.max(unit);
        let told = reader.told;
        self.readers.push(reader);
        told
    }

    /// Furthest unit for which credit is due: all, where those who read want only what is to come.
    pub fn front(&self) -> Unit {
        if self.readers.is_empty() && !self.waiting.is_empty() {
            self.log.last()
        } else {
            self.taken.max(self.log.first())
        }
    }
}
