"""What a merge does to the vocabulary: tokens and embedding rows of the result, its tokenizer's files.

heights.py finds the tensors that have a row for each token, result.py plans the result's tokens, runs.py says
which rows of which models its rows are; compatible.py is for recipes that leave the vocabulary alone;
files.py and what it uses write tokenizer.json and its companions.
"""
