//! What waits to leave on one link ahead of bulk: control entries, whole or cut.

use super::codec::{BODY_BYTES_MAX, FrameWriter, Head, MORE};
use super::{Action, Actions};
use std::collections::VecDeque;

/// Control entries of one link, and whether the caller knows that something waits.
#[derive(Debug, Default)]
pub struct Outlet {
    waiting: VecDeque<(Head, Box<[u8]>)>,
    bytes: usize,
    told: bool,
}

impl Outlet {
    /// Queue an entry; a long body is cut.
    pub fn push(&mut self, mut head: Head, mut body: &[u8]) {
        while body.len() > BODY_BYTES_MAX {
            let (now, later) = body.split_at(BODY_BYTES_MAX);
            head.flags |= MORE;
            self.put(head, now);
            body = later;
        }
        head.flags &= !MORE;
        self.put(head, body);
    }

    fn put(&mut self, head: Head, body: &[u8]) {
        self.bytes += body.len();
        self.waiting.push_back((head, body.into()));
    }

    /// Tell the caller that something waits, unless it knows.
    pub fn tell(&mut self, link: u64, actions: &mut Actions) {
        if !self.told {
            self.told = true;
            actions.push(Action::Link(link));
        }
    }

    /// The caller has seen that nothing waits.
    pub fn drained(&mut self) {
        self.told = false;
    }

    /// Write what fits; whether all is written.
    pub fn fill(&mut self, writer: &mut FrameWriter) -> bool {
        while let Some((head, body)) = self.waiting.front() {
            if !writer.fits(body.len()) {
                return false;
            }
            head.put(writer.out(), body);
            self.bytes -= body.len();
            self.waiting.pop_front();
        }
        true
    }

    /// Bytes of bodies that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}
