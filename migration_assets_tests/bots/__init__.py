"""The Bots that we ship."""
