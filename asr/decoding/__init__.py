"""Posteriors to text: `greedy.decode` takes the best path; every decoder returns a `Hypothesis`."""
