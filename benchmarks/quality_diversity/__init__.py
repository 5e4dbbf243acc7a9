"""How many solutions a second quality-diversity scores, against qdax, and whether the archives agree."""
