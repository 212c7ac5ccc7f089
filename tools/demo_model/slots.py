"""What fills a template's slots: a surface form for the sentence and a value for the JSON.

Names and places are real ones mixed with invented ones (syllables drawn at random), because a model that has met a
few hundred names learns them by heart, and one that meets a new name every time has to learn to copy. Every list has
a tail (`UNSEEN_SHARE`) that only the evaluation draws from.
"""

from __future__ import annotations

import random
from collections.abc import Callable

UNSEEN_SHARE = 8  # one entry in eight is kept for the evaluation

NAMES = """Alice Bob Carol Dave Erin Frank Grace Henry Ivan Judy Karl Laura Mallory Nina Oscar Peggy Quentin Rita Steve Tom
Uma Victor Wendy Xavier Yara Zoe Anna Ben Clara David Emma Felix Gina Hugo Ines Jack Kate Leo Mia Noah Olivia Paul Rosa
Sam Tina Ursula Vera Will Yusuf Zara Adam Bella Chris Diana Elias Fiona George Hannah Isaac Julia Kevin Lena Martin Nora
Omar Petra Ralph Sarah Theo Vanessa Walter Amir Bianca Cyrus Daria Edgar Farah Gustav Helga Igor Jana Kofi Linda Marco
Nadia Otto Priya Rahul Sofia Tariq Ulrich Viola Wanda Yuki Anders Beatrice Carlos Dominik Esther Fatima Gerard Hiro
Irene Joel Kim Lucas Maria Nils Olga Pedro Rachel Simon Teresa Mum Dad Grandma Jessica Michael Peter Susan Thomas""".split()
PLACES = """Paris London Berlin Rome Madrid Vienna Lisbon Oslo Dublin Prague Athens Helsinki Warsaw Budapest Zurich Geneva
Hamburg Munich Cologne Milan Naples Venice Barcelona Seville Porto Lyon Nice Brussels Amsterdam Copenhagen Stockholm
Boston Chicago Denver Seattle Dallas Miami Toronto Montreal Tokyo Kyoto Osaka Seoul Delhi Mumbai Lima Quito Cairo Nairobi
Lagos Accra Sydney Perth Auckland Istanbul Dubai Moscow Riga Tallinn Vilnius Krakow Bergen Malmo Turin Bologna Leeds
Bristol Glasgow Edinburgh Cardiff Belfast Bonn Dresden Leipzig Basel Salzburg Graz Split Sofia Bucharest""".split()
TARGETS = """the station|the airport|the museum|the library|the hospital|the office|the beach|the old town|the city hall|the
harbour|the market|the zoo|the park|the university|the nearest pharmacy|the bus stop|the castle|the stadium|the hotel|the
post office|the town square|the theatre|the supermarket|the swimming pool|the cathedral|the garage|the lake|my house"""
OBJECTS = """the report|the invoice|the contract|the slides|the tickets|the keys|the book|the letter|the parcel|the bill|the
rent|the budget|the form|the photos|the laptop|the door|the windows|the car|the bike|the plants|the dog|the cat|the kitchen|the
dishes|the garden|the laundry|the printer|the backup|the server|the passport|the medicine|the cake|the rubbish|the roof|the
shoes|the newsletter|the draft|the code|the test results|the insurance"""
VERBS = """send|check|sign|bring|find|read|finish|review|print|collect|fix|clean|return|move|pay for|look after|photograph|
measure|update|copy|order|test|pick up|take care of|write about|ask about|prepare|close|open|sort out"""
TASKS = """drink some water|take a break|go for a walk|do the homework|go to bed|book the hotel|renew the licence|charge the
phone|see the dentist|feed the fish|water the flowers|take out the bins|buy a present|book a haircut|lock up|call the
plumber|practise the piano|stretch|cancel the subscription|do the taxes|make lunch|turn off the oven|go jogging"""
TOPICS = """the budget|the new design|the launch|the project|hiring|the roadmap|sales|the contract|the release|security|the
website|travel plans|the move|marketing|the results|the party|next year|the merger|the database|training|the exhibition"""
ITEMS = """milk|eggs|bread|butter|cheese|apples|bananas|rice|pasta|tomatoes|onions|potatoes|coffee|tea|sugar|flour|salt|honey|
olive oil|yoghurt|chicken|fish|carrots|lemons|oranges|soap|toothpaste|batteries|candles|cat food|orange juice|chocolate|
mushrooms|garlic|spinach|cucumbers|jam|nuts|napkins|light bulbs|toilet paper|dog food|pears|grapes|beans|vinegar"""
PHRASES = """good morning|good night|thank you|where is the station|I am hungry|how much is it|see you tomorrow|I love you|the
bill, please|where are you from|happy birthday|I do not understand|two coffees, please|excuse me|good luck|what time is it|I
am lost|the cat is black|my name is Anna|have a nice day|welcome home|can you help me|the train is late|it is cold today|I like
bread|where is my bag|see you soon|no problem|the house is big|I would like some water|we are on holiday|good evening"""
LANGUAGES = "French German Spanish Italian Portuguese Dutch Swedish Polish Greek Turkish Japanese Chinese Korean Arabic Hindi \
Finnish Danish Czech Russian Latin Norwegian Hungarian".split()
GENRES = """jazz|rock|classical music|pop|hip hop|techno|blues|folk music|reggae|piano music|Mozart|Bach|Chopin|Vivaldi|country
music|opera|soul|heavy metal|lullabies|Christmas songs|film music|salsa|guitar music|whale sounds|Beethoven|Handel"""
ROOMS = """kitchen|living room|bedroom|bathroom|hallway|garage|cellar|office|dining room|attic|nursery|garden|study|guest
room|workshop|balcony"""
LABELS = "the pasta|the eggs|the tea|the cake|the pizza|the rice|a nap|the workout|the laundry|a break|the meeting|the oven|reading"
WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
SUBJECTS = """the meeting|the train|the package|dinner|the car|the doctor|the plan|our flight|the game|the shop|lunch|the lesson|
the concert|the report|the key|the wifi password|the gate code|the dog|the heating|the party"""
PREDICATES = """is late|is ready|is cancelled|has arrived|is at the front door|starts soon|is too expensive|was great|needs more
time|is on the table|has moved to Friday|is fine again|is closed today|is broken|takes two hours|costs 40 euros|is upstairs|
will be tomorrow|is in the blue box|has been paid"""
FEELINGS = "I am late|I am on my way|I will call back|I miss them|I am at home|I cannot come|we won|dinner is ready|all is well|I am ill"
HOUR_WORDS = "one two three four five six seven eight nine ten eleven twelve".split()
OPERATORS = {
    "add": ("+", "plus", "and"),
    "subtract": ("-", "minus", "less"),
    "multiply": ("*", "times", "x", "multiplied by"),
    "divide": ("/", "divided by", "over"),
}
CONSONANTS = "b c d f g h j k l m n p r s t v w z br ch cl dr fr gr kr pl pr sh sl st th tr".split()
VOWELS = "a e i o u a e i o ai ea ee ia io ou".split()
ENDINGS = "n r s l ra na lo mi ta k x th nd ro sa vin la".split()
SEEN, UNSEEN = "seen", "unseen"

Filling = tuple[str, object]


def entries(text: str) -> list[str]:
    """Splits a bar-separated list, undoing its line breaks."""
    return [" ".join(entry.split()) for entry in text.split("|")]


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
        syllables = "".join(self.rng.choice(CONSONANTS) + self.rng.choice(VOWELS) for _ in range(self.rng.choice((1, 2, 2))))
        return (syllables + self.rng.choice(ENDINGS)).capitalize()

    def name(self) -> str:
        """A first name, invented in two cases of five."""
        return self.invented() if self.rng.random() < 0.4 else self.pick(NAMES)

    def place(self) -> str:
        """A town, invented in one case of three."""
        return self.invented() if self.rng.random() < 0.33 else self.pick(PLACES)

    def task(self) -> str:
        """Something to do: mostly a verb and its object, drawn apart."""
        draw = self.rng.random()
        if draw < 0.3:
            return f"{self.rng.choice(('call', 'email', 'visit', 'thank', 'help', 'meet', 'text', 'pick up'))} {self.name()}"
        if draw < 0.4:
            return f"buy {self.pick(entries(ITEMS))}"
        if draw < 0.6:
            return self.pick(entries(TASKS))
        return f"{self.rng.choice(entries(VERBS))} {self.pick(entries(OBJECTS))}"

    def clause(self) -> str:
        """A short statement."""
        draw = self.rng.random()
        if draw < 0.25:
            return self.rng.choice(entries(FEELINGS))
        if draw < 0.4:
            return f"{self.name()} {self.rng.choice(('is here', 'has called', 'is ill', 'likes tea', 'comes later', 'lives in ' + self.place()))}"
        return f"{self.pick(entries(SUBJECTS))} {self.rng.choice(entries(PREDICATES))}"

    def day(self) -> Filling:
        """A day with its preposition, and its lower-case value."""
        draw = self.rng.random()
        if draw < 0.25:
            word = self.rng.choice(("today", "tomorrow", "tomorrow", "tonight"))
            return word, word
        if draw < 0.4:
            word = f"{self.rng.choice(('next', 'this'))} {self.rng.choice(WEEKDAYS)}"
            return word, word.lower()
        if draw < 0.5:
            date = f"{self.rng.randint(1, 28)} {self.rng.choice(MONTHS)}"
            return f"on {date}", date.lower()
        weekday = self.rng.choice(WEEKDAYS)
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
            word, number = HOUR_WORDS[hour - 1], hour
            return f"at half past {word}", f"{number:02d}:30"
        half = self.rng.choice(("am", "pm"))
        number = hour % 12 + (12 if half == "pm" else 0)
        space = self.rng.choice(("", "", " "))
        if draw < 0.55:
            return f"at {hour}:{minute:02d}{space}{half}", f"{number:02d}:{minute:02d}"
        return f"at {hour}{space}{half}", f"{number:02d}:00"

    def items(self) -> Filling:
        """One to four things to buy."""
        things = list(dict.fromkeys(self.pick(entries(ITEMS)) for _ in range(self.rng.choice((1, 2, 2, 3, 3, 4)))))
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
    "topic": lambda s: plain(s.pick(entries(TOPICS))),
    "place": lambda s: plain(s.place()),
    "language": lambda s: lowered(s.rng.choice(LANGUAGES)),
    "what": lambda s: plain(s.pick(entries(GENRES)) if s.rng.random() < 0.7 else s.name()),
    "room": lambda s: lowered(s.rng.choice(entries(ROOMS))),
    "label": lambda s: plain(s.pick(entries(LABELS))),
    "unit": lambda s: plain(s.rng.choice(("seconds", "minutes", "minutes", "hours"))),
    "amount": lambda s: s.number(90),
    "a": lambda s: s.number(999),
    "b": lambda s: s.number(999),
    "people": lambda s: s.number(12),
    "state": lambda s: plain(s.rng.choice(("on", "off"))),
    "by": lambda s: plain(s.rng.choice(("car", "bus", "train", "bike", "tram", "taxi"))),
}

OVERRIDES: dict[tuple[str, str], Filler] = {
    ("translation", "text"): lambda s: plain(s.pick(entries(PHRASES)) if s.rng.random() < 0.75 else s.clause()),
    ("message", "text"): lambda s: plain(s.clause()),
    ("note", "text"): lambda s: plain(s.clause()),
    ("message", "to"): lambda s: plain(s.name()),
    ("flight", "from"): lambda s: plain(s.place()),
    ("flight", "to"): lambda s: plain(s.place()),
    ("route", "from"): lambda s: plain(s.pick(entries(TARGETS)) if s.rng.random() < 0.6 else s.place()),
    ("route", "to"): lambda s: plain(s.pick(entries(TARGETS)) if s.rng.random() < 0.6 else s.place()),
    ("table", "place"): lambda s: plain(s.name() + s.rng.choice(("'s", " Bistro", " Grill", ""))),
}


def fill(slots: Slots, intent: str, key: str) -> Filling:
    """Draws the filling of one slot of one intent."""
    return OVERRIDES.get((intent, key), FILLERS.get(key, lambda s: plain(s.name())))(slots)
