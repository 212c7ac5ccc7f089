//! The fleet: which workers there are, and which of them should run a job.
//!
//! Most of a score hangs on what *kind* of worker it is (region, GPU class, what it has loaded …), and a fleet has
//! few kinds. What differs inside a kind is only how busy each worker is. So per model version the workers of one kind
//! stand in one pool, ordered by load, and a query scores kinds, takes the best of them, and there the least busy
//! workers; of equals, those nearest to the hash of the job's key. No query looks at the whole fleet, and a report
//! moves one worker in a few ordered sets.
//!
//! Scores and rules are those of docs/design/design.md, "Placement".

mod explain;
mod group;
mod index;
mod query;
mod report;
mod score;
mod search;
mod slab;
mod tie;
mod wire;
mod worker;

pub use explain::Removed;
pub use group::Census;
pub use index::{Fleet, Limits, Refused};
pub use query::{OutOfRange, Query, Spec};
pub use report::{CacheState, Malformed, Report};
pub use score::{Candidate, TERM_NAMES, Terms, Weights};
pub use worker::{Standing, View};
