"""The canary of design.md §8: invented people carry texts that turn up nowhere unasked."""
