//! One link of a gateway: control first, then STARTs and ATTACHes in turns while they have credit.
//!
//! A long request spends the credit that its worker gives, so a worker's memory bounds what gateways send it at once.
//! Source: docs/design/link.md, "Credit".

use super::JobId;
use super::codec::{FrameWriter, HEADER, Head, Joiner, MORE, kind};
use super::log::Position;
use super::outlet::Outlet;
use super::wire::{put_bytes, put_nonzero, put_packed, put_position};
use std::collections::VecDeque;

const START_CREDIT: i64 = 65_536; // a worker's first window for the body of a START: docs/design/link.md
const TURN_BYTES: usize = 16_384; // of one START before the next one's turn: four turns fill a frame
/// A START or ATTACH that waits for room and credit.
#[derive(Debug)]
pub struct Bulk {
    head: Head,
    body: Vec<u8>,
    offset: usize,
    credit: i64,
}

/// One link of a gateway.
#[derive(Debug, Default)]
pub struct Link {
    /// Control entries.
    pub outlet: Outlet,
    /// Bodies that arrive in parts.
    pub joiner: Joiner,
    bulk: VecDeque<Bulk>,
}

/// What an attempt needs to go on from where the answer is.
#[derive(Debug)]
pub struct Handover<'a> {
    /// Where it begins.
    pub at: Position,
    /// Chain state there; empty where nothing came before.
    pub chain: Vec<u8>,
    /// Token ids before.
    pub prefix: &'a [u32],
    /// Their outputs; empty when all are 0.
    pub outputs: Vec<u16>,
    /// How it continues what came before.
    pub continuity: u32,
}

/// A START or ATTACH at a position, with its first window.
pub fn opening(job: JobId, epoch: u32, driver: bool, over: &Handover<'_>, window: u32, body: &[u8]) -> Bulk {
    let (kind, position_field, credit_field, chain_field) = if driver {
        (kind::START, 3, 5, 10)
    } else {
        (kind::ATTACH, 2, 3, 4)
    };
    let mut body = body.to_vec();
    put_position(&mut body, position_field, over.at.tokens, over.at.bytes);
    put_nonzero(&mut body, credit_field, u64::from(window));
    if !over.chain.is_empty() {
        put_bytes(&mut body, chain_field, &over.chain);
    }
    if driver {
        put_packed(&mut body, 4, over.prefix.iter().copied().map(u64::from));
        put_packed(&mut body, 14, over.outputs.iter().copied().map(u64::from));
        put_nonzero(&mut body, 12, u64::from(over.continuity));
    }
    let mut head = Head::plain(job, epoch, kind);
    (head.tokens, head.bytes) = (over.at.tokens, over.at.bytes);
    Bulk {
        head,
        body,
        offset: 0,
        credit: START_CREDIT,
    }
}

impl Link {
    /// Credit for a START.
    pub fn credit(&mut self, head: &Head) -> bool {
        let wanted = |bulk: &&mut Bulk| (bulk.head.job, bulk.head.epoch) == (head.job, head.epoch);
        let found = self.bulk.iter_mut().find(wanted);
        let bulk = found.map(|bulk| bulk.credit = bulk.credit.saturating_add(i64::from(head.credit)));
        bulk.is_some()
    }

    /// Queue a START or ATTACH.
    pub fn queue(&mut self, bulk: Bulk) {
        self.bulk.push_back(bulk);
    }

    /// Write starts in turns while they have credit.
    pub fn fill(&mut self, writer: &mut FrameWriter) {
        let mut idle = 0;
        while let Some(mut bulk) = self.bulk.pop_front() {
            let left = bulk.body.len() - bulk.offset;
            let cut = left.min(TURN_BYTES).min(writer.room());
            let full = !writer.fits(0) || cut < left.min(TURN_BYTES / 4);
            if full || idle > self.bulk.len() {
                return self.bulk.push_front(bulk);
            }
            if bulk.credit <= 0 {
                idle += 1;
                self.bulk.push_back(bulk);
                continue;
            }
            idle = 0;
            let last = cut == left;
            bulk.head.flags = if last { 0 } else { MORE };
            bulk.head.put(writer.out(), &bulk.body[bulk.offset..bulk.offset + cut]);
            bulk.offset += cut;
            bulk.credit -= cut as i64;
            if !last {
                self.bulk.push_back(bulk);
            }
        }
    }

    /// Drop what waits or arrives of an attempt.
    pub fn forget(&mut self, job: &JobId, epoch: u32) {
        self.bulk
            .retain(|bulk| (bulk.head.job, bulk.head.epoch) != (*job, epoch));
        for kind in [kind::CHUNK, kind::END, kind::FAIL] {
            self.joiner.forget(job, epoch, kind);
        }
    }

    /// Bytes that wait.
    pub fn waiting(&self) -> usize {
        self.bulk
            .iter()
            .map(|bulk| bulk.body.len() - bulk.offset + HEADER)
            .sum()
    }
}
