"""Memory stays bounded: a large upload takes hardly more than a small one."""

import subprocess
import sys
from pathlib import Path

import pytest

MEASURE = """
import json, resource, struct, sys
from pathlib import Path

import numpy as np

from shared.preparation import ImageOptions, TextOptions
from shared.states import Modality
from worker.preparation.prepare import Source, prepare


class Run:
    def should_stop(self):
        return False

    def progress(self, fraction):
        pass


def write_images(count, file):
    file.write(struct.pack(">4I", 2051, count, 256, 256))
    for _ in range(count):
        coarse = noise.integers(0, 256, (8, 8), dtype=np.uint8)
        file.write(np.kron(coarse, np.ones((32, 32), np.uint8)).tobytes())


def write_documents(count, file):
    for _ in range(count):
        letters = noise.integers(97, 123, 40_000, dtype=np.uint8).tobytes().decode()
        file.write(json.dumps({"text": letters}).encode() + b"\\n")


def peak_bytes(count):
    source = folder / f"source-{count}"
    with source.open("wb") as file:
        write(count, file)
    upload = [Source(source, "upload.jsonl")]
    report = prepare(modality, upload, options, folder / f"prepared-{count}", Run())
    return report.sizes["bytes"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


noise, folder = np.random.default_rng(0), Path(sys.argv[2])
if sys.argv[1] == "images":
    write, modality = write_images, Modality.IMAGE
    options = ImageOptions(size=128, mode="colour")
else:
    write, modality = write_documents, Modality.TEXT
    options = TextOptions(deduplicate=False)
(small, before), (large, after) = peak_bytes(30), peak_bytes(600)
assert "torch" not in sys.modules and "flask" not in sys.modules
print(large - small, after - before)
"""


@pytest.mark.parametrize("kind", ["images", "documents"])
def test_memory_does_not_grow_with_the_data(tmp_path: Path, kind: str):
    command = [sys.executable, "-c", MEASURE, kind, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    more_written, more_held = map(int, done.stdout.split())
    assert more_written > 20 * 2**20
    assert more_held < 8 * 2**20
