"""Edge codecs: what other protocols say, to and from the contract's messages; pure functions without I/O."""
