"""Statuses, failures, blame, waivers, and the run record that every report renders."""
