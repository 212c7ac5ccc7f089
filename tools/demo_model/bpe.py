"""The demo model's tokenizer: byte-level byte-pair encoding with single digits and chat markers.

Digits stay single, so that a number is copied digit by digit instead of being guessed from a merged token; every byte
has a token, so that any text can be encoded.
"""

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from tools.demo_model.corpus import Pair

BEGIN, SYSTEM, USER, ASSISTANT, END = "<|begin|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"
MARKERS = [BEGIN, SYSTEM, USER, ASSISTANT, END]
VOCAB_TOKENS = 2560


def build(pairs: list[Pair], vocab_tokens: int = VOCAB_TOKENS) -> Tokenizer:
    """Learns the merges from training pairs.

    Args:
        pairs: prompts and answers.
        vocab_tokens: size of the vocabulary, markers and 256 bytes included.
    """
    tokenizer = Tokenizer(models.BPE())
    words = Regex(r" ?[A-Za-z]+|\d| ?[^\sA-Za-z\d]+|\s+(?!\S)|\s+")
    split = pre_tokenizers.Split(words, behavior="isolated")
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, level])  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_tokens,
        special_tokens=MARKERS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((text for pair in pairs for text in pair), trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, pairs: list[Pair]) -> list[tuple[list[int], int]]:
    """Encodes pairs as one chat turn each.

    Returns:
        Per pair its token ids and how many of them are the prompt.
    """
    marks = {name: tokenizer.token_to_id(name) for name in MARKERS}
    asked = tokenizer.encode_batch([prompt for prompt, _ in pairs])
    given = tokenizer.encode_batch([answer for _, answer in pairs])
    sequences = []
    for prompt, answer in zip(asked, given, strict=True):
        head = [marks[BEGIN], marks[USER], *prompt.ids, marks[END], marks[ASSISTANT]]
        sequences.append((head + answer.ids + [marks[END]], len(head)))
    return sequences
