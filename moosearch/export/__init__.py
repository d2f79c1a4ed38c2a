"""Exports: a trained candidate as files that deploy, and what such files say of an image."""
