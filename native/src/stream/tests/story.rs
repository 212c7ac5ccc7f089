//! What stories of answers that go on begin with, and what they look at.

use super::world::{World, at, log_settings, table_settings};
use crate::stream::wire::{Fields, first_two, last_bytes};
use crate::stream::{Action, Chain, Placing, Position, Start, TableSettings};

const DETACH: u32 = 1;

/// A job that runs on the link, with one reader.
pub fn running() -> World {
    running_with(table_settings())
}

/// The same with other settings.
pub fn running_with(settings: TableSettings) -> World {
    let mut world = World::new(settings, log_settings());
    world.open(1, DETACH);
    world.join(1, 10);
    world.place(1, 1, 100);
    world.pump();
    assert_eq!(world.serve().len(), 1);
    world.worker.clear();
    world.wanted();
    world
}

/// Place the job another time, on the present link; the body of its START.
pub fn place_again(world: &mut World, epoch: u32, continuity: u32) -> Vec<u8> {
    let placing = Placing {
        continuity,
        ..at(1, epoch, world.link, b"\x0a\x03ask")
    };
    let actions = world.table.placed(&placing, world.now);
    world.did(actions);
    world.pump();
    let started = |action: &Action| match action {
        Action::Start(_, _, new, body) if *new == epoch => Some(body.clone()),
        _ => None,
    };
    let body = world.worker.iter().find_map(started).expect("a START");
    world.serve();
    body
}

/// Packed numbers of a field.
pub fn packed(message: &[u8], number: u32) -> Vec<u64> {
    let mut fields = Fields::new(last_bytes(message, number).expect("well-formed"));
    std::iter::from_fn(|| fields.next_packed().expect("varints")).collect()
}

/// A position in a field.
pub fn position(message: &[u8], number: u32) -> (u64, u64) {
    first_two(last_bytes(message, number).expect("position")).expect("position")
}

/// All chunks that wait for a reader.
pub fn chunks(world: &mut World, reader: u64) -> Vec<Vec<u8>> {
    let mut chunks = Vec::new();
    while let Some(chunk) = world.table.take(reader) {
        chunks.push(chunk.to_vec());
    }
    let actions = world.table.actions();
    world.did(actions);
    chunks
}

/// The hash over token ids.
pub fn tokens(ids: &[u32]) -> Chain {
    let mut chain = Chain::new();
    chain.feed_tokens(ids);
    chain
}

/// A place to begin at.
pub fn seat(tokens: u64, bytes: u64, chain_state: Vec<u8>) -> Start {
    Start {
        position: Position { tokens, bytes },
        chain_state,
    }
}
