"""The rules, one file each, grouped by what they look at. They import facts and findings, nothing else of ours."""
