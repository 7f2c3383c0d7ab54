"""int8: the arithmetic (`int8`), a model's weights (`weights`), and a bundle from a bundle (`bundle`)."""
