"""The inbox: the door for events, and what becomes of them."""
