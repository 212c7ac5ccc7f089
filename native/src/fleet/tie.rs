//! Ties: of workers with equal scores, which one? Rendezvous hashing answers so that all orchestrators agree, jobs
//! spread, and a worker that comes or goes moves only its own jobs. The plain form hashes every worker for every job;
//! here each worker has a point on a ring, each job a few, and the worker whose point follows one of the job's most
//! closely wins (multi-probe consistent hashing, Appleton and O'Reilly 2015): an ordered set finds it without a scan.

use sha2::{Digest, Sha256};

/// Points of a job. Four keep the most loved worker near 1.4 times the mean (the least loved may see a tenth of
/// it); queues even out the rest.
pub(super) const PROBES: usize = 4;

/// Points of a job on the ring.
pub(super) type Probes = [u64; PROBES];

/// Points of the job with this key.
pub(super) fn probes(key: &str) -> Probes {
    let digest: [u8; 32] = Sha256::digest(key).into();
    let words = digest.as_chunks::<8>().0;
    std::array::from_fn(|i| u64::from_be_bytes(words[i]))
}

/// Point of a worker.
pub(super) fn point(worker_id: &str) -> u64 {
    probes(worker_id)[0]
}

/// How far the point follows the nearest of the job's: smaller is better.
pub(super) fn distance(probes: &Probes, point: u64) -> u64 {
    probes
        .iter()
        .map(|probe| point.wrapping_sub(*probe))
        .min()
        .unwrap_or(u64::MAX)
}

/// The same as a value, 0 to 1, larger is better.
#[expect(clippy::cast_precision_loss, reason = "53 bits tell workers apart well enough")]
pub(super) fn value(distance: u64) -> f64 {
    1.0 - distance as f64 / 18_446_744_073_709_551_616.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_spread_over_workers_and_move_only_with_their_own() {
        let points: Vec<u64> = (0..50).map(|i| point(&format!("worker-{i}"))).collect();
        let winner = |job: usize, points: &[u64]| {
            let probes = probes(&format!("job-{job}"));
            (0..points.len())
                .min_by_key(|&w| distance(&probes, points[w]))
                .expect("some worker")
        };
        let mut won = [0; 50];
        for job in 0..5_000 {
            let before = winner(job, &points);
            won[before] += 1;
            assert!(before == 49 || winner(job, &points[..49]) == before);
        }
        let (least, most) = (won.iter().min().expect("some"), won.iter().max().expect("some"));
        assert!(*least > 5 && *most < 170, "mean 100: {won:?}");
    }

    #[test]
    fn nearer_is_worth_more() {
        assert!(value(0) > value(1 << 40) && value(1 << 40) > value(u64::MAX) && value(u64::MAX) >= 0.0);
    }
}
