"""A model of edge's as lm-evaluation-harness asks one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from edge.decode.sampling import Sampling
from edge.errors import EdgeError, Unsupported
from edge.measure.answering import Answering, How, Likelihood
from edge.measure.asked import SEED
from edge.system.progress import Progress, silent
from edge.text.chat import Message, Template

_TOKENS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")  # all mean one
_CHOICE = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


class HarnessModel(LM):  # type: ignore[misc]  # the package has no types
    """`busy`: while it answers, and for good if that failed."""

    def __init__(
        self,
        answering: Answering,
        template: Template | None = None,
        *,
        seed: int = SEED,
        progress: Progress = silent,
    ) -> None:
        super().__init__()
        self.answering, self.template = answering, template
        self.busy = False
        self._seed, self._progress = seed, progress

    @property
    def tokenizer_name(self) -> str:
        """For caches of requests, which edge has none of."""
        return "edge"

    def loglikelihood(self, requests: Sequence[Instance]) -> list[Likelihood]:
        with self._at_work("options", requests) as advance:
            pairs = [(str(context), str(answer)) for context, answer in _given(requests)]
            return list(self.answering.likelihoods(pairs, advance))

    def loglikelihood_rolling(self, requests: Sequence[Instance]) -> list[float]:
        with self._at_work("texts", requests) as advance:
            return self.answering.rolling([text for (text,) in _given(requests)], advance)

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        out = []
        with self._at_work("answers", requests) as advance:
            for number, (context, wish) in enumerate(_given(requests)):
                out.append(self.answering.continued(context, how(wish, self._seed + number)))
                advance(1)
        return out

    def apply_chat_template(
        self, chat_history: Sequence[Mapping[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Turns as one text; without a prompt for the next one, the last goes on."""
        if self.template is None:
            raise EdgeError("the model has no chat template", fix="leave out --chat")
        turns = [Message(turn["role"], turn["content"]) for turn in chat_history]
        text = self.template.render(turns, generate=add_generation_prompt)
        if add_generation_prompt:
            return text
        last = turns[-1].content.strip()
        return text[: text.rindex(last) + len(last)]

    @contextmanager
    def _at_work(self, what: str, requests: Sequence[Instance]) -> Iterator[Callable[[int], None]]:
        self.busy = True
        with self._progress(what, len(requests)) as advance:
            yield advance
        self.busy = False


def how(wish: Mapping[str, Any], seed: int) -> How:
    """What a task says of an answer; what edge would not honour is refused."""
    given = {key: value for key, value in wish.items() if value is not None}
    until = given.pop("until", [])
    tokens = [int(given.pop(key)) for key in _TOKENS if key in given]
    chosen = {key: given.pop(key) for key in _CHOICE if key in given}
    drawn = given.pop("do_sample", float(chosen.get("temperature", 0)) > 0)
    if given.pop("num_beams", 1) != 1 or given:
        names = ", ".join(sorted(given)) or "num_beams"
        raise Unsupported(f"a task asks for answers with {names}", fix="leave the task out")
    if drawn:
        sampling = Sampling(**{"temperature": 1.0, **chosen}, seed=seed)
    else:
        sampling = Sampling(repetition_penalty=float(chosen.get("repetition_penalty", 1)))
    stops = (until,) if isinstance(until, str) else tuple(until)
    return How(until=stops, max_tokens=tokens[0] if tokens else 256, sampling=sampling)


def _given(requests: Sequence[Instance]) -> list[tuple[Any, ...]]:
    return [request.args for request in requests]


class Mute(LM):  # type: ignore[misc]  # as above
    """Says nothing, of which everything is as likely: what a task does with answers can be tried without a model."""

    def loglikelihood(self, requests: Sequence[Instance]) -> list[Likelihood]:
        return [Likelihood(-1.0, False)] * len(requests)

    def loglikelihood_rolling(self, requests: Sequence[Instance]) -> list[float]:
        return [-1.0] * len(requests)

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        return [""] * len(requests)
