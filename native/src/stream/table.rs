//! All jobs of a gateway: who drives, who reads, what waits for which link.
//!
//! Decisions about one job stand in `job`, what comes in on links in `accept`, time in `timer`.
//! Source: docs/design/streams.md §3 to §6.

use super::build::{Taken, take};
use super::codec::{FrameWriter, Head, kind};
use super::ending::Cause;
use super::failure::{BEHIND, CURSOR, Failure, UNKNOWN};
use super::job::{End, Job};
use super::lane::Link;
use super::links::Links;
use super::log::Log;
use super::mark::Handed;
use super::reader::{Reader, Start, Waiting};
use super::runner::Runner;
use super::timer::Clock;
use super::wire::Malformed;
use super::{Action, Actions, Chain, JobId, KeyMap, Slab};

const ON_DISCONNECT_CANCEL: u32 = 2;
/// Bounds and times of a gateway's streams; the Python stub says what each means.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as in the stub")]
pub struct TableSettings {
    pub window_bytes: u32,
    pub log_bytes_max: usize,
    pub commit_wait_ms: u64,
    pub detach_grace_ms: u64,
    pub silence_ms: u64,
    pub stall_ms: u64,
    pub body_bytes_max: usize,
    pub continuation: bool,
    pub hold_failed: bool,
}

/// A reader that joins.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as in the stub")]
pub struct Join<'a> {
    pub reader: u64,
    pub stamp: &'a [u8],
    pub first: &'a [u8],
    pub start: Start,
    pub continuation: bool,
}

/// A job to open.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named as in the stub")]
pub struct OpenJob {
    pub job: JobId,
    pub driver: bool,
    pub keep_answer_bytes: usize,
    pub on_disconnect: u32,
    pub deadline_ms: u64,
}

/// Counts since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) entries: u64,
    pub(super) tokens: u64,
    pub(super) trimmed: u64,
    pub(super) stale: u64,
}

/// See the module.
pub struct StreamTable {
    pub(super) settings: TableSettings,
    pub(super) jobs: Slab<Job>,
    pub(super) ids: KeyMap<JobId, usize>,
    pub(super) links: Links<Link>,
    pub(super) counts: Counts,
    readers: KeyMap<u64, usize>,
    pub(super) pending: Actions,
    pub(super) clock: Clock,
    writer: FrameWriter,
    chunk: Vec<u8>,
}

impl StreamTable {
    /// No jobs yet.
    pub fn new(settings: TableSettings) -> Self {
        Self {
            settings,
            jobs: Slab::default(),
            ids: KeyMap::default(),
            links: Links::default(),
            counts: Counts::default(),
            readers: KeyMap::default(),
            pending: Vec::new(),
            clock: Clock::default(),
            writer: FrameWriter::default(),
            chunk: Vec::new(),
        }
    }

    /// Begin a job.
    pub fn open(&mut self, open: &OpenJob, now_ms: u64) -> Result<(), Malformed> {
        if self.ids.contains_key(&open.job) {
            return Err(Malformed("the job is open already"));
        }
        let index = self.jobs.insert(Job {
            id: open.job,
            driver: open.driver,
            keep_answer: open.keep_answer_bytes,
            cancel_unread: open.on_disconnect == ON_DISCONNECT_CANCEL,
            deadline_ms: open.deadline_ms,
            run: Runner::new(0, None, 0, now_ms),
            rival: None,
            marks: Vec::new(),
            log: Log::default(),
            chain: Chain::new(),
            taken: 0,
            readers: Vec::new(),
            waiting: Vec::new(),
            alone_since: None,
            gone: false,
            end: End::Open,
            closed: false,
        });
        self.ids.insert(open.job, index);
        Ok(())
    }

    pub(super) fn job(&mut self, job: JobId) -> Option<(usize, &mut Job)> {
        let index = *self.ids.get(&job)?;
        Some((index, self.jobs.get_mut(index)?))
    }

    /// Epoch, log and chain of a job that is open.
    pub fn look(&self, job: JobId) -> Option<(u32, &Log, &Chain)> {
        let job = self.jobs.get(*self.ids.get(&job)?)?;
        Some((job.run.epoch, &job.log, &job.chain))
    }

    /// Whether the job is open here and takes readers.
    pub fn known(&self, job: JobId) -> bool {
        self.ids
            .get(&job)
            .and_then(|index| self.jobs.get(*index))
            .is_some_and(|job| !job.gone)
    }

    /// What each attempt of a job produced so far.
    pub fn handed(&self, job: JobId) -> Option<Vec<Handed>> {
        Some(self.jobs.get(*self.ids.get(&job)?)?.handed())
    }

    /// What is known of a job, by name.
    pub fn detail(&self, job: JobId) -> Option<Vec<(&'static str, u64)>> {
        let job = self.jobs.get(*self.ids.get(&job)?)?;
        let rival = job.rival.as_ref();
        let replay = job.run.replay.as_ref();
        Some(vec![
            ("epoch", u64::from(job.run.epoch)),
            ("link", job.run.link.unwrap_or(0)),
            ("rival_epoch", rival.map_or(0, |rival| u64::from(rival.epoch))),
            ("rival_link", rival.and_then(|rival| rival.link).unwrap_or(0)),
            ("silent", u64::from(job.run.silent)),
            ("replaying", u64::from(replay.is_some())),
            ("ended", u64::from(job.end != End::Open)),
            ("readers", job.readers.len() as u64),
            ("waiting", job.waiting.len() as u64),
            ("kept_tokens", job.log.start().tokens),
            ("kept_bytes", job.log.start().bytes),
        ])
    }

    /// A reader joins at a place of the answer, from 0 on where `start` is none.
    pub fn join(&mut self, job: JobId, join: &Join<'_>) -> Result<Actions, Malformed> {
        let id = join.reader;
        if self.readers.contains_key(&id) {
            return Err(Malformed("the reader's number is taken"));
        }
        let continuation = self.settings.continuation && join.continuation;
        let mut actions = self.actions();
        let Some((index, job)) = self.job(job).filter(|(_, job)| !job.gone) else {
            actions.push(Action::Failed(id, UNKNOWN.serialize()));
            return Ok(actions);
        };
        let reader = Reader {
            id,
            at: 0,
            seq: 0,
            stamp: join.stamp.into(),
            first: Some(join.first.into()),
            told: false,
            mark: 0,
            continuation,
            chain: Chain::new(),
            fed: 0,
        };
        match job.begin(&join.start) {
            Err(failure) => {
                actions.push(Action::Failed(id, failure.serialize()));
                return Ok(actions);
            }
            Ok(None) => job.waiting.push(Waiting {
                reader,
                start: join.start.clone(),
            }),
            Ok(Some(seat)) => {
                if job.seat(reader, seat) {
                    actions.push(Action::Reader(id));
                }
            }
        }
        job.alone_since = None;
        self.readers.insert(id, index);
        Ok(actions)
    }

    /// Put readers at their places that are reached now.
    pub(super) fn admit(&mut self, index: usize, now_ms: u64, actions: &mut Actions) {
        let Some(job) = self.jobs.get_mut(index) else { return };
        let mut refused = Vec::new();
        for waiting in std::mem::take(&mut job.waiting) {
            let id = waiting.reader.id;
            match job.begin(&waiting.start) {
                Ok(None) => job.waiting.push(waiting),
                Ok(Some(seat)) => {
                    if job.seat(waiting.reader, seat) {
                        actions.push(Action::Reader(id));
                    }
                }
                Err(failure) => refused.push((waiting, failure)),
            }
        }
        for (waiting, failure) in refused {
            self.turn_away(&waiting, failure, actions);
            if self.jobs.get(index).is_some_and(Job::unread) {
                self.unread(index, now_ms, actions);
            }
        }
    }

    fn turn_away(&mut self, waiting: &Waiting, failure: Failure, actions: &mut Actions) {
        self.readers.remove(&waiting.reader.id);
        actions.push(Action::Failed(waiting.reader.id, failure.serialize()));
    }

    /// The end is written: who waits for a place beyond it never gets there.
    pub(super) fn refuse_ahead(&mut self, index: usize, actions: &mut Actions) {
        let Some(job) = self.jobs.get_mut(index) else { return };
        for waiting in std::mem::take(&mut job.waiting) {
            self.turn_away(&waiting, CURSOR, actions);
        }
    }

    pub(super) fn forget_reader(&mut self, reader: u64) {
        self.readers.remove(&reader);
    }

    /// A reader is gone.
    pub fn leave(&mut self, reader: u64, now_ms: u64) -> Actions {
        let mut actions = self.actions();
        if let Some(index) = self.drop_reader(reader) {
            self.unread(index, now_ms, &mut actions);
        }
        actions
    }

    /// Forget a reader; the job, where it is still open and nobody else reads it.
    fn drop_reader(&mut self, reader: u64) -> Option<usize> {
        let index = self.readers.remove(&reader)?;
        let job = self.jobs.get_mut(index)?;
        job.readers.retain(|one| one.id != reader);
        job.waiting.retain(|one| one.reader.id != reader);
        if !job.unread() {
            return None;
        }
        if job.closed {
            self.jobs.remove(index);
            return None;
        }
        Some(index)
    }

    /// The last reader of an open job has left.
    fn unread(&mut self, index: usize, now_ms: u64, actions: &mut Actions) {
        let Some(job) = self.jobs.get_mut(index) else { return };
        if job.end != End::Open {
            return; // its commit goes on
        }
        match (job.driver, job.cancel_unread, job.run.epoch) {
            (false, _, _) | (true, true, 1..) => self.end_without(index, &[], Cause::Abandoned, actions),
            (true, true, 0) => job.gone = true,
            (true, false, _) => {
                job.alone_since = Some(now_ms);
                self.give_back(index, actions);
            }
        }
    }

    /// One chunk of what waits for a reader.
    pub fn take(&mut self, reader: u64) -> Option<&[u8]> {
        let index = *self.readers.get(&reader)?;
        let job = self.jobs.get_mut(index)?;
        let place = job.readers.iter().position(|one| one.id == reader)?;
        self.chunk.clear();
        match take(job, place, &mut self.chunk) {
            Taken::Nothing => {
                if job.closed {
                    self.drop_reader(reader);
                }
                return None;
            }
            Taken::Last => drop(self.drop_reader(reader)),
            Taken::Chunk => {
                if u64::from(self.settings.window_bytes) <= 4 * job.run.debt {
                    let mut actions = std::mem::take(&mut self.pending);
                    self.give_back(index, &mut actions);
                    self.pending = actions;
                }
            }
        }
        Some(&self.chunk)
    }

    /// What takes have caused.
    pub fn actions(&mut self) -> Actions {
        std::mem::take(&mut self.pending)
    }

    /// Give the worker credit for what the fastest reader has taken, a quarter of the window at a time.
    pub(super) fn give_back(&mut self, index: usize, actions: &mut Actions) {
        let Some(job) = self.jobs.get_mut(index) else { return };
        let (Some(link), End::Open) = (job.run.link, &job.end) else {
            return;
        };
        let kept = job.unread() && job.log.size() < self.settings.log_bytes_max / 2;
        let taken = if kept { job.log.last() } else { job.front() };
        let backlog = job.log.cost(job.log.last()) - job.log.cost(taken);
        let give = job.run.debt.saturating_sub(backlog);
        if give * 4 < u64::from(self.settings.window_bytes) || give == 0 {
            return;
        }
        job.run.debt -= give;
        let mut head = Head::plain(job.id, job.run.epoch, kind::CREDIT);
        head.credit = give.min(u64::from(u32::MAX)) as u32;
        self.say(link, head, &[], actions);
    }

    pub(super) fn say(&mut self, link: u64, head: Head, body: &[u8], actions: &mut Actions) {
        if let Some(lane) = self.links.lane(link) {
            lane.outlet.push(head, body);
            lane.outlet.tell(link, actions);
        }
    }

    /// Queue a control entry.
    pub fn send(&mut self, link: u64, head: Head, body: &[u8]) -> Actions {
        let mut actions = self.actions();
        self.say(link, head, body, &mut actions);
        actions
    }

    /// Next frame of a link.
    pub fn pull(&mut self, link: u64) -> Option<&[u8]> {
        let lane = self.links.get_mut(link)?;
        self.writer.clear();
        if lane.outlet.fill(&mut self.writer) {
            lane.fill(&mut self.writer);
        }
        if self.writer.is_empty() {
            lane.outlet.drained();
            return None;
        }
        Some(self.writer.finish())
    }

    /// Keep a job's log within its bound; readers that are left behind fail.
    pub(super) fn bound(&mut self, index: usize, now_ms: u64, actions: &mut Actions) {
        let bytes_max = self.settings.log_bytes_max;
        let Some(job) = self.jobs.get_mut(index) else { return };
        if job.log.size() <= bytes_max {
            return;
        }
        let newest = job.log.within(bytes_max as u64 * 3 / 4); // a quarter at a time: trimming moves the rest
        let keep = newest.min(job.front());
        job.log.trim(keep);
        let behind: Vec<u64> = job
            .readers
            .iter()
            .filter(|one| one.at < keep)
            .map(|one| one.id)
            .collect();
        for reader in behind {
            actions.push(Action::Failed(reader, BEHIND.serialize()));
            if let Some(index) = self.drop_reader(reader) {
                self.unread(index, now_ms, actions);
            }
        }
    }

    /// Counts by name.
    pub fn stats(&self) -> Vec<(&'static str, u64)> {
        let waiting = self.links.values().map(|lane| lane.outlet.bytes() + lane.waiting());
        vec![
            ("jobs", self.ids.len() as u64),
            ("closing", (self.jobs.len() - self.ids.len()) as u64),
            ("readers", self.readers.len() as u64),
            ("links", self.links.len() as u64),
            ("log_bytes", self.jobs.values().map(|job| job.log.size() as u64).sum()),
            ("waiting_bytes", waiting.sum::<usize>() as u64),
            ("entries", self.counts.entries),
            ("tokens", self.counts.tokens),
            ("trimmed", self.counts.trimmed),
            ("stale", self.counts.stale),
        ]
    }
}
