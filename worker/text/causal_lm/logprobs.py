"""The log-probabilities of an output's tokens while it grows, in OpenAI's lists."""

from dataclasses import dataclass, field

from worker.family import JsonDict


@dataclass(frozen=True)
class _Token:
    start: int
    """Characters of the text before it."""
    end: int
    """Characters up to its own last one that is whole."""
    logprob: float
    likeliest: dict[str, float]


@dataclass
class Logprobs:
    """One output's tokens.

    Log-probabilities are the model's own, before temperature and top_p. Offsets count the
    characters of the text, which holds no prompt. A token that is only a part of a character is an
    empty one: the character stands with the token that completes it.
    """

    _tokens: list[_Token] = field(default_factory=list)

    def add(self, end: int, logprob: float, likeliest: dict[str, float]) -> None:
        """Take the next token, with which `end` characters are whole."""
        start = self._tokens[-1].end if self._tokens else 0
        self._tokens.append(_Token(start, end, logprob, likeliest))

    def lists(self, text: str, first: int = 0, *, is_whole: bool = True) -> JsonDict:
        """The tokens that begin inside `text`, from number `first` on; of a text that still grows
        those that end inside it, too. In the lists of the legacy completions.
        """
        lists: JsonDict = {
            "tokens": [],
            "token_logprobs": [],
            "top_logprobs": [],
            "text_offset": [],
        }
        for token in self._tokens[first:]:
            if token.start >= len(text) or (token.end > len(text) and not is_whole):
                break
            lists["tokens"].append(text[token.start : token.end])
            lists["token_logprobs"].append(token.logprob)
            lists["top_logprobs"].append(token.likeliest)
            lists["text_offset"].append(token.start)
        return lists
