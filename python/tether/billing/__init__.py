"""Usage on its way to whoever bills: pushed in signed batches, and kept in files per hour."""
