"""The whole run: plan, folder, log, loop, tables, plots, export."""
