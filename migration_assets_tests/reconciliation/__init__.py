"""Tests of the balance, and of what is compared."""
