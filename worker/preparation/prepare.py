"""Preparation of a data set: collect, clean, classify, split, report. All or nothing."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from shared.preparation import ImageOptions, TextOptions, options_for
from shared.states import Modality
from worker.preparation.collect import Uploads
from worker.preparation.files import Progress, Source
from worker.preparation.image_set import ImageSet, median_size
from worker.preparation.report import Report
from worker.preparation.text_set import TextSet

if TYPE_CHECKING:
    from worker.family import Run

SURVEYED = 0.1
"""Progress after the first pass, which only checks archives and reads label tables."""
MEASURED = 0.2
"""Progress after the second, which only looks at sizes; skipped where the size is given."""


def prepare(
    modality: Modality,
    sources: Sequence[Source],
    options: ImageOptions | TextOptions,
    folder: Path,
    run: "Run",
) -> Report:
    """Write the prepared data set of these files into `folder`, which must not exist or be empty.

    The folder gets what `worker.dataset` reads, and a sample sheet. It appears under its name only
    when it is complete. Raises UnsafeContent for an archive that breaks a safety rule, Invalid
    where nothing usable is found, and Stopped when the host asks to stop; then nothing is left.
    """
    if not isinstance(options, options_for(modality)):
        raise TypeError(f"{type(options).__name__} are not the options of {modality}")
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        report = _prepare_in(unfinished, sources, options, run)
        os.replace(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    run.progress(1.0)
    return report


def _prepare_in(
    folder: Path, sources: Sequence[Source], options: ImageOptions | TextOptions, run: "Run"
) -> Report:
    uploads = Uploads(sources)
    uploads.survey(Progress(run, uploads.bytes, 0, SURVEYED))
    rest = Progress(run, uploads.bytes, MEASURED, 1)
    if isinstance(options, TextOptions):
        return TextSet(uploads, options, folder).prepare(rest)
    size = options.size or median_size(uploads, Progress(run, uploads.bytes, SURVEYED, MEASURED))
    return ImageSet(uploads, options, size, folder).prepare(rest)
