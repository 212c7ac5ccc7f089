"""What fills a template's slots: a surface form for the sentence and a value for the JSON.

Names and places are real ones mixed with invented ones (syllables drawn at random), because a model that has met a
few hundred names learns them by heart, and one that meets a new name every time has to learn to copy. Every list has
a tail (`UNSEEN_SHARE`) that only the evaluation draws from.
"""

import random
from collections.abc import Callable

from tools.demo_model import words

UNSEEN_SHARE = 8  # one entry in eight is kept for the evaluation

OPERATORS = {
    "add": ("+", "plus", "and"),
    "subtract": ("-", "minus", "less"),
    "multiply": ("*", "times", "x", "multiplied by"),
    "divide": ("/", "divided by", "over"),
}
SEEN, UNSEEN = "seen", "unseen"

Filling = tuple[str, object]


class Slots:
    """Draws slot fillings from the seen or the unseen part of every list.

    Args:
        rng: the only source of chance.
        part: `SEEN` for training, `UNSEEN` for the evaluation.
    """

    def __init__(self, rng: random.Random, part: str = SEEN) -> None:
        self.rng = rng
        self.part = part

    def pick(self, items: list[str]) -> str:
        """Draws one entry of this part of a list."""
        mine = [item for index, item in enumerate(items) if (index % UNSEEN_SHARE == 5) == (self.part == UNSEEN)]
        return self.rng.choice(mine)

    def invented(self) -> str:
        """Makes a name that nobody has."""
        syllables = "".join(
            self.rng.choice(words.CONSONANTS) + self.rng.choice(words.VOWELS) for _ in range(self.rng.choice((1, 2, 2)))
        )
        return (syllables + self.rng.choice(words.ENDINGS)).capitalize()

    def name(self) -> str:
        """A first name, invented in two cases of five."""
        return self.invented() if self.rng.random() < 0.4 else self.pick(words.NAMES)

    def place(self) -> str:
        """A town, invented in one case of three."""
        return self.invented() if self.rng.random() < 0.33 else self.pick(words.PLACES)

    def task(self) -> str:
        """Something to do: mostly a verb and its object, drawn apart."""
        draw = self.rng.random()
        if draw < 0.3:
            verb = self.rng.choice(("call", "email", "visit", "thank", "help", "meet", "text", "pick up"))
            return f"{verb} {self.name()}"
        if draw < 0.4:
            return f"buy {self.pick(words.ITEMS)}"
        if draw < 0.6:
            return self.pick(words.TASKS)
        return f"{self.rng.choice(words.VERBS)} {self.pick(words.OBJECTS)}"

    def clause(self) -> str:
        """A short statement."""
        draw = self.rng.random()
        if draw < 0.25:
            return self.rng.choice(words.FEELINGS)
        if draw < 0.4:
            name, place = self.name(), self.place()
            news = ("is here", "has called", "is ill", "likes tea", "comes later", f"lives in {place}")
            return f"{name} {self.rng.choice(news)}"
        return f"{self.pick(words.SUBJECTS)} {self.rng.choice(words.PREDICATES)}"

    def day(self) -> Filling:
        """A day with its preposition, and its lower-case value."""
        draw = self.rng.random()
        if draw < 0.25:
            word = self.rng.choice(("today", "tomorrow", "tomorrow", "tonight"))
            return word, word
        if draw < 0.4:
            word = f"{self.rng.choice(('next', 'this'))} {self.rng.choice(words.WEEKDAYS)}"
            return word, word.lower()
        if draw < 0.5:
            date = f"{self.rng.randint(1, 28)} {self.rng.choice(words.MONTHS)}"
            return f"on {date}", date.lower()
        weekday = self.rng.choice(words.WEEKDAYS)
        return f"on {weekday}", weekday.lower()

    def time(self) -> Filling:
        """A time of day in one of six ways of saying it, and its HH:MM value."""
        draw, hour = self.rng.random(), self.rng.randint(1, 12)
        if draw < 0.08:
            return self.rng.choice((("at noon", "12:00"), ("at midnight", "00:00")))
        minute = self.rng.choice((0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, self.rng.randint(0, 59)))
        if draw < 0.28:
            value = f"{self.rng.randint(0, 23):02d}:{minute:02d}"
            return f"at {value}", value
        if draw < 0.36:
            word, number = words.HOUR_WORDS[hour - 1], hour
            return f"at half past {word}", f"{number:02d}:30"
        half = self.rng.choice(("am", "pm"))
        number = hour % 12 + (12 if half == "pm" else 0)
        space = self.rng.choice(("", "", " "))
        if draw < 0.55:
            return f"at {hour}:{minute:02d}{space}{half}", f"{number:02d}:{minute:02d}"
        return f"at {hour}{space}{half}", f"{number:02d}:00"

    def items(self) -> Filling:
        """One to four things to buy."""
        things = list(dict.fromkeys(self.pick(words.ITEMS) for _ in range(self.rng.choice((1, 2, 2, 3, 3, 4)))))
        return listed(things), things

    def people(self) -> Filling:
        """One or two names."""
        names = list(dict.fromkeys(self.name() for _ in range(self.rng.choice((1, 1, 1, 2)))))
        return listed(names), names[0] if len(names) == 1 else names

    def operator(self) -> Filling:
        """An arithmetic word or sign and its canonical name."""
        name = self.rng.choice(list(OPERATORS))
        return self.rng.choice(OPERATORS[name][:2] if name != "multiply" else OPERATORS[name]), name

    def number(self, largest: int) -> Filling:
        """A number, small ones more often."""
        value = self.rng.randint(1, self.rng.choice((12, 99, largest)))
        return str(value), value


def listed(things: list[str]) -> str:
    """Joins things as one says them: a, b and c."""
    return " and ".join(part for part in (", ".join(things[:-1]), things[-1]) if part)


def plain(value: str) -> Filling:
    """A slot whose value is its surface."""
    return value, value


def lowered(value: str) -> Filling:
    """A slot whose value is its surface in lower case."""
    return value, value.lower()


Filler = Callable[[Slots], Filling]

FILLERS: dict[str, Filler] = {
    "day": Slots.day,
    "time": Slots.time,
    "items": Slots.items,
    "with": Slots.people,
    "op": Slots.operator,
    "who": lambda s: plain("me") if s.rng.random() < 0.3 else plain(s.name()),
    "task": lambda s: plain(s.task()),
    "topic": lambda s: plain(s.pick(words.TOPICS)),
    "place": lambda s: plain(s.place()),
    "language": lambda s: lowered(s.rng.choice(words.LANGUAGES)),
    "what": lambda s: plain(s.pick(words.GENRES) if s.rng.random() < 0.7 else s.name()),
    "room": lambda s: lowered(s.rng.choice(words.ROOMS)),
    "label": lambda s: plain(s.pick(words.LABELS)),
    "unit": lambda s: plain(s.rng.choice(("seconds", "minutes", "minutes", "hours"))),
    "amount": lambda s: s.number(90),
    "a": lambda s: s.number(999),
    "b": lambda s: s.number(999),
    "people": lambda s: s.number(12),
    "state": lambda s: plain(s.rng.choice(("on", "off"))),
    "by": lambda s: plain(s.rng.choice(("car", "bus", "train", "bike", "tram", "taxi"))),
}

OVERRIDES: dict[tuple[str, str], Filler] = {
    ("translation", "text"): lambda s: plain(s.pick(words.PHRASES) if s.rng.random() < 0.75 else s.clause()),
    ("message", "text"): lambda s: plain(s.clause()),
    ("note", "text"): lambda s: plain(s.clause()),
    ("message", "to"): lambda s: plain(s.name()),
    ("flight", "from"): lambda s: plain(s.place()),
    ("flight", "to"): lambda s: plain(s.place()),
    ("route", "from"): lambda s: plain(s.pick(words.TARGETS) if s.rng.random() < 0.6 else s.place()),
    ("route", "to"): lambda s: plain(s.pick(words.TARGETS) if s.rng.random() < 0.6 else s.place()),
    ("table", "place"): lambda s: plain(s.name() + s.rng.choice(("'s", " Bistro", " Grill", ""))),
}


def fill(slots: Slots, intent: str, key: str) -> Filling:
    """Draws the filling of one slot of one intent."""
    return OVERRIDES.get((intent, key), FILLERS.get(key, lambda s: plain(s.name())))(slots)
