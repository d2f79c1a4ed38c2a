"""Everything that is drawn with matplotlib, as PNG and PDF or on an axis of the user's."""
