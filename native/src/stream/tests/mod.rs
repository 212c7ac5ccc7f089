//! The two machines wired together, and what readers must see whatever happens between.

mod codec;
mod dialogue;
mod random;
mod worker;
mod world;
