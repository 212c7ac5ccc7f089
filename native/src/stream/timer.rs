//! Time at a gateway: deadline, silence, commit wait, detach grace, and links that go.

use super::ending::Cause;
use super::failure::DEADLINE;
use super::job::{End, Job, Side};
use super::table::{StreamTable, TableSettings};
use super::{Action, Actions};

/// What is due for a job.
enum Due {
    Deadline,
    Unread,
    Silent,
    Late,
    Nothing,
}

impl StreamTable {
    /// Time passes.
    pub fn tick(&mut self, now_ms: u64) -> Actions {
        let mut actions = self.actions();
        let gap_ms = self.clock.gap(now_ms);
        for index in self.jobs.indices() {
            let Some(job) = self.jobs.get_mut(index) else { continue };
            if gap_ms > 0 {
                shift(job, gap_ms, now_ms);
            }
            if !job.closed && job.end == End::Open {
                self.races(index, now_ms, &mut actions);
            }
            let Some(job) = self.jobs.get_mut(index) else { continue };
            match due(job, &self.settings, now_ms) {
                Due::Nothing => {}
                Due::Deadline => self.end_without(index, &DEADLINE.serialize(), Cause::Abandoned, &mut actions),
                Due::Unread => self.end_without(index, &[], Cause::Abandoned, &mut actions),
                Due::Silent => actions.push(Action::Silent(job.id, job.run.epoch)),
                Due::Late => actions.push(Action::Late(job.id, job.run.epoch)),
            }
        }
        actions
    }

    /// The link is gone; its jobs are silent.
    pub fn link_lost(&mut self, link: u64) -> Actions {
        let mut actions = self.actions();
        self.links.lose(link);
        for index in self.jobs.indices() {
            for side in [Side::Rival, Side::Run] {
                let here = |job: &mut Job| match (side, &job.rival) {
                    (Side::Rival, None) => false,
                    _ => job.side(side).link == Some(link),
                };
                if self.jobs.get_mut(index).is_some_and(here) {
                    self.unheard(index, side, &mut actions);
                }
            }
        }
        actions
    }

    /// The link of one of a job's attempts is gone.
    pub(super) fn unheard(&mut self, index: usize, side: Side, actions: &mut Actions) {
        let Some(job) = self.jobs.get_mut(index) else { return };
        let open = job.end == End::Open;
        job.side(side).link = None;
        if self.lose(index, side, actions) {
            return;
        }
        let Some(job) = self.jobs.get_mut(index) else { return };
        if open && !std::mem::replace(&mut job.run.silent, true) {
            actions.push(Action::Silent(job.id, job.run.epoch));
        }
    }

    /// Of two attempts the one that falls silent is out.
    fn races(&mut self, index: usize, now_ms: u64, actions: &mut Actions) {
        for side in [Side::Rival, Side::Run] {
            let Some(job) = self.jobs.get_mut(index).filter(|job| job.rival.is_some()) else {
                return;
            };
            if job.side(side).falls_silent(&self.settings, now_ms) {
                self.lose(index, side, actions);
            }
        }
    }
}

/// Longest time between two ticks of a process that runs; what is longer counts as `TICK_MS`.
const GAP_MS: u64 = 500;
const TICK_MS: u64 = 50;

/// Notices that this process stood still.
#[derive(Debug, Default)]
pub struct Clock {
    last: Option<u64>,
}

impl Clock {
    /// By how much timers are to be shifted at this tick.
    pub fn gap(&mut self, now_ms: u64) -> u64 {
        let passed = now_ms.saturating_sub(self.last.replace(now_ms).unwrap_or(now_ms));
        if passed > GAP_MS { passed - TICK_MS } else { 0 }
    }
}

fn shift(job: &mut Job, gap_ms: u64, now_ms: u64) {
    job.run.shift(gap_ms, now_ms);
    if let Some(rival) = &mut job.rival {
        rival.shift(gap_ms, now_ms);
    }
    let later = |since: u64| since.saturating_add(gap_ms).min(now_ms);
    job.alone_since = job.alone_since.map(later);
    if let End::Waiting { since_ms, .. } = &mut job.end {
        *since_ms = later(*since_ms);
    }
}

fn due(job: &mut Job, settings: &TableSettings, now_ms: u64) -> Due {
    if job.closed {
        return Due::Nothing;
    }
    if now_ms >= job.deadline_ms {
        return Due::Deadline;
    }
    match &mut job.end {
        End::Waiting { since_ms, late, .. } => {
            let over = !*late && now_ms >= since_ms.saturating_add(settings.commit_wait_ms);
            *late |= over;
            if over { Due::Late } else { Due::Nothing }
        }
        End::Open => due_open(job, settings, now_ms),
        _ => Due::Nothing,
    }
}

fn due_open(job: &mut Job, settings: &TableSettings, now_ms: u64) -> Due {
    let unread = job.alone_since;
    if unread.is_some_and(|since| now_ms >= since.saturating_add(settings.detach_grace_ms)) {
        if job.run.epoch > 0 {
            return Due::Unread;
        }
        job.gone = true; // its place is still being asked for
    }
    if job.run.falls_silent(settings, now_ms) {
        Due::Silent
    } else {
        Due::Nothing
    }
}
