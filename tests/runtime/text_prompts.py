"""What tiny language models are asked, and three ways to choose their tokens."""

VOCAB = 320
PROMPTS = [
    "The children are playing",
    "x",
    "def encode(text):\n    return",
    "Привет, мир! 早上好 😀",
    "one two three " * 5,
]
GREEDY = {}
SAMPLED = {"temperature": 1.0, "top_p": 0.95, "seed": 5}
FILTERED = {"temperature": 1.5, "top_k": 40, "min_p": 0.01, "repetition_penalty": 1.2, "seed": 0}
