"""`snellen.watch` inside frameworks that own the loop; each module imports its framework."""
