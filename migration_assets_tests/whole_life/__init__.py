"""From a rehearsal to a retired legacy system, with writers on both sides, faults and crashes."""
