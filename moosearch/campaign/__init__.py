"""The record of a campaign on disk: log, study, tables, confirmation. Imports neither torch nor Ray."""
