"""A prepared text set: each document cleaned, let in or dropped, its language told, and written."""

import hashlib
import json
from array import array
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from shared.preparation import TextOptions
from shared.states import Modality
from worker.dataset import SPLITS
from worker.preparation.characters import clean
from worker.preparation.collect import Uploads
from worker.preparation.duplicates import NearTexts
from worker.preparation.files import Progress
from worker.preparation.intake import Intake
from worker.preparation.language import language_of
from worker.preparation.manifest import write_manifest
from worker.preparation.report import Report, Tally, length_quantiles
from worker.preparation.sheet import TextSheet
from worker.preparation.texts import Document, documents

SHEET_NAME = "sheet.txt"


class TextSet:
    """One text set while it is prepared in `folder`."""

    def __init__(self, uploads: Uploads, options: TextOptions, folder: Path):
        self.uploads = uploads
        self.options = options
        self.folder = folder
        self.tally = Tally(options)
        self.intake = Intake(options, self.tally)
        self.near = NearTexts()
        self.sheet = TextSheet()
        self.lengths = array("I")

    def prepare(self, progress: Progress) -> Report:
        with ExitStack() as stack:
            self.files = {
                split: stack.enter_context(
                    (self.folder / f"{split}.jsonl").open("w", encoding="utf-8", newline="\n")
                )
                for split in SPLITS
            }
            for document in documents(self.uploads, self.options, progress, self.tally.reject):
                progress.move()
                self._take(document)
        self.uploads.reject_unused_rows(self.tally.reject)
        self.tally.check()
        return self._finish()

    def _take(self, document: Document) -> None:
        text = document.text if document.learnt else clean(document.text)
        if not text:
            self.tally.reject(document.where, "it is empty")
            return
        learnt = json.dumps(document.learnt) if document.learnt else ""
        digest = hashlib.sha256((text + learnt).encode()).digest()
        # Examples to imitate may well be alike: their instructions are the same.
        split = self.intake.admit(
            digest, document.label, lambda: not document.learnt and self.near.seen(text)
        )
        if split is None:
            return
        language = language_of(text)
        line: dict[str, Any] = {"text": text, "label": document.label, "language": language}
        if document.learnt:
            line["learnt"] = document.learnt
        self.files[split].write(json.dumps(line, ensure_ascii=False) + "\n")
        self.tally.languages[language] += 1
        self.lengths.append(len(text))
        self.sheet.offer(digest, document.label, language, text)

    def _finish(self) -> Report:
        name = self.intake.hash()
        self.sheet.write(self.folder / SHEET_NAME)
        languages = dict(self.tally.languages.most_common())
        facts = {"languages": languages}
        write_manifest(self.folder, Modality.TEXT, name, self.tally.counts, facts)
        if self.options.label_column and not self.tally.label_names:
            self.tally.warnings.append(f"no document has a label in {self.options.label_column!r}")
        written = (self.folder / f"{split}.jsonl" for split in SPLITS)
        sizes = {
            "source_bytes": self.uploads.bytes,
            "bytes": sum(path.stat().st_size for path in written),
            "characters": sum(self.lengths),
            "length": length_quantiles(self.lengths),
        }
        return self.tally.report(Modality.TEXT, name, sizes, SHEET_NAME)
