//! How jobs end at a gateway: by a commit, by a failure, by a cancel; each once, and with all that it held.
//!
//! The id is free as soon as the end is decided; what readers have not taken stays until they have.
//! Source: docs/design/streams.md §5.

use super::codec::Head;
use super::failure::{CANCELLED, NOT_DONE};
use super::job::End;
use super::table::StreamTable;
use super::{Action, Actions, JobId};

const DONE: u32 = 2;
const STATE_CANCELLED: u32 = 4;

/// How a job that ends without an answer is told to its driver.
pub(super) enum Cause {
    Abandoned,
    Failed,
    Cancelled,
}

impl StreamTable {
    /// The commit of a job is decided.
    pub fn committed(&mut self, job: JobId, epoch: u32, outcome: u32, settlement: u32) -> Actions {
        let mut actions = self.actions();
        let Some((index, job)) = self.job(job).filter(|(_, job)| job.run.epoch == epoch) else {
            return actions;
        };
        let End::Waiting { fields, .. } = &mut job.end else {
            return actions;
        };
        if outcome == DONE {
            let fields = std::mem::take(fields);
            job.release(fields, settlement);
            self.refuse_ahead(index, &mut actions);
            self.end_with(index, &mut actions);
        } else {
            let failure = if outcome == STATE_CANCELLED {
                CANCELLED
            } else {
                NOT_DONE
            };
            self.end_without(index, &failure.serialize(), Cause::Cancelled, &mut actions);
        }
        actions
    }

    /// The last chunk may go to all readers.
    pub(super) fn end_with(&mut self, index: usize, actions: &mut Actions) {
        let Some(job) = self.jobs.get_mut(index) else { return };
        for reader in &mut job.readers {
            if !std::mem::replace(&mut reader.told, true) {
                actions.push(Action::Reader(reader.id));
            }
            actions.push(Action::End(reader.id));
        }
        self.close(index, actions);
    }

    /// End a job without an answer: the worker is told, readers fail after what was accepted.
    pub(super) fn end_without(&mut self, index: usize, failure: &[u8], cause: Cause, actions: &mut Actions) {
        let Some(job) = self.jobs.get_mut(index) else { return };
        let open = std::mem::replace(&mut job.end, End::Failed) == End::Open;
        let (id, epoch, driver, at) = (job.id, job.run.epoch, job.driver, job.delivered());
        let readers = job.readers.iter().chain(job.waiting.iter().map(|one| &one.reader));
        actions.extend(readers.map(|reader| Action::Failed(reader.id, failure.to_vec())));
        let how = job.stop_kind();
        let running = open && !matches!(cause, Cause::Failed);
        let links = [Some(&job.run), job.rival.as_deref()].map(|one| one.and_then(|one| Some((one.link?, one.epoch))));
        for (link, epoch) in links.into_iter().flatten().filter(|_| running) {
            self.say(link, Head::plain(id, epoch, how), &[], actions);
        }
        match cause {
            Cause::Abandoned if driver && epoch > 0 => actions.push(Action::Abandon(id, epoch, at)),
            Cause::Failed if driver => actions.push(Action::Fail(id, epoch, at, failure.to_vec())),
            _ => {}
        }
        self.close(index, actions);
    }

    /// The id is free again; what readers have not taken stays until they have.
    fn close(&mut self, index: usize, actions: &mut Actions) {
        let Some(job) = self.jobs.get_mut(index) else { return };
        job.closed = true;
        self.ids.remove(&job.id);
        actions.push(Action::Finish(job.id));
        for runner in [Some(&job.run), job.rival.as_deref()].into_iter().flatten() {
            if let Some(lane) = runner.link.and_then(|link| self.links.get_mut(link)) {
                lane.forget(&job.id, runner.epoch);
            }
        }
        let waiting: Vec<u64> = job.waiting.drain(..).map(|one| one.reader.id).collect();
        let over = job.readers.is_empty();
        waiting.iter().for_each(|reader| self.forget_reader(*reader));
        if over {
            self.jobs.remove(index);
        }
    }

    /// End a job with a failure.
    pub fn fail(&mut self, job: JobId, failure: &[u8]) -> Actions {
        let mut actions = self.actions();
        if let Some((index, _)) = self.job(job) {
            self.end_without(index, failure, Cause::Abandoned, &mut actions);
        }
        actions
    }

    /// The job was cancelled: nothing more is delivered.
    pub fn cancel(&mut self, job: JobId) -> Actions {
        let mut actions = self.actions();
        if let Some((index, job)) = self.job(job) {
            let last = job.log.last();
            job.readers.iter_mut().for_each(|reader| reader.at = last);
            self.end_without(index, &CANCELLED.serialize(), Cause::Cancelled, &mut actions);
        }
        actions
    }
}
