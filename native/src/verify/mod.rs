//! Ed25519 signature checks (RFC 8032), one at a time and in batches.
//!
//! One key and message can have several "signatures", because the curve has eight points of small order: whoever
//! holds the key can add such a point to the commitment `R` or to the key itself. The equation without the cofactor
//! refuses these, the equation times eight accepts them, and the usual batch equation accepts them *by chance*, one
//! time in eight, or when two of them cancel. Were records checked one by one here and in batches there, an attacker
//! could make a record that some nodes take and others refuse, and split the network's view. So:
//!
//! - `holds` and `bad_indices` both use the equation times eight and agree on every record, whatever is beside it.
//!   Keys and commitments of small order (for which one signature fits every message) and other than canonical
//!   encodings are refused by both.
//! - `holds_strictly` uses the equation without the cofactor: no second signature exists without the message's
//!   signer making one. It is for access decisions, where signatures are compared, cached or counted; it accepts
//!   nothing that `holds` refuses.
//!
//! Background: "Taming the many EdDSAs" (Chalkias, Garillot, Nikolaenko, 2020).

mod batch;
mod record;

pub use batch::bad_indices;
pub use record::{Signed, holds, holds_strictly};
