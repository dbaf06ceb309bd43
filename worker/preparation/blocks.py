"""Plain files as documents: a short file is one, a long one is cut into blocks of paragraphs."""

from collections.abc import Iterable, Iterator

BLOCK_CHARACTERS = 2_000
"""A block ends with the first paragraph that brings it to this length."""
LONGEST_BLOCK_CHARACTERS = 2 * BLOCK_CHARACTERS
"""A file up to this length stays whole; a block without a paragraph's end is cut here."""


def blocks(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Number of the first line and text of each document in a file's numbered lines.

    A block ends at a blank line once it has 2,000 characters; without one, at the line's end before
    4,000; a line longer than that is cut. Only what stands before decides where a cut falls, so
    text added to the end of a file leaves all documents but its last as they were.
    """
    first, length = 0, 0
    block: list[str] = []
    for number, line in lines:
        for piece in _pieces(line):
            full = length >= BLOCK_CHARACTERS and not piece.strip()
            if block and (full or length + len(piece) > LONGEST_BLOCK_CHARACTERS):
                yield first, "".join(block)
                block, length = [], 0
            first = first if block else number
            block.append(piece)
            length += len(piece)
    if block:
        yield first, "".join(block)


def _pieces(line: str) -> Iterator[str]:
    for start in range(0, len(line), LONGEST_BLOCK_CHARACTERS):
        yield line[start : start + LONGEST_BLOCK_CHARACTERS]
