//! Requests that mean the same, however they are written.

use super::cut_request;
use crate::stream::wire::{put_bytes, put_number};

fn field(number: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, number, bytes);
    out
}

fn hash(request: &[u8]) -> [u8; 32] {
    cut_request(request, "acme").expect("well-formed").request_hash
}

#[test]
fn order_does_not_matter() {
    let (model, input) = (field(2, b"m"), field(4, &field(1, b"hello")));
    assert_eq!(
        hash(&[&model[..], &input].concat()),
        hash(&[&input[..], &model].concat())
    );
}

#[test]
fn the_last_of_a_single_field_wins_and_messages_merge() {
    let twice = [
        field(2, b"x"),
        field(2, b"m"),
        field(8, &[0x08, 0x05]),
        field(8, &[0x50, 0x02]),
    ]
    .concat();
    let once = [field(2, b"m"), field(8, &[0x08, 0x05, 0x50, 0x02])].concat();
    assert_eq!(hash(&twice), hash(&once));
}

#[test]
fn a_oneof_keeps_its_last_member() {
    let both = field(
        4,
        &[field(2, &field(1, &field(2, b"chat"))), field(1, b"text")].concat(),
    );
    assert_eq!(hash(&both), hash(&field(4, &field(1, b"text"))));
    assert_eq!(cut_request(&both, "acme").map(|cut| cut.input_kind), Ok(1));
}

#[test]
fn ids_trace_and_options_are_not_hashed_but_model_and_tenant_are() {
    let plain = field(2, b"m");
    let mut named = [&plain[..], &field(5, b"id"), &field(6, b"again"), &field(7, b"trace")].concat();
    put_number(&mut named, 10, 3);
    assert_eq!(hash(&plain), hash(&named));
    assert_ne!(hash(&plain), hash(&field(2, b"n")));
    let other = cut_request(&plain, "other").map(|cut| cut.request_hash);
    assert_ne!(other, Ok(hash(&plain)));
}

#[test]
fn of_a_sealed_input_only_the_ciphertext_counts() {
    let sealed = |key: &[u8], text: &[u8]| field(4, &field(4, &[field(1, key), field(2, text)].concat()));
    assert_eq!(hash(&sealed(b"key", b"secret")), hash(&sealed(b"other", b"secret")));
    assert_ne!(hash(&sealed(b"key", b"secret")), hash(&sealed(b"key", b"secreT")));
}

#[test]
fn unknown_fields_are_named_at_any_depth_and_not_hashed() {
    let input = |extra: &[u8]| field(4, &[&field(2, &field(1, &field(2, b"hi")))[..], extra].concat());
    let cut = cut_request(&[input(&field(77, b"?")), field(99, b"?")].concat(), "acme").expect("well-formed");
    assert_eq!(cut.unknown, [77, 99]);
    assert_eq!(cut.request_hash, hash(&input(&[])));
}

#[test]
fn invalid_utf8_is_told_and_gives_no_header() {
    let cut = cut_request(&field(2, &[0xff]), "acme").expect("well-formed protobuf");
    assert!(!cut.utf8 && cut.header.is_empty());
}

#[test]
fn malformed_bytes_and_too_many_fields_are_refused() {
    assert!(cut_request(&[0x0a, 0x05, b'a'], "acme").is_err());
    assert!(cut_request(&[0xff; 11], "acme").is_err());
    assert!(cut_request(&[0x02, 0x00].repeat(10), "acme").is_err());
    assert!(cut_request(&field(2, b"m").repeat(300), "acme").is_err());
    let calls = field(4, &field(2, &[0x0a, 0x00].repeat(70_000)));
    assert!(cut_request(&calls, "acme").is_err());
}
