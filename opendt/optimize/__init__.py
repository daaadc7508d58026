"""Proposals for a better topology: objectives, rules, search, language model, decisions."""
