"""Pages of a campaign in HTML, as files and by a server."""
