//! Why this worker and not that one: every candidate with its terms, every other worker with the first rule that
//! removed it. For people, so it may look at the whole fleet.

use super::index::Fleet;
use super::query::Query;
use super::score::Candidate;
use super::tie;
use super::worker::Worker;
use std::sync::Arc;

/// A worker that a rule removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Node id.
    pub worker_id: Arc<str>,
    /// The first rule that removed it.
    pub rule: &'static str,
    /// What was found, for people.
    pub detail: String,
}

impl Fleet {
    /// Candidates, best first, and workers removed, in order of their ids: at most `limit` of each.
    pub fn explain(&mut self, query: &Query, key: &str, limit: usize, now_ms: u64) -> (Vec<Candidate>, Vec<Removed>) {
        self.age(now_ms, usize::MAX);
        let probes = tie::probes(key);
        let (mut candidates, mut removed) = (Vec::new(), Vec::new());
        for (_, worker) in self.workers.iter() {
            match self.judge(query, &probes, worker) {
                Ok(terms) => candidates.push(worker.candidate(terms)),
                Err(rule) => removed.push(worker.removed(query, rule)),
            }
        }
        candidates.sort_by(|a, b| b.score().total_cmp(&a.score()));
        removed.sort_by(|a, b| a.worker_id.cmp(&b.worker_id));
        candidates.truncate(limit);
        removed.truncate(limit);
        (candidates, removed)
    }
}

impl Worker {
    fn removed(&self, query: &Query, rule: &'static str) -> Removed {
        Removed {
            worker_id: self.id.clone(),
            rule,
            detail: self.detail(query, rule),
        }
    }

    fn detail(&self, query: &Query, rule: &str) -> String {
        let (spec, report) = (query.spec(), &self.report);
        let kind = &report.kind;
        match rule {
            "model" => format!("does not serve {}", spec.model_id),
            "version" => format!("serves {}, but not what {} asks for", spec.model_id, spec.version),
            "policy" | "region" => format!("is in {}", kind.region),
            "gpu-class" => format!("is of class {:?}", kind.gpu_class),
            "vram" => format!("has {} MiB", kind.vram_steps * 256),
            "accelerator" => format!("has only {}", kind.accelerators.join(", ")),
            "breaker" if self.health == 0 => "is ejected".to_owned(),
            "breaker" => format!("the breaker of {} in {} is open", spec.model_id, kind.region),
            "capacity" => format!("{} jobs in flight on {} slots", self.in_flight(), report.slots),
            "suspect" => format!("last heard at {} ms", self.heard_ms),
            _ => "takes no more jobs".to_owned(),
        }
    }

    /// The rule by which a worker is removed that is not in the query's group.
    pub(super) fn misses(&self, query: &Query) -> &'static str {
        let model_id = &query.spec().model_id;
        let serves = self
            .report
            .offers
            .iter()
            .any(|offer| *offer.model.model_id == **model_id);
        if serves { "version" } else { "model" }
    }
}
