"""How `atelier up` shares the processor out."""

from pathlib import Path

import pytest

from shared.embedded.installation import Place, programs


@pytest.mark.parametrize(("cores", "training"), [(1, 1), (2, 2), (4, 3), (16, 15)])
def test_training_leaves_a_core_to_generation_where_there_are_more_than_two(
    cores: int, training: int
) -> None:
    place = Place("127.0.0.1", 8000, Path("log"), {})

    threads = {
        program.name: int(program.env["OMP_NUM_THREADS"])
        for program in programs(place, cores)
        if "OMP_NUM_THREADS" in program.env
    }

    assert threads == {"generation": cores, "training": training, "light": 1}


def test_training_runs_below_everything_else() -> None:
    found = {program.name: program.nice for program in programs(Place("::1", 1, Path(), {}))}

    assert found.pop("training") > max(found.values())
