"""Questions to finished campaigns and trained networks, answered once and kept beside them."""
