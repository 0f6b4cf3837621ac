"""What the tests of evaluations share: a small protocol, and a listener."""

from kipax.distill import Reporter

FAST = {"width": 8, "steps": 6, "grid": "small", "losses": "mse", "eval_examples": 60}


class Listener(Reporter):
    """Keeps what is said."""

    def __init__(self):
        self.said = []

    def say(self, sentence):
        self.said.append(sentence)
