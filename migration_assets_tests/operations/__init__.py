"""What people do to an account: undone, redelivered, remapped, rehearsed, repaired, purged."""
