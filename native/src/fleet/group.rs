//! Groups and pools: the workers of a model version (or of an adapter on it), and within it those of one shape, ordered
//! by load and point. A worker stands in one pool per group that it serves.

use super::report::{CacheState, Kind};
use super::slab::Slab;
use std::collections::{BTreeSet, HashMap};

/// All that a score or a rule reads of a worker but its load: what makes workers equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    pub(super) kind: Kind,
    /// In quarters, 0 to 4.
    pub(super) health: u8,
    pub(super) digest: Box<[u8]>,
    pub(super) fingerprint: Box<[u8]>,
    pub(super) state: CacheState,
    /// State of the adapter, in a group of an adapter.
    pub(super) adapter: CacheState,
}

/// What a worker can do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    /// Takes jobs; its load.
    Ready(u16),
    /// No slot and no place in the queue.
    Full,
    /// Suspect, draining or ejected.
    Out,
}

/// How many workers a group has, by what they can do now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Could take a job.
    pub ready: u32,
    /// No slot and no place in their queue.
    pub full: u32,
    /// Suspect, draining or ejected.
    pub out: u32,
}

impl Census {
    const fn of(&mut self, column: Column) -> &mut u32 {
        match column {
            Column::Ready(_) => &mut self.ready,
            Column::Full => &mut self.full,
            Column::Out => &mut self.out,
        }
    }
}

/// A worker in a pool: load, point, slot.
type Seat = (u16, u64, u32);

/// Workers of one shape; those that are ready sit in order.
pub(super) struct Pool {
    pub(super) shape: Shape,
    members: u32,
    seats: BTreeSet<Seat>,
}

impl Pool {
    /// Least load of a ready worker that is at least so much.
    pub(super) fn load_from(&self, least: u16) -> Option<u16> {
        self.seats.range((least, 0, 0)..).next().map(|seat| seat.0)
    }

    /// Ready workers (point, slot) of a load, from a point on, once around the ring.
    pub(super) fn ring(&self, load: u16, from: u64) -> impl Iterator<Item = (u64, u32)> {
        let after = self.seats.range((load, from, 0)..=(load, u64::MAX, u32::MAX));
        let before = self.seats.range((load, 0, 0)..(load, from, 0));
        after.chain(before).map(|&(_, point, slot)| (point, slot))
    }
}

/// Head of a pool in which no worker is ready.
const NOBODY: u16 = u16::MAX;

impl Group {
    /// Least load of a ready worker of a pool.
    pub(super) fn head(&self, pool: u32) -> Option<u16> {
        self.heads.get(pool as usize).copied().filter(|load| *load != NOBODY)
    }

    fn add_pool(&mut self, shape: Shape) -> u32 {
        let pool = self.pools.put(Pool {
            shape: shape.clone(),
            members: 0,
            seats: BTreeSet::new(),
        });
        self.heads.resize(self.heads.len().max(pool as usize + 1), NOBODY);
        self.by_shape.insert(shape, pool);
        pool
    }
}

/// Workers of one model version, or of one adapter on it.
pub(super) struct Group {
    key: Box<str>,
    pub(super) pools: Slab<Pool>,
    /// Least load of a ready worker, by pool, or `NOBODY`: side by side, because a query reads many of them.
    heads: Vec<u16>,
    by_shape: HashMap<Shape, u32>,
    pub(super) census: Census,
    members: u32,
    /// Differs from every earlier set of shapes in this fleet.
    pub(super) version: u64,
}

/// Where a worker stands in one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) group: u32,
    pub(super) pool: u32,
}

/// All groups.
#[derive(Default)]
pub(super) struct Groups {
    by_key: HashMap<Box<str>, u32>,
    slots: Slab<Group>,
    version: u64,
}

impl Groups {
    pub(super) fn find(&self, key: &str) -> Option<(u32, &Group)> {
        let id = *self.by_key.get(key)?;
        Some((id, self.get(id)?))
    }

    pub(super) fn get(&self, id: u32) -> Option<&Group> {
        self.slots.get(id)
    }

    pub(super) fn shape(&self, place: Place) -> Option<&Shape> {
        self.get(place.group)?.pools.get(place.pool).map(|pool| &pool.shape)
    }

    pub(super) fn key(&self, place: Place) -> &str {
        self.get(place.group).map_or("", |group| &group.key)
    }

    /// Take a worker into a group, in no column yet.
    pub(super) fn join(&mut self, key: &str, shape: Shape) -> Place {
        let id = self.by_key.get(key).copied().unwrap_or_else(|| self.add_group(key));
        let version = self.version + 1;
        let Some(group) = self.slots.get_mut(id) else {
            unreachable!("a group that has a key is there")
        };
        group.members += 1;
        let known = group.by_shape.get(&shape).copied();
        let pool = known.unwrap_or_else(|| group.add_pool(shape));
        group.pools.get_mut(pool).into_iter().for_each(|pool| pool.members += 1);
        if known.is_none() {
            (group.version, self.version) = (version, version);
        }
        Place { group: id, pool }
    }

    fn add_group(&mut self, key: &str) -> u32 {
        let (pools, heads, by_shape) = (Slab::default(), Vec::new(), HashMap::new());
        let group = Group {
            key: key.into(),
            pools,
            heads,
            by_shape,
            census: Census::default(),
            members: 0,
            version: 0,
        };
        let id = self.slots.put(group);
        self.by_key.insert(key.into(), id);
        id
    }

    /// Let a worker go that is in no column.
    pub(super) fn leave(&mut self, place: Place) {
        let Some(group) = self.slots.get_mut(place.group) else {
            return;
        };
        let Some(pool) = group.pools.get_mut(place.pool) else {
            return;
        };
        group.members -= 1;
        pool.members -= 1;
        if pool.members == 0 {
            group.by_shape.remove(&pool.shape);
            group.pools.take(place.pool);
            self.version += 1;
            group.version = self.version;
        }
        if group.members == 0 {
            self.by_key.remove(&group.key);
            self.slots.take(place.group);
        }
    }

    /// Move a worker between columns; `None` is no column.
    pub(super) fn shift(&mut self, place: Place, who: (u64, u32), from: Option<Column>, to: Option<Column>) {
        let Some(group) = self.slots.get_mut(place.group) else {
            return;
        };
        let Some(pool) = group.pools.get_mut(place.pool) else {
            return;
        };
        if let Some(from) = from {
            *group.census.of(from) -= 1;
        }
        if let Some(to) = to {
            *group.census.of(to) += 1;
        }
        if let Some(Column::Ready(load)) = from {
            pool.seats.remove(&(load, who.0, who.1));
        }
        if let Some(Column::Ready(load)) = to {
            pool.seats.insert((load, who.0, who.1));
        }
        group.heads[place.pool as usize] = pool.seats.first().map_or(NOBODY, |seat| seat.0);
    }
}
