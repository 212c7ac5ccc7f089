//! What a worker says of itself: the part of a `Health.Report` that placement reads.

use super::wire::{Value, fields};
use std::fmt;
use std::sync::Arc;

/// Longest report that is read: 1,000 models of 60 bytes; a frame of a link holds no more.
const REPORT_BYTES_MAX: usize = 65_536;
/// Most models and adapters that one worker is indexed under: bounds what one worker's report can cost. (A guess.)
const OFFERS_MAX: usize = 1_024;
/// Most accelerators, by health.proto.
const ACCELERATORS_MAX: usize = 16;
/// Longest name of any kind: model names are the longest, at most 96 bytes; twice that is surely wrong.
const NAME_BYTES_MAX: usize = 192;
/// Video memory is compared in steps, since equal cards report sizes that differ by what the driver takes: 256 MiB.
const VRAM_STEP_SHIFT: u32 = 28;

/// Why a report is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "report: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// How near a model is to running; ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CacheState {
    /// Not at hand.
    #[default]
    Absent,
    /// Verified, on disk.
    OnDisk,
    /// Being fetched, verified or loaded.
    Loading,
    /// Loaded and probed.
    Ready,
}

impl CacheState {
    fn from_number(number: u64) -> Self {
        match number {
            1 => Self::Loading,
            2 => Self::OnDisk,
            3 => Self::Ready,
            _ => Self::Absent,
        }
    }

    /// Value for the score. A guess: loading is half way, a copy on disk saves the fetch but not the load.
    #[must_use]
    pub const fn value(self) -> f64 {
        match self {
            Self::Absent => 0.0,
            Self::OnDisk => 0.25,
            Self::Loading => 0.5,
            Self::Ready => 1.0,
        }
    }
}

/// What kind of machine a worker is: nothing in it changes from report to report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    pub(super) region: Arc<str>,
    pub(super) gpu_class: Arc<str>,
    pub(super) accelerators: Vec<Box<str>>,
    pub(super) vram_steps: u64,
    /// Logarithm of `latency_hops`, 0 to 8.
    pub(super) hops_class: u8,
}

/// Steps of video memory in so many bytes, rounded down.
pub(super) const fn vram_steps(bytes: u64) -> u64 {
    bytes >> VRAM_STEP_SHIFT
}

/// A model version by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ModelRef {
    pub(super) model_id: Box<str>,
    pub(super) version: Box<str>,
    pub(super) digest: Box<[u8]>,
}

impl ModelRef {
    fn is(&self, other: &Self) -> bool {
        self.named(&other.model_id, &other.version)
    }

    pub(super) fn named(&self, model_id: &str, version: &str) -> bool {
        *self.model_id == *model_id && *self.version == *version
    }
}

/// A model that a worker serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) model: ModelRef,
    pub(super) state: CacheState,
    /// Of the engine that has it loaded; else empty.
    pub(super) fingerprint: Box<[u8]>,
}

/// An adapter that a worker has at hand, and the model it applies to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AdapterOffer {
    pub(super) base: ModelRef,
    pub(super) adapter: ModelRef,
    pub(super) state: CacheState,
}

impl AdapterOffer {
    pub(super) fn is_on(&self, model: &ModelRef) -> bool {
        self.base.is(model)
    }
}

/// A worker's report, as placement reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub(super) worker_id: Box<str>,
    pub(super) address: Arc<str>,
    pub(super) incarnation: u64,
    pub(super) sequence: u64,
    pub(super) started_total: u64,
    pub(super) slots: u32,
    pub(super) slots_free: u32,
    pub(super) queue_depth: u32,
    pub(super) queue_max: u32,
    pub(super) draining: bool,
    pub(super) kind: Kind,
    pub(super) offers: Vec<Offer>,
    pub(super) adapters: Vec<AdapterOffer>,
}

#[derive(Default)]
struct Cached {
    model: ModelRef,
    base: Option<ModelRef>,
    state: CacheState,
}

#[derive(Default)]
struct Lists {
    supported: Vec<ModelRef>,
    cached: Vec<Cached>,
    engines: Vec<(ModelRef, Box<[u8]>)>,
}

impl Report {
    /// Read a serialized `Health.Report`.
    ///
    /// # Errors
    /// `Malformed` where it is not one, lacks worker, address or region, or passes a limit.
    pub fn decode(raw: &[u8]) -> Result<Self, Malformed> {
        if raw.len() > REPORT_BYTES_MAX {
            return Err(Malformed("longer than 65,536 bytes"));
        }
        let (mut report, mut lists) = (Self::default(), Lists::default());
        fields(raw, |number, value| report.take(&mut lists, number, value)).ok_or(Malformed("not a Health.Report"))?;
        report.check(&lists)?;
        report.kind.accelerators.sort_unstable();
        report.kind.accelerators.dedup();
        report.slots_free = report.slots_free.min(report.slots);
        report.combine(lists);
        Ok(report)
    }

    fn take(&mut self, lists: &mut Lists, number: u64, value: Value<'_>) -> Option<()> {
        match number {
            1 => self.worker_id = name(value)?,
            2 => fields(value.bytes()?, |number, value| self.take_capacity(number, value))?,
            3 => self.kind.gpu_class = name(value)?.into(),
            4 => lists.cached.push(cached(value)?),
            5 => self.kind.region = name(value)?.into(),
            6 => self.kind.accelerators.push(name(value)?),
            7 => lists.supported.push(model_ref(value)?),
            8 => lists.engines.push(engine(value)?),
            9 => self.incarnation = value.number()?,
            10 => self.sequence = value.number()?,
            11 => self.kind.vram_steps = vram_steps(value.number()?),
            15 => self.kind.hops_class = hops_class(value.number()?),
            16 => self.draining = value.number()? != 0,
            17 => self.started_total = value.number()?,
            18 => self.address = name(value)?.into(),
            _ => {}
        }
        Some(())
    }

    fn take_capacity(&mut self, number: u64, value: Value<'_>) -> Option<()> {
        match number {
            1 => self.slots = value.number32()?,
            2 => self.slots_free = value.number32()?,
            3 => self.queue_depth = value.number32()?,
            4 => self.queue_max = value.number32()?,
            _ => {}
        }
        Some(())
    }

    fn check(&self, lists: &Lists) -> Result<(), Malformed> {
        let rules = [
            (self.worker_id.is_empty(), "no worker id"),
            (self.address.is_empty(), "no address"),
            (self.kind.region.is_empty(), "no region"),
            (self.kind.accelerators.len() > ACCELERATORS_MAX, "over 16 accelerators"),
            (
                lists.supported.len() + lists.cached.len() > OFFERS_MAX,
                "over 1,024 models",
            ),
            (lists.engines.len() > OFFERS_MAX, "over 1,024 engines"),
        ];
        rules
            .iter()
            .find(|(broken, _)| *broken)
            .map_or(Ok(()), |(_, why)| Err(Malformed(why)))
    }

    /// Join what is supported with what is cached and loaded.
    fn combine(&mut self, lists: Lists) {
        let mut supported = lists.supported;
        supported.sort_unstable_by(|a, b| (&a.model_id, &a.version).cmp(&(&b.model_id, &b.version)));
        supported.dedup_by(|a, b| a.is(b));
        self.offers = supported
            .into_iter()
            .map(|model| lists_offer(model, &lists.cached, &lists.engines))
            .collect();
        for cached in lists.cached {
            if let Some(base) = cached.base {
                self.add_adapter(base, cached.model, cached.state);
            }
        }
    }

    fn add_adapter(&mut self, base: ModelRef, adapter: ModelRef, state: CacheState) {
        let known = self.adapters.iter().any(|a| a.base.is(&base) && a.adapter.is(&adapter));
        if !known && self.offers.iter().any(|offer| offer.model.is(&base)) {
            self.adapters.push(AdapterOffer { base, adapter, state });
        }
    }
}

fn lists_offer(model: ModelRef, cached: &[Cached], engines: &[(ModelRef, Box<[u8]>)]) -> Offer {
    let same = |c: &&Cached| c.base.is_none() && c.model.is(&model);
    let state = cached.iter().find(same).map_or(CacheState::Absent, |c| c.state);
    let loaded = engines.iter().find(|(m, _)| m.is(&model));
    let fingerprint = loaded.map(|(_, fingerprint)| fingerprint.clone()).unwrap_or_default();
    Offer {
        model,
        state,
        fingerprint,
    }
}

/// A name: text without control characters, of a sane length.
fn name(value: Value<'_>) -> Option<Box<str>> {
    let text = value.text()?;
    (text.len() <= NAME_BYTES_MAX && !text.contains(char::is_control)).then(|| text.into())
}

fn digest(value: Value<'_>) -> Option<Box<[u8]>> {
    value.bytes().filter(|bytes| bytes.len() <= 32).map(Into::into)
}

fn hops_class(hops: u64) -> u8 {
    (64 - hops.min(255).leading_zeros()) as u8
}

fn model_ref(value: Value<'_>) -> Option<ModelRef> {
    let mut model = ModelRef::default();
    fields(value.bytes()?, |number, value| {
        match number {
            1 => model.model_id = name(value)?,
            2 => model.version = name(value)?,
            3 => model.digest = digest(value)?,
            _ => {}
        }
        Some(())
    })?;
    Some(model)
}

fn cached(value: Value<'_>) -> Option<Cached> {
    let mut cached = Cached::default();
    fields(value.bytes()?, |number, value| {
        match number {
            1 => cached.model = model_ref(value)?,
            2 => cached.state = CacheState::from_number(value.number()?),
            4 => cached.base = Some(model_ref(value)?),
            _ => {}
        }
        Some(())
    })?;
    Some(cached)
}

fn engine(value: Value<'_>) -> Option<(ModelRef, Box<[u8]>)> {
    let (mut model, mut fingerprint) = (ModelRef::default(), Box::default());
    fields(value.bytes()?, |number, value| {
        match number {
            1 => model = model_ref(value)?,
            3 => fingerprint = digest(value)?,
            _ => {}
        }
        Some(())
    })?;
    Some((model, fingerprint))
}
