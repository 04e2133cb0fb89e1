"""Tests of profiles and the mapping register."""
