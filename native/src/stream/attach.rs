//! Who begins and joins attempts at a worker, and where: at once, when the place is reached, or not at all.
//!
//! An attempt that continues another begins where that one ended; its engine replays the prefix and hands in the text
//! (`preload`), so that readers can be served from position 0 again. Source: docs/design/streams.md §3.

use super::attempt::{Attempt, Reader, Waiting};
use super::codec::{Head, kind};
use super::failure::{BEHIND, DIVERGED, Failure, HANDED, UNKNOWN};
use super::log::{Log, Unit};
use super::logs::{ChunkLogs, Opening};
use super::piece::Piece;
use super::reader::{Place, place};
use super::wire::Malformed;
use super::{Action, Actions, Chain, JobId};

/// How long a reader waits for the text of a handed prefix: engines hand it in within their first step.
const PREFIX_MS: u64 = 2_000;

/// Whether a reader can have its place.
enum Seat {
    At(Unit),
    Later,
    Refused(Failure),
}

impl ChunkLogs {
    /// Begin an attempt with its driver, or let the driver of a known one read it again.
    pub fn start(&mut self, who: &Opening<'_>, grace_ms: u64) -> Result<Actions, Malformed> {
        if let Some(attempt) = self.attempt(who.job, who.epoch) {
            if attempt.tenant == who.tenant {
                attempt.driver = who.link;
            }
            return Ok(self.attach(who));
        }
        let chain = match who.chain_state {
            [] => Chain::new(),
            state => Chain::resume(state).map_err(|_| Malformed("malformed chain state"))?,
        };
        let fits = match who.position.tokens {
            0 => chain.length() == who.position.bytes,
            tokens => chain.length() == tokens.wrapping_mul(4),
        };
        if !fits {
            return Err(Malformed("the chain does not stand at the position"));
        }
        let index = self.attempts.insert(Attempt {
            job: who.job,
            epoch: who.epoch,
            tenant: who.tenant.to_owned(),
            driver: who.link,
            grace_ms,
            unread_since: None,
            cancelled: false,
            log: Log::at(who.position, chain.clone()),
            chain,
            readers: Vec::new(),
            waiting: Vec::new(),
            end: None,
        });
        self.keys.insert((who.job, who.epoch), index);
        let mut actions = vec![Action::Run(who.job, who.epoch)];
        self.read(index, who, &mut actions);
        Ok(actions)
    }

    /// Let a link read an attempt.
    pub fn attach(&mut self, who: &Opening<'_>) -> Actions {
        let mut actions = Vec::new();
        let index = self.keys.get(&(who.job, who.epoch)).copied();
        let known = index.filter(|index| self.attempts.get(*index).is_some_and(|one| one.tenant == who.tenant));
        match known {
            Some(index) => self.read(index, who, &mut actions),
            None => self.refuse_with(who.link, who.job, who.epoch, UNKNOWN, &mut actions),
        }
        actions
    }

    fn read(&mut self, index: usize, who: &Opening<'_>, actions: &mut Actions) {
        let Some(attempt) = self.attempts.get_mut(index) else {
            return;
        };
        if self.links.lane(who.link).is_none() {
            return attempt.readers.retain(|reader| reader.link != who.link); // lost: the attempt waits out its grace
        }
        attempt.unread_since = None;
        attempt.waiting.retain(|waiting| waiting.link != who.link);
        let midway = |reader: &&mut Reader| reader.link == who.link && reader.offset > 0;
        if let Some(reader) = attempt.readers.iter_mut().find(midway) {
            reader.credit = i64::from(who.credit_bytes); // in the middle of a body on this very link: nothing is lost
            return self.wake(index, actions);
        }
        attempt.readers.retain(|reader| reader.link != who.link);
        attempt.waiting.push(Waiting {
            link: who.link,
            position: who.position,
            chain_state: who.chain_state.to_vec(),
            credit: i64::from(who.credit_bytes),
            since: None,
        });
        if let Some(lane) = self.links.get_mut(who.link) {
            lane.ready.retain(|ready| *ready != index);
        }
        self.settle(index, actions);
        self.wake(index, actions);
    }

    fn refuse_with(&mut self, link: u64, job: JobId, epoch: u32, failure: Failure, actions: &mut Actions) {
        actions.extend(self.refuse(link, job, epoch, &failure.serialize()));
    }

    /// Answer a START or ATTACH with a failure.
    pub fn refuse(&mut self, link: u64, job: JobId, epoch: u32, failure: &[u8]) -> Actions {
        let mut actions = Vec::new();
        if let Some(lane) = self.links.lane(link) {
            lane.outlet.push(Head::plain(job, epoch, kind::FAIL), failure);
            lane.outlet.tell(link, &mut actions);
        }
        actions
    }

    /// Give readers the places that are there now.
    pub(super) fn settle(&mut self, index: usize, actions: &mut Actions) {
        let Some(attempt) = self.attempts.get_mut(index).filter(|one| !one.waiting.is_empty()) else {
            return;
        };
        let (job, epoch) = (attempt.job, attempt.epoch);
        let mut refused = Vec::new();
        for waiting in std::mem::take(&mut attempt.waiting) {
            match attempt.seat(&waiting) {
                Seat::At(at) => attempt.readers.push(Reader {
                    link: waiting.link,
                    at,
                    offset: 0,
                    credit: waiting.credit,
                    queued: false,
                    failure: None,
                }),
                Seat::Later => attempt.waiting.push(waiting),
                Seat::Refused(failure) => refused.push((waiting.link, failure)),
            }
        }
        for (link, failure) in refused {
            self.refuse_with(link, job, epoch, failure, actions);
        }
    }

    /// Readers that wait too long for a prefix are refused.
    pub(super) fn tire(&mut self, index: usize, now_ms: u64, actions: &mut Actions) {
        let Some(attempt) = self.attempts.get_mut(index).filter(|one| !one.waiting.is_empty()) else {
            return;
        };
        let (job, epoch, begin) = (attempt.job, attempt.epoch, attempt.log.start());
        let mut tired = Vec::new();
        attempt.waiting.retain_mut(|waiting| {
            let since = *waiting.since.get_or_insert(now_ms);
            let over = waiting.position < begin && now_ms >= since.saturating_add(PREFIX_MS);
            tired.extend(over.then_some(waiting.link));
            !over
        });
        for link in tired {
            self.refuse_with(link, job, epoch, HANDED, actions);
        }
    }

    /// The text of the prefix that an attempt was handed; ignored where the log has it, or has lost its beginning.
    pub fn preload(&mut self, job: JobId, epoch: u32, pieces: &[Piece<'_>]) -> Result<Actions, Malformed> {
        let mut actions = Vec::new();
        let Some(&index) = self.keys.get(&(job, epoch)) else {
            return Ok(actions);
        };
        let Some(attempt) = self.attempts.get_mut(index) else {
            return Ok(actions);
        };
        if attempt.log.base().tokens == 0 || attempt.log.trimmed() {
            return Ok(actions);
        }
        let (front, chain) = front(job, epoch, pieces)?;
        if front.end() != attempt.log.base() || chain != attempt.log.chain_at(attempt.log.base().tokens) {
            return Err(Malformed("the pieces are not the prefix that was handed over"));
        }
        attempt.log.prepend(front);
        attempt.bound(self.settings.log_bytes_max, self.settings.body_bytes_max);
        self.settle(index, &mut actions);
        self.wake(index, &mut actions);
        Ok(actions)
    }
}

/// A log of pieces of one attempt from position 0 on, and the hash over it.
fn front(job: JobId, epoch: u32, pieces: &[Piece<'_>]) -> Result<(Log, Chain), Malformed> {
    let (mut log, mut chain) = (Log::default(), Chain::new());
    for piece in pieces {
        piece.check(false)?;
        if (piece.job, piece.epoch) != (job, epoch) {
            return Err(Malformed("a piece of another attempt"));
        }
        if !piece.ids.is_empty() {
            let tokens = piece.ids.iter().copied().zip(piece.lengths.iter().copied());
            log.push(piece.output, tokens, piece.text, piece.extra);
            chain.feed_tokens(piece.ids);
        }
    }
    Ok((log, chain))
}

impl Attempt {
    fn seat(&self, waiting: &Waiting) -> Seat {
        let open = self.end.is_none();
        match place(&self.log, waiting.position) {
            Place::At(at) if self.agrees(at, &waiting.chain_state) => Seat::At(at),
            Place::Ahead if open => Seat::Later,
            Place::Behind if self.log.trimmed() => Seat::Refused(BEHIND),
            Place::Behind if open => Seat::Later,
            Place::Behind => Seat::Refused(HANDED),
            Place::At(_) | Place::Ahead | Place::Nowhere => Seat::Refused(DIVERGED),
        }
    }

    fn agrees(&self, at: Unit, chain_state: &[u8]) -> bool {
        if chain_state.is_empty() {
            return true;
        }
        let chain = if at == self.log.last() {
            self.chain.clone()
        } else {
            self.log.chain_at(at)
        };
        chain.state() == chain_state
    }
}
