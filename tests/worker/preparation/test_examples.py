"""Examples to imitate: OpenAI's two kinds of lines, and what of them is to be learnt."""

import json
from typing import Any

import pytest


@pytest.fixture
def prepared(desk, everything) -> Any:
    """Prepares JSON Lines of these rows: prepared(*rows) is the examples and the report."""

    def make(*rows: dict[str, Any], **options: Any) -> Any:
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        dataset, report = desk.texts(desk.file("a.jsonl", lines.encode()), **everything, **options)
        return dataset.examples("train"), report

    return make


def answers(example: Any) -> list[str]:
    return [example.text[start:end] for start, end in example.learnt]


def chat(*messages: tuple[str, Any], **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} | fields for role, content in messages]}


def test_of_a_prompt_with_its_completion_the_completion_is_learnt(prepared) -> None:
    (example,), _ = prepared({"prompt": "2 + 2 =", "completion": " 4\n"})

    assert example.text == "2 + 2 = 4\n", "as it came, spaces and all"
    assert answers(example) == [" 4\n"]


def test_of_a_chat_the_assistants_turns_are_learnt(prepared) -> None:
    (example,), _ = prepared(
        chat(
            ("system", "Be brief."),
            ("user", "Hi"),
            ("assistant", "Hello."),
            ("user", [{"type": "text", "text": "And "}, {"type": "text", "text": "now?"}]),
            ("assistant", "Cafe\u0301\r\nau lait"),
        )
    )

    assert example.text == (
        "system: Be brief.\nuser: Hi\nassistant: Hello.\n"
        "user: And now?\nassistant: Caf\u00e9\nau lait\n"
    )
    assert answers(example) == [" Hello.\n", " Caf\u00e9\nau lait\n"]


def test_a_message_of_weight_0_is_read_and_not_learnt(prepared) -> None:
    row = chat(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    row["messages"][1]["weight"] = 0

    (example,), _ = prepared(row)

    assert answers(example) == [" d\n"]


def test_a_name_and_what_says_nothing_are_left_out_of_a_chat(prepared) -> None:
    turns = (("developer", "Be brief."), ("user", "Hi"), ("assistant", "Hello."))

    (example,), _ = prepared(chat(*turns, name="Lily", refusal=None, tool_calls=[]))

    assert example.text == "system: Be brief.\nuser: Hi\nassistant: Hello.\n"
    assert answers(example) == [" Hello.\n"]


def test_plain_texts_beside_them_are_learnt_as_a_whole(prepared) -> None:
    examples, _ = prepared({"text": "  plain "}, {"prompt": "a", "completion": "b"})

    assert sorted((example.text, example.learnt) for example in examples) == [
        ("ab", ((1, 2),)),
        ("plain", None),
    ]


def test_examples_that_share_a_long_instruction_are_no_duplicates(prepared) -> None:
    instruction = "You answer in one word, and politely, whatever you are asked. " * 20
    rows = [
        chat(("system", instruction), ("user", f"{n} + 1?"), ("assistant", f"{n + 1}"))
        for n in range(5)
    ]

    examples, report = prepared(*rows, rows[0])

    assert len(examples) == 5
    assert report.duplicates == {"exact": 1, "near": 0}


def test_the_same_text_with_another_answer_is_another_example(prepared) -> None:
    examples, _ = prepared({"prompt": "a", "completion": "bc"}, {"prompt": "ab", "completion": "c"})

    assert len(examples) == 2


def test_labels_stand_beside_examples_too(prepared) -> None:
    _, report = prepared({"prompt": "a", "completion": "b", "topic": "x"}, label_column="topic")

    assert report.labels == {"x": 1}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "a"}, "no 'text'; it has 'prompt'"),
        ({"prompt": "a", "completion": " \n"}, "'completion' is empty"),
        ({"prompt": 1, "completion": "a"}, "'prompt' is not text"),
        ({"messages": "Hi"}, "'messages' is not a list of messages"),
        ({"messages": []}, "'messages' is not a list of messages"),
        ({"messages": ["Hi"]}, "messages[0] is not an object"),
        (chat(("user", "Hi")), "'messages' has nothing of the assistant's to learn"),
        (chat(("assistant", "Hi"), weight=0), "'messages' has nothing of the assistant's to learn"),
        (chat(("tool", "Hi")), "messages[0].role is not one of system, user, assistant"),
        (chat(("assistant", None)), "'messages[0].content' is not text"),
        (chat(("assistant", "Hi"), weight=2), "messages[0].weight is not 0 or 1"),
        (
            chat(("assistant", "Hi"), tool_calls=[{"id": "a"}]),
            "messages[0] has 'tool_calls', which cannot",
        ),
        (chat(("assistant", "Hi"), mood=None), "messages[0] has 'mood', which cannot"),
        (chat(("user", [{"type": "image_url"}])), "messages[0].content has a part that is no text"),
    ],
)
def test_a_line_that_teaches_nothing_is_rejected_by_its_number_and_its_field(
    prepared, row: dict[str, Any], reason: str
) -> None:
    _, report = prepared({"text": "good"}, row)

    (rejected,) = report.rejected
    assert rejected["where"] == "a.jsonl:2"
    assert reason in rejected["reason"]
