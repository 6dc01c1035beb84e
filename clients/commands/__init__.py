"""The commands of `polymerge`, grouped as the help shows them."""
