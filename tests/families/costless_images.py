"""`conditional_gan` without a model: everything around image models at full size, at no cost."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from shared.families import conditional_gan
from shared.families.conditional_gan import ImageParams
from tests.families.weightless import Weightless

_SIZE = 28


class CostlessImages(Weightless):
    """Makes pictures of one grey."""

    def generate(self, loaded: Any, requests: Sequence[Any], run: Any) -> Iterator[Any]:
        import numpy as np

        from worker.family import Image, Part, output_seed

        for position, request in enumerate(requests):
            params: ImageParams = request.params
            assert params.seed is not None, "the host draws a seed at acceptance"
            for index in range(params.n):
                seed = output_seed(params.seed, index)
                pixels_hwc = np.full((_SIZE, _SIZE, 1), seed % 256, np.uint8)
                yield Part(position, index, Image(pixels_hwc), seed, {})


FAMILY = replace(
    conditional_gan.FAMILY, implementation="tests.families.costless_images:CostlessImages"
)
