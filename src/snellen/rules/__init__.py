"""The rules, one file each, grouped by what they look at. They import facts, findings and boxes, nothing else."""
