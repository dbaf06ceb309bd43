"""What the demo works on: real data that ship with packages, and prompts."""

import io
import json
import zipfile
from pydoc_data.topics import topics


def digits_archive() -> bytes:
    """scikit-learn's 1,797 handwritten digits as a ZIP of PNGs, a folder per label."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for position, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
            picture = io.BytesIO()
            Image.fromarray((pixels * 255 / 16).astype("uint8")).save(picture, "PNG")
            archive.writestr(f"{label}/{position:04}.png", picture.getvalue())
    return packed.getvalue()


def reference() -> bytes:
    """The language reference that ships with CPython, as JSONL: one topic a line."""
    lines = (json.dumps({"topic": name, "text": text}) for name, text in sorted(topics.items()))
    return "\n".join(lines).encode()


PROMPTS = (
    'The "for" statement',
    'The "while" statement is used',
    "A class definition",
    "Function definitions",
    "An expression list",
    "If the object is",
    "The following",
    "Python",
    'The "try" statement',
    "When a module is imported",
    "A string literal",
    "Numeric literals",
    "The operator",
    "Raises",
    "Note that",
    "An iterator",
    "Assignment statements",
    'The "with" statement',
    "Dictionaries",
    "Names refer to",
)
