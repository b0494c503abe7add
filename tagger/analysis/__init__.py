"""Analysis of data: checks of a corpus, and the recipe that suits it."""
