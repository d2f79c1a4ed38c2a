"""The verbs, and the campaign that a user holds."""
