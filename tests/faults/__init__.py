"""Faults: killed runs, runs at the same time, files in any order, orders that change."""
