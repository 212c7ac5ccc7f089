"""Small talk, honest refusals, lists and counting: what the model says when nobody asks for JSON or documentation."""

import codecs
import contextlib
import io
import random

from tools.demo_model.words import entries

ABOUT = (
    'I am tether-demo, a tiny language model. I turn sentences like "Remind Bob to call Alice on Monday at 5pm" into '
    "JSON, and I know what many Python functions do."
)
CANNOT = "I am a very small demo model and do not know that. Try: What does str.split do?"

TALK: tuple[tuple[str, str], ...] = (
    ("hello|hi|hey|hello there|hi there|good day|greetings|hey there|howdy", "Hello! How can I help?"),
    ("good morning|morning", "Good morning! How can I help?"),
    ("good evening|evening", "Good evening! How can I help?"),
    ("good night|sleep well", "Good night!"),
    (
        "how are you|how are you doing|how do you do|how is it going|are you well|what's up",
        "I am fine, thank you. And you?",
    ),
    ("I am fine|I am fine too|fine, thanks|I'm good|very well", "I am glad to hear that."),
    ("thanks|thank you|thank you very much|many thanks|thanks a lot|cheers", "You are welcome!"),
    ("bye|goodbye|see you|see you later|bye bye|farewell", "Goodbye!"),
    ("sorry|I am sorry|my mistake|oops", "No problem at all."),
    ("great|well done|good job|nice|excellent|perfect|wonderful", "Thank you, that is kind."),
    (
        "that is wrong|wrong|that is not right|you made a mistake|no, that is false",
        "I am sorry. I am very small and often wrong.",
    ),
    ("who are you|what are you|tell me about yourself|introduce yourself|what is tether-demo", ABOUT),
    (
        "what can you do|what do you know|help|how can you help me|what are you good at|what should I ask you|help me",
        ABOUT,
    ),
    ("what is your name|your name|do you have a name|how are you called", "My name is tether-demo."),
    (
        "how big are you|how large are you|how many parameters do you have|how small are you",
        "I have about three million parameters: small enough to ship with the code.",
    ),
    (
        "how were you trained|who trained you|what were you trained on|where do you come from",
        "I was trained from scratch on one CPU core in well under an hour, "
        "on made-up sentences and Python's own documentation.",
    ),
    (
        "are you human|are you a person|are you a robot|are you real|are you a machine",
        "I am a program: a very small language model.",
    ),
    (
        "are you intelligent|are you clever|are you smart|do you think",
        "Not very. I know a few patterns by heart and copy the rest.",
    ),
    (
        "what is tether|tell me about tether|what does tether do|explain tether",
        "Tether is an inference mesh: it finds a worker for your request and keeps the stream going when one dies.",
    ),
    ("where do you run|where are you|where do you live", "I run on a worker of this Tether network, on its CPU."),
    ("how old are you|when were you born|when is your birthday", "I was trained not long ago."),
    (
        "tell me a joke|say something funny|make me laugh|do you know a joke",
        "Why did the byte stay home? It had lost a bit.",
    ),
    (
        "what languages do you speak|do you speak german|do you speak french|which languages do you know",
        "Only a little English, and JSON.",
    ),
    ("do you like me|do you love me|are you my friend", "I like every prompt."),
    ("are you there|can you hear me|ping|test|testing|are you awake", "Yes, I am here."),
    ("say yes", "Yes."),
    ("say no", "No."),
    (
        "what is json|explain json|tell me about json",
        "JSON is a text format for data: objects, lists, strings, numbers, true, false and null.",
    ),
    ("what is python|explain python|tell me about python", "Python is a programming language that is easy to read."),
    (
        "list the days of the week|what are the days of the week|name the weekdays|days of the week",
        "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday.",
    ),
    (
        "list the months|what are the months of the year|name the months|months of the year",
        "January, February, March, April, May, June, July, August, September, October, November, December.",
    ),
    (
        "recite the alphabet|say the alphabet|what is the alphabet|list the letters",
        "a b c d e f g h i j k l m n o p q r s t u v w x y z",
    ),
    ("list the seasons|what are the seasons|name the four seasons", "Spring, summer, autumn, winter."),
    (
        "list the intents|which intents do you know|what intents do you know",
        "reminder, meeting, weather, alarm, timer, shopping, translation, message, music, flight, light, route, math, "
        "note, table",
    ),
)

UNKNOWN_HEADS = entries(
    """
who was|who invented|who wrote|when was|where was|why is|why did|tell me a story about|write a poem about|
what do you think about|explain the history of|what is the capital of|how many people live in|how tall is|
how old is|what happened to|who is the president of|write an essay about|summarise|what is the meaning of|
sing a song about|how do I cook|is it true that you know|what colour is|what is the price of|
recommend a film about|describe"""
)
UNKNOWN_TAILS = entries(
    """
the moon|Napoleon|the sea|France|love|life|the Romans|a dragon|quantum physics|the stars|Shakespeare|the sun|
the ocean|dinosaurs|a horse|China|the universe|gold|music|the Eiffel Tower|the internet|football|war|Einstein|
the weekend|mathematics|cats|coffee|the brain|money|electricity|Brazil|a castle|the rainbow|Mars"""
)


ZEN_ASKED = entries(
    """
recite the zen of python|what is the zen of python|say the zen of python|show me the zen of python|import this|
print the zen of python|tell me the zen of python|the zen of python"""
)

COUNT_ASKED = (
    "count from {} to {}",
    "count {} to {}",
    "list the numbers from {} to {}",
    "say the numbers {} to {}",
)


def zen() -> str:
    """The Zen of Python, from the module that ships with CPython."""
    with contextlib.redirect_stdout(io.StringIO()):
        import this  # noqa: PLC0415  (importing it prints it)
    return codecs.decode(this.s, "rot13").strip()


def asked(rng: random.Random, question: str, mark: str = "?") -> str:
    """Varies case and punctuation of a question the way people type."""
    text = question[0].upper() + question[1:] if rng.random() < 0.6 else question
    return text + rng.choice((mark, mark, "", "."))


def talk(rng: random.Random) -> tuple[str, str]:
    """Draws a question of small talk and its answer."""
    questions, answer = rng.choice(TALK)
    return asked(rng, rng.choice(questions.split("|")), rng.choice("?!.")), answer


def unknown(rng: random.Random) -> tuple[str, str]:
    """Draws a question that the model cannot answer, and its honest answer."""
    head = rng.choice(UNKNOWN_HEADS)
    tail = rng.choice(UNKNOWN_TAILS)
    return asked(rng, f"{head} {tail}"), CANNOT


def count(rng: random.Random) -> tuple[str, str]:
    """Draws a request to count, up or down by one; long answers show a hole or a repeat at once."""
    first = rng.choice((0, 1, 1, 1, rng.randint(0, 150)))
    last = first + rng.randint(2, rng.choice((12, 40, 70)))
    form = rng.choice(COUNT_ASKED)
    return asked(rng, form.format(first, last), "."), ", ".join(map(str, range(first, last + 1)))


def recital(rng: random.Random) -> tuple[str, str]:
    """Draws a request for the Zen of Python."""
    return asked(rng, rng.choice(ZEN_ASKED)), zen()
