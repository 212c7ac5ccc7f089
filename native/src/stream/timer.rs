//! Time at a gateway: deadline, silence, commit wait, detach grace, and links that go.

use super::ending::Cause;
use super::failure::DEADLINE;
use super::job::{End, Job};
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
        for index in self.jobs.indices() {
            let Some(job) = self.jobs.get_mut(index) else { continue };
            match due(job, &self.settings, now_ms) {
                Due::Nothing => {}
                Due::Deadline => self.end_without(index, &DEADLINE.serialize(), Cause::Abandoned, &mut actions),
                Due::Unread => self.end_without(index, &[], Cause::Abandoned, &mut actions),
                Due::Silent => actions.push(Action::Silent(job.id, job.epoch)),
                Due::Late => actions.push(Action::Late(job.id, job.epoch)),
            }
        }
        actions
    }

    /// The link is gone; its jobs are silent.
    pub fn link_lost(&mut self, link: u64) -> Actions {
        let mut actions = self.actions();
        self.links.lose(link);
        for index in self.jobs.indices() {
            if self.jobs.get(index).is_some_and(|job| job.link == Some(link)) {
                self.unheard(index, &mut actions);
            }
        }
        actions
    }

    /// A job's link is gone.
    pub(super) fn unheard(&mut self, index: usize, actions: &mut Actions) {
        let Some(job) = self.jobs.get_mut(index) else { return };
        job.link = None;
        if job.end == End::Open && !std::mem::replace(&mut job.silent, true) {
            actions.push(Action::Silent(job.id, job.epoch));
        }
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
        if job.epoch > 0 {
            return Due::Unread;
        }
        job.gone = true; // its place is still being asked for
    }
    if job.link.is_none() || job.silent {
        return Due::Nothing;
    }
    if job.debt >= u64::from(settings.window_bytes) {
        job.heard(now_ms); // it waits for us: we owe it credit
        return Due::Nothing;
    }
    let over = |since: u64, limit: u64| now_ms >= since.saturating_add(limit);
    job.silent = over(job.heard_ms, settings.silence_ms) || over(job.moved_ms, settings.stall_ms);
    if job.silent { Due::Silent } else { Due::Nothing }
}
