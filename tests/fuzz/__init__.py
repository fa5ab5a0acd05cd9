"""Any bytes at all, for whatever decodes bytes."""
