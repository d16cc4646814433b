"""The rules, one file each, grouped by what they look at. Of ours they import facts, findings and boxes alone."""
