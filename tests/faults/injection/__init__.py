"""Launches real campaigns, breaks something in mid-run, and checks that nothing was lost."""
