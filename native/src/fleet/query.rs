//! What a request needs: filters, and values for the score. Made once, used for any number of jobs; it remembers how
//! the shapes of its group fared, until the group has other shapes.

use super::group::Shape;
use super::report::{CacheState, vram_steps};
use super::search::Plan;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Mutex;

/// Most adapters of a query.
const ADAPTERS_MAX: usize = 8;
/// Most accelerators of a query, as many as a worker can have.
const ACCELERATORS_MAX: usize = 16;

/// A part of a query that is out of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfRange(pub &'static str);

impl fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for OutOfRange {}

/// The parts of a query; ranges are those of `_native.pyi`.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    /// Model's name.
    pub model_id: String,
    /// MAJOR.MINOR.
    pub version: String,
    /// Digest that must be meant; empty for any.
    pub digest: Vec<u8>,
    /// Engine that must be loaded; empty for any.
    pub fingerprint: Vec<u8>,
    /// Proximity of regions.
    pub regions: HashMap<String, f64>,
    /// Proximity of the other ones; `None` removes them.
    pub region_default: Option<f64>,
    /// Regions that policy allows; empty for all.
    pub regions_allowed: HashSet<String>,
    /// Value of GPU classes; empty for any, at 1.
    pub gpu_classes: HashMap<String, f64>,
    /// Least video memory in bytes.
    pub vram_bytes_min: u64,
    /// Accelerators that must be there.
    pub accelerators: Vec<String>,
    /// Name and version of adapters.
    pub adapters: Vec<(String, String)>,
    /// Health of the model in regions; 1 where not named.
    pub breakers: HashMap<String, f64>,
    /// Points of the tenant's policy for regions; 0 where not named.
    pub policy: HashMap<String, f64>,
}

/// A checked query.
#[derive(Debug)]
pub struct Query {
    spec: Spec,
    /// Key of the model version's group.
    pub(super) group: String,
    /// Keys of the adapters' groups.
    pub(super) adapter_groups: Vec<String>,
    pub(super) plan: Mutex<Plan>,
}

/// Key of the group of a model version.
pub(super) fn group_key(model_id: &str, version: &str) -> String {
    format!("{model_id}\0{version}")
}

/// Key of the group of an adapter on it.
pub(super) fn adapter_key(group: &str, adapter_id: &str, version: &str) -> String {
    format!("{group}\0{adapter_id}\0{version}")
}

fn all_within(values: &HashMap<String, f64>, least: f64) -> bool {
    values.values().all(|value| (least..=1.0).contains(value))
}

impl Query {
    /// A query of these parts.
    ///
    /// # Errors
    /// The first part that is out of its range.
    pub fn new(spec: Spec) -> Result<Self, OutOfRange> {
        let fits = |length: usize| length == 0 || length == 32;
        let rules = [
            (!spec.model_id.is_empty(), "model_id must not be empty"),
            (!spec.version.is_empty(), "version must not be empty"),
            (fits(spec.digest.len()), "digest must be 32 bytes, or empty"),
            (fits(spec.fingerprint.len()), "fingerprint must be 32 bytes, or empty"),
            (all_within(&spec.regions, 0.0), "regions must be 0 to 1"),
            (
                spec.region_default.is_none_or(|v| (0.0..=1.0).contains(&v)),
                "region_default must be 0 to 1",
            ),
            (all_within(&spec.gpu_classes, 0.0), "gpu_classes must be 0 to 1"),
            (
                spec.accelerators.len() <= ACCELERATORS_MAX,
                "accelerators must be at most 16",
            ),
            (spec.adapters.len() <= ADAPTERS_MAX, "adapters must be at most 8"),
            (all_within(&spec.breakers, 0.0), "breakers must be 0 to 1"),
            (all_within(&spec.policy, -1.0), "policy must be -1 to 1"),
        ];
        if let Some((_, why)) = rules.iter().find(|(holds, _)| !holds) {
            return Err(OutOfRange(why));
        }
        let group = group_key(&spec.model_id, &spec.version);
        let adapter_groups = spec
            .adapters
            .iter()
            .map(|(id, version)| adapter_key(&group, id, version))
            .collect();
        Ok(Self {
            spec,
            group,
            adapter_groups,
            plan: Mutex::default(),
        })
    }

    /// Its parts.
    #[must_use]
    pub const fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Proximity of a region; `None` removes it.
    pub(super) fn proximity(&self, region: &str) -> Option<f64> {
        self.spec.regions.get(region).copied().or(self.spec.region_default)
    }

    /// Value of a GPU class; `None` removes it.
    pub(super) fn gpu_value(&self, class: &str) -> Option<f64> {
        if self.spec.gpu_classes.is_empty() {
            Some(1.0)
        } else {
            self.spec.gpu_classes.get(class).copied()
        }
    }

    /// Health of the model in a region.
    pub(super) fn breaker(&self, region: &str) -> f64 {
        self.spec.breakers.get(region).copied().unwrap_or(1.0)
    }

    /// Points of policy for a region.
    pub(super) fn points(&self, region: &str) -> f64 {
        self.spec.policy.get(region).copied().unwrap_or(0.0)
    }

    /// Value of warmth: the mean over the model and each adapter.
    #[expect(clippy::cast_precision_loss, reason = "at most 8 adapters")]
    pub(super) fn warm(&self, model: CacheState, adapters_warm: f64) -> f64 {
        (model.value() + adapters_warm) / (1 + self.spec.adapters.len()) as f64
    }

    /// The first rule that removes a shape.
    pub(super) fn removes(&self, shape: &Shape) -> Option<&'static str> {
        let (spec, kind) = (&self.spec, &shape.kind);
        let differs = |wanted: &[u8], found: &[u8]| !wanted.is_empty() && wanted != found;
        let lacks = |wanted: &String| !kind.accelerators.iter().any(|found| **found == **wanted);
        let rules = [
            (
                "version",
                differs(&spec.digest, &shape.digest) || differs(&spec.fingerprint, &shape.fingerprint),
            ),
            (
                "policy",
                !spec.regions_allowed.is_empty() && !spec.regions_allowed.contains(&*kind.region),
            ),
            ("region", self.proximity(&kind.region).is_none()),
            ("gpu-class", self.gpu_value(&kind.gpu_class).is_none()),
            ("vram", kind.vram_steps < vram_steps(spec.vram_bytes_min)),
            ("accelerator", spec.accelerators.iter().any(lacks)),
            ("breaker", self.breaker(&kind.region) <= 0.0 || shape.health == 0),
        ];
        rules.iter().find(|(_, broken)| *broken).map(|(rule, _)| *rule)
    }
}
