//! What comes in on a worker's links: bodies are put together, requests handed on, credit and cancel applied.

use super::codec::{Entries, Head, MORE, kind};
use super::logs::ChunkLogs;
use super::wire::Malformed;
use super::{Action, Actions};

impl ChunkLogs {
    /// A frame came in on a link.
    pub fn frame(&mut self, link: u64, frame: &[u8]) -> Result<Actions, Malformed> {
        let mut actions = Vec::new();
        for (head, body) in Entries::open(frame)? {
            self.entries += 1;
            if let Err(malformed) = self.entry(link, &head, body, &mut actions) {
                actions.retain(|action| matches!(action, Action::Cancel(..))); // said once: it must not be lost
                self.pending = actions;
                return Err(malformed);
            }
        }
        Ok(actions)
    }

    fn entry(&mut self, link: u64, head: &Head, body: &[u8], actions: &mut Actions) -> Result<(), Malformed> {
        match head.kind {
            kind::CREDIT => self.credit(link, head, actions),
            kind::CANCEL => self.cancel(link, head, actions),
            kind::DETACH => self.detach(link, head),
            kind::CHUNK | kind::END | kind::FAIL => return Err(Malformed("a worker takes no answers")),
            _ => return self.whole(link, head, body, actions),
        }
        Ok(())
    }

    fn credit(&mut self, link: u64, head: &Head, actions: &mut Actions) {
        let Some(&index) = self.keys.get(&(head.job, head.epoch)) else {
            return;
        };
        let Some(attempt) = self.attempts.get_mut(index) else {
            return;
        };
        if let Some(reader) = attempt.readers.iter_mut().find(|reader| reader.link == link) {
            reader.credit = reader.credit.saturating_add(i64::from(head.credit));
            self.wake(index, actions);
        } else if let Some(waiting) = attempt.waiting.iter_mut().find(|one| one.link == link) {
            waiting.credit = waiting.credit.saturating_add(i64::from(head.credit));
        }
    }

    fn cancel(&mut self, link: u64, head: &Head, actions: &mut Actions) {
        self.forget(link, head, actions);
        let Some(attempt) = self.attempt(head.job, head.epoch) else {
            return;
        };
        if attempt.driver == link && attempt.end.is_none() && !attempt.cancelled {
            attempt.cancelled = true;
            actions.push(Action::Cancel(head.job, head.epoch));
        }
    }

    fn forget(&mut self, link: u64, head: &Head, actions: &mut Actions) {
        let Some(lane) = self.links.get_mut(link) else { return };
        lane.owed.retain(|owed| (owed.0, owed.1) != (head.job, head.epoch));
        if lane.joiner.forget(&head.job, head.epoch, kind::START) > 0 {
            self.pay(actions);
        }
    }

    fn detach(&mut self, link: u64, head: &Head) {
        if let Some(&index) = self.keys.get(&(head.job, head.epoch)) {
            self.leave(index, link);
        }
    }

    fn whole(&mut self, link: u64, head: &Head, body: &[u8], actions: &mut Actions) -> Result<(), Malformed> {
        let body_bytes_max = self.settings.body_bytes_max;
        let Some(lane) = self.links.lane(link) else {
            return Ok(());
        };
        let long = head.flags & MORE != 0 || lane.joiner.has(&head.job, head.epoch, head.kind);
        let whole = lane.joiner.feed(head, body, body_bytes_max)?;
        if whole.is_none() && head.kind == kind::START {
            lane.owed.push_back((head.job, head.epoch, body.len() as u32));
        }
        if let Some(whole) = whole {
            let body = whole.into_owned();
            lane.owed
                .retain(|owed| !(head.kind == kind::START && (owed.0, owed.1) == (head.job, head.epoch)));
            actions.push(match head.kind {
                kind::START => Action::Start(link, head.job, head.epoch, body),
                kind::ATTACH => Action::Attach(link, head.job, head.epoch, body),
                kind::OUTCOME => Action::Outcome(link, head.job, head.epoch, body),
                other => Action::Control(link, other, head.job, head.epoch, body),
            });
        }
        if long { self.bounded(actions) } else { Ok(()) }
    }

    fn bounded(&mut self, actions: &mut Actions) -> Result<(), Malformed> {
        if self.assembly() > self.settings.assembly_bytes_max.saturating_mul(2) {
            return Err(Malformed("bodies of starts are over their limit"));
        }
        self.pay(actions);
        Ok(())
    }

    /// Give dispatchers the credit they are owed for parts of starts, while there is room.
    fn pay(&mut self, actions: &mut Actions) {
        if self.assembly() > self.settings.assembly_bytes_max {
            return;
        }
        for (link, lane) in self.links.iter_mut() {
            while let Some((job, epoch, credit)) = lane.owed.pop_front() {
                let mut head = Head::plain(job, epoch, kind::CREDIT);
                head.credit = credit;
                lane.outlet.push(head, &[]);
                lane.outlet.tell(*link, actions);
            }
        }
    }
}
