"""The training pictures in random order, and where in that order a training stands.

B batch, C channels, H height, W width, N pictures, L number of labels.
"""

import numpy as np
import torch
from torch import Tensor

from shared.errors import Permanent
from worker.dataset import ImageDataset

IN_MEMORY_BYTES = 1 << 30
"""Larger sets stay on disk and are read a batch at a time."""


def to_images(pixels_nhwc: Tensor) -> Tensor:
    """uint8 (N, H, W, C) → float32 (N, C, H, W) in [-1, 1], channels last in memory."""
    return pixels_nhwc.permute(0, 3, 1, 2).float() / 127.5 - 1


class Batches:
    """Endless batches; every epoch shows each picture once, in an order of its own.

    An epoch's order follows from the seed and the epoch's number, so `epoch` and `position` are all
    that a resumed training needs.
    """

    def __init__(self, dataset: ImageDataset, batch_size: int, seed: int):
        self.images_nhwc = dataset.images("train")
        if len(self.images_nhwc) == 0:
            raise Permanent("the data set's train split is empty")
        if self.images_nhwc.nbytes <= IN_MEMORY_BYTES:
            self.images_nhwc = np.array(self.images_nhwc)
        self.labels_n = torch.from_numpy(dataset.label_indices("train"))
        count = len(dataset.labels)
        # The last row is what label -1 reads: no label, all weights zero.
        self.weights_ll = torch.cat([torch.eye(count), torch.zeros(1, count)])
        self.batch_size = batch_size
        self.seed = seed
        self.go_to(epoch=0, position=0)

    @property
    def per_epoch(self) -> float:
        """Batches of one epoch."""
        return len(self.images_nhwc) / self.batch_size

    def go_to(self, epoch: int, position: int) -> None:
        """Continue at a place in the order."""
        chance = torch.Generator().manual_seed((self.seed + epoch) % 2**32)
        self.order_n = torch.randperm(len(self.images_nhwc), generator=chance)
        self.epoch, self.position = epoch, position

    def next(self) -> tuple[Tensor, Tensor]:
        """Pixels uint8 (B, H, W, C) and label weights (B, L) on the CPU."""
        chosen_b = self._next_indices()
        pixels_bhwc = torch.from_numpy(self.images_nhwc[chosen_b.numpy()])
        return pixels_bhwc, self.weights_ll[self.labels_n[chosen_b]]

    def _next_indices(self) -> Tensor:
        pieces, missing = [], self.batch_size
        while missing:
            piece = self.order_n[self.position : self.position + missing]
            pieces.append(piece)
            missing -= len(piece)
            self.position += len(piece)
            if self.position == len(self.order_n):
                self.go_to(self.epoch + 1, 0)
        return torch.cat(pieces)
