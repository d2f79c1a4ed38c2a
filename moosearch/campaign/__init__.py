"""The whole run: plan, folder, ledger, loop, tables, plots, export."""
