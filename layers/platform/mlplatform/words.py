"""How numbers of things, and what others said, are put into sentences."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """ "1 job", "1,200 jobs": for nouns whose plural is made by an s."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def sentence(text: str) -> str:
    """With the full stop that AWS leaves out of some of its reasons."""
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."
