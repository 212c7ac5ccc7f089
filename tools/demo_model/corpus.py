"""The training text of the demo model: pairs of a prompt and its answer, drawn from a seed.

More than half are English sentences to be turned into JSON (the task in which one can see such a small model work),
most others ask for one-line documentation; the rest is small talk, honest refusals, counting and a recital.
"""

import json
import random
import re

from tools.demo_model import docs, intents, slots, smalltalk

LEADS = ("Please ", "please ", "Hey, ", "hey ", "OK, ", "Now ", "So, ", "Computer, ", "Hi, ")
TRAILS = (" please", ", please", " Thanks", ", thanks", ", will you?", " ok?")
SHARES = (("json", 0.54), ("docs", 0.36), ("talk", 0.045), ("unknown", 0.02), ("count", 0.025), ("zen", 0.01))

Pair = tuple[str, str]


def sentence(source: slots.Slots, intent: str, template: str) -> Pair:
    """Fills one template of an intent.

    Returns:
        The sentence and its JSON, whose keys stand in the intent's order.
    """
    rng = source.rng
    kept = re.sub(r"\[([^\]]*)\]", lambda part: part[1] if rng.random() < 0.55 else "", template)
    values: dict[str, object] = {}

    def put(slot: re.Match[str]) -> str:
        surface, values[slot[1]] = slots.fill(source, intent, slot[1])
        return surface

    text = re.sub(r"\{(\w+)\}", put, kept)
    answer = {"intent": intent} | {key: values[key] for key in intents.ORDER[intent] if key in values}
    return text[0].upper() + text[1:], json.dumps(answer, ensure_ascii=False)


def typed(rng: random.Random, pair: Pair) -> Pair:
    """Varies a sentence the way people type: politeness, no full stop, no capitals."""
    text, answer = pair
    if rng.random() < 0.18:
        text = rng.choice(LEADS) + text[0].lower() + text[1:]
    if rng.random() < 0.1:
        text = text.rstrip(".?") + rng.choice(TRAILS)
    if rng.random() < 0.3:
        text = text.rstrip(".?")
    if rng.random() < 0.2:
        text = text.lower()
        answer = json.dumps({key: small(value) for key, value in json.loads(answer).items()}, ensure_ascii=False)
    return text, answer


def small(value: object) -> object:
    """A value of a sentence that was typed without capitals."""
    if isinstance(value, list):
        return [small(item) for item in value]
    return value.lower() if isinstance(value, str) else value


def json_pair(rng: random.Random, templates: dict[str, tuple[str, ...]], part: str) -> Pair:
    """Draws a sentence and its JSON."""
    intent = rng.choice(list(templates))
    return typed(rng, sentence(slots.Slots(rng, part), intent, rng.choice(templates[intent])))


def pairs(seed: int, count: int) -> list[Pair]:
    """Draws the training pairs.

    Args:
        seed: the same seed gives the same pairs on the same CPython release.
        count: how many.
    """
    rng = random.Random(seed)  # noqa: S311  (no secret)
    known = sorted(docs.everyday().items())
    makers = {
        "json": lambda: json_pair(rng, intents.TRAINED, slots.SEEN),
        "docs": lambda: docs.question(rng, known),
        "talk": lambda: smalltalk.talk(rng),
        "unknown": lambda: smalltalk.unknown(rng),
        "count": lambda: smalltalk.count(rng),
        "zen": lambda: smalltalk.recital(rng),
    }
    kinds = rng.choices([kind for kind, _ in SHARES], [share for _, share in SHARES], k=count)
    return [makers[kind]() for kind in kinds]
