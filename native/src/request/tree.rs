//! A request as a tree of slices: decoded by the rules of protobuf, copied nowhere.
//!
//! Whatever order and form the wire has, equal messages give equal trees: the last of a single field wins, messages
//! merge, a oneof keeps its last member, packed and unpacked numbers are the same.
//! Source: protobuf's encoding guide, "Last One Wins".

use super::schema::{Field, Kind, Presence};
use crate::stream::Malformed;
use crate::stream::wire::{Fields, Value};
use std::collections::BTreeSet;

/// Value of one field.
#[derive(Debug)]
pub enum Leaf<'a> {
    /// An integer, sign-extended to 64 bits.
    Number(u64),
    /// Bits of a float.
    Float(u32),
    /// A string or bytes.
    Bytes(&'a [u8]),
    /// A message.
    Message(Node<'a>),
}

/// Fields of one message: ascending numbers, repeated ones in their order.
#[derive(Debug, Default)]
pub struct Node<'a> {
    /// Number and value.
    pub fields: Vec<(u32, Leaf<'a>)>,
    /// Single fields that were set, by number; all members of a oneof share bit 0.
    set: u64,
}

impl<'a> Node<'a> {
    /// The value of a single field.
    pub fn get(&self, number: u32) -> Option<&Leaf<'a>> {
        self.fields.iter().find(|(at, _)| *at == number).map(|(_, leaf)| leaf)
    }

    /// A string or bytes field, or empty.
    pub fn bytes(&self, number: u32) -> &'a [u8] {
        match self.get(number) {
            Some(Leaf::Bytes(bytes)) => bytes,
            _ => &[],
        }
    }

    /// A message field.
    pub fn message(&self, number: u32) -> Option<&Node<'a>> {
        match self.get(number) {
            Some(Leaf::Message(node)) => Some(node),
            _ => None,
        }
    }
}

const FIELDS_MAX: usize = 65_536; // a chat of 256 turns with calls, 64 tools and 64 tensors has a few thousand

/// Single fields that are set again: legal, and what no library writes; each costs a search.
const AGAIN_MAX: usize = 256;

/// What reading found besides the tree.
#[derive(Debug)]
pub struct Reading {
    /// Numbers of unknown fields at any depth.
    pub unknown: BTreeSet<u32>,
    /// Whether every string is valid UTF-8.
    pub utf8: bool,
    left: usize,
    again: usize,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            unknown: BTreeSet::new(),
            utf8: true,
            left: FIELDS_MAX,
            again: AGAIN_MAX,
        }
    }
}

impl Reading {
    /// Decode a message. Its depth is that of the schema.
    pub fn read<'a>(&mut self, schema: &'static [Field], message: &'a [u8]) -> Result<Node<'a>, Malformed> {
        let mut node = Node::default();
        self.merge(&mut node, schema, message)?;
        sort(&mut node);
        Ok(node)
    }

    fn count(&mut self) -> Result<(), Malformed> {
        self.left = self.left.checked_sub(1).ok_or(Malformed("over 65,536 fields"))?;
        Ok(())
    }

    fn merge<'a>(&mut self, node: &mut Node<'a>, schema: &'static [Field], message: &'a [u8]) -> Result<(), Malformed> {
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.next_field()? {
            self.count()?;
            let known = schema.iter().find(|field| field.number == number);
            let taken = match known {
                Some(field) => self.field(node, schema, field, value)?,
                None => false,
            };
            if !taken {
                self.unknown.insert(number);
            }
        }
        Ok(())
    }

    /// Take a known field; false where its wire type is not that of its kind.
    fn field<'a>(
        &mut self,
        node: &mut Node<'a>,
        schema: &'static [Field],
        field: &'static Field,
        value: Value<'a>,
    ) -> Result<bool, Malformed> {
        let leaf = match (field.kind, value) {
            (Kind::Message(inner), Value::Bytes(bytes)) => return self.nested(node, schema, field, inner, bytes),
            (Kind::Text, Value::Bytes(bytes)) => {
                self.utf8 &= std::str::from_utf8(bytes).is_ok();
                Leaf::Bytes(bytes)
            }
            (Kind::Bytes, Value::Bytes(bytes)) => Leaf::Bytes(bytes),
            (Kind::Float, Value::Fixed32(bits)) => Leaf::Float(bits),
            (Kind::Number64, Value::Bytes(packed)) if field.presence == Presence::Repeated => {
                self.packed(node, field, packed)?;
                return Ok(true);
            }
            (kind, Value::Varint(value)) => match number(kind, value) {
                Some(value) => Leaf::Number(value),
                None => return Ok(false),
            },
            _ => return Ok(false),
        };
        self.clear(node, schema, field)?;
        node.fields.push((field.number, leaf));
        Ok(true)
    }

    fn nested<'a>(
        &mut self,
        node: &mut Node<'a>,
        schema: &'static [Field],
        field: &'static Field,
        inner: &'static [Field],
        bytes: &'a [u8],
    ) -> Result<bool, Malformed> {
        let set = field.presence != Presence::Repeated && node.set & bit(field) != 0;
        let found = set.then(|| node.fields.iter().position(|(number, _)| *number == field.number));
        if let Some(Leaf::Message(merged)) = found.flatten().map(|index| &mut node.fields[index].1) {
            self.again()?;
            self.merge(merged, inner, bytes)?;
            return Ok(true);
        }
        let mut fresh = Node::default();
        self.merge(&mut fresh, inner, bytes)?;
        self.clear(node, schema, field)?;
        node.fields.push((field.number, Leaf::Message(fresh)));
        Ok(true)
    }

    /// Before a value is set, what it replaces goes: itself, and the other members of its oneof.
    fn clear(&mut self, node: &mut Node<'_>, schema: &[Field], field: &Field) -> Result<(), Malformed> {
        if field.presence == Presence::Repeated {
            return Ok(());
        }
        if node.set & bit(field) != 0 {
            self.again()?;
            let kept = |number: u32| {
                schema
                    .iter()
                    .all(|other| other.number != number || bit(other) != bit(field))
            };
            node.fields.retain(|(number, _)| kept(*number));
        }
        node.set |= bit(field);
        Ok(())
    }

    fn again(&mut self) -> Result<(), Malformed> {
        self.again = self
            .again
            .checked_sub(1)
            .ok_or(Malformed("single fields set too often"))?;
        Ok(())
    }

    fn packed(&mut self, node: &mut Node<'_>, field: &Field, packed: &[u8]) -> Result<(), Malformed> {
        let mut numbers = Fields::new(packed);
        while let Some(value) = numbers.next_packed()? {
            self.count()?;
            node.fields.push((field.number, Leaf::Number(value)));
        }
        Ok(())
    }
}

fn bit(field: &Field) -> u64 {
    if field.presence == Presence::OneOf {
        1
    } else {
        1 << field.number
    }
}

fn number(kind: Kind, value: u64) -> Option<u64> {
    Some(match kind {
        Kind::Unsigned32 => u64::from(value as u32),
        Kind::Signed32 => i64::from(value as i32) as u64,
        Kind::Number64 => value,
        Kind::Bool => u64::from(value != 0),
        _ => return None,
    })
}

fn sort(node: &mut Node<'_>) {
    node.fields.sort_by_key(|(number, _)| *number);
    for (_, leaf) in &mut node.fields {
        if let Leaf::Message(inner) = leaf {
            sort(inner);
        }
    }
}
