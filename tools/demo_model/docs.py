"""Questions about Python, answered by the one-line summaries that ship with CPython (PSF licence).

Only everyday names are asked: a model of three million parameters keeps a few hundred sentences by heart, not
thousands. A summary is the first sentence of a docstring, if it is short and says something.
"""

import importlib
import inspect
import random
import re
from collections.abc import Iterator

SUMMARY_CHARS = range(12, 121)
SIGNATURE = re.compile(r"^[\w.]+\([^)]*\)\s*(?:-> [^-.]{1,40}?(?:--|\.|$)|->|--|-)?\s*(?=[A-Za-z\'(]|$)")
BUILTINS = ["str", "list", "dict", "set", "tuple", "int", "float"]
MODULES = [
    "math",
    "os",
    "os.path",
    "itertools",
    "functools",
    "collections",
    "json",
    "re",
    "random",
    "time",
    "datetime",
    "pathlib",
    "string",
    "shutil",
    "sys",
    "statistics",
    "heapq",
    "bisect",
    "copy",
    "glob",
    "tempfile",
    "subprocess",
    "threading",
    "queue",
    "hashlib",
    "base64",
    "textwrap",
    "contextlib",
    "secrets",
    "struct",
    "gzip",
    "logging",
    "fractions",
]
OS = [
    "chdir",
    "chmod",
    "cpu_count",
    "fspath",
    "getcwd",
    "getenv",
    "getpid",
    "getppid",
    "kill",
    "link",
    "listdir",
    "lstat",
    "makedirs",
    "mkdir",
    "pipe",
    "read",
    "readlink",
    "remove",
    "removedirs",
    "rename",
    "renames",
    "replace",
    "rmdir",
    "scandir",
    "stat",
    "symlink",
    "system",
    "truncate",
    "umask",
    "uname",
    "unlink",
    "urandom",
    "walk",
    "write",
    "get_terminal_size",
]
CLASSES = (
    ("pathlib", "Path"), ("datetime", "datetime"), ("datetime", "date"), ("datetime", "timedelta"),
    ("collections", "deque"),
    ("collections", "Counter"), ("collections", "OrderedDict"), ("queue", "Queue"),
    ("threading", "Thread"), ("fractions", "Fraction"),
)  # fmt: skip
QUESTIONS = """
What does {name} do?
what does {name} do
What is {name}?
what is {name}
What is {name} for?
What is {name} good for?
What does the Python function {name} do?
What does {name} do in Python?
Explain {name}.
Explain {name} to me.
explain {name}
Tell me about {name}.
Tell me what {name} does.
Describe {name}.
Describe what {name} does.
Document {name}.
Docs for {name}
Show me the docs for {name}.
help({name})
Help on {name}
{name}
{name}?
Python {name}
Can you explain {name}?
Can you tell me what {name} does?
Could you explain what {name} does?
Do you know {name}?
I want to know what {name} does.
What happens when I call {name}?
Why would I use {name}?
Summarise {name}.
In one line, what does {name} do?
What's {name}?
How would you describe {name}?
Remind me what {name} is for?
Please say what {name} does.
""".strip().splitlines()
HELD_OUT = 4
TRAINED, UNSEEN = QUESTIONS[:-HELD_OUT], QUESTIONS[-HELD_OUT:]


def summary(thing: object) -> str | None:
    """The first sentence of a docstring, or None where there is none worth learning."""
    paragraphs = [re.sub(r"\s+", " ", part).strip() for part in (inspect.getdoc(thing) or "").split("\n\n")]
    text = SIGNATURE.sub("", paragraphs[0]) or "".join(paragraphs[1:2])
    sentence = re.split(r"(?<=[.])\s", text)[0].strip()
    sentence = re.sub(r"^\w{1,2}, (?=\w+ )", "", sentence)
    sentence = sentence[:1].upper() + sentence[1:]
    if len(sentence) not in SUMMARY_CHARS or not sentence.isascii() or not sentence[0].isupper():
        return None
    if "->" in sentence or re.match(
        r"[\w.]+\(|Abstract|Internal|Deprecated|Built-in|Initialize self|Return self|Create and return", sentence
    ):
        return None
    return sentence if sentence.endswith(".") else sentence + "."


def members(prefix: str, owner: object) -> Iterator[tuple[str, str]]:
    """The public callables of a module or class with their summaries."""
    module = inspect.ismodule(owner)
    for name, thing in sorted(vars(owner).items()):
        if prefix == "os" and name not in OS:
            continue
        if name.startswith("_") or isinstance(thing, type(re)) or not callable(getattr(owner, name)):
            continue
        if module and getattr(thing, "__module__", prefix) not in {
            prefix,
            "_" + prefix,
            "posix",
            "posixpath",
            "builtins",
            "genericpath",
            None,
        }:
            continue
        text = summary(thing)
        if text:
            yield f"{prefix}.{name}", text


def everyday() -> dict[str, str]:
    """Everyday names of the standard library and their one-line summaries."""
    import builtins  # noqa: PLC0415

    found = {name: text for name in dir(builtins) if name[0].islower() and (text := summary(getattr(builtins, name)))}
    for name in BUILTINS:
        found |= dict(members(name, getattr(builtins, name)))
    for name in MODULES:
        module = importlib.import_module(name)
        if text := summary(module):
            found[name] = text
        found |= dict(members(name, module))
    for module_name, name in CLASSES:
        found |= dict(
            members(
                f"{module_name}.{name}" if module_name != "pathlib" else name,
                getattr(importlib.import_module(module_name), name),
            )
        )
    return found


def question(rng: random.Random, pairs: list[tuple[str, str]], forms: list[str] = TRAINED) -> tuple[str, str]:
    """Draws a question about a name and its answer."""
    name, text = rng.choice(pairs)
    return rng.choice(forms).format(name=name if rng.random() < 0.85 else name + "()"), text
