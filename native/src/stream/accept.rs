//! What comes in on a gateway's links, entry by entry.

use super::codec::{Entries, Head, MORE, kind};
use super::compare::Accepted;
use super::ending::Cause;
use super::failure::{BROKEN, DIVERGED, Failure, MALFORMED};
use super::job::{End, Side};
use super::table::StreamTable;
use super::wire::{Fields, Malformed, Value};
use super::{Action, Actions};

impl StreamTable {
    /// A frame came in on a link; of one that is no frame nothing is believed.
    pub fn frame(&mut self, link: u64, frame: &[u8], now_ms: u64) -> Result<Actions, Malformed> {
        let entries = Entries::open(frame)?;
        let mut actions = self.actions();
        for (head, body) in entries {
            self.counts.entries += 1;
            if let Err(malformed) = self.entry(link, &head, body, now_ms, &mut actions) {
                self.pending = actions; // what was decided before must still be done
                return Err(malformed);
            }
        }
        Ok(actions)
    }

    fn entry(&mut self, link: u64, head: &Head, body: &[u8], now: u64, to: &mut Actions) -> Result<(), Malformed> {
        match head.kind {
            kind::CHUNK | kind::END | kind::FAIL => self.answer(link, head, body, now, to),
            kind::START | kind::ATTACH => Err(Malformed("a gateway takes no jobs")),
            kind::CREDIT => {
                self.credit(link, head, to);
                Ok(())
            }
            _ => self.control(link, head, body, now, to),
        }
    }

    fn credit(&mut self, link: u64, head: &Head, actions: &mut Actions) {
        let Some(lane) = self.links.get_mut(link) else { return };
        if lane.credit(head) {
            lane.outlet.tell(link, actions);
        }
    }

    fn control(&mut self, link: u64, head: &Head, body: &[u8], now: u64, to: &mut Actions) -> Result<(), Malformed> {
        let Some(lane) = self.links.lane(link) else {
            return Ok(());
        };
        let Some(whole) = lane.joiner.feed(head, body, self.settings.body_bytes_max)? else {
            return Ok(());
        };
        if head.kind == kind::PROGRESS
            && let Some((_, job)) = self.job(head.job)
            && let Some(side) = job.hears(link, head.epoch)
        {
            job.side(side).progressed(&whole, now);
        }
        to.push(Action::Control(
            link,
            head.kind,
            head.job,
            head.epoch,
            whole.into_owned(),
        ));
        Ok(())
    }

    /// A part of an answer: only the present attempt, on its own link, counts.
    fn answer(&mut self, link: u64, head: &Head, body: &[u8], now: u64, to: &mut Actions) -> Result<(), Malformed> {
        let body_bytes_max = self.settings.body_bytes_max;
        let index = self.ids.get(&head.job).copied();
        let Some((index, job)) = index.and_then(|index| Some((index, self.jobs.get_mut(index)?))) else {
            self.counts.stale += 1;
            if head.kind != kind::CHUNK && head.flags & MORE == 0 {
                to.push(Action::Control(link, head.kind, head.job, head.epoch, body.to_vec())); // tells what was used
            }
            return Ok(());
        };
        let Some(side) = job.hears(link, head.epoch) else {
            self.counts.stale += 1;
            return Ok(());
        };
        let runner = job.side(side);
        runner.heard(now);
        if head.kind == kind::CHUNK {
            runner.debt += body.len() as u64;
        }
        let joined = match self.links.get_mut(link) {
            Some(lane) if head.flags & MORE != 0 || lane.joiner.has(&head.job, head.epoch, head.kind) => {
                let Some(whole) = lane.joiner.feed(head, body, body_bytes_max)? else {
                    return Ok(());
                };
                Some(whole.into_owned())
            }
            _ => None,
        };
        let body = joined.as_deref().unwrap_or(body);
        if head.kind == kind::FAIL {
            self.failed(index, side, body, to);
            return Ok(());
        }
        if side == Side::Rival
            && let Some(job) = self.jobs.get_mut(index)
            && let Some(rival) = &mut job.rival
        {
            std::mem::swap(&mut job.run, &mut **rival); // whoever speaks is heard as the present attempt
        }
        match head.kind {
            kind::CHUNK => self.chunk(index, head, body, now, to),
            _ => self.end(index, head, body, now, to),
        }
        Ok(())
    }

    /// The worker failed an attempt: the job goes on where another may do better, and the caller wants that.
    fn failed(&mut self, index: usize, side: Side, failure: &[u8], to: &mut Actions) {
        if self.lose(index, side, to) {
            return;
        }
        let hold = self.settings.hold_failed && goes_elsewhere(failure);
        let Some(job) = self.jobs.get_mut(index) else { return };
        if !hold {
            return self.end_without(index, failure, Cause::Failed, to);
        }
        (job.run.link, job.run.silent) = (None, true);
        to.push(Action::Lost(job.id, job.run.epoch, job.delivered(), failure.to_vec()));
    }

    fn chunk(&mut self, index: usize, head: &Head, body: &[u8], now_ms: u64, actions: &mut Actions) {
        let Some(job) = self.jobs.get_mut(index) else { return };
        let before = job.log.end();
        let raced = job.rival.is_some();
        if raced {
            job.mark();
        }
        let rerun = job.run.replay.is_some();
        let accepted = match job.accept(head, body) {
            Err(failure) => return self.diverged(index, failure, rerun, actions),
            Ok(accepted) => accepted,
        };
        match accepted {
            Accepted::Nothing => self.counts.trimmed += 1,
            Accepted::Silent => {}
            Accepted::Shown => {
                for reader in job.readers.iter_mut().filter(|reader| !reader.told) {
                    reader.told = true;
                    actions.push(Action::Reader(reader.id));
                }
            }
        }
        if accepted != Accepted::Nothing {
            job.run.accepted = true;
            if !job.waiting.is_empty() {
                self.admit(index, now_ms, actions);
            }
            if raced {
                self.win(index, actions);
            }
        }
        let Some(job) = self.jobs.get_mut(index) else { return };
        let before = before.tokens;
        self.counts.tokens += job.log.end().tokens - before;
        let indebted = job.run.debt * 4 >= u64::from(self.settings.window_bytes);
        self.bound(index, now_ms, actions);
        if indebted {
            self.give_back(index, actions);
        }
    }

    fn end(&mut self, index: usize, head: &Head, body: &[u8], now_ms: u64, actions: &mut Actions) {
        let Some(job) = self.jobs.get_mut(index) else { return };
        let rerun = job.run.replay.is_some();
        let fields = match job.accept_end(head, body) {
            Ok(fields) => fields,
            Err(failure) => return self.diverged(index, failure, rerun, actions),
        };
        job.end = End::Waiting {
            fields,
            since_ms: now_ms,
            late: false,
        };
        job.alone_since = None;
        if job.rival.is_some() {
            job.mark();
        }
        let answer = if job.keep_answer > 0 {
            job.log.answer(job.keep_answer)
        } else {
            None
        };
        let commit = Action::Commit(job.id, job.run.epoch, body.to_vec(), answer);
        self.win(index, actions);
        actions.push(commit);
    }

    /// What came does not continue what was accepted: of a rerun the job fails, else its worker is at fault.
    fn diverged(&mut self, index: usize, failure: Failure, rerun: bool, actions: &mut Actions) {
        self.counts.stale += u64::from(failure == MALFORMED);
        let Some(job) = self.jobs.get_mut(index) else { return };
        let fault = self.settings.hold_failed && job.driver && !(rerun && failure == DIVERGED);
        if fault && let Some(link) = job.run.link {
            actions.push(Action::Foul(link, job.id, job.run.epoch));
        }
        if self.lose(index, Side::Run, actions) {
            return;
        }
        if !fault {
            return self.end_without(index, &failure.serialize(), Cause::Abandoned, actions);
        }
        let Some(job) = self.jobs.get_mut(index) else { return };
        let (id, epoch, how, at) = (job.id, job.run.epoch, job.stop_kind(), job.delivered());
        let link = job.run.link.take();
        job.run.silent = true;
        if let Some(link) = link {
            self.say(link, Head::plain(id, epoch, how), &[], actions);
        }
        actions.push(Action::Lost(id, epoch, at, BROKEN.serialize()));
    }
}

/// Whether a serialized `Link.Failure` says that another worker may do better, or should go on.
fn goes_elsewhere(failure: &[u8]) -> bool {
    let mut fields = Fields::new(failure);
    let mut elsewhere = false;
    while let Ok(Some((number, value))) = fields.next_field() {
        if let (4 | 7, Value::Varint(value)) = (number, value) {
            elsewhere |= value != 0;
        }
    }
    elsewhere
}
