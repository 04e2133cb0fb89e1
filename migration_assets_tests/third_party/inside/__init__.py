"""What runs in the servers' own environment, started by its file's name; nothing imports it."""
