//! One attempt as its gateway sees it: where it runs, when it was heard, what it is owed, and how far a rerun has come.

use super::Chain;
use super::log::Position;
use super::table::TableSettings;
use super::wire::first_two;

/// `Infer.Continuity`: run again from position 0 and compared.
pub const RERUN: u32 = 3;
/// `Infer.Continuity`: a sensible continuation, no more.
pub const COHERENT: u32 = 2;

/// How far an attempt that began anew has come within what was accepted.
#[derive(Debug, Clone, Default)]
pub struct Replay {
    /// Position up to which it agreed.
    pub at: Position,
    /// Hash over its payloads up to there; unused for tokens, whose ids are all kept.
    pub chain: Chain,
}

/// See the module.
#[derive(Debug)]
pub struct Runner {
    /// Its number; 0 before the first.
    pub epoch: u32,
    /// Where it runs.
    pub link: Option<u64>,
    /// How it continues what came before.
    pub continuity: u32,
    /// Bytes received and not yet given back as credit.
    pub debt: u64,
    /// When something was heard of it.
    pub heard_ms: u64,
    /// When it was seen to move.
    pub moved_ms: u64,
    /// Phase and number it told last.
    pub progress: (u64, u64),
    /// Whether the caller knows that it is silent.
    pub silent: bool,
    /// Whether anything of it was accepted.
    pub accepted: bool,
    /// Where it is, while that is behind what was accepted.
    pub replay: Option<Box<Replay>>,
}

/// Phase of `Link.Progress` in which a number that stands still is no silence.
const QUEUED: u64 = 1;

impl Runner {
    /// An attempt that is heard now.
    pub fn new(epoch: u32, link: Option<u64>, continuity: u32, now_ms: u64) -> Self {
        Self {
            epoch,
            link,
            continuity,
            debt: 0,
            heard_ms: now_ms,
            moved_ms: now_ms,
            progress: (0, 0),
            silent: false,
            accepted: false,
            replay: None,
        }
    }

    /// Something came of it.
    pub fn heard(&mut self, now_ms: u64) {
        (self.heard_ms, self.moved_ms) = (now_ms, now_ms);
    }

    /// It told how far it is.
    pub fn progressed(&mut self, body: &[u8], now_ms: u64) {
        self.heard_ms = now_ms;
        let Ok(progress) = first_two(body) else { return };
        if progress != self.progress || progress.0 == QUEUED {
            self.moved_ms = now_ms;
        }
        self.progress = progress;
    }

    /// Whether it has just fallen silent.
    pub fn falls_silent(&mut self, settings: &TableSettings, now_ms: u64) -> bool {
        if self.link.is_none() || self.silent {
            return false;
        }
        if self.debt >= u64::from(settings.window_bytes) {
            self.heard(now_ms); // it waits for us: we owe it credit
            return false;
        }
        let over = |since: u64, limit: u64| now_ms >= since.saturating_add(limit);
        self.silent = over(self.heard_ms, settings.silence_ms) || over(self.moved_ms, settings.stall_ms);
        self.silent
    }

    /// This process stood still: what it could not hear is no silence.
    pub fn shift(&mut self, gap_ms: u64, now_ms: u64) {
        for since in [&mut self.heard_ms, &mut self.moved_ms] {
            *since = since.saturating_add(gap_ms).min(now_ms);
        }
    }
}
