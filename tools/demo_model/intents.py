"""Sentence templates of the demo model's fifteen intents.

A template is English with slots: `{who}` is drawn by `slots.py`, `[...]` is left out now and then. The slots that
remain in the sentence are the keys of the JSON answer, in the intent's order. The last `HELD_OUT` templates of every
intent are never trained on: the evaluation uses them to ask in words that the model has not seen.
"""

from tools.demo_model import templates_daily as daily
from tools.demo_model import templates_other as other

HELD_OUT = 2

ORDER = {
    "reminder": ("who", "task", "day", "time"),
    "meeting": ("with", "topic", "day", "time"),
    "weather": ("place", "day"),
    "alarm": ("time", "day"),
    "timer": ("amount", "unit", "label"),
    "shopping": ("items", "day"),
    "translation": ("text", "language"),
    "message": ("to", "text"),
    "music": ("what", "room"),
    "flight": ("from", "to", "day"),
    "light": ("room", "state"),
    "route": ("from", "to", "by"),
    "math": ("op", "a", "b"),
    "note": ("text",),
    "table": ("people", "place", "day", "time"),
}

_TEXT = {
    "reminder": daily.REMINDER,
    "meeting": daily.MEETING,
    "weather": daily.WEATHER,
    "alarm": daily.ALARM,
    "timer": daily.TIMER,
    "shopping": daily.SHOPPING,
    "translation": daily.TRANSLATION,
    "message": other.MESSAGE,
    "music": other.MUSIC,
    "flight": other.FLIGHT,
    "light": other.LIGHT,
    "route": other.ROUTE,
    "math": other.MATH,
    "note": other.NOTE,
    "table": other.TABLE,
}

TEMPLATES = {name: tuple(text.strip().splitlines()) for name, text in _TEXT.items()}
TRAINED = {name: lines[:-HELD_OUT] for name, lines in TEMPLATES.items()}
UNSEEN = {name: lines[-HELD_OUT:] for name, lines in TEMPLATES.items()}
