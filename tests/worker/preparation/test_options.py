"""Options of a preparation."""

import pytest
from pydantic import ValidationError

from shared.errors import Invalid
from shared.preparation import ImageOptions, TextOptions, options_for
from shared.states import Modality


def test_each_modality_has_its_options():
    assert options_for(Modality.IMAGE) is ImageOptions
    assert options_for(Modality.TEXT) is TextOptions
    with pytest.raises(Invalid, match="cannot be prepared"):
        options_for(Modality.AUDIO)


def test_defaults_need_no_options():
    assert ImageOptions().model_dump() == {
        "deduplicate": True,
        "validation": 0.1,
        "test": 0.1,
        "size": 32,
        "mode": "auto",
        "policy": "crop",
    }
    assert TextOptions().column == "text"


@pytest.mark.parametrize(
    "options",
    [{"size": 33}, {"mode": "sepia"}, {"policy": "bend"}, {"test": 1.1}, {"colour": True}],
)
def test_unknown_values_and_fields_are_refused(options):
    with pytest.raises(ValidationError):
        ImageOptions.model_validate(options)


def test_text_and_label_need_two_columns():
    with pytest.raises(ValidationError, match="must name another column"):
        TextOptions(column="a", label_column="a")
