//! Attempts of a job: placed, continued, reattached, raced; what their START carries, and who is told to stop.
//!
//! Source: docs/design/streams.md §3, docs/design/seams.md, "Attempts".

use super::codec::{Head, kind};
use super::ending::Cause;
use super::job::{End, Job, Side};
use super::lane::{Bulk, Handover, opening};
use super::runner::{RERUN, Runner};
use super::table::StreamTable;
use super::{Action, Actions, JobId};

/// Where and how an attempt runs.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "named as in the stub")]
pub struct Placing<'a> {
    pub job: JobId,
    pub epoch: u32,
    pub link: u64,
    pub body: &'a [u8],
    pub continuity: u32,
    pub driver: Option<bool>,
}

impl StreamTable {
    /// An attempt runs on a link: a new one takes the job over, the present one is reattached.
    pub fn placed(&mut self, new: &Placing<'_>, now_ms: u64) -> Actions {
        let mut actions = self.actions();
        let Some((index, job)) = self.job(new.job) else {
            return actions;
        };
        job.driver = new.driver.unwrap_or(job.driver);
        let rival = job.rival.as_ref().is_some_and(|rival| rival.epoch == new.epoch);
        match (new.epoch == job.run.epoch, rival, new.epoch > job.newest()) {
            (true, _, _) if new.epoch > 0 => self.reattach(index, Side::Run, new, now_ms, &mut actions),
            (_, true, _) => self.reattach(index, Side::Rival, new, now_ms, &mut actions),
            (_, _, true) => self.take_over(index, new, now_ms, &mut actions),
            _ => {}
        }
        actions
    }

    fn take_over(&mut self, index: usize, new: &Placing<'_>, now_ms: u64, actions: &mut Actions) {
        let Some(job) = self.jobs.get_mut(index) else { return };
        if !matches!(job.end, End::Open | End::Waiting { .. }) {
            return;
        }
        if job.end != End::Open {
            job.end = End::Open; // its commit was refused: the answer is whole, but needs a receipt that holds
            job.alone_since = job.unread().then_some(now_ms);
        }
        let runner = job.runner(new, now_ms);
        let before = std::mem::replace(&mut job.run, runner);
        let rival = job.rival.take();
        if job.gone {
            job.run.link = None;
            return self.end_without(index, &[], Cause::Abandoned, actions);
        }
        job.mark();
        self.stop(index, &before, actions);
        if let Some(rival) = rival {
            self.stop(index, &rival, actions);
        }
        self.launch(index, Side::Run, new.body, actions);
    }

    /// The same attempt on another link: it goes on from where it was.
    fn reattach(&mut self, index: usize, side: Side, new: &Placing<'_>, now_ms: u64, actions: &mut Actions) {
        let Some(job) = self.jobs.get_mut(index) else { return };
        let (id, open) = (job.id, job.end == End::Open);
        let runner = job.side(side);
        let before = runner.link.replace(new.link);
        if !open || (before == Some(new.link) && !runner.silent) {
            return;
        }
        (runner.debt, runner.silent) = (0, false);
        runner.heard(now_ms);
        if let Some(before) = before.filter(|before| *before != new.link) {
            self.leave_link(before, id, new.epoch, kind::DETACH, actions);
        } else if let Some(lane) = self.links.get_mut(new.link) {
            lane.forget(&id, new.epoch);
        }
        self.launch(index, side, new.body, actions);
    }

    /// A second attempt beside the first, until anything of either is accepted.
    pub fn race(&mut self, new: &Placing<'_>, now_ms: u64) -> Actions {
        let Some((index, job)) = self.job(new.job) else {
            return self.actions();
        };
        if new.epoch <= job.newest() {
            return self.actions();
        }
        if job.run.epoch == 0 || job.run.silent || job.gone {
            return self.placed(new, now_ms);
        }
        let decided = job.run.accepted || job.rival.is_some() || job.end != End::Open;
        if !decided {
            job.rival = Some(Box::new(job.runner(new, now_ms)));
        }
        let mut actions = self.actions();
        if decided {
            actions.push(Action::LostRace(new.job, new.epoch));
        } else {
            self.launch(index, Side::Rival, new.body, &mut actions);
        }
        actions
    }

    /// Send an attempt's START or ATTACH, with what it needs to go on from where the answer is.
    fn launch(&mut self, index: usize, side: Side, body: &[u8], actions: &mut Actions) {
        let window = self.settings.window_bytes;
        let Some(job) = self.jobs.get_mut(index) else { return };
        let Some(link) = job.side(side).link else { return };
        let bulk = start_of(job, side, window, body);
        match self.links.lane(link) {
            Some(lane) => {
                lane.queue(bulk);
                lane.outlet.tell(link, actions);
            }
            None => self.unheard(index, side, actions),
        }
    }

    /// An attempt counts no longer: its worker is told, where it can be.
    pub(super) fn stop(&mut self, index: usize, runner: &Runner, actions: &mut Actions) {
        let Some(job) = self.jobs.get_mut(index) else { return };
        let (id, how) = (job.id, job.stop_kind());
        if let Some(link) = runner.link.filter(|_| runner.epoch > 0) {
            self.leave_link(link, id, runner.epoch, how, actions);
        }
    }

    fn leave_link(&mut self, link: u64, job: JobId, epoch: u32, how: u8, actions: &mut Actions) {
        if let Some(lane) = self.links.get_mut(link) {
            lane.forget(&job, epoch);
            lane.outlet.push(Head::plain(job, epoch, how), &[]);
            lane.outlet.tell(link, actions);
        }
    }

    /// One of two attempts is out; the other goes on alone. False where there is only one.
    pub(super) fn lose(&mut self, index: usize, side: Side, actions: &mut Actions) -> bool {
        let Some(job) = self.jobs.get_mut(index) else {
            return false;
        };
        let Some(rival) = job.rival.take() else { return false };
        let lost = match side {
            Side::Rival => *rival,
            Side::Run => std::mem::replace(&mut job.run, *rival),
        };
        let id = job.id;
        job.mark();
        self.stop(index, &lost, actions);
        actions.push(Action::LostRace(id, lost.epoch));
        true
    }

    /// The present attempt has won over the one beside it.
    pub(super) fn win(&mut self, index: usize, actions: &mut Actions) {
        let Some(job) = self.jobs.get_mut(index) else { return };
        let Some(lost) = job.rival.take() else { return };
        actions.push(Action::Won(job.id, job.run.epoch, lost.epoch));
        self.stop(index, &lost, actions);
    }
}

impl Job {
    /// A new attempt; one that begins anew is behind what was accepted.
    fn runner(&self, new: &Placing<'_>, now_ms: u64) -> Runner {
        let anew = self.driver && (self.log.opaque() || new.continuity == RERUN);
        let continuity = if anew { RERUN } else { new.continuity };
        let mut runner = Runner::new(new.epoch, Some(new.link), continuity, now_ms);
        if anew && !self.log.is_blank() {
            runner.replay = Some(Box::default());
        }
        runner
    }

    /// How an attempt is told that this gateway has no need of it.
    pub fn stop_kind(&self) -> u8 {
        if self.driver { kind::CANCEL } else { kind::DETACH }
    }
}

/// START or ATTACH of one of a job's attempts.
fn start_of(job: &mut Job, side: Side, window: u32, body: &[u8]) -> Bulk {
    let runner = job.side(side);
    let (epoch, continuity) = (runner.epoch, runner.continuity);
    let replay = runner.replay.as_ref().map(|replay| (replay.at, replay.chain.clone()));
    let (at, chain) = match replay {
        None => (job.log.end(), job.chain.clone()),
        Some((at, chain)) if job.log.opaque() => (at, chain),
        Some((at, _)) => (at, job.log.chain_at(at.tokens)),
    };
    let prefix = job.log.prefix().filter(|_| !job.log.opaque() && job.driver);
    let over = Handover {
        at,
        chain: if chain.length() > 0 { chain.state() } else { Vec::new() },
        prefix: prefix.map_or(&[], |prefix| &prefix[..at.tokens as usize]),
        outputs: if job.driver {
            job.log.outputs_until(at.tokens)
        } else {
            Vec::new()
        },
        continuity: if job.driver { continuity } else { 0 },
    };
    opening(job.id, epoch, job.driver, &over, window, body)
}
