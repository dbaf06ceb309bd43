"""The course of a training stays small, says what was measured, and is a file that clients know."""

from worker.course import MOST_ROWS, Course


def losses(step: int) -> dict[str, float]:
    return {"loss": 1 / step, "accuracy": 0.5}


def steps(course: Course) -> list[int]:
    return [int(row[0] or 0) for row in course.rows]


def test_every_step_of_a_short_training_is_a_line() -> None:
    course = Course()
    for step in (1, 2, 3):
        course.add(step, losses(step))
    course.measure(3, losses(3), {"valid_loss": 2.0, "valid_mean_token_accuracy": 0.25})

    assert course.csv() == (
        "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n"
        "1,1,0.5,,\n"
        "2,0.5,0.5,,\n"
        "3,0.333333,0.5,2,0.25\n"
    )


def test_a_long_one_keeps_steps_at_equal_distances_and_all_that_was_measured() -> None:
    course = Course()
    for step in range(1, 5 * MOST_ROWS):
        course.add(step, losses(step))
        if step == 1003:
            measured = {"valid_loss": 2.0, "valid_mean_token_accuracy": 0.25}
            course.measure(step, losses(step), measured)

    kept = steps(course)
    assert MOST_ROWS // 2 <= len(kept) <= MOST_ROWS + 1
    assert 1003 in kept
    assert {step % course.every for step in kept if step != 1003} == {0}
    assert kept == sorted(kept)


def test_a_training_of_several_losses_has_none() -> None:
    course = Course()
    course.add(1, {"generator": 1.0, "discriminator": 2.0})
    course.measure(1, {"generator": 1.0}, {"fd": 3.0})

    assert course.rows == []
