"""Tests of the controlled change of authority."""
