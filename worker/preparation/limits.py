"""What one preparation may take in: every limit on hostile or outsized uploads stands here."""

from shared.errors import UnsafeContent

MAX_MEMBERS = 250_000
"""Files in one archive."""
MAX_EXAMPLES = 1_000_000
"""Examples in one data set: what it remembers of each (hash, label, length) stays in memory."""
MAX_UNPACKED_BYTES = 16 * 2**30
"""Bytes that one upload may unpack to."""
MAX_RATIO = 200
"""Unpacked bytes per packed byte. Text rarely passes 20; a bomb starts at 1,000."""
RATIO_FREE_BYTES = 64 * 2**20
"""Below this size no ratio counts: a few blank images pack very well."""
MAX_HEADER_BYTES = 2**20
"""One read of archive bookkeeping, such as a very long name."""
MAX_IMAGE_BYTES = 64 * 2**20
"""One encoded image."""
MAX_IMAGE_PIXELS = 50_000_000
"""One decoded image: 150 MB of memory."""
MAX_ROW_GROUP_BYTES = 2**30
"""One row group of a Parquet file."""
MAX_LINE_CHARACTERS = 16 * 2**20
"""One line of a text file or one cell of a table."""


def most_unpacked(packed_bytes: int) -> int:
    """Bytes that an upload of this size may unpack to."""
    return min(MAX_UNPACKED_BYTES, max(RATIO_FREE_BYTES, MAX_RATIO * packed_bytes))


def unpacks_too_far(where: str, packed_bytes: int) -> UnsafeContent:
    """The error for content that passes `most_unpacked`."""
    return UnsafeContent(
        f"{where}: unpacks to more than {most_unpacked(packed_bytes):,} bytes, the limit for an "
        f"upload of {packed_bytes:,} bytes ({MAX_RATIO} times its size beyond "
        f"{RATIO_FREE_BYTES:,} bytes, at most {MAX_UNPACKED_BYTES:,})"
    )
