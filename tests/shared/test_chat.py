"""The chat template: a line a message, and what is to be continued."""

from shared.chat import render

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello."},
]


def test_messages_become_lines_of_role_and_content() -> None:
    assert render(TALK, add_generation_prompt=False) == (
        "system: Be brief.\nuser: Hi\nassistant: Hello.\n"
    )


def test_what_is_to_be_continued_is_the_beginning_of_what_was_learnt() -> None:
    asked = render(TALK[:2], add_generation_prompt=True)

    assert asked == "system: Be brief.\nuser: Hi\nassistant:"
    assert render(TALK, add_generation_prompt=False).startswith(asked)


def test_parts_of_a_content_are_joined() -> None:
    parts = [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]

    assert render([{"role": "user", "content": parts}], add_generation_prompt=False) == "user: Hi\n"
