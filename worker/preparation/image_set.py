"""A prepared image set: each candidate decoded, let in or dropped, made square and written."""

from array import array
from pathlib import Path

import numpy as np

from shared.preparation import SIZES, ImageOptions
from shared.states import Modality
from worker.dataset import ImageDataset
from worker.preparation.collect import Uploads
from worker.preparation.duplicates import NearImages
from worker.preparation.files import Progress, Unreadable
from worker.preparation.image_writer import ImageWriter
from worker.preparation.images import Candidate, candidates
from worker.preparation.intake import Intake
from worker.preparation.manifest import write_manifest
from worker.preparation.pixels import content_digest, decode, shorter_side, squared
from worker.preparation.report import Report, Tally
from worker.preparation.sheet import ImageSheet

SHEET_NAME = "sheet.png"


class ImageSet:
    """One image set while it is prepared in `folder`."""

    def __init__(self, uploads: Uploads, options: ImageOptions, size: int, folder: Path):
        self.uploads = uploads
        self.options = options
        self.folder = folder
        self.size = size
        self.tally = Tally(options)
        self.intake = Intake(options, self.tally)
        self.near = NearImages()
        self.writer = ImageWriter(folder, size, options.mode)
        self.sheet = ImageSheet()
        self.heights = array("I")
        self.widths = array("I")

    def prepare(self, progress: Progress) -> Report:
        with self.writer:
            for candidate in candidates(self.uploads, progress, self.tally.reject):
                progress.move()
                try:
                    self._take(candidate)
                except Unreadable as error:
                    self.tally.reject(candidate.where, str(error))
            self.uploads.reject_unused_rows(self.tally.reject)
            self.tally.check()
            return self._finish()

    def _take(self, candidate: Candidate) -> None:
        found_hwc = decode(candidate.content)
        digest = content_digest(found_hwc)
        split = self.intake.admit(digest, candidate.label, lambda: self.near.seen(found_hwc))
        if split is None:
            return
        pixels_hwc = squared(found_hwc, self.size, self.options.policy)
        position = self.writer.append(split, pixels_hwc, candidate.label)
        self.sheet.offer(digest, candidate.label, split, position)
        self.heights.append(found_hwc.shape[0])
        self.widths.append(found_hwc.shape[1])

    def _finish(self) -> Report:
        labels = self.tally.label_names
        self.writer.finish(labels)
        name, channels = self.intake.hash(), self.writer.channels
        dataset = ImageDataset(self.folder, name, tuple(labels), self.size, channels)
        self.sheet.draw(dataset, self.folder / SHEET_NAME)
        facts = {"labels": labels, "size": self.size, "channels": channels}
        write_manifest(self.folder, Modality.IMAGE, name, self.tally.counts, facts)
        sizes = {
            "source_bytes": self.uploads.bytes,
            "bytes": self.writer.bytes,
            "size": self.size,
            "channels": channels,
            "width": [min(self.widths), max(self.widths)],
            "height": [min(self.heights), max(self.heights)],
        }
        return self.tally.report(Modality.IMAGE, name, sizes, SHEET_NAME)


def median_size(uploads: Uploads, progress: Progress) -> int:
    """The largest supported size that is not above the median of the shorter sides, in pixels."""
    sides = array("I")
    for candidate in candidates(uploads, progress, lambda _where, _reason: None):
        progress.move()
        side = shorter_side(candidate.content)
        if side is not None:
            sides.append(side)
    median = np.median(sides) if sides else 0
    return max((size for size in SIZES if size <= median), default=SIZES[0])
