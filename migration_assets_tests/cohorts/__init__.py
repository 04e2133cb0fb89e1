"""Tests of phases per cohort: who delivers what, and what is never delivered by guess."""
