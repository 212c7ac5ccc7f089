//! Token buckets by key (RFC 2697's idea without colours): a bucket holds at most `burst`, refills at a rate, and a
//! request takes what it costs or learns how long to wait. Only the keys used last are kept, in order of their use: who
//! was forgotten has had time to fill up, where `keys_max` is chosen well.

use std::collections::HashMap;
use std::sync::Arc;

/// How a bucket fills.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Refill per second.
    pub per_s: f64,
    /// Most it holds.
    pub burst: f64,
}

impl Rate {
    /// Whether both are finite and not negative.
    #[must_use]
    pub fn in_range(&self) -> bool {
        [self.per_s, self.burst].iter().all(|v| v.is_finite() && *v >= 0.0)
    }
}

struct Bucket {
    key: Arc<str>,
    rate: Rate,
    level: f64,
    /// When `level` was true, or `None` before the first use: full.
    at_s: Option<f64>,
    newer: usize,
    older: usize,
}

impl Bucket {
    fn refill(&mut self, now_s: f64) {
        let since_s = self.at_s.map_or(0.0, |at_s| (now_s - at_s).max(0.0));
        self.level = (self.level + since_s * self.rate.per_s).min(self.rate.burst);
        self.at_s = Some(self.at_s.map_or(now_s, |at_s| at_s.max(now_s)));
    }

    fn take(&mut self, amount: f64) -> f64 {
        if amount <= self.level {
            self.level -= amount;
            0.0
        } else if amount > self.rate.burst || self.rate.per_s <= 0.0 {
            f64::INFINITY
        } else {
            // At least a nanosecond: 0 would say that it was granted.
            ((amount - self.level) / self.rate.per_s).max(1e-9)
        }
    }
}

/// No bucket: the end of the list.
const NONE: usize = usize::MAX;

/// Token buckets by key.
pub struct Buckets {
    rate: Rate,
    keys_max: usize,
    by_key: HashMap<Arc<str>, usize>,
    buckets: Vec<Bucket>,
    newest: usize,
    oldest: usize,
}

impl Buckets {
    /// Buckets that fill like this, of which so many are kept; `None` on a rate out of range or no key.
    #[must_use]
    pub fn new(rate: Rate, keys_max: usize) -> Option<Self> {
        (rate.in_range() && keys_max > 0).then(|| Self {
            rate,
            keys_max,
            by_key: HashMap::new(),
            buckets: Vec::new(),
            newest: NONE,
            oldest: NONE,
        })
    }

    /// Keys that are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Whether no key is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Take an amount and return 0, or take nothing and return the seconds until it is there.
    pub fn take(&mut self, key: &str, amount: f64, now_s: f64) -> f64 {
        let bucket = self.touch(key);
        bucket.refill(now_s);
        bucket.take(amount)
    }

    /// Give back what was taken and not used.
    pub fn refund(&mut self, key: &str, amount: f64) {
        if let Some(&i) = self.by_key.get(key) {
            let bucket = &mut self.buckets[i];
            bucket.level = (bucket.level + amount).min(bucket.rate.burst);
        }
    }

    /// Give a key its own rate. What it has is kept, up to the new burst; a new key is full.
    pub fn set(&mut self, key: &str, rate: Rate) {
        let bucket = self.touch(key);
        bucket.level = if bucket.at_s.is_none() {
            rate.burst
        } else {
            bucket.level.min(rate.burst)
        };
        bucket.rate = rate;
    }

    /// What could be taken now.
    #[must_use]
    pub fn level(&self, key: &str, now_s: f64) -> f64 {
        self.by_key.get(key).map_or(self.rate.burst, |&i| {
            let bucket = &self.buckets[i];
            let since_s = bucket.at_s.map_or(0.0, |at_s| (now_s - at_s).max(0.0));
            (bucket.level + since_s * bucket.rate.per_s).min(bucket.rate.burst)
        })
    }

    /// The bucket of a key, now the one used last.
    fn touch(&mut self, key: &str) -> &mut Bucket {
        let i = self.by_key.get(key).copied();
        if let Some(i) = i.filter(|&i| i != self.newest) {
            self.unlink(i);
            self.link(i);
        }
        let i = i.unwrap_or_else(|| self.add(key));
        &mut self.buckets[i]
    }

    fn add(&mut self, key: &str) -> usize {
        let key: Arc<str> = key.into();
        let (rate, level) = (self.rate, self.rate.burst);
        let bucket = Bucket {
            key: key.clone(),
            rate,
            level,
            at_s: None,
            newer: NONE,
            older: NONE,
        };
        let i = if self.buckets.len() < self.keys_max {
            self.buckets.push(bucket);
            self.buckets.len() - 1
        } else {
            let oldest = self.oldest;
            self.unlink(oldest);
            let forgotten = std::mem::replace(&mut self.buckets[oldest], bucket);
            self.by_key.remove(&forgotten.key);
            oldest
        };
        self.by_key.insert(key, i);
        self.link(i);
        i
    }

    fn link(&mut self, i: usize) {
        (self.buckets[i].newer, self.buckets[i].older) = (NONE, self.newest);
        match self.newest {
            NONE => self.oldest = i,
            newest => self.buckets[newest].newer = i,
        }
        self.newest = i;
    }

    fn unlink(&mut self, i: usize) {
        let (newer, older) = (self.buckets[i].newer, self.buckets[i].older);
        match newer {
            NONE => self.newest = older,
            newer => self.buckets[newer].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.buckets[older].newer = newer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn buckets(per_s: f64, burst: f64, keys_max: usize) -> Buckets {
        Buckets::new(Rate { per_s, burst }, keys_max).expect("in range")
    }

    proptest! {
        #[test]
        fn no_more_is_granted_than_burst_and_rate_allow(
            steps in proptest::collection::vec((0_u32..4, 0.0_f64..3.0, -0.5_f64..2.0), 1..80),
            per_s in 0.1_f64..5.0,
            burst in 0.0_f64..8.0,
        ) {
            let mut buckets = buckets(per_s, burst, 8);
            let (mut now_s, mut first_s, mut latest_s, mut granted) = (100.0_f64, f64::MAX, 0.0_f64, [0.0; 4]);
            for (key, amount, pause_s) in steps {
                now_s += pause_s;
                (first_s, latest_s) = (first_s.min(now_s), latest_s.max(now_s));
                let wait_s = buckets.take(&key.to_string(), amount, now_s);
                prop_assert!(wait_s >= 0.0);
                if wait_s == 0.0 {
                    granted[key as usize] += amount;
                }
                prop_assert!(granted[key as usize] <= burst + (latest_s - first_s) * per_s + 1e-6);
            }
        }

        #[test]
        fn who_waits_as_told_is_granted(amount in 0.0_f64..5.0, spent in 0.0_f64..5.0, per_s in 0.01_f64..100.0) {
            let mut buckets = buckets(per_s, 5.0, 2);
            buckets.take("k", spent, 0.0);
            let wait_s = buckets.take("k", amount, 0.0);
            prop_assert!(wait_s.is_finite());
            prop_assert!(wait_s == 0.0 || buckets.take("k", amount, wait_s * (1.0 + 1e-9) + 1e-9) == 0.0);
        }

        #[test]
        fn the_keys_used_last_are_kept(keys in proptest::collection::vec(0_u32..12, 1..60)) {
            let mut buckets = buckets(0.0, 1.0, 5);
            let mut used: Vec<u32> = vec![];
            for key in keys {
                let fresh = !used.contains(&key);
                prop_assert_eq!(buckets.take(&key.to_string(), 1.0, 0.0) == 0.0, fresh);
                used.retain(|k| *k != key);
                used.push(key);
                used.drain(..used.len().saturating_sub(5));
                prop_assert_eq!(buckets.len(), used.len());
            }
        }
    }

    #[test]
    fn more_than_the_burst_is_never_there() {
        assert!(buckets(1.0, 5.0, 2).take("k", 5.1, 0.0).is_infinite());
        let mut still = buckets(0.0, 5.0, 2);
        assert!(still.take("k", 5.0, 0.0) == 0.0 && still.take("k", 1.0, 1e9).is_infinite());
    }

    #[test]
    fn own_rates_hold_for_their_key_and_refunds_fill_to_the_burst() {
        let mut buckets = buckets(1.0, 5.0, 2);
        buckets.set(
            "k",
            Rate {
                per_s: 10.0,
                burst: 20.0,
            },
        );
        assert!(buckets.take("k", 20.0, 0.0) == 0.0 && buckets.take("k", 10.0, 1.0) == 0.0);
        buckets.refund("k", 50.0);
        assert_eq!((buckets.level("k", 1.0), buckets.level("other", 1.0)), (20.0, 5.0));
        buckets.set("k", Rate { per_s: 1.0, burst: 3.0 });
        assert_eq!(buckets.level("k", 1.0), 3.0);
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        for (per_s, burst, keys_max) in [
            (-1.0, 1.0, 1),
            (1.0, f64::NAN, 1),
            (f64::INFINITY, 1.0, 1),
            (1.0, 1.0, 0),
        ] {
            assert!(Buckets::new(Rate { per_s, burst }, keys_max).is_none());
        }
    }
}
