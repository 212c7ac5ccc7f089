//! Requests at the edge: what a gateway needs of an `Infer.Request` without its input, cut from the raw bytes.
//!
//! The payload goes to the worker as it came; the orchestrator gets a `Header` of a few hundred bytes, and the hash by
//! which a repeat is recognised. Source: docs/design/streams.md §1 and "Request hash".

mod canonical;
mod schema;
#[cfg(test)]
mod tests;
mod tree;

use crate::stream::Malformed;
use crate::stream::wire::{Fields, Value, put_bytes, put_nonzero};
use schema::REQUEST;
use sha2::{Digest, Sha256};
use tree::{Leaf, Node, Reading};

const LABEL: &[u8] = b"tether/request/v1\0";
/// Fields of `Infer.Request` that the hash covers: tenant, model, version, input, parameters, adapters.
const HASHED: [u32; 6] = [1, 2, 3, 4, 8, 9];
const INPUT: u32 = 4;
const SEALED: u32 = 4; // of `Infer.Input`
const CIPHERTEXT: u32 = 2; // of `Infer.Sealed`
const DETACH: u64 = 1;
const CANCEL: u64 = 2;

/// What was found; the Python stub says what each means.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in the stub")]
pub struct Cut {
    pub header: Vec<u8>,
    pub request_hash: [u8; 32],
    pub tenant_id: String,
    pub trace_id: String,
    pub input_kind: u32,
    pub input_bytes: u64,
    pub input_parts: u64,
    pub unknown: Vec<u32>,
    pub utf8: bool,
}

/// Read a request for the tenant that pays.
pub fn cut_request(request: &[u8], tenant_id: &str) -> Result<Cut, Malformed> {
    let mut reading = Reading::default();
    let node = reading.read(REQUEST, request)?;
    let own = |number| String::from_utf8_lossy(if reading.utf8 { node.bytes(number) } else { &[] }).into_owned();
    let (tenant, trace) = (own(1), own(7));
    let (input_kind, input_bytes, input_parts) = input(&node);
    let request_hash = hash(node, tenant_id.as_bytes());
    let mut cut = Cut {
        header: Vec::new(),
        request_hash,
        tenant_id: tenant,
        trace_id: trace,
        input_kind,
        input_bytes,
        input_parts,
        unknown: reading.unknown.iter().copied().collect(),
        utf8: reading.utf8,
    };
    if cut.utf8 {
        cut.header = header(request, tenant_id, &cut)?;
    }
    Ok(cut)
}

/// Kind, bytes and parts of the input.
fn input(node: &Node<'_>) -> (u32, u64, u64) {
    let Some((kind, leaf)) = node.message(INPUT).and_then(|input| input.fields.first()) else {
        return (0, 0, 0);
    };
    match leaf {
        Leaf::Message(sealed) if *kind == SEALED => (*kind, sealed.bytes(CIPHERTEXT).len() as u64, 1),
        Leaf::Message(parts) => (*kind, weight(leaf), parts.fields.len() as u64),
        _ => (*kind, weight(leaf), 1),
    }
}

/// Bytes of all strings and bytes.
fn weight(leaf: &Leaf<'_>) -> u64 {
    match leaf {
        Leaf::Bytes(bytes) => bytes.len() as u64,
        Leaf::Message(node) => node.fields.iter().map(|(_, leaf)| weight(leaf)).sum(),
        _ => 0,
    }
}

/// Hash of the canonical form, with `tenant` in place of the one sent; of a sealed input only the ciphertext counts.
fn hash<'a>(mut node: Node<'a>, tenant: &'a [u8]) -> [u8; 32] {
    node.fields
        .retain(|(number, _)| *number != 1 && HASHED.contains(number));
    node.fields.insert(0, (1, Leaf::Bytes(tenant)));
    for (number, leaf) in &mut node.fields {
        if let (&mut INPUT, Leaf::Message(input)) = (number, leaf) {
            keep_ciphertext(input);
        }
    }
    let mut hash = Sha256::new();
    hash.update(LABEL);
    canonical::feed(REQUEST, &node, &mut hash);
    hash.finalize().into()
}

fn keep_ciphertext(input: &mut Node<'_>) {
    for (number, leaf) in &mut input.fields {
        if let (&mut SEALED, Leaf::Message(sealed)) = (number, leaf) {
            sealed.fields.retain(|(number, _)| *number == CIPHERTEXT);
        }
    }
}

/// Single fields of a request that its header needs, the last of each.
#[derive(Default)]
struct Named<'a> {
    model: &'a [u8],
    version: &'a [u8],
    correlation: &'a [u8],
    retry: &'a [u8],
    priority: u64,
    on_disconnect: u64,
    path: u64,
}

/// Serialized `Header`: small fields by name, messages as they came.
fn header(request: &[u8], tenant: &str, cut: &Cut) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(256);
    let mut named = Named::default();
    let mut fields = Fields::new(request);
    while let Some(field) = fields.next_field()? {
        match field {
            (2, Value::Bytes(bytes)) => named.model = bytes,
            (3, Value::Bytes(bytes)) => named.version = bytes,
            (5, Value::Bytes(bytes)) => named.correlation = bytes,
            (6, Value::Bytes(bytes)) => named.retry = bytes,
            (8, Value::Bytes(bytes)) => put_bytes(&mut out, 10, bytes),
            (9, Value::Bytes(bytes)) => put_bytes(&mut out, 11, bytes),
            (10, Value::Varint(value)) => named.priority = value,
            (11, Value::Bytes(bytes)) => put_bytes(&mut out, 13, bytes),
            (12, Value::Bytes(bytes)) => stream_options(bytes, &mut named)?,
            _ => {}
        }
    }
    let keyed = !(named.correlation.is_empty() && named.retry.is_empty());
    if named.correlation.is_empty() {
        named.correlation = named.retry;
    }
    if named.on_disconnect == 0 {
        named.on_disconnect = if keyed { DETACH } else { CANCEL };
    }
    for (number, bytes) in [
        (1, tenant.as_bytes()),
        (2, named.model),
        (3, named.version),
        (4, named.correlation),
        (5, named.retry),
        (7, &cut.request_hash),
    ] {
        if !bytes.is_empty() {
            put_bytes(&mut out, number, bytes);
        }
    }
    put_nonzero(&mut out, 6, u64::from(keyed));
    put_nonzero(&mut out, 8, cut.input_bytes);
    put_nonzero(&mut out, 12, named.priority);
    put_nonzero(&mut out, 14, named.on_disconnect);
    put_nonzero(&mut out, 15, named.path);
    Ok(out)
}

fn stream_options(message: &[u8], named: &mut Named<'_>) -> Result<(), Malformed> {
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next_field()? {
        match field {
            (1, Value::Varint(value)) => named.on_disconnect = value,
            (2, Value::Varint(value)) => named.path = value,
            _ => {}
        }
    }
    Ok(())
}
