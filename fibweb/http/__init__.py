"""HTTP semantics (RFC 9110) as pure functions: negotiation, ranges, entity tags, parameters."""
