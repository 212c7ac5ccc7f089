//! The two machines wired together, and what readers must see whatever happens between.

mod chaos;
mod codec;
mod dialogue;
mod failover;
mod mesh;
mod oracle;
mod race;
mod random;
mod resume;
mod story;
mod worker;
mod world;
