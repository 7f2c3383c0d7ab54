"""The recipe that trains the embedded models: data, training, averaging, evaluation, plots, cards. See README.md."""
