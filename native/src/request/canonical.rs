//! The canonical form of a message, which its hash is taken over: docs/design/streams.md, "Request hash".
//!
//! Protobuf promises no one encoding of a message, so equal requests of different libraries may differ on the wire.
//! Here every field that says something stands once, by number, with fixed widths.

use super::schema::{Field, Kind, Presence};
use super::tree::{Leaf, Node};
use sha2::{Digest, Sha256};

/// Bytes of a record before a string, bytes or message: number and length.
const RECORD_HEAD: u64 = 4 + 8;

/// Whether a field of its default value says nothing.
fn silent(field: &Field, leaf: &Leaf<'_>) -> bool {
    if field.presence != Presence::Implicit {
        return false;
    }
    match (leaf, field.kind) {
        (Leaf::Number(value), _) => *value == 0,
        (Leaf::Float(bits), _) => *bits == 0,
        (Leaf::Bytes(bytes), _) => bytes.is_empty(),
        (Leaf::Message(node), Kind::Message(inner)) => length(inner, node) == 0,
        _ => true,
    }
}

fn records<'n, 'a>(
    schema: &'static [Field],
    node: &'n Node<'a>,
) -> impl Iterator<Item = (&'static Field, &'n Leaf<'a>)> {
    let known = |number: u32| schema.iter().find(|field| field.number == number);
    let fields = node
        .fields
        .iter()
        .filter_map(move |(number, leaf)| Some((known(*number)?, leaf)));
    fields.filter(|(field, leaf)| !silent(field, leaf))
}

/// Bytes of a message's canonical form.
pub fn length(schema: &'static [Field], node: &Node<'_>) -> u64 {
    let one = |(field, leaf): (&Field, &Leaf<'_>)| match (leaf, field.kind) {
        (Leaf::Number(_), _) => 4 + 8,
        (Leaf::Float(_), _) => 4 + 4,
        (Leaf::Bytes(bytes), _) => RECORD_HEAD + bytes.len() as u64,
        (Leaf::Message(node), Kind::Message(inner)) => RECORD_HEAD + length(inner, node),
        _ => 0,
    };
    records(schema, node).map(one).sum()
}

/// Hash a message's canonical form.
pub fn feed(schema: &'static [Field], node: &Node<'_>, hash: &mut Sha256) {
    for (field, leaf) in records(schema, node) {
        hash.update(field.number.to_le_bytes());
        match (leaf, field.kind) {
            (Leaf::Number(value), _) => hash.update(value.to_le_bytes()),
            (Leaf::Float(bits), _) => hash.update(bits.to_le_bytes()),
            (Leaf::Bytes(bytes), _) => {
                hash.update((bytes.len() as u64).to_le_bytes());
                hash.update(bytes);
            }
            (Leaf::Message(node), Kind::Message(inner)) => {
                hash.update(length(inner, node).to_le_bytes());
                feed(inner, node, hash);
            }
            _ => {}
        }
    }
}
